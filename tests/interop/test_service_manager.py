"""What a service manager hears of the gateway, and the sockets that it keeps for it, with real processes."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.components import require
from tests.support.process import descendants, poll
from tests.support.service_manager import ServiceManager
from tests.support.serving import HOSTS, PATIENCE, App, Serving, ended, stop

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(sys.platform != "linux", reason="a handover needs Linux"),
]


@pytest.fixture
def app() -> Iterator[App]:
    with App() as app:
        yield app


def managed(gateway: Serving, manager: ServiceManager) -> Serving:
    gateway.env |= manager.environ
    return gateway


def test_it_hears_how_the_gateway_is(tmp_path: Path, app: App) -> None:
    with ServiceManager(tmp_path) as manager, managed(Serving(tmp_path, app), manager) as gateway:
        ready = manager.hears("READY=1", pid=gateway.pid)
        assert ready.lines[1].startswith("STATUS=2 workers on [::1]:")
        gateway.tell(signal.SIGHUP)
        reloading = manager.hears("RELOADING=1")
        name, _, usec = reloading.lines[1].partition("=")
        assert name == "MONOTONIC_USEC"
        assert 0 <= time.monotonic() - int(usec) / 1e6 < 60
        manager.hears("READY=1", count=2)
        (tmp_path / "gateway.toml").write_text("broken [")
        gateway.tell(signal.SIGHUP)
        manager.hears("RELOADING=1", count=2)
        manager.hears("READY=1", count=3)
        gateway.tell(signal.SIGTERM)
        manager.hears("STOPPING=1", pid=gateway.pid)
        assert gateway.wait() == 0
        assert {message.pid for message in manager.messages} == {gateway.pid}


def test_a_new_version_is_introduced_before_it_speaks(tmp_path: Path, app: App) -> None:
    gateway = Serving(tmp_path, app)
    with ServiceManager(tmp_path, WATCHDOG_USEC="400000") as manager, managed(gateway, manager):
        gateway.env |= {"WATCHDOG_PID": ""}
        manager.hears("WATCHDOG=1", count=2, pid=gateway.pid)
        gateway.tell(signal.SIGUSR2)
        gateway.says("a new version is started (pid ")
        new = int(gateway.log.partition("a new version is started (pid ")[2].partition(")")[0])
        try:
            manager.hears("READY=1", pid=new)
            manager.hears("WATCHDOG=1", count=3, pid=new)
            assert gateway.wait() == 0
            pids = [(message.pid, message.lines[0]) for message in manager.messages]
            introduced = pids.index((gateway.pid, f"MAINPID={new}"))
            assert {pid for pid, _ in pids[: introduced + 1]} == {gateway.pid}
            assert {pid for pid, _ in pids[introduced + 1 :]} == {new}
        finally:
            os.kill(new, signal.SIGINT)
            poll(lambda: ended(new), "it ends")
        manager.hears("STOPPING=1", pid=new)


def test_a_supervisor_that_is_stuck_is_not_alive(tmp_path: Path, app: App) -> None:
    gateway = Serving(tmp_path, app)
    with ServiceManager(tmp_path, WATCHDOG_USEC="200000") as manager, managed(gateway, manager):
        manager.hears("WATCHDOG=1", count=3)
        stop(gateway.pid)
        count = len(manager.messages)
        time.sleep(0.5)  # nothing is to come: there is no end to wait for
        assert len(manager.messages) <= count + 1, "but what was on its way"
        os.kill(gateway.pid, signal.SIGCONT)
        manager.hears("WATCHDOG=1", count=count)


def test_connections_wait_for_the_next_start(tmp_path: Path, app: App) -> None:
    """What systemctl restart does, where the manager keeps descriptors (FileDescriptorStoreMax=)."""
    with ServiceManager(tmp_path, FDSTORE="64") as manager, managed(Serving(tmp_path, app), manager) as gateway:
        manager.hears("FDNAME=gateway")
        manager.hears("READY=1")
        doors = len(gateway.doors)
        assert len(manager.stored) == 2 * doors + 1, "of each worker, and the admin's"
        gateway.tell(signal.SIGTERM)
        assert gateway.wait() == 0
        waiting = [gateway.connect(host, port) for host, port, _ in gateway.doors for _ in range(5)]
        for connection in waiting:
            if connection.getpeername()[1] != gateway.tls_port:
                gateway.ask(connection)
        next_one = gateway.again()
        next_one.command = manager.passing_on(gateway.command)
        next_one.env |= manager.environ
        next_one.start()
        try:
            manager.pass_on()
            next_one.ready()
            for connection in waiting:
                if connection.getpeername()[1] == gateway.tls_port:
                    connection = gateway.secured(connection)
                    gateway.ask(connection)
                assert gateway.answer(connection).endswith(b"ok")
            assert next_one.listens() == 2 * doors, "no socket besides"
        finally:
            next_one.family = descendants(next_one.pid)
            assert next_one.stop() == 0


def test_what_the_manager_keeps_is_left_as_it_is(tmp_path: Path, app: App) -> None:
    """Also by a new version, which has it from the gateway before: no filter, no shutdown, no socket beside."""
    first, mine = Serving(tmp_path, app), list[socket.socket]()
    with ServiceManager(tmp_path) as manager, ExitStack() as stack:
        for host, port, _ in first.doors:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            mine.append(stack.enter_context(socket.create_server((host, port), family=family)))
            manager.stored.append(os.dup(mine[-1].fileno()))
        first.command = manager.passing_on(first.command)
        managed(first, manager).start()
        try:
            manager.pass_on()
            first.ready()
            first.tell(signal.SIGUSR2)
            first.says("has taken over")
            new = int(first.log.partition("a new version is started (pid ")[2].partition(")")[0])
            assert first.wait() == 0
            assert first.get().endswith(b"ok")
            assert first.listens() == len(mine)
            os.kill(new, signal.SIGTERM)
            poll(lambda: ended(new), "it ends")
        finally:
            first.stop()
        for (host, port, _), sock in zip(first.doors, mine, strict=True):
            visitor = first.connect(host, port)
            sock.settimeout(PATIENCE)
            sock.accept()[0].close()
            visitor.close()


def test_systemd_opens_the_ports(tmp_path: Path, app: App) -> None:
    """One socket for each address, which all workers share. Stopped, the gateway leaves it as it is."""
    require("systemd")
    gateway = Serving(tmp_path, app)
    addresses = [f"{f'[{host}]' if ':' in host else host}:{port}" for host, port, _ in gateway.doors]
    gateway.command = ["systemd-socket-activate", *(f"--listen={address}" for address in addresses), *gateway.command]
    gateway.env |= {"PATH": os.environ["PATH"]}
    gateway.start()
    try:
        gateway.wait_until(lambda: gateway.listens() == len(addresses), "it listens")
        # The first connection starts the gateway, which serves it.
        assert all(gateway.get(host, gateway.plain_port).endswith(b"ok") for host in HOSTS)
        gateway.ready()
        assert gateway.listens() == len(addresses), "no socket besides"
        served = set[int]()
        while len(served) < 2:
            held = [gateway.connect() for _ in range(20)]
            served |= {each["pid"] for each in gateway.told() if each["connections"]}
            for connection in held:
                connection.close()
    finally:
        gateway.family = descendants(gateway.pid)
        code = gateway.stop()
    gateway.stopped(code)
