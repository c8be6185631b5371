"""The local certificates in lines for a person."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from gateway.tls import issue, trust
from gateway.tls.describe import describe
from gateway.tls.local_ca import LocalAuthorityError, ensure
from gateway.tls.local_files import LocalFiles

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DAY = timedelta(days=1)
DOMAIN = "sandbox.localhost"


def test_describe(tmp_path: Path) -> None:
    certs = ensure(tmp_path, now=NOW)
    stores = [
        trust.TrustOutcome("system store (Debian)", True, "trusted"),
        trust.TrustOutcome("Chromium", False, "not trusted", "certutil …"),
    ]
    lines = describe(LocalFiles.of(tmp_path, DOMAIN), now=NOW, stores=stores)
    text = "\n".join(lines)
    assert lines[0] == f"authority: {certs.authority}"
    for path in (certs.authority, certs.certificate):
        fingerprint = x509.load_pem_x509_certificate(path.read_bytes()).fingerprint(hashes.SHA256()).hex(":").upper()
        assert f"  SHA-256      {fingerprint}" in lines
    assert f"O={issue.ORGANIZATION}" in text
    assert "2026-03-01 to 2026-05-30 (89 days left)" in text
    assert "  vouches for  sandbox.localhost and names below, nothing else" in lines
    assert "  trusted by   system store (Debian): trusted" in lines
    assert "  unknown to   Chromium: not trusted" in lines
    assert "  names        *.sandbox.localhost, sandbox.localhost" in lines


def test_describe_something_expired(tmp_path: Path) -> None:
    certs = ensure(tmp_path, now=NOW)
    text = "\n".join(describe(LocalFiles.of(tmp_path, DOMAIN), now=certs.not_after + 2 * DAY, stores=[]))
    assert "(expired 2 days ago)" in text


def test_describe_asks_the_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certs = ensure(tmp_path, now=NOW)
    asked: list[Path] = []

    def status(authority: Path) -> list[trust.TrustOutcome]:
        asked.append(authority)
        return [trust.TrustOutcome("some store", True, "trusted")]

    monkeypatch.setattr(trust, "status", status)
    assert "  trusted by   some store: trusted" in describe(LocalFiles.of(tmp_path, DOMAIN), now=NOW)
    assert asked == [certs.authority]


def test_describe_something_gone(tmp_path: Path) -> None:
    certs = ensure(tmp_path, now=NOW)
    certs.certificate.unlink()
    with pytest.raises(LocalAuthorityError, match=r"leaf\.pem cannot be read \(no such file or directory\)"):
        describe(LocalFiles.of(tmp_path, DOMAIN), now=NOW, stores=[])
