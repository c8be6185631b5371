"""An idle connection that the app has closed costs nobody a failure, and no request is ever carried out twice by us."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import IPv6Address

import pytest

from gateway.directory.sandbox import Sandbox
from tests.behaviour.harness import LOOPBACK, OK, SANDBOX, App, Gateway, OpenGateway, Wire, get, post, until


@pytest.fixture
async def app(gateway: Gateway) -> App:
    return await gateway.app()


async def pooled(gateway: Gateway, app: App) -> tuple[Wire, Wire]:
    """A browser, and the app's end of a connection that has served it once and is idle now."""
    browser = await gateway.connect()
    browser.send(get(app, b"/first"))
    upstream = await app.accept()
    assert (await upstream.request()).start == b"GET /first HTTP/1.1"
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"
    assert len(gateway.edge.pool.idle) == 1
    return browser, upstream


def unnoticed(upstream: Wire) -> asyncio.Transport:
    """The event loop stops looking at an idle connection, as if what comes next came together with the next request."""
    upstream.peer.pause_reading()
    return upstream.peer


async def test_an_idle_connection_is_used_again(gateway: Gateway, app: App) -> None:
    browser, upstream = await pooled(gateway, app)
    for request in (get(app), post(app, b"abc"), get(app)):
        browser.send(request)
        await upstream.request()
        upstream.send(OK)
        assert (await browser.answer()).body == b"ok"
    assert len(app.connections) == 1
    assert [record.reused for record in gateway.log] == [False, True, True, True]


async def test_one_that_the_app_closed_is_forgotten(gateway: Gateway, app: App) -> None:
    browser, upstream = await pooled(gateway, app)
    upstream.close()
    await until(lambda: not gateway.edge.pool.connections, "the pool notices")
    browser.send(post(app, b"abc"))
    again = await app.accept()
    assert (await again.request()).body == b"abc"
    again.send(OK)
    assert (await browser.answer()).body == b"ok"


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"])
async def test_a_request_that_met_the_close_is_sent_again_once(
    gateway: Gateway, app: App, method: bytes, how: str
) -> None:
    browser, upstream = await pooled(gateway, app)
    connection = unnoticed(upstream)
    getattr(upstream, how)()
    await until(lambda: upstream.closed, "the app's end is closed")
    browser.send(b"%b /second HTTP/1.1\r\nHost: %b\r\n\r\n" % (method, app.host))
    await until(lambda: not len(gateway.edge.pool.idle), "the stale connection is taken")
    connection.resume_reading()
    again = await app.accept()
    assert (await again.request()).start == method + b" /second HTTP/1.1"
    again.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert (await browser.answer(method)).status == 204
    assert len(app.connections) == 2
    assert gateway.log[-1].status == 204


async def test_a_post_takes_only_a_connection_proven_alive(gateway: Gateway, app: App) -> None:
    """It cannot be repeated, so the close is looked for before, not after."""
    browser, upstream = await pooled(gateway, app)
    unnoticed(upstream)
    upstream.close()
    await until(lambda: upstream.closed, "the app's end is closed")
    browser.send(post(app, b"abc"))
    again = await app.accept()
    assert (await again.request()).body == b"abc"
    again.send(OK)
    assert (await browser.answer()).body == b"ok"
    assert gateway.log[-1].reused is False


async def test_so_does_every_request_after_a_long_silence(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(upstream={"idle_proven": 0.05})
    app = await gateway.app()
    browser, upstream = await pooled(gateway, app)
    unnoticed(upstream)
    upstream.close()
    await until(lambda: upstream.closed, "the app's end is closed")
    idle_since = gateway.edge.clock()
    await until(lambda: gateway.edge.clock() > idle_since + 0.1, "silence")
    browser.send(get(app))
    again = await app.accept()
    await again.request()
    again.send(OK)
    assert (await browser.answer()).body == b"ok"
    assert gateway.log[-1].reused is False  # not tried there at all


@pytest.mark.parametrize("request_of", [post, lambda app, body: get(app)], ids=["post", "get"])
async def test_an_app_that_closes_after_reading(
    gateway: Gateway, app: App, request_of: Callable[[App, bytes], bytes]
) -> None:
    """A GET is repeated, on a new connection; a POST may have been carried out, so its sender must decide."""
    browser, upstream = await pooled(gateway, app)
    browser.send(request_of(app, b"abc"))
    asked = await upstream.request()
    upstream.close()
    if asked.start.startswith(b"GET"):
        again = await app.accept()
        assert (await again.request()).head.partition(b"X-Request-Id")[0] == asked.head.partition(b"X-Request-Id")[0]
        again.send(OK)
        assert (await browser.answer()).body == b"ok"
    else:
        answer = await browser.answer()
        assert (answer.status, answer.reason) == (502, b"connection_terminated")
    await gateway.settled()
    assert len(app.connections) == (2 if asked.start.startswith(b"GET") else 1)


@pytest.mark.parametrize("method", [b"PATCH", b"POST", b"PROPPATCH"])
async def test_what_may_not_be_done_twice_is_not_repeated(gateway: Gateway, app: App, method: bytes) -> None:
    """Whether it has a body or not, and also a method that nobody here has heard of."""
    browser, upstream = await pooled(gateway, app)
    browser.send(b"%b / HTTP/1.1\r\nHost: %b\r\n\r\n" % (method, app.host))
    await upstream.request()
    upstream.close()
    answer = await browser.answer()
    assert (answer.status, answer.reason) == (502, b"connection_terminated")
    assert len(app.connections) == 1


async def test_a_get_with_a_body_is_not_repeated(gateway: Gateway, app: App) -> None:
    browser, upstream = await pooled(gateway, app)
    browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\nContent-Length: 3\r\n\r\nabc" % app.host)
    await upstream.request()
    upstream.close()
    assert (await browser.answer()).reason == b"connection_terminated"
    assert len(app.connections) == 1


async def test_the_second_failure_is_told(gateway: Gateway, app: App) -> None:
    browser, upstream = await pooled(gateway, app)
    browser.send(get(app))
    await upstream.request()
    upstream.close()
    again = await app.accept()
    await again.request()
    again.close()
    answer = await browser.answer()
    assert (answer.status, answer.reason) == (502, b"connection_terminated")
    await gateway.settled()
    assert len(app.connections) == 2
    assert [record.status for record in gateway.log] == [200, 502]


async def test_the_second_attempt_is_dialed_even_if_others_are_idle(gateway: Gateway, app: App) -> None:
    """Where one connection of an app has died the others have too."""
    browsers = [await gateway.connect() for _ in range(3)]
    for browser in browsers:
        browser.send(get(app))
    upstreams = [await app.accept() for _ in browsers]
    for upstream in upstreams:
        await upstream.request()
        upstream.send(OK)
    for browser in browsers:
        assert (await browser.answer()).body == b"ok"
    assert len(gateway.edge.pool.idle) == 3
    connections = [unnoticed(upstream) for upstream in upstreams]
    for upstream in upstreams:
        upstream.close()
    await until(lambda: all(upstream.closed for upstream in upstreams), "the app has closed all")
    browsers[0].send(get(app))
    await until(lambda: len(gateway.edge.pool.idle) == 2, "one is taken")
    for connection in connections:
        connection.resume_reading()
    again = await app.accept()
    await again.request()
    again.send(OK)
    assert (await browsers[0].answer()).body == b"ok"


async def test_a_new_connection_that_fails_is_not_tried_again(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.close()
    assert (await browser.answer()).reason == b"connection_terminated"
    assert app.received.count(b"GET ") == 1  # the other connection, if any, asked whether it wants TLS


@pytest.mark.parametrize(
    "begun",
    [b"H", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 103 Early Hints\r\n\r\n"],
    ids=["one-octet", "half-a-head", "interim"],
)
async def test_nothing_is_repeated_once_an_answer_has_begun(gateway: Gateway, app: App, begun: bytes) -> None:
    browser, upstream = await pooled(gateway, app)
    browser.send(get(app))
    await upstream.request()
    upstream.send(begun)
    upstream.close()
    answer = await browser.answer()
    while answer.status < 200:
        answer = await browser.answer()
    assert (answer.status, answer.reason) == (502, b"connection_terminated")
    await gateway.settled()
    assert len(app.connections) == 1


@pytest.mark.parametrize("stray", [b"\n", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"], ids=["octet", "answer"])
async def test_stray_octets_discard_an_idle_connection(gateway: Gateway, app: App, stray: bytes) -> None:
    """An app that answers a request it was not asked yet would answer the next browser's."""
    browser, upstream = await pooled(gateway, app)
    upstream.send(stray)
    await upstream.ended()
    assert not gateway.edge.pool.connections
    browser.send(get(app))
    again = await app.accept()
    await again.request()
    again.send(OK)
    assert (await browser.answer()).body == b"ok"


async def test_stray_octets_found_by_the_next_request_that_cannot_be_repeated(gateway: Gateway, app: App) -> None:
    browser, upstream = await pooled(gateway, app)
    unnoticed(upstream)
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    await upstream.drained()
    await gateway.settled()
    browser.send(post(app, b"abc"))
    again = await app.accept()
    assert (await again.request()).body == b"abc"
    again.send(OK)
    assert (await browser.answer()).body == b"ok"


async def test_another_generation_never_meets_an_old_connection(gateway: Gateway, app: App) -> None:
    """The same address, another machine: what was opened to the one before is not for the one after."""
    browser, upstream = await pooled(gateway, app)
    gateway.table.table[SANDBOX] = Sandbox(SANDBOX, IPv6Address(LOOPBACK), "2")
    gateway.edge.directory.invalidate([SANDBOX])
    browser.send(get(app, b"/second"))
    again = await app.accept()
    assert (await again.request()).start == b"GET /second HTTP/1.1"
    again.send(OK)
    assert (await browser.answer()).body == b"ok"
    assert upstream.unread == 0


async def test_two_ports_of_one_sandbox_do_not_share(gateway: Gateway, app: App) -> None:
    browser, upstream = await pooled(gateway, app)
    other = await gateway.app()
    browser.send(get(other))
    connection = await other.accept()
    assert (await connection.request()).get(b"Host") == other.host
    connection.send(OK)
    assert (await browser.answer()).body == b"ok"
    assert upstream.unread == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
    ids=["close", "close-among-others", "http-1.0"],
)
async def test_a_connection_that_the_app_will_close_is_closed(gateway: Gateway, app: App, answer: bytes) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(answer)
    assert (await browser.answer()).body == b"ok"
    assert await upstream.ended() == b""
    assert not gateway.edge.pool.connections


async def test_http_1_0_with_keep_alive_is_kept(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok")
    assert (await browser.answer()).head == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Request-Id: #\r\n\r\n"
    assert len(gateway.edge.pool.idle) == 1


async def test_an_unused_connection_is_closed_in_time(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(upstream={"idle_timeout": 0.2})
    app = await gateway.app()
    _, upstream = await pooled(gateway, app)
    assert await upstream.ended() == b""
    assert not gateway.edge.pool.connections


async def test_no_more_idle_connections_than_allowed(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(upstream={"max_idle_per_target": 2})
    app = await gateway.app()
    browsers = [await gateway.connect() for _ in range(5)]
    for browser in browsers:
        browser.send(get(app))
    for _ in browsers:
        upstream = await app.accept()
        await upstream.request()
        upstream.send(OK)
    for browser in browsers:
        assert (await browser.answer()).body == b"ok"
    await until(lambda: sum(not wire.end for wire in app.connections) == 2, "two are kept")
    assert len(gateway.edge.pool.idle) == len(gateway.edge.pool.connections) == 2


async def test_sockets_are_set_up_for_it(gateway: Gateway, app: App) -> None:
    _, upstream = await pooled(gateway, app)
    sock = upstream.peer.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
