"""Rolled at noon: reloads, a new certificate, a new version and a crash under load, and nobody notices.

By default with a fraction of the load, for seconds. GATEWAY_FULL_LOAD=1 asks for the numbers that the gateway is to
hold: 2,000 requests per second, 500 WebSockets, 20 reloads (about five minutes, with two cores to itself).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.tls import local_ca
from tests.interop.test_takeover import NewVersions
from tests.support.load import Account, LoadApp, Visitors
from tests.support.process import descendants, poll
from tests.support.serving import DOMAIN, Serving, descriptors

pytestmark = pytest.mark.interop

FULL = os.environ.get("GATEWAY_FULL_LOAD") == "1"
RATE, WEBSOCKETS, RELOADS = (2000, 500, 20) if FULL else (200, 40, 3)
DRAIN_TIMEOUT, DRAIN_SPREAD = (25.0, 10.0) if FULL else (12.0, 5.0)
"""Seconds. Lanes of the load ask ten times a second, so none is idle when its time has come."""
GOODBYE = 5.0
"""Seconds before it is over, at which WebSockets hear of it."""


@pytest.fixture
def app() -> Iterator[LoadApp]:
    with LoadApp() as app:
        yield app


def serving(folder: Path, app: LoadApp, **process: str) -> Serving:
    return Serving(
        folder, app.port, **({"drain_timeout": f"{DRAIN_TIMEOUT:g}s", "drain_spread": f"{DRAIN_SPREAD:g}s"} | process)
    )


def visitors(folder: Path, gateway: Serving) -> Visitors:
    return Visitors(gateway, str(folder / "certs" / "ca.pem"), rate=RATE, websockets=WEBSOCKETS)


def assert_nobody_noticed(account: Account) -> None:
    print(account)
    assert (account.failed, account.not_connected) == (0, 0), account.failures
    assert account.answered == account.sent > 0
    assert set(account.ended) <= {"1001"}, "no WebSocket is cut, or told anything else"


@pytest.fixture
def versions() -> Iterator[NewVersions]:
    versions = NewVersions()
    yield versions
    versions.clean_up()


def test_reloads_a_certificate_and_a_new_version(tmp_path: Path, app: LoadApp, versions: NewVersions) -> None:
    with serving(tmp_path, app) as gateway, visitors(tmp_path, gateway) as load:
        for number in range(RELOADS):
            os.kill(gateway.pid, signal.SIGHUP)
            gateway.says(f"reloaded: generation {number + 2} serves", 4 * DRAIN_TIMEOUT)
        local_ca.ensure(tmp_path / "certs", DOMAIN, force=True)
        gateway.says("has changed and is served from now on", 30.0)
        new = versions.next(gateway)
        gateway.says(f"the gateway with pid {new} has taken over", 60.0)
        assert gateway.wait(4 * DRAIN_TIMEOUT) == 0
        account = load.leave()
        versions.end()
    assert_nobody_noticed(account)
    assert len(account.certificates) == 2, "the new one is met, too"
    assert account.ended["1001"] >= WEBSOCKETS, "those of the old program were told"
    early = [each for each in account.lifetimes if each < DRAIN_TIMEOUT - GOODBYE - 1.0]
    assert not early, f"told to go before their time: {early[:5]}"


def test_a_crash_is_its_own_connections(tmp_path: Path, app: LoadApp) -> None:
    """A worker that is killed takes along what it had, at most one request per connection; a successor serves within a
    second, and of what is queued meanwhile nothing is lost.
    """
    with serving(tmp_path, app) as gateway, visitors(tmp_path, gateway) as load:
        victim = gateway.workers()[0]
        os.kill(victim, signal.SIGKILL)
        began = time.monotonic()
        gateway.wait_until(lambda: gateway.workers()[0] != victim, "a successor answers")
        took = time.monotonic() - began
        time.sleep(2.0)  # of load, in which a second loss would show
        account = load.leave()
    print(account)
    assert took < 1.0 or not FULL, "with two cores to itself"
    lost = account.failed + account.not_connected  # those that shook hands with it were not connected yet
    assert lost <= RATE // 10 * 2 + 5, account.failures
    assert set(account.ended) <= {"cut"}
    assert sum(account.ended.values()) < WEBSOCKETS, "those of the other worker live on"


def test_told_to_stop_it_loses_nothing_that_it_has_accepted(tmp_path: Path, app: LoadApp) -> None:
    with serving(tmp_path, app, drain_delay="1s") as gateway, visitors(tmp_path, gateway) as load:
        began = time.monotonic()
        gateway.tell(signal.SIGTERM)
        assert gateway.wait(4 * DRAIN_TIMEOUT) == 0
        took = time.monotonic() - began
        account = load.leave()
    print(account)
    assert took < 1.0 + DRAIN_TIMEOUT + 1.0
    assert account.failed == 0, account.failures
    assert account.ended == {"1001": WEBSOCKETS}


def test_started_while_another_stops_it_takes_every_new_connection(tmp_path: Path, app: LoadApp) -> None:
    """What restarting it by hand does: stop, then start."""
    # The delay ends when the other takes over; until it has come that far, on busy cores, it must not.
    with serving(tmp_path, app, drain_delay="30s") as gateway, visitors(tmp_path, gateway) as load:
        gateway.tell(signal.SIGTERM)
        with gateway.again() as other:
            assert gateway.wait(4 * DRAIN_TIMEOUT) == 0
            account = load.leave()
            other.stop_signal = signal.SIGINT
    assert_nobody_noticed(account)
    assert account.ended["1001"] == WEBSOCKETS


def test_nothing_is_left_behind(tmp_path: Path, app: LoadApp) -> None:
    """Of reloads under load: neither processes, nor descriptors of the supervisor's."""
    with serving(tmp_path, app, drain_timeout="2s", drain_spread="0s") as gateway, visitors(tmp_path, gateway) as load:
        before = descriptors(gateway.pid)
        for number in range(4):
            os.kill(gateway.pid, signal.SIGHUP)
            gateway.says(f"reloaded: generation {number + 2} serves", 60.0)
        poll(lambda: len(descendants(gateway.pid)) == 4, "supervisor, admin process and two workers", 60.0)
        assert descriptors(gateway.pid).keys() == before.keys()
        load.leave()
