"""An answer that comes while the request is still being sent reaches its sender, and neither connection is used again."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

import pytest

from gateway.edge import http1
from tests.behaviour.harness import OK, App, Gateway, OpenGateway, Wire, get, until

both = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])

TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"
SIZE = 8 * 1024 * 1024


@pytest.fixture
async def app(gateway: Gateway) -> App:
    return await gateway.app()


async def upload(browser: Wire, app: App, size: int = SIZE) -> None:
    """Begins an upload and sends a first piece of it."""
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n\r\n" % (app.host, size) + bytes(1000))


@both
@pytest.mark.parametrize("how", ["keeps", "close", "reset"])
async def test_413_while_the_upload_runs(gateway: Gateway, app: App, how: str, tls: bool) -> None:
    """The app may keep its connection, close it, or reset it for the octets it did not read."""
    browser = await gateway.connect(tls=tls)
    await upload(browser, app)
    upstream = await app.accept()
    await upstream.head()
    upstream.send(TOO_LARGE)
    if how == "close":
        upstream.close()
    answer = await browser.answer()
    assert (answer.status, answer.body, answer.get(b"Connection")) == (413, b"big", b"close")
    if how == "reset":
        upstream.reset()
    await upstream.ended()
    assert not gateway.edge.pool.connections
    # The sender may not have looked yet: it goes on sending, and is not reset for it.
    for _ in range(10):
        browser.send(bytes(100_000))
        await gateway.settled()
    assert await browser.eof() == b""
    assert [record.status for record in gateway.log] == [413]


@both
async def test_413_from_an_app_that_does_not_read(gateway: Gateway, app: App, tls: bool) -> None:
    """Everything is full on the way up when the answer comes down."""
    browser = await gateway.connect(tls=tls)
    await upload(browser, app)
    upstream = await app.accept()
    await upstream.head()
    upstream.stop_reading()
    sent = 0
    while browser.writable and sent < 64 * 1024 * 1024:
        browser.send(bytes(1024 * 1024))
        sent += 1024 * 1024
        await gateway.settled()
    assert not browser.writable
    upstream.send(TOO_LARGE)
    upstream.close()
    answer = await browser.answer()
    assert (answer.status, answer.body, answer.get(b"Connection")) == (413, b"big", b"close")


async def test_an_answer_whose_connection_a_write_finds_dead(gateway: Gateway, app: App) -> None:
    """What the app said before it hung up is heard even if that is noticed first."""
    browser = await gateway.connect()
    await upload(browser, app)
    upstream = await app.accept()
    await upstream.read_until(b"\r\n\r\n" + bytes(1000))
    upstream.stop_reading()
    upstream.peer.pause_reading()  # what comes next has not been read when the write fails
    browser.send(bytes(1000))
    await gateway.settled()
    upstream.send(TOO_LARGE)
    upstream.close()  # with octets unread, so this is a reset
    await until(lambda: upstream.closed, "the app has hung up")
    browser.send(bytes(1000))
    answer = await browser.answer()
    assert (answer.status, answer.body) == (413, b"big")


async def test_an_app_that_answers_and_resets_at_once(gateway: Gateway, app: App) -> None:
    for _ in range(20):
        browser = await gateway.connect()
        await upload(browser, app)
        upstream = await app.accept()
        await upstream.head()
        upstream.stop_reading()
        for _ in range(4):
            browser.send(bytes(64 * 1024))
        upstream.send(TOO_LARGE)
        upstream.close()
        answer = await browser.answer()
        assert (answer.status, answer.body) == (413, b"big")
        browser.close()


@both
async def test_what_is_sent_after_the_answer_is_no_request(gateway: Gateway, app: App, tls: bool) -> None:
    """The rest of the body, made to look like one (CVE-2025-4366)."""
    browser = await gateway.connect(tls=tls)
    inner = get(app, b"/smuggled")
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n\r\n" % (app.host, len(inner)))
    upstream = await app.accept()
    await upstream.head()
    upstream.send(TOO_LARGE)
    assert (await browser.answer()).status == 413
    browser.send(inner)
    assert await browser.eof() == b""
    await upstream.ended()
    assert b"/smuggled" not in app.received
    assert len(app.connections) == 1


async def test_the_app_s_connection_is_not_used_again_even_if_the_body_is_complete_by_then(
    gateway: Gateway, app: App
) -> None:
    """The head came early: `Connection: close` has been said."""
    browser = await gateway.connect()
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 6\r\n\r\nabc" % app.host)
    upstream = await app.accept()
    await upstream.head()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    assert b"Connection: close\r\n" in await browser.head()
    browser.send(b"def")
    assert await upstream.read(6) == b"abcdef"
    upstream.send(b"ok")
    assert await browser.eof() == b"ok"


@both
async def test_an_answer_that_grows_with_the_request(gateway: Gateway, app: App, tls: bool) -> None:
    """Bidirectional streaming: early, but not final; both bodies go on to their ends."""
    browser = await gateway.connect(tls=tls)
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.head()
    upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await browser.head()
    for number in range(20):
        line = b"4\r\n%04d\r\n" % number
        browser.send(line)
        assert await upstream.read(len(line)) == line
        upstream.send(line)
        assert await browser.read(len(line)) == line
    browser.send(b"0\r\n\r\n")
    assert await upstream.read(5) == b"0\r\n\r\n"
    upstream.send(b"0\r\n\r\n")
    assert await browser.eof() == b"0\r\n\r\n"


@both
async def test_a_problem_comes_early_too(gateway: Gateway, app: App, tls: bool) -> None:
    """The gateway's own answers to an upload: nobody is there to take it."""
    app.stop()
    browser = await gateway.connect(tls=tls)
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 3000000\r\n\r\n" % app.host + bytes(1_000_000))
    answer = await browser.answer()
    assert (answer.status, answer.reason, answer.get(b"Connection")) == (502, b"connection_refused", b"close")
    browser.send(bytes(2_000_000))
    assert await browser.eof() == b""


@both
@pytest.mark.parametrize("host", [b"elsewhere.example", b"0-box.sandbox.localhost", b"80-gone.sandbox.localhost"])
async def test_a_body_in_the_same_packet_as_a_request_that_goes_nowhere(
    gateway: Gateway, host: bytes, tls: bool
) -> None:
    for body in (b"abc", b"abcdef", b"abcdefGET / HTTP/1.1\r\n\r\n"):
        browser = await gateway.connect(tls=tls)
        browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 6\r\n\r\n%b" % (host, body))
        answer = await browser.answer()
        assert answer.status in (400, 404, 421)
        assert answer.get(b"Connection") == b"close"
        assert await browser.eof() == b""


async def test_a_sender_that_never_stops_is_cut_off(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(timeouts={"linger": 0.3})
    app = await gateway.app()
    browser = await gateway.connect()
    await upload(browser, app, 10**12)
    upstream = await app.accept()
    await upstream.head()
    upstream.send(TOO_LARGE)
    assert (await browser.answer()).status == 413
    await until(lambda: not gateway.edge.connections, "the connection is closed although its sender holds it open")


def write_then_read(sock: socket.socket, head: bytes, size: int) -> bytes:
    """As Java's HttpClient and many others do: all of the request is written, and only then looked for an answer."""
    with sock:
        sock.sendall(head)
        piece = bytes(1024 * 1024)
        for sent in range(0, size, len(piece)):
            sock.sendall(piece[: size - sent])
        answer = b""
        while more := sock.recv(65536):
            answer += more
    return answer


@both
@pytest.mark.parametrize("ours", [False, True], ids=["of the app", "of the gateway"])
async def test_all_of_an_upload_may_be_written_before_the_answer_is_read(
    gateway: Gateway, app: App, tls: bool, ours: bool
) -> None:
    size = 40 * 1024 * 1024
    head = b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n\r\n" % (app.host, size)
    if ours:
        app.stop()
    sock = await gateway.blocking_socket(tls=tls)
    async with asyncio.TaskGroup() as tasks:
        sender = tasks.create_task(asyncio.to_thread(write_then_read, sock, head, size))
        if not ours:
            upstream = await app.accept()
            await upstream.head()
            upstream.send(TOO_LARGE)
            upstream.close()
    answer = sender.result()
    assert answer.startswith(b"HTTP/1.1 502 " if ours else b"HTTP/1.1 413 ")


@both
async def test_an_upload_is_read_away_as_long_as_it_comes(open_gateway: OpenGateway, tls: bool) -> None:
    patience = 1.0
    gateway = await open_gateway(timeouts={"linger": patience})
    sock, answer = await answered_early(gateway, tls=tls)
    with sock:
        assert b" 413 " in answer
        for _ in range(8):
            await asyncio.sleep(patience / 2)
            await asyncio.to_thread(sock.sendall, b"more")
        assert gateway.edge.connections, "the connection was closed on somebody who still sends"
        await until(lambda: not gateway.edge.connections, "the connection is closed when nothing more comes")


@pytest.mark.pure
@both
async def test_an_upload_is_not_read_away_for_ever(
    open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch, tls: bool
) -> None:
    monkeypatch.setattr(http1, "REST", 1.0)
    gateway = await open_gateway()
    sock, _ = await answered_early(gateway, tls=tls)
    with sock, contextlib.suppress(OSError):  # reset, in the end
        while gateway.edge.connections:  # or pytest's limit of time
            await asyncio.to_thread(sock.sendall, bytes(1000))
            await asyncio.sleep(0.02)


@pytest.mark.pure
async def test_not_even_while_the_answer_is_read_slowly(
    open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http1, "REST", 1.0)
    gateway = await open_gateway(timeouts={"linger": 0.3, "body_idle": 1.0})
    app = await gateway.app()
    sock = await gateway.blocking_socket(kernel_buffer=4096)
    head = b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n\r\n" % (app.host, 10**12)
    await asyncio.to_thread(sock.sendall, head)
    upstream = await app.accept()
    await upstream.head()
    upstream.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 400000\r\n\r\n" + bytes(400_000))

    def go_on() -> None:
        """Reads 13 kB/s: half a minute, which the gateway would wait for if nothing were sent meanwhile."""
        piece = bytes(16_000)
        while True:
            end = time.monotonic() + 0.3
            while time.monotonic() < end:
                sock.sendall(piece)
                time.sleep(0.001)
            sock.recv(4000)

    began = time.monotonic()
    with sock, pytest.raises(OSError):  # reset, however that is told
        await asyncio.to_thread(go_on)
    assert time.monotonic() - began < 8
    await until(lambda: not gateway.edge.connections, "nothing is left")


async def answered_early(gateway: Gateway, *, tls: bool) -> tuple[socket.socket, bytes]:
    """A connection whose upload was answered at its beginning, and the answer."""
    app = await gateway.app()
    sock = await gateway.blocking_socket(tls=tls)
    head = b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n\r\n" % (app.host, SIZE)
    await asyncio.to_thread(sock.sendall, head)
    upstream = await app.accept()
    await upstream.head()
    upstream.send(TOO_LARGE)
    upstream.close()
    return sock, await asyncio.to_thread(sock.recv, 65536)


async def test_two_answers_to_one_request(gateway: Gateway, app: App) -> None:
    """The second goes nowhere, whoever waits next."""
    browser = await gateway.connect()
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 6\r\n\r\nabcdef" % app.host + get(app, b"/next"))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    assert (await browser.answer()).body == b"ok"
    again = await app.accept()
    assert (await again.request()).start == b"GET /next HTTP/1.1"
    again.send(OK)
    assert (await browser.answer()).body == b"ok"
