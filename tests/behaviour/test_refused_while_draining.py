"""Draining processes: nobody new gets in, on any address; whoever was let in is served, whatever happens to workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.harness import GatewayProcess, tls_connection
from tests.support.process import poll
from tests.support.serving import HOSTS, PATIENCE, App, Serving, Visitors, listening, refuses, sockets, state, stop


@pytest.fixture
def app() -> Iterator[App]:
    with App() as app:
        yield app


def public(gateway: Serving) -> set[int]:
    """The listening sockets that `ss -ltn` shows for the public ports."""
    return {each.inode for each in listening() if each.port in (gateway.plain_port, gateway.tls_port)}


def test_each_process_holds_its_own_sockets(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app, workers=3) as gateway:
        workers, admin, doors = gateway.workers(), gateway.admin(), public(gateway)
        assert len(doors) == 3 * len(gateway.doors)

        def look() -> None:
            own = [sockets(pid) & doors for pid in gateway.workers()]
            assert [len(each) for each in own] == [len(gateway.doors)] * 3
            assert set.union(*own) == doors
            ours = sockets(gateway.pid)
            assert doors < ours
            assert not sockets(admin) & doors
            # Besides: one end of a channel each, the admin process has the other ends and its own listener.
            assert [len((sockets(pid) & ours) - doors) for pid in gateway.workers()] == [1, 1, 1]
            assert len(sockets(admin) & ours) == 4

        look()
        os.kill(workers[1], signal.SIGKILL)
        gateway.wait_until(lambda: gateway.workers()[1] != workers[1], "worker 1 is replaced")
        look()


def test_every_address_refuses_at_once(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app) as gateway:
        held = gateway.hold(app)
        gateway.tell(signal.SIGTERM)
        gateway.wait_until(lambda: not public(gateway), "nothing listens")
        assert all(refuses(host, port) for host, port, _ in gateway.doors)
        app.released.set()
        assert gateway.answer(held).endswith(b"ok")
        assert gateway.wait() == 0


def test_what_is_queued_is_served(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app) as gateway:
        for worker in (workers := gateway.workers()):
            stop(worker)
        queued = Visitors(gateway)
        gateway.tell(signal.SIGTERM)
        for worker in workers:
            os.kill(worker, signal.SIGCONT)
        assert queued.answers() == queued.served
        assert gateway.wait() == 0
        assert "was killed" not in gateway.log


def test_so_is_the_queue_of_a_slot_whose_worker_is_dead(tmp_path: Path, app: App) -> None:
    """In the pause before it is started again: it is started once more, for the queue."""
    with Serving(tmp_path, app, workers=1) as gateway:
        for pause in ("0.2", "0.4", "0.8", "1.6", "3.2"):
            [worker] = gateway.workers()
            os.kill(worker, signal.SIGKILL)
            gateway.says(f"starting it again in {pause} s")
        queued = Visitors(gateway)
        gateway.tell(signal.SIGTERM)
        assert queued.answers() == queued.served
        assert gateway.wait() == 0


def test_so_is_that_of_a_worker_that_stands_still(tmp_path: Path, app: App) -> None:
    """And nobody hangs on the sockets it has open: another one takes the queue, then they are shut down."""
    with Serving(tmp_path, app, drain_timeout="1h", stuck_timeout="0s") as gateway:
        still = gateway.workers()[0]
        stop(still)
        queued = Visitors(gateway)
        gateway.tell(signal.SIGTERM)
        assert queued.answers() == queued.served
        gateway.wait_until(lambda: not public(gateway), "nothing listens")
        assert all(refuses(host, port) for host, port, _ in gateway.doors)
        assert state(still) == "T"
        gateway.tell(signal.SIGTERM)
        assert gateway.wait() == 0
        assert "worker 0 did not end in time and was killed" in gateway.log


def test_so_is_what_an_orphan_has_queued(tmp_path: Path, app: App) -> None:
    """Its supervisor is gone: nobody will take the queue after it."""
    with Serving(tmp_path, app, workers=1) as gateway:
        [worker] = gateway.workers()
        gateway.family = [worker, gateway.admin()]
        stop(worker)
        queued = [gateway.connect() for _ in range(300)]  # more than are accepted before it hears of it
        for connection in queued:
            gateway.ask(connection)
        os.kill(gateway.pid, signal.SIGKILL)
        os.kill(worker, signal.SIGCONT)
        assert all(gateway.answer(connection).endswith(b"ok") for connection in queued)
        assert all(refuses(host, port) for host, port, _ in gateway.doors)
        assert gateway.wait() == -signal.SIGKILL
        gateway.expected = -signal.SIGKILL


def test_nobody_is_let_in_and_forgotten(tmp_path: Path, app: App) -> None:
    """Who comes while the listeners close is served or refused: never reset, never left waiting."""
    with Serving(tmp_path, app) as gateway:
        held = gateway.hold(app)
        served = refused = 0
        while not refused:
            if served == 20:
                gateway.tell(signal.SIGTERM)
            try:
                assert gateway.get(("::1", "127.0.0.1")[served % 2]).endswith(b"ok")
                served += 1
            except ConnectionRefusedError:
                refused += 1
        assert served >= 20
        app.released.set()
        gateway.answer(held)
        assert gateway.wait() == 0


def test_on_a_laptop_too(tmp_path: Path, app: App) -> None:
    with GatewayProcess(app.port, directory=tmp_path) as gateway:
        host = gateway.host(app.port)
        with tls_connection(gateway, host) as held:
            held.sendall(f"GET /hold HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            app.held.acquire()
            os.kill(gateway.pid, signal.SIGINT)
            poll(lambda: all(refuses(each, gateway.tls_port) for each in HOSTS), "both addresses refuse")
            app.released.set()
            assert held.recv(4096).startswith(b"HTTP/1.1 200 OK")
        assert gateway.process is not None
        assert gateway.process.wait(PATIENCE) == 0
