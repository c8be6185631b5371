"""What the supervisor promises, with real processes: who is replaced, who ends, and what a signal means."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import Child, descendants, poll
from tests.support.serving import PATIENCE, App, Serving, Visitors, ended, kill, refuses, stop


@pytest.fixture
def app() -> Iterator[App]:
    with App() as app:
        yield app


def serves(gateway: Serving) -> bool:
    """Whether every listener does."""
    return all(gateway.get(host, port).endswith(b"ok") for host, port, _ in gateway.doors)


# --- who is replaced ------------------------------------------------------------------------------------------------


def test_a_crashed_workers_queue_is_its_successors(tmp_path: Path, app: App) -> None:
    """Also what came while nobody was there."""
    with Serving(tmp_path, app) as gateway:
        before = gateway.workers()
        stop(gateway.pid)
        for worker in before:
            kill(worker)
        queued = Visitors(gateway)
        os.kill(gateway.pid, signal.SIGCONT)
        assert queued.answers() == queued.served
        assert not set(gateway.workers()) & set(before)
        assert "worker 0 was killed by SIGKILL; starting it again" in gateway.log


def test_a_crashed_admin_process_is_replaced(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app) as gateway:
        admin = gateway.admin()
        kill(admin)
        gateway.wait_until(lambda: gateway.health()[0] == 200, "another one answers")
        assert "admin was killed by SIGKILL; starting it again" in gateway.log


def test_a_broken_table_keeps_no_successor_out(tmp_path: Path, app: App) -> None:
    """Who is replaced goes on with what the others have."""
    with Serving(tmp_path, app) as gateway:
        (tmp_path / "sandboxes.toml").write_text("broken [")
        gateway.says("keeping the 1 sandbox read before")
        before = [*gateway.workers(), gateway.admin()]
        for process in before:
            kill(process)
        gateway.wait_until(lambda: gateway.health()[0] == 200, "others have taken their places")
        assert not {*gateway.workers(), gateway.admin()} & set(before)
        assert serves(gateway)


def test_an_admin_process_that_is_told_to_end_is_no_error(tmp_path: Path, app: App) -> None:
    """timeout(1) and a closing terminal tell every process of the group."""
    with Serving(tmp_path, app) as gateway:
        os.kill(gateway.admin(), signal.SIGTERM)
        gateway.says("admin exited with status 0; starting it again")
        [line] = [line for line in gateway.log.splitlines() if "admin exited" in line]
        assert "error" not in line


def test_one_that_dies_again_and_again_is_paused_and_disturbs_nobody(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app) as gateway:
        _, sound = gateway.workers()
        for pause in ("0.2", "0.4", "0.8"):
            os.kill(gateway.workers()[0], signal.SIGKILL)
            gateway.says(f"worker 0 was killed by SIGKILL; starting it again in {pause} s")
        assert gateway.workers()[1] == sound


def test_a_worker_told_to_end_alone_leaves_its_place_at_once(tmp_path: Path, app: App) -> None:
    """It finishes what it has; its slot is served meanwhile."""
    with Serving(tmp_path, app, workers=1) as gateway:
        held = gateway.hold(app)
        [before] = gateway.workers()
        os.kill(before, signal.SIGTERM)
        gateway.wait_until(lambda: gateway.workers() != [before], "a successor answers")
        assert serves(gateway)
        assert not ended(before)
        app.released.set()
        assert b"\r\nConnection: close\r\n" in gateway.answer(held)
        poll(lambda: ended(before), "it has ended")
        assert "starting it again" not in gateway.log


# --- who ends -------------------------------------------------------------------------------------------------------


def test_nobody_outlives_the_supervisor(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app) as gateway:
        held = gateway.hold(app)
        gateway.family = [pid for pid in descendants(gateway.pid) if pid != gateway.pid]
        gateway.expected = -signal.SIGKILL
        os.kill(gateway.pid, signal.SIGKILL)
        poll(lambda: sum(map(ended, gateway.family)) == 2, "the admin process and the idle worker end")
        poll(lambda: gateway.listens() == 0, "nobody listens")
        assert all(refuses(host, port) for host, port, _ in gateway.doors)
        app.released.set()
        assert gateway.answer(held).endswith(b"ok"), "what is under way is finished"
        poll(lambda: all(map(ended, gateway.family)), "they end")


def test_nor_does_who_is_stopped(tmp_path: Path, app: App) -> None:
    """Neither a debugger's nor a shell's stop keeps a process, and the sockets it holds, for ever."""
    with Serving(tmp_path, app) as gateway:
        gateway.family = [*gateway.workers(), gateway.admin()]
        gateway.expected = -signal.SIGKILL
        for pid in gateway.family:
            stop(pid)
        os.kill(gateway.pid, signal.SIGKILL)
        poll(lambda: all(map(ended, gateway.family)), "they end")
        assert gateway.listens() == 0


# --- what a signal means --------------------------------------------------------------------------------------------


def test_readiness_fails_first_and_traffic_is_served_for_the_delay(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app, drain_delay="1h") as gateway:
        gateway.tell(signal.SIGTERM)
        gateway.says("stopping in 3600 s")
        gateway.wait_until(lambda: gateway.health()[1].get("status") == "draining", "it is not ready")
        assert gateway.health()[0] == 503
        assert serves(gateway)
        # A worker, or the admin process, that crashes in this time is replaced as ever, and knows.
        before, admin = [each["pid"] for each in gateway.told()], gateway.admin()
        for pid in (*before, admin):
            os.kill(pid, signal.SIGKILL)
        gateway.wait_until(lambda: gateway.health()[1].get("status") == "draining", "still")
        assert serves(gateway)
        gateway.tell(signal.SIGTERM)
        assert gateway.wait() == 0


def test_in_the_delay_answers_say_close_and_idle_connections_are_served(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app, workers=1, drain_delay="1h") as gateway:
        connection = gateway.connect()
        gateway.ask(connection, last=False)
        first = b""
        while not first.endswith(b"ok"):
            first += connection.recv(4096)
        assert b"\r\nConnection: " not in first
        gateway.tell(signal.SIGTERM)
        gateway.says("stopping in 3600 s")

        def says_close() -> bool:
            another = gateway.connect()
            gateway.ask(another, last=False)
            another.settimeout(0.5)
            try:
                return b"\r\nConnection: close\r\n" in gateway.answer(another)
            except TimeoutError:
                return False

        gateway.wait_until(says_close, "the worker has heard of it")
        gateway.ask(connection, last=False)
        assert b"\r\nConnection: close\r\n" in gateway.answer(connection)
        # So does a worker that takes the place of one that has died.
        [before] = gateway.workers()
        os.kill(before, signal.SIGKILL)
        gateway.wait_until(lambda: gateway.workers() != [before], "it is replaced")
        assert says_close()
        gateway.tell(signal.SIGTERM)
        assert gateway.wait() == 0


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_means_now(tmp_path: Path, app: App, first: signal.Signals, second: signal.Signals) -> None:
    """In the delay and in the drain alike."""
    with Serving(tmp_path, app, drain_delay="1h", drain_timeout="1h") as gateway:
        held = gateway.hold(app)
        gateway.tell(first)
        if first == signal.SIGTERM:
            gateway.says("stopping in 3600 s")
        else:
            poll(lambda: gateway.listens() == 0, "it drains")
        gateway.tell(second)
        assert gateway.wait() == 0
        assert b"ok" not in gateway.answer(held)
        assert "closing 1 connection as told" in gateway.log
        assert "killed" not in gateway.log


def test_ctrl_c_waits_for_no_balancer(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app, drain_delay="1h") as gateway:
        # As a terminal does: to the whole group.
        gateway.family = descendants(gateway.pid)
        held = gateway.hold(app)
        os.killpg(gateway.pid, signal.SIGINT)
        poll(lambda: gateway.listens() == 0, "nobody listens")
        app.released.set()
        assert gateway.answer(held).endswith(b"ok")
        assert gateway.wait() == 0
        assert "stopping in" not in gateway.log


def test_a_whole_group_told_to_end_still_serves_for_the_delay(tmp_path: Path, app: App) -> None:
    """As some process managers do, who tell every process."""
    with Serving(tmp_path, app, drain_delay="1h") as gateway:
        held, before = gateway.hold(app), gateway.workers()
        gateway.family = descendants(gateway.pid)
        os.killpg(gateway.pid, signal.SIGTERM)
        gateway.wait_until(
            lambda: not {each.get("pid") for each in gateway.told()} & {*before, None}, "others take over"
        )
        assert serves(gateway)
        app.released.set()
        assert gateway.answer(held).endswith(b"ok")
        gateway.family += descendants(gateway.pid)
        os.kill(gateway.pid, signal.SIGTERM)
        assert gateway.wait() == 0


def test_what_does_not_finish_is_cut_off(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app, drain_timeout="1s") as gateway:
        held = gateway.hold(app)
        gateway.tell(signal.SIGTERM)
        assert gateway.wait() == 0
        assert "closing 1 connection that did not finish within 1 s" in gateway.log
        assert b"ok" not in gateway.answer(held)


def test_a_worker_that_will_not_end_is_killed(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app, drain_timeout="1s") as gateway:
        held = gateway.hold(app)
        [worker] = [each["pid"] for each in gateway.told() if each["exchanges"]]
        gateway.tell(signal.SIGTERM)
        poll(lambda: gateway.listens() == 0, "it drains")
        stop(worker)
        assert gateway.wait() == 0
        assert "did not end in time and was killed" in gateway.log
        held.close()


# --- exit status ----------------------------------------------------------------------------------------------------


def test_a_taken_port_is_one_sentence_and_status_1(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app) as gateway:
        second = Child(gateway.command, cwd=tmp_path)
        second.start()
        assert second.process is not None
        assert second.process.wait(PATIENCE) == 1
        second.stop()
        assert f"a gateway runs there (pid {gateway.pid})" in second.log
        assert "Traceback" not in second.log
        assert serves(gateway)
