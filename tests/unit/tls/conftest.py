"""Certificates for the tests of this room, and the tools some of them need."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import write_pair
from tests.support.components import program, require

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

    from gateway.tls.pair import CertificatePair


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
    """Writes a self-signed certificate for the given names, and its key, as PEM files; see `write_pair`."""

    def make(
        *names: str,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        key: CertificateIssuerPrivateKeyTypes | None = None,
    ) -> CertificatePair:
        directory = tmp_path / f"pair-{len(list(tmp_path.glob('pair-*')))}"
        return write_pair(directory, *names, not_before=not_before, not_after=not_after, key=key)

    return make
