"""Requests sent without waiting for answers are answered in order, each by its own app, and cannot pile up."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.behaviour.harness import OK, App, Gateway, OpenGateway, Wire, answering, get, post, until
from tests.support.event_loop import octets_read

RECORD = 16 * 1024 + 256
"""Octets of a TLS record at most (RFC 8446 section 5.2), nearly."""


async def echo(wire: Wire) -> None:
    """Answers each request with its target and its body."""
    while await wire.another():
        request = await wire.request()
        body = request.start.split(b" ")[1] + request.body
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


@pytest.fixture
async def app(gateway: Gateway) -> App:
    return await gateway.app(echo)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("count", [2, 16, 200])
async def test_answers_come_in_order(gateway: Gateway, app: App, count: int, tls: bool) -> None:
    browser = await gateway.connect(tls=tls)
    browser.send(b"".join(get(app, b"/%d" % number) for number in range(count)))
    for number in range(count):
        answer = await browser.answer()
        assert (answer.status, answer.body) == (200, b"/%d" % number)
    assert [record.path for record in gateway.log] == [f"/{number}" for number in range(count)]
    assert len(app.connections) == 1


async def test_one_request_at_a_time_reaches_the_app(gateway: Gateway) -> None:
    """The second is not begun before the first is answered: an app that answers out of turn gains nothing."""
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(get(app, b"/1") + get(app, b"/2"))
    upstream = await app.accept()
    assert (await upstream.request()).start == b"GET /1 HTTP/1.1"
    await gateway.settled()
    assert (upstream.unread, len(app.connections)) == (0, 1)
    upstream.send(OK)
    assert (await upstream.request()).start == b"GET /2 HTTP/1.1"
    upstream.send(OK)
    assert (await browser.answer()).body + (await browser.answer()).body == b"okok"


async def test_with_bodies(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    chunked = b"PUT /2 HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nefg\r\n0\r\n\r\n" % app.host
    browser.send(post(app, b"abcd", b"/1") + chunked + get(app, b"/3") + post(app, b"", b"/4") + post(app, b"h", b"/5"))
    assert [(await browser.answer()).body for _ in range(5)] == [b"/1abcd", b"/2efg", b"/3", b"/4", b"/5h"]


async def test_bodies_that_look_like_requests(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    inner = get(app, b"/inner")
    browser.send(post(app, inner, b"/1") + get(app, b"/2"))
    assert [(await browser.answer()).body for _ in range(2)] == [b"/1" + inner, b"/2"]


async def test_a_dead_target_in_the_middle(gateway: Gateway, app: App) -> None:
    """A failure is an answer like any other; without a body left unread the connection goes on."""
    dead = await gateway.app()
    dead.stop()
    browser = await gateway.connect()
    elsewhere = b"GET / HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n"
    browser.send(get(app, b"/1") + get(dead) + get(app, b"/3") + elsewhere + get(app, b"/5"))
    answers = [await browser.answer() for _ in range(5)]
    assert [answer.status for answer in answers] == [200, 502, 200, 421, 200]
    assert answers[1].reason == b"connection_refused"
    assert (answers[2].body, answers[4].body) == (b"/3", b"/5")


async def test_two_apps_in_turn(gateway: Gateway, app: App) -> None:
    other = await gateway.app(answering(OK))
    browser = await gateway.connect()
    browser.send(b"".join(get((app, other)[number % 2], b"/%d" % number) for number in range(6)))
    assert [(await browser.answer()).body for _ in range(6)] == [b"/0", b"ok", b"/2", b"ok", b"/4", b"ok"]


async def test_one_leading_crlf_is_skipped_before_each_request(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(b"\r\n" + get(app, b"/1") + b"\r\n" + post(app, b"ab", b"/2") + b"\r\n" + get(app, b"/3"))
    assert [(await browser.answer()).body for _ in range(3)] == [b"/1", b"/2ab", b"/3"]


async def test_one_leading_crlf_is_skipped_when_it_comes_alone(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    for piece in (b"\r", b"\n", get(app, b"/1")):
        browser.send(piece)
        await gateway.settled()
    assert (await browser.answer()).body == b"/1"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_byte_by_byte(gateway: Gateway, app: App, tls: bool) -> None:
    chunked = (
        b"PUT /2 HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nefg\r\n0\r\nX-T: t\r\n\r\n" % app.host
    )
    browser = await gateway.connect(tls=tls)
    await browser.send_bytewise(post(app, b"abcd", b"/1") + chunked + b"\r\n" + get(app, b"/3"))
    assert [(await browser.answer()).body for _ in range(3)] == [b"/1abcd", b"/2efg", b"/3"]


async def test_what_follows_the_last_request_of_a_connection_is_not_answered(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    last = b"GET /last HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % app.host
    browser.send(get(app, b"/1") + last + get(app, b"/never"))
    assert (await browser.answer()).body == b"/1"
    answer = await browser.answer()
    assert (answer.body, answer.get(b"Connection")) == (b"/last", b"close")
    assert await browser.eof() == b""
    assert b"/never" not in app.received


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_whoever_asks_once_does_not_wait_for_all_of_them(gateway: Gateway, tls: bool) -> None:
    """A thousand requests that are answered at once, in one packet, and somebody's single one right behind it."""
    many, one = await gateway.connect(tls=tls), await gateway.connect(tls=tls)
    many.send(b"GET /many HTTP/1.1\r\nHost: a\r\n\r\n" * 1000)
    one.send(b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await one.answer()).status == 421
    before = [record.path for record in gateway.log].index("/one")
    assert before < 250, f"{before} of a thousand were answered first"
    for _ in range(1000):
        assert (await many.answer()).status == 421


async def test_a_half_closed_connection_gets_all_its_answers(gateway: Gateway, app: App) -> None:
    """`printf … | nc` ends its direction after the last request and reads on."""
    browser = await gateway.connect()
    elsewhere = b"GET / HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n"
    browser.send(b"".join(get(app, b"/%d" % number) for number in range(40)) + elsewhere)
    browser.half_close()
    assert [(await browser.answer()).body for _ in range(40)] == [b"/%d" % number for number in range(40)]
    assert (await browser.answer()).status == 421
    assert await browser.eof() == b""
    await until(lambda: not gateway.edge.connections, "the gateway closes after the last answer")


async def test_so_does_one_whose_end_is_read_in_the_same_turn(gateway: Gateway) -> None:
    """A read that fills the buffer is followed by another at once: the answers are made, and have not left yet."""
    count = 4
    head = b"GET / HTTP/1.1\r\nHost: elsewhere.example\r\nY: %b\r\nX: " % (b"y" * 6000)
    request = head + b"x" * (gateway.edge.intake.view.nbytes // count - len(head) - 4) + b"\r\n\r\n"
    with await gateway.blocking_socket() as sock:
        await until(lambda: gateway.edge.connections == 1, "the connection is read")
        sock.sendall(request * count)
        sock.shutdown(socket.SHUT_WR)
        received = b""
        while piece := await asyncio.to_thread(sock.recv, 65536):
            received += piece
    assert received.count(b"HTTP/1.1 421 ") == count


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_a_flood_is_bounded(gateway: Gateway, tls: bool) -> None:
    """While the first request waits for its answer the others wait in the kernel, not in the gateway."""
    app = await gateway.app()
    browser = await gateway.connect(tls=tls, kernel_buffer=64 * 1024)
    browser.send(get(app, b"/first"))
    upstream = await app.accept()
    await upstream.request()
    before = octets_read(browser.peer)
    flood = get(app, b"/flood") * 1000
    sent = 0
    while browser.writable and sent < 64 * 1024 * 1024:
        browser.send(flood)
        sent += len(flood)
        for _ in range(5):  # the kernel may take more a moment later
            await gateway.settled()
    assert not browser.writable, f"the gateway took {sent} octets"
    held = octets_read(browser.peer) - before
    assert 0 < held <= gateway.settings.limits.buffer_bytes + (RECORD if tls else 0)
    assert upstream.unread == 0
    browser.reset()
    upstream.close()  # a connection that is not read is found dead when its answer is written


async def filled(gateway: Gateway, browser: Wire) -> None:
    """Returns when the answers fill the connection of a browser that does not read them, and a while later."""
    await gateway.settled()
    await until(lambda: browser.peer.get_write_buffer_size(), "the kernel takes no more")
    for _ in range(10):
        await gateway.settled()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("size", [3_000, 30_000, 300_000])
async def test_a_reader_that_takes_no_answers_gets_no_new_ones(open_gateway: OpenGateway, size: int, tls: bool) -> None:
    """Requests are not read on while their answers pile up, however little each of them is."""
    count = 12_000_000 // size
    gateway = await open_gateway(kernel_buffer=32 * 1024)
    app = await gateway.app(answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)))
    browser = await gateway.connect(tls=tls, kernel_buffer=32 * 1024)
    browser.stop_reading()
    browser.send(get(app) * count)
    await filled(gateway, browser)
    assert len(gateway.log) * size < 1_000_000
    browser.read_on()
    for _ in range(count):
        assert len((await browser.answer()).body) == size


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_nor_answers_of_the_gateways_own(open_gateway: OpenGateway, tls: bool) -> None:
    """They need nobody else's octets: forty times what was asked would pile up for who does not read."""
    gateway = await open_gateway(kernel_buffer=32 * 1024)
    browser = await gateway.connect(tls=tls, kernel_buffer=32 * 1024)
    browser.stop_reading()
    browser.send(b"GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n" * 3000)
    await filled(gateway, browser)
    assert sum(record.sent for record in gateway.log) < 1_000_000
    browser.read_on()
    for _ in range(3000):
        assert (await browser.answer()).status == 421
