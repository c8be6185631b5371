"""Server contexts: which TLS the gateway speaks, and the choice of a certificate in the handshake.

Owns making contexts, and the callback that chooses among them by server name (`choice` says which certificates a name
has; of the kinds of key in one context OpenSSL chooses). It must not know files, listeners, transports or an event
loop. Contexts are made before the supervisor forks, and shared. That is what makes resumption work everywhere: the key
that encrypts session tickets is made with the context, so a ticket from one worker is good on all of them. That is why
the first context stays, whatever certificates come: see `store`.
"""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.tls import openssl
from gateway.tls.choice import ANY, choose, wildcard
from gateway.tls.errors import CertificateError
from gateway.tls.pair import CertificatePair, read_current

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.config import Settings
    from gateway.tls.pair import Certificate

__all__ = ["CertificateError", "CertificatePair", "ContextOptions", "server_context"]

ALPN = ("h2", "http/1.1")
"""In order of preference."""
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

# Forward secrecy and authenticated encryption, nothing else: Mozilla's "intermediate" list without
# finite-field DH, which no browser of the last ten years needs. TLS 1.3 has its own list, all of it good.
CIPHERS = ":".join(
    f"ECDHE-{signature}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for signature in ("ECDSA", "RSA")
)

_OP_PRIORITIZE_CHACHA = 1 << 21  # OpenSSL's ssl.h; Python has no name for it


@dataclass(frozen=True, slots=True)
class ContextOptions:
    """What all contexts of a gateway have in common. Raises ValueError for another version than "1.2" and "1.3"."""

    minimum_version: str = "1.2"
    groups: Sequence[str] = ()
    """Of a key exchange, as far as Python can set them; before 3.15 it is `openssl.configure` that does."""
    alpn: Sequence[str] = ALPN

    @classmethod
    def of(cls, settings: Settings) -> ContextOptions:
        alpn = ALPN if settings.edge.http2 else ALPN[1:]
        return cls(settings.tls.minimum_version, settings.tls.groups, alpn)

    def __post_init__(self) -> None:
        if self.minimum_version not in VERSIONS:
            raise ValueError(f"minimum_version: expected one of {', '.join(VERSIONS)}, not {self.minimum_version!r}")


def server_context(
    pairs: Sequence[CertificatePair],
    *,
    minimum_version: str = "1.2",
    groups: Sequence[str] = (),
    alpn: Sequence[str] = ALPN,
) -> ssl.SSLContext:
    """A context that serves `pairs` as they are now, the first one for names that none of them covers.

    Raises CertificateError for a pair that cannot be served or has expired, ValueError for no pairs, or as
    `ContextOptions`. `CertificateStore` asks less of them, and follows what becomes of the files.
    """
    options = ContextOptions(minimum_version, groups, alpn)
    if not pairs:
        raise ValueError("a server context needs at least one certificate")
    # All of them before any is used: nothing is half made when the last one turns out to be broken.
    sets = choose([read_current(pair) for pair in pairs], datetime.now(UTC))
    contexts = {chosen: make_context(chosen, options) for chosen in set(sets.values())}
    default = contexts[sets[ANY]]
    if len(contexts) > 1:
        default.sni_callback = choose_context({name: contexts[chosen] for name, chosen in sets.items()})
    return default


def make_context(certificates: Iterable[Certificate], options: ContextOptions) -> ssl.SSLContext:
    """A context that serves `certificates`, one of each kind, to everybody. Raises CertificateError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[options.minimum_version]
    context.set_ciphers(CIPHERS)
    # Compression leaks secrets through lengths (CRIME). Renegotiation lets one connection ask for handshake
    # after handshake, which costs us more than who asks; HTTP has no use for it and HTTP/2 forbids it.
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # Tickets are on by default; said here because the shared ticket key above is worth nothing without them.
    context.options &= ~ssl.OP_NO_TICKET
    if options.alpn:
        context.set_alpn_protocols(list(options.alpn))
    for certificate in certificates:
        certificate.load_into(context)  # beside those of other kinds
    _choose_key_exchange(context, options.groups)
    return context


def _choose_key_exchange(context: ssl.SSLContext, groups: Sequence[str]) -> None:
    """Groups and suites by Python's own calls, where it has them and OPENSSL_CONF is not set; then whose order counts.

    Every cipher left is secure, so we choose the cheapest that the browser knows, unless it prefers ChaCha20: a
    phone without AES in hardware. Where TLS 1.3 has OpenSSL's order, the most expensive first, the browser's is
    better.
    """
    if groups and openssl.OWN_CALLS and not openssl.obstacle:
        calls: Any = context
        calls.set_ciphersuites(":".join(openssl.SUITES))
        for names in openssl.variants(groups):
            with contextlib.suppress(ssl.SSLError):  # it does not know all of them: those before stay
                calls.set_groups(":".join(names))
    if context.get_ciphers()[0]["name"] == openssl.SUITES[0]:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | _OP_PRIORITIZE_CHACHA
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE


def choose_context(
    contexts: Mapping[str, ssl.SSLContext],
) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], None]:
    """The callback that swaps the context during the handshake; `contexts` are by name, one of them for `ANY`.

    Only the certificate changes: protocol versions and options were settled when the connection was made,
    ALPN is set alike on all contexts, and tickets stay under the first context's key.
    """
    otherwise = contexts[ANY]

    def choose(connection: ssl.SSLObject, name: str | None, first: ssl.SSLContext) -> None:
        chosen = otherwise
        if name is not None:
            name = name.lower()
            chosen = contexts.get(name) or contexts.get(wildcard(name)) or otherwise
        if chosen is not first:
            connection.context = chosen

    return choose
