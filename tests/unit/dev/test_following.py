"""What is at the exposed ports, followed as it changes, on this machine's own sockets."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import pytest

from gateway.addresses import LOOPBACK, LOOPBACK4
from gateway.dev import following
from gateway.dev.following import Place, PortWatch
from gateway.dev.lenient import leniently
from gateway.diagnosis import own_sockets
from gateway.diagnosis.port_line import PortLine
from gateway.diagnosis.port_probe import PortProbe
from gateway.errors import GatewayError
from gateway.tasks import Tasks
from tests.support.process import free_port

pytestmark = pytest.mark.ipv6

ME = f"(pid {os.getpid()})"


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    tasks = Tasks()
    yield tasks
    await tasks.cancel()


class _Watched:
    def __init__(self, port: int, tasks: Tasks, place: Place | None = None) -> None:
        self.told: asyncio.Queue[PortLine] = asyncio.Queue()
        probe = PortProbe(asyncio.get_running_loop().time, tasks)
        place = place or Place(LOOPBACK, "sandbox.localhost", [], lenient=False)
        self.watch = PortWatch([port], place, probe, lambda _, line: self.told.put_nowait(line))

    async def next(self) -> PortLine:
        async with asyncio.timeout(20):
            return await self.told.get()


async def test_an_app_is_followed_from_deaf_to_ready_to_gone(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "LOOK_INTERVAL", 0.05)
    monkeypatch.setattr("gateway.diagnosis.port_probe.REMEMBERED", 0.01)
    port = free_port()
    watched = _Watched(port, tasks)
    assert (await watched.watch.first_look())[port].state == "nothing listens here yet"
    tasks.spawn(watched.watch.follow(), "port watch")
    with socket.create_server(("127.0.0.1", port)):
        deaf = await watched.next()
        assert f"{ME} listens on 127.0.0.1 only: a sandbox would refuse this" in deaf.state
        assert "Bind to `::`" in deaf.advice
    assert (await watched.next()).state == "nothing listens here yet"
    with socket.create_server(("::1", port), family=socket.AF_INET6):
        ready = await watched.next()
        assert ready.ready
        assert ME in ready.state
    assert (await watched.next()).state == "nothing listens here yet"
    assert watched.told.empty()


async def test_without_the_machines_books_ports_are_dialed(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    def untold(ports: object) -> list[own_sockets.Listening]:
        raise OSError

    monkeypatch.setattr(own_sockets, "listening", untold)
    monkeypatch.setattr(following, "DIAL_INTERVAL", 0.05)
    port = free_port()
    watched = _Watched(port, tasks)
    assert not (await watched.watch.first_look())[port].ready
    tasks.spawn(watched.watch.follow(), "port watch")
    with socket.create_server(("::1", port), family=socket.AF_INET6):
        assert await watched.next() == PortLine(True, "ready")


# --- --loopback4 ------------------------------------------------------------------------------------------------------


async def test_leniently_127_0_0_1_will_do_and_is_said_to_be_lenient(tasks: Tasks) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        watched = _Watched(port, tasks, Place(LOOPBACK, "sandbox.localhost", [], lenient=True))
        line = (await watched.watch.first_look())[port]
        assert line.ready
        assert "a sandbox would refuse this" in line.state
        sock = await leniently([])("::1", port, 3.0, lambda: False)
        assert sock.getpeername()[0] == "127.0.0.1"
        sock.close()


async def test_leniently_our_own_listeners_are_nobodys_app(tasks: Tasks) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        own = [(LOOPBACK4, port)]
        with pytest.raises(GatewayError, match="refused"):
            await leniently(own)("::1", port, 3.0, lambda: False)
        watched = _Watched(port, tasks, Place(LOOPBACK, "sandbox.localhost", own, lenient=True))
        assert not (await watched.watch.first_look())[port].ready


async def test_leniently_another_address_is_not_this_machine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(GatewayError, match=r"127\.0\.0\.2"):
        await leniently([])("127.0.0.2", other.getsockname()[1], 3.0, lambda: False)
