"""What waits for a slow reader is at most `limits.buffer_bytes` and one TLS record, whoever reads slowly, whatever waits."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from gateway.tls import local_ca
from gateway.turns import READ
from gateway.upstream.http1 import Http1Upstream
from tests.behaviour.harness import DOMAIN, LOOPBACK, OK, SANDBOX, App, Gateway, OpenGateway, Wire, until
from tests.support.event_loop import Waiting, octets_read, octets_unread

both = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])

SMALL = 64 * 1024
RECORD = 16 * 1024
SIZE = 3 * 1024 * 1024
PIECE = READ + 8 * 1024
FRAMING = 512
"""Of the last piece: chunk-size lines, what TLS adds to a record."""


# --- counted ------------------------------------------------------------------------------------------------------------


UPGRADE = b"Connection: Upgrade\r\nUpgrade: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LENGTH = b"Content-Length: %d\r\n" % SIZE
SMALL_CHUNKS = b"".join(b"400\r\n%b\r\n" % bytes(1024) for _ in range(SIZE // 1024))
CONTENTS = {
    "length": (LENGTH, bytes(SIZE)),
    "chunk": (CHUNKED, b"%x\r\n%b\r\n" % (SIZE, bytes(SIZE))),
    "chunks": (CHUNKED, SMALL_CHUNKS),
    "tunnel": (UPGRADE, bytes(SIZE)),
}


async def opened(gateway: Gateway, app: App, tls: bool, kind: str, *, up: bool) -> tuple[Wire, Wire]:
    """A browser and its app, both heads gone."""
    fields = CONTENTS[kind][0]
    browser = await gateway.connect(tls=tls, kernel_buffer=SMALL)
    method = b"POST" if up and kind != "tunnel" else b"GET"
    browser.send(b"%b / HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method, app.host, fields if up or kind == "tunnel" else b""))
    upstream = await app.accept()
    await upstream.head()
    gateway.shrink_upstream_buffers(SMALL)
    if kind == "tunnel":
        upstream.send(b"HTTP/1.1 101 Switching Protocols\r\n%b\r\n" % fields)
        await browser.head()
    elif not up:
        upstream.send(b"HTTP/1.1 200 OK\r\n%b\r\n" % fields)
        await browser.head()
    return browser, upstream


@pytest.mark.parametrize("buffer_bytes", [32 * 1024, 64 * 1024, 512 * 1024])
@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("direction", ["down", "up"])
@both
async def test_what_waits_is_bounded(
    open_gateway: OpenGateway, tls: bool, direction: str, kind: str, buffer_bytes: int
) -> None:
    gateway = await open_gateway(kernel_buffer=SMALL, limits={"buffer_bytes": buffer_bytes})
    app = await gateway.app(kernel_buffer=SMALL)
    up = direction == "up"
    browser, upstream = await opened(gateway, app, tls, kind, up=up)
    sender, reader = (browser, upstream) if up else (upstream, browser)
    waiting = Waiting(sender.peer, reader.peer)
    taken = 0
    reader.stop_reading()
    sender.send(CONTENTS[kind][1])
    end = len(reader.received) + SIZE
    while len(reader.received) < end:
        for _ in range(20):
            waiting.look()
            await asyncio.sleep(0)
        taken = len(reader.received)
        reader.read_on()
        await until(lambda taken=taken: len(reader.received) > min(taken, end - 1), "more of it")
        if len(reader.received) < end - SIZE // 2:
            reader.stop_reading()
    await until(lambda: reader.received.count(0) == SIZE, "the rest")
    assert 0 < waiting.most() <= buffer_bytes + RECORD + FRAMING


async def test_what_a_dead_app_leaves_behind_is_bounded(open_gateway: OpenGateway) -> None:
    """Its last octets are in the kernel when writing to it fails: no more of them is taken than may wait."""
    gateway = await open_gateway(kernel_buffer=SMALL)
    app = await gateway.app()
    browser = await gateway.connect(kernel_buffer=SMALL)
    browser.stop_reading()
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 100000\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.head()
    peer, from_app = browser.peer, upstream.peer
    from_app.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SIZE)
    upstream.send(b"HTTP/1.1 200 OK\r\n%b\r\n" % LENGTH + bytes(SIZE))
    await until(lambda: peer.get_write_buffer_size() and octets_unread(from_app) > SIZE // 4, "both kernels are full")
    await gateway.settled()
    waited = peer.get_write_buffer_size()
    upstream.reset()
    await until(lambda: upstream.closed, "the app is gone")
    browser.send(bytes(1000))
    await until(lambda: gateway.log, "a write has failed")
    assert peer.get_write_buffer_size() <= waited + SMALL
    assert [record.reason for record in gateway.log] == ["http_response_incomplete"]


@both
async def test_what_is_pipelined_is_bounded(open_gateway: OpenGateway, tls: bool) -> None:
    gateway = await open_gateway(kernel_buffer=SMALL)
    app = await gateway.app()
    browser = await gateway.connect(tls=tls, kernel_buffer=SMALL)
    await gateway.settled()
    before = octets_read(browser.peer)
    request = b"GET / HTTP/1.1\r\nHost: %b\r\nX: %b\r\n\r\n" % (app.host, b"x" * 1000)
    browser.send(request * 200)
    upstream = await app.accept()
    await upstream.request()
    for _ in range(20):
        await gateway.settled()
    held = octets_read(browser.peer) - before - len(request)
    assert 0 < held <= gateway.settings.limits.buffer_bytes + RECORD
    for _ in range(199):
        upstream.send(OK)
        await upstream.request()
    upstream.send(OK)
    await until(lambda: browser.received.count(b"\r\n\r\nok") == 200, "all answers")


@pytest.mark.parametrize("kind", ["length", "chunk"])
@both
async def test_what_is_pipelined_behind_a_large_body_is_bounded(gateway: Gateway, tls: bool, kind: str) -> None:
    """A large body that leaves at once is read in large pieces, and the last of them once brought 200 KiB of what is
    behind it."""
    app = await gateway.app()
    fields, body = CONTENTS[kind]
    end = b"0\r\n\r\n" if kind == "chunk" else b""
    behind = b"GET / HTTP/1.1\r\nHost: %b\r\nX: %b\r\n\r\n" % (app.host, b"x" * 1000) * 200
    browser = await gateway.connect(tls=tls)
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (app.host, fields))
    upstream = await app.accept()
    await upstream.head()
    for begin in range(0, len(body) - 1000, PIECE):  # a read that is full makes the next ones large
        piece = body[begin : min(begin + PIECE, len(body) - 1000)]
        least, arrived = min(len(piece), READ), upstream.received.count(0) + piece.count(0)
        browser.peer.pause_reading()
        browser.send(piece)
        await until(lambda least=least: octets_unread(browser.peer) >= least, "a full read")
        browser.peer.resume_reading()
        await until(lambda arrived=arrived: upstream.received.count(0) == arrived, "the piece")
    before = octets_read(browser.peer)
    browser.send(body[-1000:] + end + behind)
    await until(lambda: upstream.received.count(0) == SIZE, "the rest")
    for _ in range(10):
        await gateway.settled()
    held = octets_read(browser.peer) - before - 1000 - len(end)
    assert 0 < held <= gateway.settings.limits.buffer_bytes + RECORD


async def test_a_head_as_large_as_allowed_is_read_whatever_the_buffer(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(limits={"buffer_bytes": 4096})
    app = await gateway.app()
    browser = await gateway.connect()
    fields = b"".join(b"X-%d: %b\r\n" % (number, b"x" * 7000) for number in range(4))
    head = b"GET / HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (app.host, fields)
    for begin in range(0, len(head), 5000):
        browser.send(head[begin : begin + 5000])
        await gateway.settled()
    upstream = await app.accept()
    assert fields in await upstream.head()


async def test_a_fast_reader_is_read_for_in_large_pieces(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all of it is sure to leave at once, a read brings as much as there is: it costs a third less."""
    reads: list[int] = []
    read = Http1Upstream.buffer_updated

    def noting(self: Http1Upstream, octets: int) -> None:
        reads.append(octets)
        read(self, octets)

    monkeypatch.setattr(Http1Upstream, "buffer_updated", noting)
    app = await gateway.app()
    browser = await gateway.connect()
    size = 16 * 1024 * 1024
    browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
    await until(lambda: len(browser.received) > size, "all of it")
    assert max(reads) > 48 * 1024


# --- weighed ------------------------------------------------------------------------------------------------------------

READERS = 300
ALLOWED = 64 * 1024 + RECORD + 24 * 1024
"""Octets of memory for each: what may wait, and what an exchange, a connection and the allocator's edges cost."""


class Measured:
    """A gateway in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process = process
        self._in, self._out = process.stdin, process.stdout

    async def line(self) -> list[int]:
        return [int(each) for each in (await self._out.readline()).split()]

    async def resident(self) -> int:
        self._in.write(b"?\n")
        return (await self.line())[0]

    async def steady(self) -> int:
        """Once it does not change any more."""
        before, now = 0, await self.resident()
        while abs(now - before) > 64 * 1024:
            await asyncio.sleep(0.2)
            before, now = now, await self.resident()
        return now

    async def end(self) -> None:
        self._in.close()
        await self._process.wait()


@pytest.fixture
async def measured(tmp_path: Path) -> AsyncIterator[tuple[Measured, list[int], ssl.SSLContext]]:
    certificates = local_ca.ensure(tmp_path, DOMAIN)
    arguments = ("-m", "tests.support.measured_gateway", str(certificates.certificate), str(certificates.key))
    pipe = asyncio.subprocess.PIPE
    gateway = Measured(await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=pipe, stdout=pipe))
    yield gateway, await gateway.line(), ssl.create_default_context(cafile=certificates.authority)
    await gateway.end()


class Endless(asyncio.Protocol):
    """An app that sends more than anybody wants, or reads nothing of what it is sent."""

    CONTENT = bytes(SIZE)

    def __init__(self, opened: list[asyncio.Transport], asked: list[bytes]) -> None:
        self._transport: asyncio.Transport
        self._opened = opened
        self._asked = asked

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._opened.append(self._transport)

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"GET /small"):
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        elif data.startswith(b"GET"):
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
            self._transport.write(self.CONTENT)
            self._asked.append(b"GET")
        elif data.startswith(b"POST"):
            self._transport.pause_reading()
            self._asked.append(b"POST")


@both
@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_what_it_weighs(measured: tuple[Measured, list[int], ssl.SSLContext], method: bytes, tls: bool) -> None:
    gateway, ports, context = measured
    loop = asyncio.get_running_loop()
    opened: list[asyncio.Transport] = []
    asked: list[bytes] = []
    server = await loop.create_server(lambda: Endless(opened, asked), LOOPBACK, 0, backlog=READERS)
    host = b"%d-%b.%b" % (server.sockets[0].getsockname()[1], SANDBOX.encode(), DOMAIN.encode())
    wires = []
    for _ in range(READERS):
        sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        await loop.sock_connect(sock, (LOOPBACK, ports[tls]))
        wire = Wire()
        name = f"5000-{SANDBOX}.{DOMAIN}" if tls else None
        await loop.create_connection(
            lambda wire=wire: wire, sock=sock, ssl=context if tls else None, server_hostname=name
        )
        wire.send(b"GET /small HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
        wires.append(wire)
    for wire in wires:
        assert (await wire.answer()).body == b"ok"
    before = await gateway.steady()
    for wire in wires:
        wire.stop_reading()
        if method == b"GET":
            wire.send(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
        else:
            wire.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n\r\n" % (host, SIZE))
            wire.send(Endless.CONTENT)
    await until(lambda: len(asked) == READERS, "every app is asked", 30.0)
    after = await gateway.steady()
    server.close()
    for transport in opened + [wire.transport for wire in wires]:
        transport.abort()
    await until(lambda: all(wire.closed for wire in wires), "all are closed")
    assert (after - before) / READERS < ALLOWED
