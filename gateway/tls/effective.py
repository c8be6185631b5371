"""The effective TLS parameters of a server context, measured.

Settings, the versions and configurations of Python and OpenSSL, and a distribution's policy all decide which groups and
suites a handshake may use. So they are not derived: a context is offered one at a time, in memory, by a ClientHello
without a key share. It answers with a HelloRetryRequest (RFC 8446 section 4.1.4) that names its choice, or with an
alert; either costs microseconds.
"""

from __future__ import annotations

import ssl
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.errors import UserError
from gateway.tls import openssl

GROUPS = {
    "X25519MLKEM768": 0x11EC,
    "X25519": 0x001D,
    "P-256": 0x0017,
    "P-384": 0x0018,
    "P-521": 0x0019,
    "X448": 0x001E,
    "SecP256r1MLKEM768": 0x11EB,
    "SecP384r1MLKEM1024": 0x11ED,
    "brainpoolP256r1": 0x001F,
    "brainpoolP384r1": 0x0020,
    "brainpoolP512r1": 0x0021,
    "ffdhe2048": 0x0100,
    "ffdhe3072": 0x0101,
    "ffdhe4096": 0x0102,
    "ffdhe6144": 0x0103,
    "ffdhe8192": 0x0104,
}
"""Groups of TLS 1.3 by their names at OpenSSL (IANA: TLS Supported Groups)."""
SUITES = {0x1301: "AES-128-GCM", 0x1302: "AES-256-GCM", 0x1303: "ChaCha20-Poly1305"}

_SIGNATURES = (0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0807, 0x0808)
_SUITE_AT = 5 + 4 + 2 + 32 + 1
"""Where a HelloRetryRequest to a ClientHello without session id names the suite: behind the headers of record and
message, version, random and the length of the session id."""


@dataclass(frozen=True, slots=True)
class Effective:
    """Of one context, in TLS 1.3."""

    groups: tuple[str, ...]
    suite: str
    """Its choice of all three for a client that prefers AES-256-GCM."""
    chacha_first: bool
    """Whether a client that prefers ChaCha20-Poly1305 (no AES in hardware) gets it."""

    def __str__(self) -> str:
        chacha = ", ChaCha20-Poly1305 for who puts it first" if self.chacha_first else ""
        return f"groups {', '.join(self.groups)}; {self.suite}{chacha}; {_library()}"


def measure(context: ssl.SSLContext) -> Effective:
    """Measures `context`, which has its certificates and agrees to TLS 1.3."""
    aes128, aes256, chacha = SUITES
    groups = tuple(name for name, number in GROUPS.items() if _choice(context, [number], [aes128]) is not None)
    every = [GROUPS[name] for name in groups]
    suite = _choice(context, every, [aes256, chacha, aes128]) or 0
    return Effective(groups, SUITES.get(suite, "no suite"), _choice(context, every, [chacha, aes128, aes256]) == chacha)


def report(context: ssl.SSLContext, groups: Sequence[str]) -> tuple[str, list[str]]:
    """What is effective, and its differences from `groups` as set, a line each.

    Raises UserError if OpenSSL has none of `groups`.
    """
    found = measure(context)
    if not openssl.obstacle and not set(groups) & set(found.groups):
        raise UserError(f"tls.groups: {_library()} knows none of {', '.join(groups)}")
    return f"TLS: {found}", list(_differences(found, groups))


def _differences(found: Effective, groups: Sequence[str]) -> Iterator[str]:
    why = openssl.obstacle or "OpenSSL was told otherwise"
    others = [group for group in found.groups if group not in groups]
    costly = any(group.startswith("ffdhe") for group in others)
    consequence = ", and a handshake with ffdhe8192 may cost 0.1 s of CPU" if costly else ""
    if others:
        yield f"TLS: agrees to {', '.join(others)} besides tls.groups{consequence}: {why}"
    elif openssl.obstacle:
        yield f"TLS: {why}, not tls.groups"


def _library() -> str:
    """For example "OpenSSL 3.0.19"."""
    return " ".join(ssl.OPENSSL_VERSION.split()[:2])


def _choice(context: ssl.SSLContext, groups: Sequence[int], suites: Sequence[int]) -> int | None:
    """The suite that `context` chooses of `suites` for a key exchange with one of `groups`; None: it refuses all."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(_client_hello(groups, suites))
    try:
        server.do_handshake()
    except ssl.SSLWantReadError:
        answer = outgoing.read()
        return int.from_bytes(answer[_SUITE_AT : _SUITE_AT + 2], "big")
    except ssl.SSLError:
        return None
    return None


def _client_hello(groups: Sequence[int], suites: Sequence[int]) -> bytes:
    """A record with a ClientHello of TLS 1.3 that has no key share yet (RFC 8446 section 4.1.2)."""
    extensions = b"".join(
        struct.pack("!HH", number, len(content)) + content
        for number, content in (
            (43, b"\x02\x03\x04"),  # supported_versions: TLS 1.3
            (10, _list16(groups)),  # supported_groups
            (13, _list16(_SIGNATURES)),  # signature_algorithms
            (51, b"\0\0"),  # key_share: none
        )
    )
    body = b"\x03\x03" + bytes(32) + b"\0" + _list16(suites) + b"\x01\0" + _sized16(extensions)
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + _sized16(message)


def _sized16(content: bytes) -> bytes:
    return struct.pack("!H", len(content)) + content


def _list16(numbers: Sequence[int]) -> bytes:
    return _sized16(struct.pack(f"!{len(numbers)}H", *numbers))
