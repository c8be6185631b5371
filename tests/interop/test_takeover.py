"""A new version of the program takes over, or one that is started while another stops: nobody is refused meanwhile.

With real processes, and connections opened all the time.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.support.knocking import Knocking
from tests.support.process import descendants, poll
from tests.support.serving import PATIENCE, App, Serving, ended, kill
from tests.support.tunnels import Tunnels

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(sys.platform != "linux", reason="a handover needs Linux"),
]


@pytest.fixture
def app() -> Iterator[App]:
    with App() as app:
        yield app


class NewVersions:
    """The supervisors that a gateway has started in its place; they are no children of the test's."""

    def __init__(self) -> None:
        self._pids: list[int] = []

    def next(self, gateway: Serving, before: int = 0) -> int:
        """Has the gateway, or the last of these, start another one; its process id, as the log tells it."""
        count = gateway.log.count("a new version is started")
        os.kill(before or gateway.pid, signal.SIGUSR2)
        poll(lambda: gateway.log.count("a new version is started") > count, "a new version is started", PATIENCE)
        pid = int(gateway.log.rpartition("a new version is started (pid ")[2].partition(")")[0])
        self._pids.append(pid)
        return pid

    def end(self) -> None:
        """Ends the last one, as Ctrl-C does."""
        os.kill(self._pids[-1], signal.SIGINT)
        poll(lambda: ended(self._pids[-1]), "it ends", PATIENCE)

    def clean_up(self) -> None:
        for pid in self._pids:
            if not ended(pid):
                for each in descendants(pid):
                    with suppress(ProcessLookupError):
                        os.kill(each, signal.SIGKILL)


@pytest.fixture
def versions() -> Iterator[NewVersions]:
    versions = NewVersions()
    yield versions
    versions.clean_up()


class HeldBack:
    """Has gateways that are started from `hold` on get no further than to their processes, until `go`."""

    def __init__(self, directory: Path) -> None:
        self._go = directory / "go"
        self._module = directory / "held" / "sitecustomize.py"
        self._module.parent.mkdir()

    def knows(self, gateway: Serving) -> Serving:
        gateway.env["PYTHONPATH"] = os.pathsep.join([str(self._module.parent), gateway.env["PYTHONPATH"]])
        return gateway

    def hold(self) -> None:
        self._module.write_text(
            f"""
import os, sys, time
fork = os.fork
def held():
    pid, ours = fork(), sys._getframe(1).f_code.co_filename.endswith("children.py")
    while pid == 0 and ours and not os.path.exists({str(self._go)!r}):
        time.sleep(0.02)
    return pid
os.fork = held
"""
        )

    def go(self) -> None:
        self._go.touch()


@pytest.fixture
def held(tmp_path: Path) -> Iterator[HeldBack]:
    held = HeldBack(tmp_path)
    yield held
    held.go()


def is_delivered(pid: int, number: signal.Signals) -> bool:
    """Whether the signal waits no longer for the process, which may have gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True
    return not any(int(mask, 16) >> number - 1 & 1 for mask in re.findall(r"(?m)^(?:Shd|Sig)Pnd:\s*(\w+)", status))


def has_taken_over(gateway: Serving, pid: int) -> None:
    poll(lambda: f"the gateway with pid {pid} has taken over" in gateway.log, f"{pid} has taken over", PATIENCE)


def again(gateway: Serving) -> Serving:
    """One that is started beside it, with the same configuration; ended without a delay."""
    other = gateway.again()
    other.stop_signal = signal.SIGINT
    return other


@contextmanager
def started(gateway: Serving) -> Iterator[Serving]:
    """Not ready yet; ended in the end, whatever has failed."""
    gateway.start()
    try:
        yield gateway
    finally:
        code = gateway.stop()
    gateway.stopped(code)


def set_workers(directory: Path, count: int) -> None:
    config = directory / "gateway.toml"
    config.write_text(re.sub("workers = [0-9]+", f"workers = {count}", config.read_text()))


# --- USR2 -----------------------------------------------------------------------------------------------------------


def test_a_new_version_takes_over_and_nobody_is_refused(tmp_path: Path, app: App, versions: NewVersions) -> None:
    """Not once while it starts, nor while the old one drains; who was connected stays so."""
    with Serving(tmp_path, app, drain_delay="1h") as gateway:
        held, before = gateway.hold(app), gateway.workers()
        with Knocking(gateway) as knocking:
            new = versions.next(gateway)
            has_taken_over(gateway, new)
            knocking.some_more()
            assert not set(gateway.workers()) & set(before)
            assert not ended(gateway.pid), "it finishes what it has"
            app.released.set()
            assert gateway.answer(held).endswith(b"ok")
            assert gateway.wait() == 0
            knocking.some_more()
        assert knocking.failures == []
        versions.end()


def test_whatever_the_number_of_workers(tmp_path: Path, app: App, versions: NewVersions) -> None:
    """From three to one, which serves all queues; and to four, one of which has a queue of its own beside those."""
    with Serving(tmp_path, app, workers=3) as gateway, Knocking(gateway) as knocking:
        current = gateway.pid
        for count in (1, 4):
            set_workers(tmp_path, count)
            before, current = current, versions.next(gateway, current)
            has_taken_over(gateway, current)
            poll(partial(ended, before), "the one before has ended")
            assert len(gateway.workers()) == count
            knocking.some_more()
        assert knocking.failures == []
        assert gateway.listens() == 4 * len(gateway.doors)
        versions.end()


@pytest.mark.parametrize("why", ["the configuration is invalid", "an address is taken"])
def test_one_that_cannot_start_changes_nothing(tmp_path: Path, app: App, versions: NewVersions, why: str) -> None:
    with Serving(tmp_path, app) as gateway, Knocking(gateway) as knocking, socket.socket(socket.AF_INET6) as taken:
        before, config = gateway.workers(), tmp_path / "gateway.toml"
        text = config.read_text()
        taken.bind(("::1", 0))
        taken.listen()
        another = text.replace("listen_plain = [", f'listen_plain = ["[::1]:{taken.getsockname()[1]}", ')
        config.write_text("broken [" if why == "the configuration is invalid" else another)
        versions.next(gateway)
        gateway.says("the new version does not take over: it has ended; this one goes on")
        gateway.says("exited with status 1")
        knocking.some_more()
        assert gateway.workers() == before
        config.write_text(text)
        has_taken_over(gateway, versions.next(gateway))
        assert gateway.wait() == 0
        knocking.some_more()
        assert knocking.failures == []
        versions.end()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_one_that_ends_before_it_is_ready_changes_nothing(
    tmp_path: Path, app: App, versions: NewVersions, held: HeldBack, number: signal.Signals
) -> None:
    """Even if its workers have accepted already, and drain as orphans."""
    with held.knows(Serving(tmp_path, app)) as gateway, Knocking(gateway) as knocking:
        before = gateway.workers()
        held.hold()
        new = versions.next(gateway)
        gateway.says("taking over from")
        poll(lambda: len(descendants(new)) == 4, "it has children")
        orphans = [pid for pid in descendants(new) if pid != new]
        os.kill(new, number)
        poll(lambda: is_delivered(new, number), "it has got the signal")
        held.go()
        gateway.says("this one goes on")
        poll(lambda: all(map(ended, [new, *orphans])), "they have ended")
        knocking.some_more(50)
        assert gateway.workers() == before
        assert knocking.failures == []


def test_a_second_one_is_not_started_meanwhile(tmp_path: Path, app: App, versions: NewVersions) -> None:
    """And a stop goes on, and takes the new one along."""
    with Serving(tmp_path, app) as gateway:
        new = versions.next(gateway)
        os.kill(new, signal.SIGSTOP)
        gateway.tell(signal.SIGUSR2)
        gateway.says("no new version is started: one is already about to take over")
        gateway.tell(signal.SIGHUP)
        gateway.says("the configuration is read again when the new version has taken over")
        gateway.tell(signal.SIGTERM)
        gateway.says("the new version does not take over: the gateway stops")
        gateway.family = []
        assert gateway.wait() == 0
        os.kill(new, signal.SIGCONT)
        poll(lambda: ended(new), "it has ended as well")


def test_a_stop_takes_a_new_one_along_that_has_the_sockets(
    tmp_path: Path, app: App, versions: NewVersions, held: HeldBack
) -> None:
    """Which leaves them as they are: until the old one's delay is over, it serves."""
    with held.knows(Serving(tmp_path, app, drain_delay="1h")) as gateway, Knocking(gateway) as knocking:
        held.hold()
        new = versions.next(gateway)
        gateway.says("taking over from")
        gateway.tell(signal.SIGTERM)
        gateway.says("the new version does not take over: the gateway stops")
        gateway.says(f"the gateway with pid {gateway.pid} goes on: this one ends")
        held.go()
        poll(lambda: ended(new), "it has ended")
        knocking.some_more(50)
        assert knocking.failures == []
        gateway.family = []
        gateway.stop_signal = signal.SIGINT


@pytest.mark.parametrize("remains", ["the new one", "the old one"])
def test_a_reload_meanwhile_is_for_whoever_remains(
    tmp_path: Path, app: App, versions: NewVersions, remains: str
) -> None:
    with Serving(tmp_path, app) as gateway:
        new = versions.next(gateway)
        os.kill(new, signal.SIGSTOP)
        gateway.tell(signal.SIGHUP)
        gateway.says("the configuration is read again when the new version has taken over")
        assert "generation 2" not in gateway.log
        os.kill(new, signal.SIGCONT if remains == "the new one" else signal.SIGKILL)
        poll(lambda: "reloaded: generation 2 serves" in gateway.log, "it is read again", PATIENCE)
        if remains == "the new one":
            assert f"the gateway with pid {new} has taken over" in gateway.log
            gateway.family = []
            assert gateway.wait() == 0
            versions.end()


# --- stop, then start -----------------------------------------------------------------------------------------------


def test_who_is_started_while_another_stops_takes_over(tmp_path: Path, app: App) -> None:
    """With live WebSockets, so that the old one drains for long. No new connection fails."""
    with Tunnels() as tunnels, Serving(tmp_path, tunnels, drain_delay="1h", drain_timeout="1h") as old:
        tunnels.open(old, 500)
        with Knocking(old) as knocking:
            old.tell(signal.SIGTERM)
            old.says("stopping in 3600 s")
            with again(old) as new:
                new.says(f"taking over from the gateway with pid {old.pid}, which is stopping")
                old.says(f"the gateway with pid {new.pid} has taken over")
                knocking.some_more()
                assert tunnels.alive() == 500, "nobody is cut off"
                assert not ended(old.pid)
                assert new.health()[1]["status"] == "ready"
                third = again(old)
                third.start()
                assert third.wait() == 1
                third.stop()
                assert f"a gateway runs there (pid {new.pid})" in third.log
                tunnels.close()
                assert old.wait() == 0
                knocking.some_more()
                assert knocking.failures == []


def test_the_delay_lasts_until_the_new_one_serves(tmp_path: Path, app: App, held: HeldBack) -> None:
    with held.knows(Serving(tmp_path, app, drain_delay="5s")) as old:
        held.hold()
        with Knocking(old) as knocking:
            old.tell(signal.SIGTERM)
            with started(held.knows(again(old))) as new:
                old.says("stopping in 5 s")
                over = time.monotonic() + 5
                new.says("taking over from")
                while time.monotonic() < over:
                    knocking.some_more()
                assert "has taken over" not in old.log
                held.go()
                new.ready()
                assert old.wait() == 0
                knocking.some_more()
                assert knocking.failures == []
                knocking.end()


def test_while_the_other_drains_the_addresses_are_free(tmp_path: Path, app: App) -> None:
    """With `drain_delay = "0s"` nobody accepts from the signal on; who is started then is not hindered."""
    with Serving(tmp_path, app, drain_timeout="1h") as old:
        held = old.hold(app)
        old.tell(signal.SIGTERM)
        poll(lambda: old.listens() == 0, "it drains")
        with again(old) as new:
            assert new.get().endswith(b"ok")
            with Knocking(new) as knocking:
                knocking.some_more()
                app.released.set()
                assert old.answer(held).endswith(b"ok")
                assert old.wait() == 0
                knocking.some_more()
            assert knocking.failures == []


def test_beside_one_that_runs_none_is_started(tmp_path: Path, app: App) -> None:
    """And what to do is said."""
    with Serving(tmp_path, app) as old:
        second = again(old)
        second.start()
        assert second.wait() == 1
        poll(lambda: "a gateway runs there" in second.log, "it says why")
        assert f"(pid {old.pid}); kill -HUP {old.pid}" in second.log
        assert f"kill -USR2 {old.pid}" in second.log
        second.stop()
        assert old.get().endswith(b"ok")


def test_one_that_dies_while_it_is_succeeded_leaves_nothing_behind(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app, drain_delay="1h") as old:
        old.family, old.expected = descendants(old.pid), -signal.SIGKILL
        old.tell(signal.SIGTERM)
        old.says("stopping in 3600 s")
        with started(again(old)) as new:
            new.says("taking over from")
            kill(old.pid)
            new.ready()
            with Knocking(new) as knocking:
                knocking.some_more()
            assert knocking.failures == []
