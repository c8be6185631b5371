"""What is listened on where this machine has one family of addresses only."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec
import pytest

from gateway.config import Listen, Settings
from gateway.config.values import parse_listen
from gateway.errors import UserError
from gateway.process import sockets
from gateway.process.sockets import available, bind, for_this_machine

LACK = "IPv6 is switched off (here is how)"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "gateway.process")
    return caplog


def lacking(monkeypatch: pytest.MonkeyPatch, bindable: Sequence[str] = ()) -> None:
    """No IPv6; `bindable` are the IPv6 addresses a socket can be bound to all the same."""
    monkeypatch.setattr(sockets, "lack_of_ipv6", lambda: LACK)
    monkeypatch.setattr(sockets, "is_own", lambda address: str(address) in bindable)


def listens(*texts: str) -> list[Listen]:
    return [parse_listen(text) for text in texts]


CASES = [
    # what is configured, what is listened on, how often that is warned of
    (["[::]:443"], ["0.0.0.0:443"], 1),
    (["[::1]:8443"], ["127.0.0.1:8443"], 1),
    (["[::1]:8443", "127.0.0.1:8443"], ["127.0.0.1:8443"], 1),
    (["127.0.0.1:8443", "[::1]:8443"], ["127.0.0.1:8443"], 1),
    (["[::]:443", "[::]:444"], ["0.0.0.0:443", "0.0.0.0:444"], 2),
    (["192.0.2.7:443", "[2001:db8::7]:443"], ["192.0.2.7:443"], 1),
    (["[2001:db8::7]:443"], [], 1),
    (["0.0.0.0:443"], ["0.0.0.0:443"], 0),
    ([], [], 0),
]


@pytest.mark.parametrize(("configured", "there", "warnings"), CASES)
def test_without_ipv6_ipv4_is_listened_on_instead_and_what_is_missing_is_said(
    monkeypatch: pytest.MonkeyPatch,
    log: pytest.LogCaptureFixture,
    configured: list[str],
    there: list[str],
    warnings: int,
) -> None:
    lacking(monkeypatch)
    assert sorted(map(str, available(listens(*configured)))) == sorted(there)
    assert len(log.records) == warnings
    for record in log.records:
        assert LACK in record.getMessage()
        assert any(each in record.getMessage() for each in configured)


def test_a_switched_off_family_can_still_be_bound_to_any_address(
    monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    """Such a socket takes IPv4, and IPv6 as soon as it is switched on again."""
    lacking(monkeypatch, ["::"])
    assert available(listens("[::]:443", "[::1]:8443")) == tuple(listens("[::]:443", "127.0.0.1:8443"))
    assert len(log.records) == 1


def test_with_ipv6_nothing_is_changed_or_said(monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(sockets, "lack_of_ipv6", lambda: "")
    settings = settings_with(listens("[::]:443", "[2001:db8::7]:443"))
    assert for_this_machine(settings) is settings
    assert available(settings.edge.listen) == settings.edge.listen
    assert not log.records


def settings_with(listen: list[Listen], plain: list[Listen] | None = None, admin: str = "127.0.0.1:0") -> Settings:
    replace, settings = msgspec.structs.replace, Settings()
    return replace(
        settings,
        edge=replace(settings.edge, listen=tuple(listen), listen_plain=tuple(plain or ())),
        admin=replace(settings.admin, listen=parse_listen(admin)),
    )


def test_serving_without_ipv6_says_that_no_sandbox_can_be_reached(
    monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    lacking(monkeypatch)
    settings = for_this_machine(settings_with(listens("[2001:db8::7]:443"), listens("[::]:80"), "[::1]:9090"))
    assert settings.edge.listen == ()
    assert settings.edge.listen_plain == tuple(listens("0.0.0.0:80"))
    assert settings.admin.listen == Listen("127.0.0.1", 9090)
    assert "no sandbox can be reached" in log.records[-1].getMessage()
    assert LACK in log.records[-1].getMessage()


@pytest.mark.parametrize(
    ("listen", "admin", "named"),
    [("[2001:db8::7]:443", "127.0.0.1:0", "[2001:db8::7]:443"), ("[::]:443", "[fd00::9]:9090", "[fd00::9]:9090")],
)
def test_nothing_left_to_listen_on_is_an_error(
    monkeypatch: pytest.MonkeyPatch, listen: str, admin: str, named: str
) -> None:
    lacking(monkeypatch)
    with pytest.raises(UserError, match="cannot listen on") as error:
        for_this_machine(settings_with(listens(listen), admin=admin))
    assert named in str(error.value)
    assert LACK in str(error.value)


def test_an_address_of_another_machine_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"cannot listen on 192\.0\.2\.1:8443: the address 192\.0\.2\.1 is not one of"):
        bind(Listen("192.0.2.1", 8443))
