"""Self-signed certificates as files, and the ways in which their owners replace them.

Every key is made in the test that uses it: none is ever stored in the repository.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from gateway.tls.pair import CertificatePair

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

DAY = timedelta(days=1)


def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def write_pair(
    directory: Path,
    *names: str,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    key: CertificateIssuerPrivateKeyTypes | None = None,
) -> CertificatePair:
    """Makes `cert.pem` and `cert.key` in `directory`, or writes over them: for `names`, of 30 days 29 left."""
    directory.mkdir(parents=True, exist_ok=True)
    end = not_after or datetime.now(UTC) + 29 * DAY
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([])
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(not_before or end - 30 * DAY)
        .not_valid_after(end)
        .add_extension(alternatives, critical=True)
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256())
    )
    pair = CertificatePair(directory / "cert.pem", directory / "cert.key")
    pem = serialization.Encoding.PEM
    pair.cert.write_bytes(certificate.public_bytes(pem))
    form, secret = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pair.key.write_bytes(key.private_bytes(pem, form, secret))
    return pair


def replace_pair(pair: CertificatePair, by: CertificatePair) -> None:
    """Renames the files of `by` to those of `pair`, as programs do that care."""
    by.cert.rename(pair.cert)
    by.key.rename(pair.key)
