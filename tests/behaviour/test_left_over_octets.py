"""Octets beyond an answer that come late, when its connection is idle or another's, are never read as an answer.

RFC 9112 section 6.3: after HEAD, 204 and 304 no content follows, whatever the fields say; section 11.2 tells what comes
of it if somebody reads on. RFC 9110 section 9.2.2: what is idempotent may be asked again.
"""

from __future__ import annotations

import pytest

from gateway.turns import PORTION
from tests.behaviour.harness import OK, App, Gateway, Wire, get, post, until
from tests.behaviour.test_stale_connection import unnoticed

EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
NO_CONTENT = {
    "HEAD": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    "HEAD-of-chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "304": b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n',
    "length-0": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
}


@pytest.fixture
async def app(gateway: Gateway) -> App:
    return await gateway.app()


async def answered(gateway: Gateway, app: App, answer: bytes, method: bytes = b"GET") -> tuple[Wire, Wire]:
    """A browser and the app's end of the connection that gave it `answer`."""
    browser = await gateway.connect()
    browser.send(b"%b /first HTTP/1.1\r\nHost: %b\r\n\r\n" % (method, app.host))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(answer)
    await browser.answer(method)
    await gateway.settled()
    return browser, upstream


async def served_anew(app: App, stranger: Wire) -> None:
    """What `stranger` asked for comes by a new connection, once."""
    again = await app.accept()
    assert (await again.request()).start.endswith(b" /second HTTP/1.1")
    again.send(OK)
    assert (await stranger.answer()).body == b"ok"


def method_of(kind: str) -> bytes:
    return b"HEAD" if kind.startswith("HEAD") else b"GET"


@pytest.mark.parametrize("stray", [b"\r\n", b"hello", EVIL, EVIL[:20]], ids=["line", "text", "answer", "part"])
@pytest.mark.parametrize("kind", NO_CONTENT)
async def test_it_is_seen_before_the_connection_is_used(gateway: Gateway, app: App, kind: str, stray: bytes) -> None:
    _, upstream = await answered(gateway, app, NO_CONTENT[kind], method_of(kind))
    unnoticed(upstream)
    upstream.send(stray)
    await upstream.drained()
    stranger = await gateway.connect()
    stranger.send(get(app, b"/second"))
    await served_anew(app, stranger)


@pytest.mark.parametrize("kind", NO_CONTENT)
async def test_a_quiet_connection_is_used_again(gateway: Gateway, app: App, kind: str) -> None:
    browser, upstream = await answered(gateway, app, NO_CONTENT[kind], method_of(kind))
    browser.send(get(app, b"/second"))
    await upstream.request()
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"
    assert len(app.connections) == 1


@pytest.mark.parametrize("stray", [b"\n", b"hello", b"\r\nHTTP/1.1 200 OK", b"HTTP/1.1 20x\r\n", b"\x16\x03\x01"])
async def test_what_comes_under_way_is_no_answer(gateway: Gateway, app: App, stray: bytes) -> None:
    """The next request has reached the app already; it is asked again elsewhere."""
    browser, upstream = await answered(gateway, app, OK)
    browser.send(get(app, b"/second"))
    await upstream.request()
    upstream.send(stray)
    await served_anew(app, browser)
    assert await upstream.ended() == b""


@pytest.mark.parametrize("split", range(1, len(EVIL)))
async def test_an_answer_that_was_not_asked_for_is_met_at_every_octet(gateway: Gateway, app: App, split: int) -> None:
    """Its beginning comes along with the answer before, its rest when the connection would be idle."""
    browser, upstream = await answered(gateway, app, OK + EVIL[:split])
    upstream.send(EVIL[split:])
    assert await upstream.ended() == b""
    browser.send(get(app, b"/second"))
    await served_anew(app, browser)


async def test_an_answer_before_the_request_has_left_is_none(gateway: Gateway, app: App) -> None:
    """Both are read in one turn of the event loop, the request first: it leaves when the turn is over."""
    browser, upstream = await answered(gateway, app, OK)
    (connection,) = gateway.edge.pool.connections
    sent = get(app, b"/second")
    (downstream,) = gateway.edge.downstreams
    downstream.data_received(sent)
    connection.data_received(EVIL)
    await served_anew(app, browser)
    assert upstream.unread == 0


@pytest.mark.parametrize("first", ["octets", "request"])
async def test_it_is_met_at_once_though_there_is_no_time(gateway: Gateway, app: App, first: str) -> None:
    """What else is read in a turn of the event loop that has lasted too long waits, and the next request leaves."""
    browser, upstream = await answered(gateway, app, OK)
    (connection,) = gateway.edge.pool.connections
    (downstream,) = gateway.edge.downstreams
    turns = gateway.edge.intake.turns
    turns.begun, turns._until = PORTION, 1e-9
    assert not turns.has_time()
    for read in ("octets", "request") if first == "octets" else ("request", "octets"):
        if read == "request":
            downstream.data_received(get(app, b"/second"))
        else:
            connection.get_buffer(-1)[: len(EVIL)] = EVIL
            connection.buffer_updated(len(EVIL))
    gateway.edge.pool.context.write_batcher.flush()
    await served_anew(app, browser)
    assert upstream.unread == 0


async def test_what_may_not_be_repeated_is_not(gateway: Gateway, app: App) -> None:
    browser, upstream = await answered(gateway, app, OK)
    browser.send(post(app, b"abc"))
    await upstream.request()
    upstream.send(b"hello")
    answer = await browser.answer()
    assert (answer.status, answer.reason) == (502, b"http_protocol_error")
    await gateway.settled()
    assert len(app.connections) == 1


async def test_an_answer_that_can_be_read_is_one(gateway: Gateway, app: App) -> None:
    browser, upstream = await answered(gateway, app, OK)
    browser.send(get(app, b"/second"))
    await upstream.request()
    upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert (await browser.answer()).status == 502
    assert len(app.connections) == 1


async def test_it_is_repeated_once(gateway: Gateway, app: App) -> None:
    browser, upstream = await answered(gateway, app, OK)
    browser.send(get(app, b"/second"))
    await upstream.request()
    upstream.send(b"hello")
    again = await app.accept()
    await again.request()
    again.send(b"hello")
    answer = await browser.answer()
    assert (answer.status, answer.reason) == (502, b"http_protocol_error")
    assert len(app.connections) == 2


async def test_what_follows_an_interim_answer_is_not_repeated(gateway: Gateway, app: App) -> None:
    browser, upstream = await answered(gateway, app, OK)
    browser.send(get(app, b"/second"))
    await upstream.request()
    upstream.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    assert (await browser.answer()).status == 103
    upstream.send(b"hello")
    assert (await browser.answer()).status == 502
    await until(lambda: not gateway.edge.pool.connections, "it is closed")
    assert len(app.connections) == 1
