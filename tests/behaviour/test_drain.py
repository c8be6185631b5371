"""Draining: what is under way is finished and says `close`, what is idle goes at once, what comes is refused."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway import descriptors
from gateway.edge import listener as listening
from gateway.edge import listener_drain
from gateway.edge.listener_drain import drain_listeners
from tests.behaviour.harness import OK, PATIENCE, App, Gateway, OpenGateway, Wire, answering, get, post, until

both = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


@pytest.fixture
async def app(gateway: Gateway) -> App:
    return await gateway.app()


def drain(gateway: Gateway) -> None:
    """As a worker does on SIGTERM."""
    gateway.edge.drain()
    assert gateway.plain.finish()
    assert gateway.secure.finish()


async def asked(gateway: Gateway, app: App, tls: bool) -> tuple[Wire, Wire]:
    browser = await gateway.connect(tls=tls)
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    return browser, upstream


@both
async def test_announced_before_each_answer_is_the_last(gateway: Gateway, tls: bool) -> None:
    """Idle connections stay, and are served: their next answer says so."""
    app = await gateway.app(answering(OK))
    idle, new = await gateway.connect(tls=tls), await gateway.connect(tls=tls)
    idle.send(get(app))
    assert (await idle.answer()).get(b"Connection") is None
    gateway.edge.announce_drain()
    for browser in (new, idle):
        browser.send(get(app))
        answer = await browser.answer()
        assert (answer.body, answer.get(b"Connection")) == (b"ok", b"close")
        assert await browser.eof() == b""
    late = await gateway.connect(tls=tls)
    late.send(get(app))
    assert (await late.answer()).body == b"ok", "nobody is turned away yet"


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
    used = await gateway.connect(tls=tls)
    used.send(get(app))
    assert (await used.answer()).body == b"ok"
    drain(gateway)
    assert [each.phase.name for each in gateway.edge.downstreams] == ["LINGER"]
    assert await used.eof() == b""


@both
async def test_who_has_not_asked_yet_has_a_moment(gateway: Gateway, tls: bool) -> None:
    """What a browser asks first may be on its way; what it asks next it asks elsewhere."""
    app = await gateway.app(answering(OK))
    asking, silent = await gateway.connect(tls=tls), await gateway.connect(tls=tls)
    await until(lambda: len(gateway.edge.downstreams) == 2, "both are there")
    drain(gateway)
    asking.send(get(app))
    answer = await asking.answer()
    assert (answer.body, answer.get(b"Connection")) == (b"ok", b"close")
    assert await asking.eof() == b""
    assert not silent.end
    assert await silent.eof() == b""


async def test_so_has_who_has_not_said_hello_yet(gateway: Gateway) -> None:
    app = await gateway.app(answering(OK))
    silent = await gateway.connect_to(gateway.tls_port)
    greeting = await gateway.connect_to(gateway.tls_port)
    await until(lambda: len(gateway.edge.downstreams) == 2, "both are there")
    drain(gateway)
    greeting.send(get(app))  # a TLS port answers this too, so that it shows who is still heard
    assert (await greeting.answer()).reason == b"plain_http_on_tls_port"
    assert not silent.end
    await silent.ended()


async def test_nobody_new_is_let_in(gateway: Gateway) -> None:
    gateway.edge.drain()
    await drain_listeners([gateway.plain, gateway.secure])
    for port in (gateway.plain_port, gateway.tls_port):
        with pytest.raises(ConnectionRefusedError):
            await gateway.connect_to(port)
    assert gateway.edge.connections == 0


@contextmanager
def nobody_listens(port: int) -> Iterator[None]:
    """Whoever is refused asks again for a second: another program must not have taken the port by then."""
    with socket.socket(socket.AF_INET6) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("::1", port))
        yield


async def test_who_knocks_while_the_door_closes_is_refused(gateway: Gateway) -> None:
    """Not let in and then reset: dropped, asked again by TCP, and refused."""
    gateway.plain.refuse_new()
    knocking = gateway.edge.tasks.spawn(gateway.connect_to(gateway.plain_port), "knocking")
    await gateway.connect(tls=True)  # whoever knocks after that at another door is in
    assert not knocking.done()
    await drain_listeners([gateway.plain])
    with nobody_listens(gateway.plain_port), pytest.raises(ConnectionRefusedError):
        await knocking
    gateway.expect_complaint("task knocking failed")


async def test_while_listeners_drain_nobody_new_is_let_in(gateway: Gateway) -> None:
    """Without a supervisor that has said so before: in `gateway dev`, and where it has died."""
    closing = gateway.edge.tasks.spawn(drain_listeners([gateway.plain]), "closing")
    await asyncio.sleep(0)  # its first step
    knocking = gateway.edge.tasks.spawn(gateway.connect_to(gateway.plain_port), "knocking")
    await gateway.connect(tls=True)
    assert not knocking.done()
    await closing
    with nobody_listens(gateway.plain_port), pytest.raises(ConnectionRefusedError):
        await knocking
    gateway.expect_complaint("task knocking failed")


@pytest.mark.parametrize("looks", [3, 1_000_000])
async def test_a_handshake_that_is_never_completed_keeps_no_door_open(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    left = iter(range(looks, 0, -1))
    monkeypatch.setattr(listener_drain, "shaking_hands", lambda ports: next(left, 0) > 0)
    monkeypatch.setattr(listener_drain, "HANDSHAKE_GRACE", 0.3 if looks > 3 else 60.0)
    begun = time.monotonic()
    async with asyncio.timeout(30):
        await drain_listeners([gateway.plain, gateway.secure])
    assert time.monotonic() - begun >= (0.29 if looks > 3 else looks * listener_drain.CHECK_INTERVAL)
    assert next(left, 0) == 0 or looks > 3, "it was waited for"


@pytest.fixture
def no_descriptor(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A process out of descriptors, until the list is emptied; it counts what could not be accepted."""
    missing = [0]
    accept = socket.socket.accept

    def exhausted(sock: socket.socket) -> tuple[socket.socket, object]:
        if not missing:
            return accept(sock)
        missing[0] += 1
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(listening, "EXHAUSTED_PAUSE", 0.05)
    monkeypatch.setattr(socket.socket, "accept", exhausted)
    yield missing


async def test_what_is_queued_waits_for_a_descriptor(gateway: Gateway, no_descriptor: list[int]) -> None:
    app = await gateway.app(answering(OK))
    waiting = await gateway.connect()
    waiting.send(get(app))
    gateway.edge.drain()
    closing = gateway.edge.tasks.spawn(drain_listeners([gateway.plain, gateway.secure]), "closing")
    await until(lambda: no_descriptor[0] > 2, "it tries again")
    assert not closing.done()
    no_descriptor.clear()
    await closing
    assert (await waiting.answer()).body == b"ok"
    assert all(line.startswith("error: pauses in accepting") for line in gateway.told())
    assert gateway.told()[-1].endswith("the last for: Too many open files")


async def test_what_is_queued_waits_until_it_can_be_served(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "for_connections", lambda: 2)
    app = await gateway.app()
    inside = await gateway.connect()
    inside.send(get(app))
    wire = await app.accept()
    await wire.request()
    queued = await gateway.connect()
    queued.send(get(app))
    gateway.edge.drain()
    closing = gateway.edge.tasks.spawn(drain_listeners([gateway.plain, gateway.secure]), "closing")
    await until(lambda: gateway.secure_socket.fileno() < 0, "nobody is queued at this door, and it is closed")
    assert not closing.done()
    wire.send(OK)
    assert (await inside.answer()).body == b"ok"
    await closing
    await wire.request()  # of who was queued
    wire.send(OK)
    assert (await queued.answer()).body == b"ok"
    gateway.expect_complaint("1 are open, and each may need 2 of")


async def test_what_makes_room_for_it_is_not_the_end(gateway: Gateway, no_descriptor: list[int]) -> None:
    """Idle connections to apps are given up for it; that their descriptors are free is for the next attempt to see."""
    app = await gateway.app(answering(OK))
    no_descriptor.clear()
    browser = await gateway.connect()
    browser.send(get(app))
    assert (await browser.answer()).body == b"ok"
    assert len(gateway.edge.pool.idle) == 1
    gateway.edge.loop.remove_reader(gateway.plain_socket)
    waiting = await gateway.connect()
    waiting.send(get(app))
    gateway.edge.drain()
    no_descriptor.append(0)
    assert not gateway.plain.finish()
    assert len(gateway.edge.pool.idle) == 0
    no_descriptor.clear()
    assert gateway.plain.finish()
    assert (await waiting.answer()).body == b"ok"


async def test_who_had_been_let_in_but_not_served_is(gateway: Gateway) -> None:
    """A connection that waits in the queue when the listener closes is not lost: its request may be there already."""
    app = await gateway.app(answering(OK))
    sockets = [await gateway.blocking_socket() for _ in range(5)]
    await until(lambda: gateway.edge.connections == 5, "five are connected")
    gateway.edge.loop.remove_reader(gateway.plain_socket)
    waiting = [await gateway.blocking_socket() for _ in range(5)]
    for sock in waiting:
        sock.sendall(get(app))
    drain(gateway)
    for sock in sockets:
        sock.close()
    with pytest.raises(ConnectionRefusedError):
        await gateway.connect()
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
    assert [record.reason for record in gateway.log] == ["drain_timeout"]
