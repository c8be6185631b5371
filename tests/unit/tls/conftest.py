"""Certificates for the tests of this room, and the tools some of them need.

Every key is made in the test that uses it: none is ever stored in the repository.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from gateway.tls.context import CertificatePair
from tests.support.components import program, require

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes


@pytest.fixture
def openssl() -> str:
    require("openssl")
    return program("openssl") or ""


@pytest.fixture
def certutil() -> str:
    require("certutil")
    return program("certutil") or ""


@pytest.fixture
def make_pair(tmp_path: Path) -> Callable[..., CertificatePair]:
    """Writes a self-signed certificate for the given names, and its key, as PEM files."""

    def make(
        *names: str, not_after: datetime | None = None, key: CertificateIssuerPrivateKeyTypes | None = None
    ) -> CertificatePair:
        directory = tmp_path / f"pair-{len(list(tmp_path.glob('pair-*')))}"
        directory.mkdir()
        end = not_after or datetime.now(UTC) + timedelta(days=1)
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([])
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        certificate = (
            x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(end - timedelta(days=30))
            .not_valid_after(end)
            .add_extension(alternatives, critical=True)
            .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
        )
        pair = CertificatePair(directory / "cert.pem", directory / "cert.key")
        pair.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return pair

    return make
