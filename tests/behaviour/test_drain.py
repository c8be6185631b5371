"""Draining: what is under way is finished and says `close`, what is idle goes at once, what comes is not let in."""

from __future__ import annotations

import asyncio

import pytest

from tests.behaviour.harness import OK, PATIENCE, App, Gateway, OpenGateway, Wire, answering, get, post, until

both = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


@pytest.fixture
async def app(gateway: Gateway) -> App:
    return await gateway.app()


def drain(gateway: Gateway) -> None:
    """As a worker does on SIGTERM."""
    gateway.plain.close()
    gateway.secure.close()
    gateway.edge.drain()


async def asked(gateway: Gateway, app: App, tls: bool) -> tuple[Wire, Wire]:
    browser = await gateway.connect(tls=tls)
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    return browser, upstream


@both
async def test_what_is_under_way_is_finished(gateway: Gateway, app: App, tls: bool) -> None:
    browser, upstream = await asked(gateway, app, tls)
    drain(gateway)
    upstream.send(OK)
    answer = await browser.answer()
    assert (answer.body, answer.get(b"Connection")) == (b"ok", b"close")
    assert await browser.eof() == b""
    browser.close()
    async with asyncio.timeout(PATIENCE):
        await gateway.edge.drained()
    assert gateway.edge.connections == 0


@both
async def test_so_is_an_answer_that_has_begun(gateway: Gateway, app: App, tls: bool) -> None:
    """Its head said nothing about closing; the connection is closed after it all the same."""
    browser, upstream = await asked(gateway, app, tls)
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    await browser.head()
    drain(gateway)
    upstream.send(b"cd")
    assert await browser.eof() == b"abcd"


@both
async def test_so_is_a_request_of_which_a_part_has_come(gateway: Gateway, tls: bool) -> None:
    app = await gateway.app(answering(OK))
    browser = await gateway.connect(tls=tls)
    request = post(app, b"hello")
    browser.send(request[:20])
    await gateway.settled()
    drain(gateway)
    browser.send(request[20:])
    answer = await browser.answer()
    assert (answer.body, answer.get(b"Connection")) == (b"ok", b"close")
    assert await browser.eof() == b""


async def test_of_pipelined_requests_the_next_is_the_last(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(get(app, b"/1") + get(app, b"/2") + get(app, b"/3"))
    upstream = await app.accept()
    await upstream.request()
    drain(gateway)
    upstream.send(OK)
    answer = await browser.answer()
    assert (answer.body, answer.get(b"Connection")) == (b"ok", b"close")
    assert await browser.eof() == b""
    assert b"/2" not in app.received


@both
async def test_idle_connections_go_at_once(gateway: Gateway, tls: bool) -> None:
    app = await gateway.app(answering(OK))
    fresh = await gateway.connect(tls=tls)
    used = await gateway.connect(tls=tls)
    used.send(get(app))
    assert (await used.answer()).body == b"ok"
    await until(lambda: len(gateway.edge.downstreams) == 2, "both are there")
    drain(gateway)
    assert await fresh.eof() == b""
    assert await used.eof() == b""


async def test_nobody_new_is_let_in(gateway: Gateway) -> None:
    drain(gateway)
    for port in (gateway.plain_port, gateway.tls_port):
        await gateway.connect_to(port)  # the socket is its owner's to close: the kernel still queues
    await until(lambda: len(gateway.browsers) == 2, "they wait in the queue")
    assert gateway.edge.connections == 0


async def test_who_had_been_let_in_but_not_served_is(gateway: Gateway) -> None:
    """A connection that waits in the queue when the listener closes is not lost: its request may be there already."""
    app = await gateway.app(answering(OK))
    sockets = [await gateway.blocking_socket() for _ in range(5)]
    await until(lambda: gateway.edge.connections == 5, "five are connected")
    gateway.edge.loop.remove_reader(gateway.plain._socket)
    waiting = [await gateway.blocking_socket() for _ in range(5)]
    for sock in waiting:
        sock.sendall(get(app))
    drain(gateway)
    for sock in sockets:
        sock.close()
    for sock in waiting:
        received = b""
        while not received.endswith(b"ok"):
            piece = await asyncio.to_thread(sock.recv, 65536)
            assert piece, f"closed after {received!r}"
            received += piece
        assert b"Connection: close\r\n" in received
        sock.close()


@both
async def test_who_comes_late_has_a_moment_to_ask(open_gateway: OpenGateway, tls: bool) -> None:
    """A connection that was queued when the drain began is served if it asks; if not, it does not keep the worker."""
    gateway = await open_gateway(timeouts={"linger": 0.3})
    app = await gateway.app(answering(OK))
    gateway.edge.drain()  # and the listeners take what the kernel still has
    silent, asking = await gateway.connect(tls=tls), await gateway.connect(tls=tls)
    asking.send(get(app))
    answer = await asking.answer()
    assert (answer.body, answer.get(b"Connection")) == (b"ok", b"close")
    assert await silent.eof() == b""
    async with asyncio.timeout(PATIENCE):
        await gateway.edge.drained()


async def test_a_tunnel_is_left_until_the_end(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 101 Fine\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
    await browser.head()
    drain(gateway)
    upstream.send(b"hello")
    assert await browser.read(5) == b"hello"
    upstream.close()
    await browser.eof()


@both
async def test_what_does_not_finish_is_closed_in_the_end(gateway: Gateway, app: App, tls: bool) -> None:
    browser, upstream = await asked(gateway, app, tls)
    drain(gateway)
    await gateway.edge.close()
    await upstream.ended()
    await browser.ended()
    await until(lambda: not gateway.edge.connections, "it is gone")
    assert [record.reason for record in gateway.log] == ["downstream_closed"]
