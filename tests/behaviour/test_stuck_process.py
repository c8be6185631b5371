"""A process that stands still is noticed, shows where, and is replaced; its queue is the successor's."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.process import poll
from tests.support.serving import App, Serving, Visitors, ended, state, stop

STUCK = "2s"


@pytest.fixture
def app() -> Iterator[App]:
    with App() as app:
        yield app


def test_a_stopped_worker_is_replaced_with_its_queue(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app, stuck_timeout=STUCK) as gateway:
        stuck, other = gateway.workers()
        stop(stuck)
        assert gateway.health()[0] == 503
        assert [each.get("pid") for each in gateway.told()] == [None, other]
        queued = Visitors(gateway)
        assert queued.answers() == queued.served
        assert ended(stuck)
        assert gateway.workers() == [gateway.workers()[0], other]
        line = f"worker 0 (pid {stuck}) has not turned its loop for 2 s (process.stuck_timeout): it is replaced"
        assert gateway.log.count(line) == 1
        assert "gateway/process/worker.py" in gateway.log.partition(line)[2], "its stack"
        assert gateway.log.count("has not turned") == 1
        assert "starting it again" not in gateway.log, "one line says it"


def test_however_many_probes_ask_each_is_answered_in_time(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app, workers=3, stuck_timeout="0s") as gateway:
        stuck = gateway.workers()[:2]
        for pid in stuck:
            stop(pid)
        started = time.monotonic()
        with ThreadPoolExecutor(8) as probes:
            answers = list(probes.map(lambda _: gateway.health(), range(8)))
        assert time.monotonic() - started < 5, "one after the other they would take eight seconds"
        for status, body in answers:
            assert (status, body["unanswered"]) == (503, ["worker 0", "worker 1"])
        for pid in stuck:
            os.kill(pid, signal.SIGCONT)
        poll(lambda: gateway.health()[0] == 200, "all are ready again")


def test_so_is_a_stopped_admin_process(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app, stuck_timeout=STUCK) as gateway:
        admin = gateway.admin()
        workers = gateway.workers()
        stop(admin)
        poll(lambda: ended(admin), "it is ended")
        assert gateway.workers() == workers
        assert f"admin (pid {admin}) has not turned its loop" in gateway.log


def test_while_the_gateway_ends_too(tmp_path: Path, app: App) -> None:
    """One that finishes what is under way is not forgotten: nobody waits an hour for it."""
    with Serving(tmp_path, app, stuck_timeout=STUCK, drain_timeout="1h") as gateway:
        held = gateway.hold(app)
        [worker] = [each["pid"] for each in gateway.told() if each["exchanges"]]
        gateway.tell(signal.SIGTERM)
        gateway.wait_until(lambda: gateway.listens() == 0, "nothing listens")
        stop(worker)
        assert gateway.wait() == 0
        assert "has not turned its loop" in gateway.log
        held.close()


def test_nobody_is_blamed_for_a_break_that_all_had(tmp_path: Path, app: App) -> None:
    """A terminal's Ctrl-Z, a debugger, a machine asleep: the supervisor has seen nothing, and judges nothing."""
    with Serving(tmp_path, app, stuck_timeout=STUCK) as gateway:
        workers, admin = gateway.workers(), gateway.admin()
        everybody = [gateway.pid, *workers, admin]
        for _ in range(3):  # whenever it comes, between two looks
            for pid in everybody:
                stop(pid)
            time.sleep(2.5)  # longer than a process may stand still: nothing can be waited for, nobody moves
            for pid in everybody:
                os.kill(pid, signal.SIGCONT)
            poll(lambda: gateway.health()[0] == 200, "all are ready again")
        # Somebody who does stand still is noticed, so looks were taken in the meantime.
        stop(workers[1])
        gateway.says(f"worker 1 (pid {workers[1]}) has not turned")
        assert gateway.log.count("has not turned") == 1
        assert state(workers[0]) not in ("", "Z")
