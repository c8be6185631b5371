"""The certificate for names of the local network: for those that are served now, in the context that is in use."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.dev.lan import certificate as module
from gateway.dev.lan.certificate import LanCertificate
from gateway.tls.local_ca import LAN_DOMAIN, renew_authority


def handshake(served: LanCertificate, name: str) -> ssl.SSLObject:
    """A client's end of a handshake that knows this authority alone. Raises ssl.SSLError."""
    client = ssl.create_default_context(cadata=served.pem().decode())
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(back, there, server_hostname=name)
    theirs = served.context.wrap_bio(there, back, server_side=True)
    for _ in range(3):
        for end in ours, theirs:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ours


def test_names_that_change_are_served_in_the_same_context(tmp_path: Path) -> None:
    served = LanCertificate(tmp_path, ())
    served.serve(["5000-anna.local", "3000-anna.local"])
    context = served.context
    for name in "5000-anna.local", "3000-anna.local":
        assert handshake(served, name).getpeercert()
    served.serve(["5000-anna-2.local"])
    assert served.context is context
    assert handshake(served, "5000-anna-2.local").getpeercert()
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(served, "5000-anna.local")


def test_it_is_due_in_its_last_third(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = LanCertificate(tmp_path, ())
    assert served.is_due
    served.serve(["5000-anna.local"])
    assert not served.is_due

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime.fromtimestamp(datetime.now(UTC).timestamp() + 61 * 86400, UTC)

    monkeypatch.setattr(module, "datetime", Later)
    assert served.is_due


def test_it_is_told_of_the_authority_that_is_served(tmp_path: Path) -> None:
    served = LanCertificate(tmp_path, ())
    served.serve(["5000-anna.local"])
    before = served.fingerprint
    renew_authority(tmp_path, LAN_DOMAIN)
    assert served.fingerprint == before
    served.serve(["5000-anna.local"])
    assert served.fingerprint != before
    assert handshake(served, "5000-anna.local").getpeercert()
