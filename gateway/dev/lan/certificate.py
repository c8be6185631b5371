"""The certificate for the names of the local network: made for these very names, served at once, and kept nowhere.

Browsers take no wildcard directly under `local`, and the names change with the machine, the ports and the neighbours.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from gateway.tls import local_ca
from gateway.tls.context import ContextOptions, make_context
from gateway.tls.local_files import PairFiles, write_pair
from gateway.tls.pair import Certificate, CertificatePair, read_current


class LanCertificate:
    """One per gateway. `folder` is where the authority is kept. Raises LocalAuthorityError."""

    def __init__(self, folder: Path, groups: Sequence[str]) -> None:
        self._folder = folder
        self._options = ContextOptions(groups=groups)
        self._renewal = datetime.min.replace(tzinfo=UTC)
        self._context: ssl.SSLContext | None = None
        path = local_ca.ensure_authority(folder, local_ca.LAN_DOMAIN)
        self.authority = x509.load_pem_x509_certificate(path.read_bytes())
        """Of what is served: `gateway certs renew --ca` makes another."""

    @property
    def context(self) -> ssl.SSLContext:
        """One and the same; there is one once `serve` was called."""
        assert self._context is not None
        return self._context

    @property
    def is_due(self) -> bool:
        """Whether what is served ends within a third of its life."""
        return datetime.now(UTC) > self._renewal

    @property
    def fingerprint(self) -> str:
        """The authority's, as phones show it."""
        return self.authority.fingerprint(hashes.SHA256()).hex(":").upper()

    def serve(self, names: Sequence[str]) -> None:
        """To handshakes from now on. Raises KeyMaterialError, OSError."""
        certificate = self._made(names)
        if self._context is None:
            self._context = make_context([certificate], self._options)
        else:
            certificate.load_into(self._context)
        self._renewal = certificate.not_after - (certificate.not_after - certificate.not_before) / 3

    def _made(self, names: Sequence[str]) -> Certificate:
        self.authority, issued = local_ca.issue(self._folder, local_ca.LAN_DOMAIN, names)
        with tempfile.TemporaryDirectory(prefix="gateway-") as scratch:  # which only this user can look into
            files = PairFiles(Path(scratch, "leaf.pem"), Path(scratch, "leaf.key"))
            write_pair(files, issued)
            return read_current(CertificatePair(files.certificate, files.key))

    def der(self) -> bytes:
        return self.authority.public_bytes(serialization.Encoding.DER)

    def pem(self) -> bytes:
        return self.authority.public_bytes(serialization.Encoding.PEM)
