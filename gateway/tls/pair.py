"""A configured pair of files, read: what it is for, until when, and whether OpenSSL takes it.

Owns reading and checking. What has been checked is kept as octets, and those are loaded: files that change meanwhile
change nothing. No key is ever written to a disk. It must not know which certificate is served for
which name (`choice`), nor what is loaded where (`context`, `store`).
"""

from __future__ import annotations

import contextlib
import os
import ssl
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509.oid import PublicKeyAlgorithmOID

from gateway.tls.errors import CertificateError, cause_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

LARGEST_FILE = 1 << 20
"""Octets; a chain with its key has some thousand."""

_PEM = b"-----BEGIN "
_KINDS = {
    PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5: "RSA",
    PublicKeyAlgorithmOID.RSASSA_PSS: "RSA-PSS",
    PublicKeyAlgorithmOID.EC_PUBLIC_KEY: "ECDSA",
    PublicKeyAlgorithmOID.ED25519: "Ed25519",
    PublicKeyAlgorithmOID.ED448: "Ed448",
}
"""A context has one place for each."""


@dataclass(frozen=True, slots=True)
class CertificatePair:
    """PEM files: the server's certificate followed by its intermediates, and its private key (may be the same
    file).
    """

    cert: Path
    key: Path


class CertificateFile(NamedTuple):
    """What everybody may know of a certificate that is loaded."""

    name: str
    """Its file, as it is configured."""
    expires: float
    """Unix time."""
    sha256: str
    """Its fingerprint, as `openssl x509 -noout -fingerprint -sha256` has it."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a pair of files held when it was read; equal to another with the same octets."""

    pair: CertificatePair
    chain: bytes = field(repr=False)
    """PEM: the server's certificate, its intermediates."""
    key: bytes = field(repr=False)
    """PEM, unencrypted."""
    names: tuple[str, ...]
    """The DNS names it is for, lower case."""
    kind: str
    """Of its key: `RSA`, `ECDSA`, …"""
    not_before: datetime
    not_after: datetime
    sha256: str
    """As `CertificateFile.sha256`."""

    @property
    def file(self) -> CertificateFile:
        return CertificateFile(str(self.pair.cert), self.not_after.timestamp(), self.sha256)

    def is_valid(self, now: datetime) -> bool:
        return self.not_before <= now <= self.not_after

    def invalidity(self, now: datetime) -> CertificateError | None:
        """Why no browser takes it now, if so."""
        if now < self.not_before:
            when = f"is not valid before {self.not_before:%Y-%m-%d at %H:%M UTC}"
            return CertificateError(self.pair.cert, when, "wait, or set this machine's clock")
        if now > self.not_after:
            when = f"expired on {self.not_after:%Y-%m-%d at %H:%M UTC}"
            return CertificateError(self.pair.cert, when, "renew the certificate")
        return None

    def parsed(self) -> list[x509.Certificate]:
        """The chain."""
        return x509.load_pem_x509_certificates(self.chain)

    def load_into(self, context: ssl.SSLContext) -> None:
        """Loads it beside those of other kinds. Raises CertificateError, and then `context` serves nothing of its kind
        any more: try it on another context first.
        """
        try:
            with _as_file(self.chain, self.pair.cert) as chain, _as_file(self.key, self.pair.key) as key:
                # A password that is never right: without one OpenSSL would stop and ask the terminal for it.
                context.load_cert_chain(chain, key, password="")
        except ssl.SSLError as error:
            reason = (error.reason or str(error)).replace("_", " ").lower()
            raise CertificateError(
                self.pair.cert, f"with key {self.pair.key} is refused by OpenSSL ({reason})"
            ) from error
        except OSError as error:  # no descriptor left, no memory
            raise CertificateError(
                self.pair.cert, f"with key {self.pair.key} cannot be loaded ({cause_of(error)})"
            ) from error


def read_pair(pair: CertificatePair) -> Certificate:
    """Reads a pair and checks everything that may be wrong with it but its time.

    Raises CertificateError naming the file at fault: missing, unreadable, not PEM, encrypted, the other
    one's, or refused by OpenSSL.
    """
    chain_octets = _read(pair.cert)
    chain = _parse_chain(pair.cert, chain_octets)
    key_octets = _read(pair.key)
    _check_key(pair, chain, _parse_key(pair.key, key_octets))
    leaf = chain[0]
    certificate = Certificate(
        pair,
        chain_octets,
        key_octets,
        _dns_names(leaf),
        _KINDS.get(leaf.public_key_algorithm_oid, "another kind of key"),
        leaf.not_valid_before_utc,
        leaf.not_valid_after_utc,
        leaf.fingerprint(hashes.SHA256()).hex(":").upper(),
    )
    certificate.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    return certificate


def read_current(pair: CertificatePair, now: datetime | None = None) -> Certificate:
    """As `read_pair`, and an expired one is refused too."""
    certificate, now = read_pair(pair), now or datetime.now(UTC)
    if now > certificate.not_after and (expired := certificate.invalidity(now)):
        raise expired
    return certificate


# --- reading and checking -----------------------------------------------------------------------------------


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would wait for whoever writes
        try:
            mode = os.fstat(descriptor).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise CertificateError(path, "is no file but a device, a pipe or a socket")
            content = b""
            while len(content) <= LARGEST_FILE and (more := os.read(descriptor, LARGEST_FILE + 1)):
                content += more
        finally:
            os.close(descriptor)
    except OSError as error:
        raise CertificateError(path, f"cannot be read ({cause_of(error)})") from error
    if len(content) > LARGEST_FILE:
        raise CertificateError(path, "is too large for a certificate or a key")
    return content


def _parse_chain(path: Path, content: bytes) -> list[x509.Certificate]:
    if _PEM not in content:
        raise CertificateError(path, "is not in PEM form", "convert DER with openssl x509 -inform der")
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise CertificateError(path, "holds no certificate that can be read") from error


def _parse_key(path: Path, content: bytes) -> PrivateKeyTypes:
    if _PEM not in content:
        raise CertificateError(path, "is not in PEM form", "convert DER with openssl pkey -inform der")
    try:
        # Its primes are not looked into, which takes 0.35 s for RSA 4096, with the interpreter's lock: see `_signs`.
        return serialization.load_pem_private_key(content, password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError as error:  # what `cryptography` raises for a key that needs a password
        advice = "a server cannot type a password; write it decrypted with openssl pkey"
        raise CertificateError(path, "is encrypted", advice) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError(path, "holds no private key that can be read") from error


def _check_key(pair: CertificatePair, chain: Sequence[x509.Certificate], key: PrivateKeyTypes) -> None:
    public_key = key.public_key()
    if _is_key_of(chain[0], public_key):
        if not _signs(key):
            raise CertificateError(pair.key, "holds a broken private key: what it signs cannot be verified")
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


def _signs(key: PrivateKeyTypes) -> bool:
    """Whether a signature of this key is good; of kinds that sign in no handshake nothing is asked."""
    text = b"a handshake"
    try:
        if isinstance(key, rsa.RSAPrivateKey):
            form, digest = padding.PKCS1v15(), hashes.SHA256()
            key.public_key().verify(key.sign(text, form, digest), text, form, digest)
        elif isinstance(key, ec.EllipticCurvePrivateKey):
            algorithm = ec.ECDSA(hashes.SHA256())
            key.public_key().verify(key.sign(text, algorithm), text, algorithm)
        elif isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
            key.public_key().verify(key.sign(text), text)
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True


def _dns_names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return ()  # no browser of the last ten years reads the common name
    return tuple(name.lower() for name in found.value.get_values_for_type(x509.DNSName))


@contextlib.contextmanager
def _as_file(content: bytes, otherwise: Path) -> Iterator[str]:
    """A path under which OpenSSL can read `content` meanwhile: of memory, or where that cannot be had (macOS, no /proc,
    a sandbox's filter), `otherwise`, which must hold it all the time.
    """
    descriptor = -1
    with contextlib.suppress(AttributeError, OSError):
        descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        path = f"/proc/self/fd/{descriptor}"
        if descriptor >= 0 and os.access(path, os.R_OK):
            os.write(descriptor, content)
            yield path
        else:
            yield str(otherwise)
            if _read(otherwise) != content:
                raise CertificateError(otherwise, "has changed while it was loaded")
    finally:
        if descriptor >= 0:
            os.close(descriptor)
