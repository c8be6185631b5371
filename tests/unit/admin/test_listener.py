"""The admin's listening socket: whoever is awaited has a deadline, and gives way to who comes next."""

from __future__ import annotations

import asyncio
import errno
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import IPv6Address

import pytest
import uvloop
from aiohttp import web

from gateway.admin import listener as module
from gateway.admin.app import Health, make_app, start
from gateway.directory.memory import MemoryRegistry
from gateway.directory.sandbox import Sandbox
from gateway.tasks import Tasks
from tests.unit.admin.conftest import one_ready_worker
from tests.unit.diagnosis.harness import Looking, configured, make_context

PATIENCE = 30.0
"""Seconds until a wait has failed."""
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
LIST = b"GET /v1/sandboxes?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n"
PUT = b'PUT /v1/sandboxes/box HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\n\r\n{"address": '
CHUNKED = b"PUT /v1/sandboxes/box HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"

UNFINISHED = {
    "silent": b"",
    "head": b"GET /livez HTTP/1.1\r\nHost: loc",
    "second head": LIVEZ + LIVEZ[:-2],
    "body": PUT,
    "chunked body": CHUNKED,
    "body nobody reads": PUT.replace(b"/box", b"/box/nothing"),
    "idle": LIVEZ,
    "list that is not read": LIST * 300,
}


class Visitor:
    """A connection to the admin listener."""

    def __init__(self, port: int, sends: bytes = b"") -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.socket.send(sends)

    async def end(self) -> bytes:
        """What has come until the connection ended."""
        octets = b""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    piece = await loop.sock_recv(self.socket, 65536)
                except ConnectionResetError:
                    return octets
                if not piece:
                    return octets
                octets += piece

    async def answer(self, octets: bytes = b"ok\n") -> bytes:
        """What has come up to `octets`."""
        got = b""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            while not got.endswith(octets):
                piece = await loop.sock_recv(self.socket, 65536)
                assert piece, "the connection has ended"
                got += piece
        return got


class Admin:
    """A listener whose `/slow` answers when it may."""

    def __init__(self) -> None:
        table = {name: Sandbox(name, IPv6Address("fd00::5"), "1") for name in (f"box{n}" for n in range(1000))}
        self.app = make_app(
            Health(one_ready_worker), make_context(Looking(), configured(), directory=MemoryRegistry(table))
        )
        self.app.router.add_get("/slow", self.slow)
        self.go = asyncio.Event()
        self.slow_ones = 0
        self.visitors: list[Visitor] = []

    async def slow(self, request: web.Request) -> web.Response:
        self.slow_ones += 1
        await self.go.wait()
        return web.Response(text="ok\n")

    async def start(self) -> None:
        sock = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.port = sock.getsockname()[1]
        self.runner = await start(self.app, sock)
        [site] = self.runner.sites
        assert isinstance(site, module.AdminSite)
        self.listener = site

    def come(self, sends: bytes = b"") -> Visitor:
        visitor = Visitor(self.port, sends)
        self.visitors.append(visitor)
        return visitor

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self.go.set()
        await self.runner.cleanup()
        for visitor in self.visitors:
            visitor.socket.close()
        await self.until(lambda: not self.listener._connections)


MakeAdmin = Callable[[], Awaitable[Admin]]


@pytest.fixture
async def make_admin() -> AsyncIterator[MakeAdmin]:
    made: list[Admin] = []

    async def make() -> Admin:
        admin = Admin()
        made.append(admin)
        await admin.start()
        return admin

    yield make
    for admin in made:
        await admin.stop()


@pytest.fixture
async def admin(make_admin: MakeAdmin) -> Admin:
    return await make_admin()


def hurry(monkeypatch: pytest.MonkeyPatch, seconds: float = 0.1) -> None:
    for name in ("HEAD_TIME", "EXCHANGE_TIME", "ANSWER_TIME", "IDLE_TIME"):
        monkeypatch.setattr(module, name, seconds)


# --- deadlines ------------------------------------------------------------------------------------------------------


async def test_nobody_is_awaited_for_ever(make_admin: MakeAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    admins = {name: await make_admin() for name in UNFINISHED}  # side by side: each is looked at once a second
    visitors = {name: admins[name].come(sends) for name, sends in UNFINISHED.items()}
    come = set()
    async with asyncio.timeout(PATIENCE):
        while awaited := {name for name, admin in admins.items() if name not in come or admin.listener._connections}:
            come |= {name for name in awaited if admins[name].listener._connections}
            await asyncio.sleep(0.01)
    for visitor in visitors.values():
        await visitor.end()


async def test_an_octet_now_and_then_buys_no_time(make_admin: MakeAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch, 0.3)
    admin = await make_admin()
    for sends in (UNFINISHED["head"], UNFINISHED["body"], UNFINISHED["second head"]):
        visitor = admin.come(sends)
        await admin.until(lambda: bool(admin.listener._connections))
        sent = 0
        async with asyncio.timeout(PATIENCE):
            while admin.listener._connections:
                try:
                    sent += visitor.socket.send(b"a")
                except ConnectionError:
                    break
                await asyncio.sleep(0.1)
        assert sent


async def test_one_connections_bug_keeps_no_other_alive(
    make_admin: MakeAdmin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hurry(monkeypatch)
    admin = await make_admin()
    broken = admin.come()
    await admin.until(lambda: bool(admin.listener._connections))
    [connection] = admin.listener._connections
    expire, tries = module.Connection.expire, 0

    def fail(each: module.Connection) -> None:
        nonlocal tries
        if each is connection:
            tries += 1
            raise LookupError("a bug of ours")
        expire(each)

    monkeypatch.setattr(module.Connection, "expire", fail)
    for _ in range(20):
        admin.come()
    await admin.until(lambda: len(admin.listener._connections) == 21)
    await admin.until(lambda: admin.listener._connections == {connection})
    seen = tries
    await admin.until(lambda: tries > seen)
    assert "a bug of ours" in caplog.text
    broken.socket.close()


async def test_who_is_served_is_left_alone(make_admin: MakeAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler may take longer than a head, and a connection may be used again and again."""
    monkeypatch.setattr(module, "HEAD_TIME", 0.1)
    admin = await make_admin()
    visitor = admin.come(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await admin.until(lambda: bool(admin.slow_ones))
    [connection] = admin.listener._connections
    assert connection.deadline > admin.listener.clock() + 20
    await asyncio.sleep(1.2)  # a sweep has passed: nothing else shows that nothing happens
    admin.go.set()
    await visitor.answer()
    for _ in range(3):
        visitor.socket.send(LIVEZ)
        await visitor.answer()
    assert admin.listener._connections == {connection}
    assert connection.state is module.State.ANSWERED


async def test_a_taken_answer_leaves_the_rest_of_the_idle_time(
    make_admin: MakeAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_TIME", 0.0)
    admin = await make_admin()
    visitor = admin.come(LIVEZ)
    await visitor.answer()
    [connection] = admin.listener._connections
    await admin.until(lambda: connection.state is module.State.IDLE)
    assert 60 < connection.deadline - admin.listener.clock() <= 75
    visitor.socket.send(LIVEZ)
    await visitor.answer()


# --- room -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sends", UNFINISHED.values(), ids=UNFINISHED)
async def test_however_many_are_unfinished_somebody_else_is_served(
    make_admin: MakeAdmin, monkeypatch: pytest.MonkeyPatch, sends: bytes
) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 8)
    admin = await make_admin()
    for _ in range(30):
        admin.come(sends)
    for _ in range(3):
        assert (await admin.come(LIVEZ).answer()).startswith(b"HTTP/1.1 200 ")
        assert len(admin.listener._connections) <= 8


async def test_who_has_been_awaited_longest_goes_first(make_admin: MakeAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 3)
    admin = await make_admin()
    first, second, third = (admin.come(b"GET") for _ in range(3))
    await admin.until(lambda: len(admin.listener._connections) == 3)
    first.socket.send(LIVEZ[3:])
    await first.answer()
    await admin.come(LIVEZ).answer()
    assert await second.end() == b""
    for left in (first, third):
        left.socket.send(LIVEZ[3:] if left is third else LIVEZ)
        await left.answer()


async def test_who_is_served_gives_no_place_away(make_admin: MakeAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 4)
    admin = await make_admin()
    slow = [admin.come(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n") for _ in range(4)]
    await admin.until(lambda: admin.slow_ones == 4)
    looks, make_room = 0, admin.listener._make_room

    def look() -> None:
        nonlocal looks
        looks += 1
        make_room()

    monkeypatch.setattr(admin.listener, "_make_room", look)
    waiting = [admin.come(LIVEZ) for _ in range(4)]
    await asyncio.sleep(0.3)  # nothing shows that nothing happens
    assert len(admin.listener._connections) == 4
    assert 0 < looks < 20, "nobody can go: the loop does not turn round and round for it"
    admin.go.set()
    for visitor in (*slow, *waiting):
        assert (await visitor.answer()).startswith(b"HTTP/1.1 200 ")


async def test_without_descriptors_there_is_a_place_too(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be short for other reasons; then an accept says so."""

    class Short:
        def __init__(self, sock: socket.socket) -> None:
            self.socket, self.failures = sock, 3

        def accept(self) -> tuple[socket.socket, object]:
            if self.failures:
                self.failures -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return self.socket.accept()

        def __getattr__(self, name: str) -> object:
            return getattr(self.socket, name)

    await admin.come(LIVEZ).answer()
    short = Short(admin.listener._socket)
    monkeypatch.setattr(admin.listener, "_socket", short)
    await admin.come(LIVEZ).answer()
    assert not short.failures
    await admin.come(LIVEZ).answer()


async def test_a_stopped_listener_accepts_no_more(admin: Admin) -> None:
    idle = admin.come(LIVEZ)
    await idle.answer()
    await admin.runner.cleanup()
    assert await idle.end() == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", admin.port))


@pytest.mark.parametrize("sent", [b"", LIVEZ[:9]], ids=["hardly anything sent", "head begun"])
@pytest.mark.parametrize("earlier", [b"", LIVEZ], ids=["first", "second"])
async def test_who_had_come_when_it_stopped_is_answered(admin: Admin, earlier: bytes, sent: bytes) -> None:
    visitor = admin.come(earlier or sent)
    await admin.until(lambda: len(admin.listener._connections) == 1)
    [connection] = admin.listener._connections
    if earlier:
        await visitor.answer()
        visitor.socket.send(sent or LIVEZ[:1])
        await admin.until(lambda: connection.state is module.State.HEAD)
    ending = Tasks().spawn(admin.runner.cleanup(), "stop")
    await admin.until(lambda: admin.listener._last_head is not None)
    visitor.socket.send(LIVEZ[len(sent) or bool(earlier) :])
    assert (await visitor.end()).startswith(b"HTTP/1.1 200 ")
    await ending


async def test_who_had_come_and_asks_nothing_delays_no_end(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LAST_HEAD_TIME", 0.1)
    silent = admin.come()
    await admin.until(lambda: len(admin.listener._connections) == 1)
    async with asyncio.timeout(PATIENCE):
        await admin.runner.cleanup()
    assert await silent.end() == b""


# --- what one visitor may do to the others --------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "x-ours", "identity, gzip"])
async def test_no_body_is_unpacked(admin: Admin, coding: str) -> None:
    packed = gzip.compress(b'{"address": "fd00::5"}' + b" " * 1_000_000)
    head = f"PUT /v1/sandboxes/box HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: {coding}\r\n"
    visitor = admin.come(f"{head}Content-Length: {len(packed)}\r\n\r\n".encode() + packed)
    assert (await visitor.answer(b"}")).startswith(b"HTTP/1.1 415 ")


def test_who_was_just_let_in_is_not_cut_off_under_its_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """uvloop closes the socket that a cancelled task was handing to it, and nobody who writes to it is told."""
    made = module.Connection.connection_made

    async def stop_while_it_is_let_in() -> None:
        admin, tasks, stopping = Admin(), Tasks(), list[asyncio.Task[None]]()
        await admin.start()

        def connection_made(connection: module.Connection, transport: asyncio.BaseTransport) -> None:
            made(connection, transport)
            stopping.append(tasks.spawn(admin.runner.cleanup(), "stop"))

        monkeypatch.setattr(module.Connection, "connection_made", connection_made)
        visitor = admin.come(LIVEZ)
        await admin.until(lambda: bool(stopping))
        await stopping[0]
        await visitor.end()
        visitor.socket.close()

    uvloop.run(stop_while_it_is_let_in())
    assert not caplog.records
