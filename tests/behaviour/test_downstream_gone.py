"""A browser that leaves releases its app at once, wherever the exchange is, and leaves one line in the log."""

from __future__ import annotations

import ssl

import pytest

from tests.behaviour.harness import App, Gateway, OpenGateway, TlsSides, Wire, get, until
from tests.support.ports import silent_port

both = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
LEAVING = pytest.mark.parametrize("how", ["hang_up", "reset"])


@pytest.fixture
async def app(gateway: Gateway) -> App:
    return await gateway.app()


def leave(browser: Wire, how: str) -> None:
    getattr(browser, how)()


async def released(gateway: Gateway, upstream: Wire, status: int) -> None:
    await upstream.ended()
    await until(lambda: not gateway.edge.connections, "the browser's connection is forgotten")
    assert not gateway.edge.pool.connections
    assert not gateway.edge.exchanges
    (record,) = gateway.log
    assert (record.status, record.reason) == (status, "downstream_closed")


@both
@LEAVING
async def test_while_waiting(gateway: Gateway, app: App, how: str, tls: bool) -> None:
    browser = await gateway.connect(tls=tls)
    # A request that is complete may be followed by the end of its direction: only a body shows who has left.
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 5\r\n\r\nabc" % app.host)
    upstream = await app.accept()
    await upstream.head()
    leave(browser, how)
    await released(gateway, upstream, 499)


@pytest.mark.parametrize(("how", "tls"), [("reset", False), ("reset", True), ("hang_up", True)])
async def test_while_waiting_with_a_complete_request(gateway: Gateway, app: App, how: str, tls: bool) -> None:
    browser = await gateway.connect(tls=tls)
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    leave(browser, how)
    await released(gateway, upstream, 499)


async def test_while_waiting_after_a_half_close(open_gateway: OpenGateway) -> None:
    """On plain TCP leaving looks like half-closing; an app is held for it only so long."""
    gateway = await open_gateway(timeouts={"half_closed": 0.2})
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    browser.close()
    await released(gateway, upstream, 499)


@both
@LEAVING
@pytest.mark.parametrize("framing", [b"Content-Length: 1000000000", b"Transfer-Encoding: chunked", b"X-A: until-close"])
async def test_inside_the_answer(gateway: Gateway, app: App, framing: bytes, how: str, tls: bool) -> None:
    browser = await gateway.connect(tls=tls)
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing)
    piece = b"400\r\n" + bytes(1024) + b"\r\n"
    upstream.send(piece)
    await browser.head()
    await browser.read(1024)
    leave(browser, how)
    for _ in range(100):  # a write is what finds out on plain TCP
        upstream.send(piece)
        await gateway.settled()
    await released(gateway, upstream, 200)


@both
@LEAVING
async def test_inside_the_request(gateway: Gateway, app: App, how: str, tls: bool) -> None:
    browser = await gateway.connect(tls=tls)
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n" % app.host)
    upstream = await app.accept()
    await upstream.head()
    assert await upstream.read(8) == b"3\r\nabc\r\n"
    leave(browser, how)
    assert await upstream.ended() == b""  # no last chunk was made up
    await released(gateway, upstream, 499)


@LEAVING
async def test_while_dialing(open_gateway: OpenGateway, how: str) -> None:
    gateway = await open_gateway(upstream={"connect_timeout": 60.0})
    with silent_port() as port:
        browser = await gateway.connect()
        browser.send(b"POST / HTTP/1.1\r\nHost: %d-box.sandbox.localhost\r\nContent-Length: 5\r\n\r\n" % port)
        await until(lambda: gateway.edge.exchanges, "the exchange begins")
        await gateway.settled()
        assert len(gateway.edge.tasks) == 1  # the dial
        leave(browser, how)
        await until(lambda: not gateway.edge.connections, "the browser's connection is forgotten")
        await until(lambda: not len(gateway.edge.tasks), "the dial is given up")
        assert not gateway.edge.exchanges
        (record,) = gateway.log
        assert (record.status, record.reason) == (499, "downstream_closed")


async def test_a_request_sent_and_half_closed_before_the_app_was_reached(gateway: Gateway, app: App) -> None:
    """`printf … | nc` with a body: it all came before the gateway could send any of it on."""
    browser = await gateway.connect()
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 5\r\n\r\nhello" % app.host)
    browser.half_close()
    upstream = await app.accept()
    assert (await upstream.request()).body == b"hello"
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert (await browser.answer()).body == b"ok"
    assert await browser.eof() == b""


async def test_half_a_body_and_a_half_close_before_the_app_was_reached(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 10\r\n\r\nhello" % app.host)
    browser.half_close()
    upstream = await app.accept()
    await upstream.ended()
    assert await browser.eof() == b""
    await released(gateway, upstream, 499)


@both
async def test_pipelined_requests_of_one_who_left_are_not_begun(gateway: Gateway, app: App, tls: bool) -> None:
    browser = await gateway.connect(tls=tls)
    browser.send(get(app, b"/1") + get(app, b"/2") + get(app, b"/3"))
    upstream = await app.accept()
    await upstream.request()
    browser.reset()
    await released(gateway, upstream, 499)
    await gateway.settled()
    assert app.received.count(b"GET ") == 1


@both
async def test_who_resets_while_the_app_takes_nothing(open_gateway: OpenGateway, tls: bool) -> None:
    """Nothing is read from the browser then, so nobody is told of its end; it is asked for."""
    gateway = await open_gateway(kernel_buffer=16 * 1024, timeouts={"tcp_keepalive": 1.0})
    app = await gateway.app(kernel_buffer=16 * 1024)
    browser = await gateway.connect(tls=tls, kernel_buffer=16 * 1024)
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 3000000\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.head()
    gateway.shrink_upstream_buffers(16 * 1024)
    upstream.stop_reading()
    browser.send(bytes(2_000_000))
    full = 0
    while full < 5:  # not for a moment only: kernels take some of it later than others
        await gateway.settled()
        full = 0 if browser.peer.is_reading() else full + 1
    browser.reset()
    await until(lambda: not gateway.edge.connections, "the connection is forgotten")
    assert [record.status for record in gateway.log] == [499]
    upstream.read_on()
    await upstream.ended()


async def test_a_goodbye_over_tls_from_one_who_stays_on_the_line(
    open_gateway: OpenGateway, tls_sides: TlsSides
) -> None:
    """Nobody knows whether it listens, until it takes nothing for `timeouts.body_idle`."""
    gateway = await open_gateway(timeouts={"linger": 0.2, "body_idle": 0.2}, kernel_buffer=16 * 1024)
    app = await gateway.app(kernel_buffer=16 * 1024)
    wire = await gateway.connect_to(gateway.tls_port, kernel_buffer=16 * 1024)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = tls_sides.client.wrap_bio(incoming, outgoing, server_hostname="5000-box.sandbox.localhost")
    shaken = False
    while not shaken:
        try:
            tls.do_handshake()
            shaken = True
        except ssl.SSLWantReadError:
            wire.send(outgoing.read())
            await wire.wait(lambda: wire.unread > 0, "the handshake goes on")
            incoming.write(await wire.read(wire.unread))
    tls.write(get(app))
    wire.send(outgoing.read())
    upstream = await app.accept()
    await upstream.request()
    wire.stop_reading()
    upstream.send(b"HTTP/1.1 200 OK\r\n\r\n")
    while upstream.writable:
        upstream.send(bytes(100_000))
        await gateway.settled()
    with pytest.raises(ssl.SSLWantReadError):
        tls.unwrap()
    wire.send(outgoing.read())
    await upstream.ended()
    await until(lambda: not gateway.edge.connections, "the connection is forgotten")


async def test_two_hundred_who_left(gateway: Gateway, app: App) -> None:
    for _ in range(10):
        browsers = [await gateway.connect() for _ in range(20)]
        for browser in browsers:
            browser.send(get(app))
        upstreams = [await app.accept() for _ in browsers]
        for upstream in upstreams:
            await upstream.request()
        for browser in browsers:
            browser.reset()
        for upstream in upstreams:
            await upstream.ended()
        await until(lambda: not gateway.edge.connections, "all are forgotten")
        assert not gateway.edge.pool.connections
    assert [record.status for record in gateway.log] == [499] * 200
