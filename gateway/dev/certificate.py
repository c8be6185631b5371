"""A certificate that was renewed meanwhile (`gateway certs renew`) is served without a restart."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from pathlib import Path

from gateway.tls import local_ca
from gateway.tls.context import CertificatePair
from gateway.tls.errors import KeyMaterialError
from gateway.tls.pair import CertificateFile, read_pair

log = logging.getLogger("gateway.process")

RENEWAL_INTERVAL = 1.0
"""Seconds between two looks at the certificate's files; two stat() each."""


async def serve_renewed(
    tls: ssl.SSLContext, certificates: local_ca.LocalCertificates, told: list[CertificateFile]
) -> None:
    """Serves a certificate that was renewed meanwhile (`gateway certs renew`); `told` is what is told of it."""
    files = (certificates.certificate, certificates.key)
    seen, said = _stamps(files), ""
    while True:
        await asyncio.sleep(RENEWAL_INTERVAL)
        if (stamps := _stamps(files)) == seen:
            continue
        try:
            renewed = read_pair(CertificatePair(*files))
            local_ca.reload_leaf(tls, certificates)
        except (KeyMaterialError, OSError) as error:  # half written, or gone
            if said != (said := str(error)):
                log.warning("%s The certificate from before is served on.", error)
            continue
        seen, said = stamps, ""
        told[:] = [renewed.file]
        log.info("%s has been renewed and is served", certificates.certificate)


def _stamps(files: Sequence[Path]) -> list[tuple[int, int] | None]:
    return [_stamp(file) for file in files]


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns
