"""Server contexts: which certificate a browser is shown, and which TLS the gateway speaks.

Owns reading and checking configured certificates, and the choice among several: by server name, and for one name by
the kind of key (ECDSA, or RSA for clients that know nothing else), which OpenSSL makes in the handshake. It must
not know listeners, transports or an event loop: a context is made once, before the supervisor forks, and shared.
That is what makes resumption work everywhere: the key that encrypts session tickets is made with the context,
so a ticket from one worker is good on all of them.
"""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from gateway.tls import openssl
from gateway.tls.errors import CertificateError, cause_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

__all__ = ["CertificateError", "CertificatePair", "check_pair", "describe_served", "server_context"]

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

# Forward secrecy and authenticated encryption, nothing else: Mozilla's "intermediate" list without
# finite-field DH, which no browser of the last ten years needs. TLS 1.3 has its own list, all of it good.
CIPHERS = ":".join(
    f"ECDHE-{signature}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for signature in ("ECDSA", "RSA")
)

_OP_PRIORITIZE_CHACHA = 1 << 21  # OpenSSL's ssl.h; Python has no name for it
_PEM = b"-----BEGIN "


@dataclass(frozen=True, slots=True)
class CertificatePair:
    """PEM files: the server's certificate followed by its intermediates, and its private key (may be the same
    file).
    """

    cert: Path
    key: Path


def server_context(
    pairs: Sequence[CertificatePair],
    *,
    minimum_version: str = "1.2",
    groups: Sequence[str] = (),
    alpn: Sequence[str] = ("http/1.1",),
) -> ssl.SSLContext:
    """A context that serves `pairs`, the first one for names that none of them covers.

    For a name one pair of each kind of key is served: an exact name goes before a wildcard, and an earlier pair
    before a later one. `alpn` is in order of preference. `groups` are those of a key exchange, as far
    as Python can set them; before 3.15 it is `openssl.configure` that does. Raises CertificateError for a pair that
    cannot be served, ValueError for no pairs or a version other than "1.2" and "1.3".
    """
    if not pairs:
        raise ValueError("a server context needs at least one certificate")
    if minimum_version not in VERSIONS:
        raise ValueError(f"minimum_version: expected one of {', '.join(VERSIONS)}, not {minimum_version!r}")
    # All of them before any is used: nothing is half made when the last one turns out to be broken.
    sets = _sets_by_name([_checked(pair) for pair in pairs])
    contexts: dict[tuple[CertificatePair, ...], ssl.SSLContext] = {}
    for chosen in sets.values():
        if chosen not in contexts:
            contexts[chosen] = _context(chosen, VERSIONS[minimum_version], alpn)
            _choose_key_exchange(contexts[chosen], groups)
    default = contexts[sets[_ANY]]
    if len(contexts) > 1:
        default.sni_callback = _sni_callback({name: contexts[chosen] for name, chosen in sets.items() if name != _ANY})
    return default


def describe_served(pairs: Sequence[CertificatePair]) -> list[str]:
    """Sentences that say which of `pairs`, which have passed `check_pair`, are served for what."""
    certificates = [_Certificate(pair, _leaf(pair)) for pair in pairs]
    sets = _sets_by_name(certificates)
    lines = []
    for certificate in certificates:
        if names := [name for name, chosen in sets.items() if certificate.pair in chosen]:
            what = f"served for {', '.join(names)}"
        elif certificate.names:
            what = "never served: earlier ones of its kind have all its names"
        else:
            what = "never served: it has no DNS name"
        lines.append(f"{certificate.pair.cert}: {certificate.kind}, {what}")
    return lines


def check_pair(pair: CertificatePair, *, now: datetime | None = None) -> tuple[str, ...]:
    """The DNS names the pair can be served for, lower case; checks everything that may be wrong with it.

    Raises CertificateError naming the file at fault: missing, unreadable, not PEM, encrypted, the other
    one's, expired, or refused by OpenSSL.
    """
    return _checked(pair, now).names


def _checked(pair: CertificatePair, now: datetime | None = None) -> _Certificate:
    """As `check_pair`: names and kind are of the octets that were looked at."""
    chain = _read_chain(pair.cert)
    _check_key(pair, chain, _read_key(pair.key))
    expired = chain[0].not_valid_after_utc
    if expired < (now or datetime.now(UTC)):
        raise CertificateError(pair.cert, f"expired on {expired:%Y-%m-%d at %H:%M UTC}", "renew the certificate")
    # A context whose `load_cert_chain` failed keeps the new certificate without a key and fails every
    # handshake from then on ("no shared cipher"). So nothing is loaded into a live one that a scratch context
    # has not accepted.
    _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pair)
    return _Certificate(pair, chain[0])


def costly_key(pair: CertificatePair) -> str:
    """A sentence about a key that makes handshakes dear; empty if it does not. `pair` has passed `check_pair`."""
    key = _leaf(pair).public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size <= 3072:
        return ""
    # Per full handshake, OpenSSL 3.0 on one core: P-256 0.15 ms, RSA 2048 0.4, RSA 4096 3.5.
    return f"{pair.cert}: with RSA of {key.key_size} bits a new connection takes ten times the CPU it takes with P-256"


_KINDS: dict[type, str] = {
    rsa.RSAPublicKey: "RSA",
    ec.EllipticCurvePublicKey: "ECDSA",
    ed25519.Ed25519PublicKey: "Ed25519",
    ed448.Ed448PublicKey: "Ed448",
}


class _Certificate:
    """One configured pair, its names, and the kind of its key: a context has one place for each."""

    def __init__(self, pair: CertificatePair, leaf: x509.Certificate) -> None:
        self.pair = pair
        self.names = _dns_names(leaf)
        key = leaf.public_key()
        self.kind = next((name for kind, name in _KINDS.items() if isinstance(key, kind)), "another kind of key")


_ANY = "any other name"
"""A key of `_sets_by_name`: no name, or one that no pair has."""


def _sets_by_name(certificates: Sequence[_Certificate]) -> dict[str, tuple[CertificatePair, ...]]:
    """What is served for each name, one pair of each kind."""
    by_name: dict[str, list[_Certificate]] = {}
    for certificate in certificates:
        for name in certificate.names:
            by_name.setdefault(name, []).append(certificate)
    sets = {
        # A wildcard lends an exact name the kinds that it lacks.
        name: _one_of_each(found + by_name.get("*." + name.partition(".")[2], []))
        for name, found in by_name.items()
    }
    first = certificates[0]
    return {**sets, _ANY: _one_of_each([first, *(found for name in first.names for found in by_name[name])])}


def _one_of_each(certificates: Sequence[_Certificate]) -> tuple[CertificatePair, ...]:
    by_kind: dict[str, CertificatePair] = {}
    for certificate in certificates:
        by_kind.setdefault(certificate.kind, certificate.pair)
    return tuple(by_kind.values())


def _context(pairs: Sequence[CertificatePair], minimum: ssl.TLSVersion, alpn: Sequence[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = minimum
    context.set_ciphers(CIPHERS)
    # Compression leaks secrets through lengths (CRIME). Renegotiation lets one connection ask for handshake
    # after handshake, which costs us more than who asks; HTTP has no use for it and HTTP/2 forbids it.
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # Tickets are on by default; said here because the shared ticket key above is worth nothing without them.
    context.options &= ~ssl.OP_NO_TICKET
    if alpn:
        context.set_alpn_protocols(list(alpn))
    for pair in pairs:
        _load(context, pair)  # beside those of other kinds
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


def _load(context: ssl.SSLContext, pair: CertificatePair) -> None:
    try:
        # A password that is never right: without one OpenSSL would stop and ask the terminal for it, should
        # the key have been replaced by an encrypted one since it was looked at.
        context.load_cert_chain(pair.cert, pair.key, password="")
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).replace("_", " ").lower()
        raise CertificateError(pair.cert, f"with key {pair.key} is refused by OpenSSL ({reason})") from error
    except OSError as error:
        raise CertificateError(pair.cert, f"with key {pair.key} cannot be read ({cause_of(error)})") from error


def _sni_callback(
    by_name: Mapping[str, ssl.SSLContext],
) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], None]:
    """The callback that swaps the context during the handshake; one pair needs none, and runs no Python
    there.

    Only the certificate changes: protocol versions and options were settled when the connection was made,
    ALPN is set alike on all contexts, and tickets stay under the first context's key.
    """

    def choose(connection: ssl.SSLObject, name: str | None, first: ssl.SSLContext) -> None:
        if name is None:
            return
        name = name.lower()
        chosen = by_name.get(name) or by_name.get("*." + name.partition(".")[2])
        if chosen is not None and chosen is not first:
            connection.context = chosen

    return choose


# --- reading and checking -----------------------------------------------------------------------------------


def _read_chain(path: Path) -> list[x509.Certificate]:
    content = _read(path)
    if _PEM not in content:
        raise CertificateError(path, "is not in PEM form", "convert DER with openssl x509 -inform der")
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise CertificateError(path, "holds no certificate that can be read") from error


def _read_key(path: Path) -> PublicKeyTypes:
    """The public half of the private key in `path`."""
    content = _read(path)
    if _PEM not in content:
        raise CertificateError(path, "is not in PEM form", "convert DER with openssl pkey -inform der")
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except TypeError as error:  # what `cryptography` raises for a key that needs a password
        advice = "a server cannot type a password; write it decrypted with openssl pkey"
        raise CertificateError(path, "is encrypted", advice) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError(path, "holds no private key that can be read") from error
    return key.public_key()


def _check_key(pair: CertificatePair, chain: Sequence[x509.Certificate], public_key: PublicKeyTypes) -> None:
    if _is_key_of(chain[0], public_key):
        return
    if any(_is_key_of(certificate, public_key) for certificate in chain):
        advice = "put the server's own certificate first, its issuers after it"
        raise CertificateError(pair.cert, "does not begin with the certificate of the key", advice)
    raise CertificateError(pair.key, f"is not the key of {pair.cert}")


def _is_key_of(certificate: x509.Certificate, public_key: PublicKeyTypes) -> bool:
    try:
        return certificate.public_key() == public_key
    except (ValueError, UnsupportedAlgorithm):
        return False  # of a kind that `cryptography` does not know


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(path, f"cannot be read ({cause_of(error)})") from error


def _leaf(pair: CertificatePair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(_read(pair.cert))


def _dns_names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return ()  # no browser of the last ten years reads the common name
    return tuple(name.lower() for name in found.value.get_values_for_type(x509.DNSName))
