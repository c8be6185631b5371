"""A reader that stops and goes on changes nobody else's deadline: pausing belongs to bodies, deadlines to phases."""

from __future__ import annotations

from math import inf

import pytest

from gateway.edge.http1 import Http1Downstream
from gateway.upstream.http1 import Http1Upstream
from gateway.upstream.http1_lifecycle import State
from tests.behaviour.harness import App, Gateway, OpenGateway, Wire, get, post, until
from tests.behaviour.test_deadlines import LATE, SHORT, Watch

both = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])

SMALL = 16 * 1024
HINT = b"HTTP/1.1 103 Early Hints\r\n%b\r\n" % (b"Link: <%b>\r\n" % (b"x" * 8000) * 3)


def upstream_of(gateway: Gateway) -> Http1Upstream:
    (connection,) = gateway.edge.pool.connections
    return connection


def downstream_of(gateway: Gateway) -> Http1Downstream:
    (connection,) = [each for each in gateway.edge.downstreams if isinstance(each, Http1Downstream)]
    return connection


async def stalled_in_the_head(gateway: Gateway, tls: bool) -> tuple[Wire, Wire]:
    """An app that has sent so many interim answers that the browser, who does not read, has made it pause."""
    app = await gateway.app(kernel_buffer=SMALL)
    browser = await gateway.connect(tls=tls, kernel_buffer=SMALL)
    browser.stop_reading()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(HINT * 16)
    await until(lambda: not upstream.peer.is_reading(), "upstream is paused")
    assert upstream_of(gateway).state is State.HEAD
    return browser, upstream


@both
async def test_the_time_for_an_answer_s_head_goes_on(open_gateway: OpenGateway, tls: bool) -> None:
    """It became the hour that a body may be silent."""
    gateway = await open_gateway(
        kernel_buffer=SMALL, limits={"buffer_bytes": 4096}, upstream={"response_header_timeout": 2 * SHORT}
    )
    browser, _ = await stalled_in_the_head(gateway, tls)
    browser.read_on()
    await until(lambda: browser.received.count(b"\r\n\r\n") >= 16, "all interim answers")
    watch = Watch(gateway)
    await until(lambda: b"http_response_timeout" in browser.received, "the gateway's own answer")
    assert watch.elapsed < 2 * SHORT + LATE


@both
async def test_an_answer_that_could_not_be_read_is_not_late(open_gateway: OpenGateway, tls: bool) -> None:
    gateway = await open_gateway(
        kernel_buffer=SMALL, limits={"buffer_bytes": 4096}, upstream={"response_header_timeout": SHORT}
    )
    browser, upstream = await stalled_in_the_head(gateway, tls)
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    await Watch(gateway).reaches(3 * SHORT)
    browser.read_on()
    await until(lambda: browser.received.endswith(b"\r\n\r\nok"), "the app's answer")


# --- every state of the upstream side -----------------------------------------------------------------------------------


@pytest.fixture
async def app(gateway: Gateway) -> App:
    return await gateway.app()


def pause_and_resume(connection: Http1Upstream) -> tuple[float, float]:
    """The deadline while paused and after it."""
    connection.pause()
    paused = connection.deadline
    connection.resume()
    return paused, connection.deadline


async def test_upstream_awaiting_a_head(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    await (await app.accept()).request()
    connection = upstream_of(gateway)
    before = connection.deadline
    assert before != inf
    assert pause_and_resume(connection) == (before, before)


async def test_upstream_awaiting_the_beginning_of_an_error(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\n")
    waiting = gateway.edge.error_answers.waiting
    await until(lambda: waiting, "it is waited for")
    (answer,) = waiting
    before = answer.deadline
    pause_and_resume(upstream_of(gateway))
    assert answer.deadline == before
    await browser.head()  # after half a second, without it
    assert not waiting


async def test_upstream_in_a_body(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    await browser.read_until(b"ab")
    connection = upstream_of(gateway)
    paused, after = pause_and_resume(connection)
    assert paused == inf, "downstream's slowness is not the sandbox's fault"
    idle = gateway.settings.timeouts.tunnel_idle
    assert after == pytest.approx(gateway.edge.clock() + idle, abs=5)


async def test_upstream_idle_and_retired(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    await browser.answer()
    connection = upstream_of(gateway)
    assert connection.state is State.IDLE
    before = connection.deadline
    assert pause_and_resume(connection) == (before, before)


async def tunnel(gateway: Gateway, app: App) -> tuple[Wire, Wire]:
    browser = await gateway.connect()
    browser.send(
        b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" % app.host
    )
    upstream = await app.accept()
    await upstream.head()
    upstream.send(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )
    await browser.head()
    return browser, upstream


@pytest.mark.parametrize("grace", [None, 10.0], ids=["open", "retired"])
async def test_upstream_in_a_tunnel(gateway: Gateway, app: App, grace: float | None) -> None:
    await tunnel(gateway, app)
    connection = upstream_of(gateway)
    if grace is not None:
        connection.retire(gateway.edge.clock() + grace)
    before = connection.deadline
    assert pause_and_resume(connection) == (before, before)


# --- every phase of the downstream side ---------------------------------------------------------------------------------


def stall(connection: Http1Downstream) -> tuple[float, float]:
    """The deadline while its reader takes no more, and once it does."""
    connection.pause_writing()
    full = connection.deadline
    connection.resume_writing()
    return full, connection.deadline


def hold(connection: Http1Downstream) -> tuple[float, float]:
    """The deadline while upstream takes no more of the request, and once it does."""
    connection.pause()
    held = connection.deadline
    connection.resume()
    return held, connection.deadline


async def test_downstream_in_a_head(gateway: Gateway) -> None:
    browser = await gateway.connect()
    browser.send(b"GET / HTTP/1.1\r\nHost")
    await until(lambda: "HEAD" in repr(downstream_of(gateway)), "the head has begun")
    connection = downstream_of(gateway)
    before = connection.deadline
    assert stall(connection) == hold(connection) == (before, before)


async def test_downstream_idle(gateway: Gateway) -> None:
    await gateway.connect()
    await until(lambda: gateway.edge.connections, "it is accepted")
    connection = downstream_of(gateway)
    before = connection.deadline
    assert hold(connection) == (before, before)


async def test_downstream_lingering(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(timeouts={"linger": 5.0})
    browser = await gateway.connect()
    browser.send(b"nonsense\r\n\r\n")
    assert (await browser.answer()).status == 400
    connection = downstream_of(gateway)
    before = connection.deadline
    assert stall(connection) == hold(connection) == (before, before)
    browser.close()


async def test_downstream_waiting_for_its_answer(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    await (await app.accept()).request()
    connection = downstream_of(gateway)
    assert hold(connection) == (inf, inf), "the sandbox's turn"


async def test_downstream_half_closed(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    connection = downstream_of(gateway)
    browser.half_close()
    await until(lambda: connection.deadline != inf, "it is half-closed")
    before = connection.deadline
    assert hold(connection) == (before, before)
    upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    await browser.eof()  # nobody would notice a reset


async def test_downstream_in_a_tunnel(gateway: Gateway, app: App) -> None:
    await tunnel(gateway, app)
    connection = downstream_of(gateway)
    before = connection.deadline
    assert hold(connection) == (before, before)


async def test_downstream_sending_a_body(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(post(app, b"1234567890")[:-5])
    await (await app.accept()).read_until(b"12345")
    connection = downstream_of(gateway)
    held, after = hold(connection)
    assert held == inf, "upstream's slowness is not the browser's fault"
    assert after == pytest.approx(gateway.edge.clock() + gateway.settings.timeouts.body_idle, abs=5)


@both
async def test_a_slow_reader_s_connection_closes_once_it_has_been_drained(open_gateway: OpenGateway, tls: bool) -> None:
    """It was not idle when the drain began; when its reader has taken the answer it is, and has nothing more to ask."""
    gateway = await open_gateway(kernel_buffer=SMALL, limits={"buffer_bytes": 4096})
    size = 400_000
    app = await gateway.app()
    browser = await gateway.connect(tls=tls, kernel_buffer=SMALL)
    browser.stop_reading()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    # The end of it comes while the reader stands still.
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
    browser.read_on()
    await until(lambda: gateway.log or len(browser.received) > size, "the exchange is over")
    gateway.edge.drain()
    assert (await browser.eof()).endswith(bytes(1000))
