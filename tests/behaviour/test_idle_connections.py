"""Idle connections to apps are kept as long as nobody needs their descriptors, and not one moment longer."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from gateway import descriptors
from gateway.edge.deadlines import HEAD
from gateway.edge.listener import MAX_IDLE_CLOSED
from gateway.upstream import claims
from tests.behaviour.h2_wire import h2_browser
from tests.behaviour.harness import OK, App, Gateway, OpenGateway, Wire, answering, get, until


async def ask(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    assert (await browser.answer()).status == 200
    browser.close()


async def idle(gateway: Gateway, count: int) -> list[App]:
    """As many apps with an idle connection each, the first has been idle for longest."""
    apps = [await gateway.app(answering(OK)) for _ in range(count)]
    for app in apps:
        await ask(gateway, app)
    return apps


async def test_the_oldest_of_all_targets_goes(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(upstream={"max_idle": 3})
    apps = await idle(gateway, 8)
    assert len(gateway.edge.pool.idle) == 3
    for app in apps[:5]:
        await app.connections[0].ended()
    assert not any(app.connections[0].end for app in apps[5:])


async def test_being_used_makes_young_again(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(upstream={"max_idle": 3})
    first, second, *_ = await idle(gateway, 3)
    await ask(gateway, first)
    assert len(first.connections) == 1
    await idle(gateway, 1)
    await second.connections[0].ended()
    assert not first.connections[0].end


async def test_the_oldest_of_one_target_goes(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(upstream={"max_idle_per_target": 1})
    app = await gateway.app()
    browsers = [await gateway.connect() for _ in range(3)]
    for browser in browsers:
        browser.send(get(app))
    wires = [await app.accept() for _ in browsers]
    for wire in wires:
        await wire.request()
        wire.send(OK)
        await until(lambda: len(gateway.edge.pool.idle) == 1, "idle")
    for wire in wires[:2]:
        await wire.ended()
    await until(lambda: len(gateway.edge.pool.connections) == 1, "the others are gone")
    assert not wires[2].end


@pytest.mark.pure  # how long an app may take is patched
async def test_bursts_over_one_http2_connection_use_the_same_ones(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page's modules are asked for together, again and again: closing what the next burst needs would be a dial each."""
    monkeypatch.setattr(
        claims, "FIRST_OCTET_TIMEOUT", 60.0
    )  # else the app here would be thought to serve one at a time
    app = await gateway.app()
    browser = await h2_browser(gateway, app.host)
    count = gateway.settings.limits.http2_streams
    for _ in range(3):
        streams = [browser.ask() for _ in range(count)]
        if not app.connections:
            for _ in streams:
                await app.accept()
        for wire in app.connections:
            await wire.request()  # all wait at once
        for wire in app.connections:
            wire.send(OK)
        for stream in streams:
            assert (await browser.answer(stream)).status == 200
    assert len(app.connections) == count


async def test_a_dial_without_a_descriptor_gives_up_the_oldest(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    apps = await idle(gateway, 4)
    app = await gateway.app(answering(OK))
    browser = await gateway.connect()
    real = socket.socket

    def exhausted(*arguments: int) -> socket.socket:
        if any(not each.connections[0].end for each in apps[:2]):
            raise OSError(errno.EMFILE, "Too many open files")
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr("gateway.upstream.dial.socket.socket", exhausted)
        browser.send(get(app))
        assert (await browser.answer()).status == 200
    assert not apps[3].connections[0].end, "no more than were needed"


async def test_nothing_is_refused_while_connections_lie_idle(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a connection from downstream nor one to an app; and some descriptors stay for files."""
    monkeypatch.setattr(descriptors, "for_connections", lambda: 12)
    app = await gateway.app(answering(OK))
    browser = await gateway.connect()
    apps = await idle(gateway, 30)
    pool = gateway.edge.pool
    assert len(pool.connections) + gateway.edge.connections <= 12
    assert not apps[-1].connections[0].end
    browsers = [browser, *[await gateway.connect() for _ in range(5)]]
    await until(lambda: gateway.edge.connections == 6, "all are accepted")
    await until(lambda: len(pool.idle) == 6, "one is left for each")
    for each in browsers:
        each.send(get(app))
        assert (await each.answer()).status == 200


async def test_nobody_inside_loses_to_newcomers(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """All who are let in can be served at once; others wait, and come in by every door as somebody leaves."""
    monkeypatch.setattr(descriptors, "for_connections", lambda: 9)
    asked = 0
    answers = asyncio.Event()

    async def held(wire: Wire) -> None:
        nonlocal asked
        while await wire.another():
            await wire.request()
            asked += 1
            await answers.wait()
            wire.send(OK)

    app = await gateway.app(held)
    inside = [await gateway.connect() for _ in range(4)]
    await until(lambda: gateway.edge.connections == 4, "all are accepted")
    outside = [await gateway.connect() for _ in range(4)]
    tasks = gateway.edge.tasks
    secure = [tasks.spawn(gateway.connect(tls=True), "waits at the other door") for _ in range(4)]
    for each in (*inside, *outside):
        each.send(get(app))
    await until(lambda: asked == 4, "nobody who is inside is without a connection to the app")
    assert gateway.edge.connections == 4
    answers.set()
    for each in (*inside, *outside):
        assert (await each.answer()).status == 200
        each.close()
    for task in secure:
        (each := await task).send(get(app))
        assert (await each.answer()).status == 200
        each.close()
    gateway.expect_complaint("4 are open, and each may need 2 of")


async def test_one_connections_streams_leave_some_for_who_comes_to_the_door(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may need a connection to an app, and there are hundreds of them."""
    monkeypatch.setattr(descriptors, "for_connections", lambda: 12)
    app = await gateway.app()
    browser = await h2_browser(gateway, app.host)
    streams = [browser.ask() for _ in range(12)]
    wires = [await app.accept() for _ in range(9)]
    await browser.wait(lambda: sum(stream.over for stream in streams) == 3, "three are refused")
    visitor = await gateway.connect()
    visitor.send(get(app))
    answer = await visitor.answer()
    assert (answer.status, answer.reason) == (503, b"overloaded")
    for wire in wires:
        await wire.request()
        wire.send(OK)
    assert sorted([(await browser.answer(stream)).status for stream in streams]) == [200] * 9 + [503] * 3


BOUND_OR_NOT = pytest.mark.parametrize(
    "said", [b"", b"Authorization: Negotiate YII=\r\n"], ids=["anybody's", "said to be a login's"]
)


async def five_at_once(gateway: Gateway) -> None:
    """Requests of one browser to an app of its own, each by another connection, all of which are answered."""
    app = await gateway.app()
    browser = await h2_browser(gateway, app.host)
    streams = [browser.ask() for _ in range(5)]
    for wire in [await app.accept() for _ in streams]:
        await wire.request()
        wire.send(OK)
    assert [(await browser.answer(stream)).status for stream in streams] == [200] * 5


@BOUND_OR_NOT
async def test_who_rests_keeps_nobody_out(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    """What only a visitor's word has bound is closed for others, too."""
    monkeypatch.setattr(descriptors, "for_connections", lambda: 12)
    quiet = await gateway.app(answering(OK))
    for _ in range(4):
        visitor = await gateway.connect()
        visitor.send(get(quiet)[:-2] + said + b"\r\n")
        assert (await visitor.answer()).status == 200
    await five_at_once(gateway)


@BOUND_OR_NOT
async def test_nor_loses_who_is_asking_again(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    """What of the next request has come is answered, by another connection to the app."""
    monkeypatch.setattr(descriptors, "for_connections", lambda: 12)
    quiet = await gateway.app(answering(OK, OK))
    visitors = [await gateway.connect() for _ in range(4)]
    for visitor in visitors:
        visitor.send(get(quiet)[:-2] + said + b"\r\n")
        assert (await visitor.answer()).status == 200
        visitor.send(get(quiet)[:-2])
    await until(lambda: all(each.phase is HEAD for each in gateway.edge.downstreams), "their next requests begin")
    await five_at_once(gateway)
    for visitor in visitors:
        visitor.send(said + b"\r\n")
        assert (await visitor.answer()).status == 200


async def test_a_raised_limit_lets_newcomers_in(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 2
    monkeypatch.setattr(descriptors, "for_connections", lambda: limit)
    app = await gateway.app(answering(OK))
    await gateway.connect()
    newcomer = await gateway.connect()
    newcomer.send(get(app))
    await until(lambda: gateway.edge.limits.awaiting_room, "it accepts no more")
    limit = 4
    assert (await newcomer.answer()).status == 200
    gateway.expect_complaint("1 are open, and each may need 2 of")


async def test_a_limit_that_can_be_held_refuses(open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = await open_gateway(limits={"connections": 2})
    monkeypatch.setattr(descriptors, "for_connections", lambda: 4)
    for _ in range(2):
        await gateway.connect()
    assert await (await gateway.connect()).eof() == b""


async def test_accepting_without_a_descriptor_gives_up_the_oldest(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    apps = await idle(gateway, MAX_IDLE_CLOSED + 3)
    real = socket.socket.accept

    def exhausted(sock: socket.socket) -> object:
        if len(gateway.edge.pool.idle) > MAX_IDLE_CLOSED:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(sock)

    monkeypatch.setattr(socket.socket, "accept", exhausted)
    await ask(gateway, apps[-1])  # and nobody has complained of a pause
    assert not apps[-1].connections[0].end


@pytest.mark.parametrize(("limit", "connections"), [(40, 20), (64, 32), (200, 168), (1024, 896), (20_000, 19_872)])
def test_some_are_kept_for_what_is_no_connection(limit: int, connections: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker has 18 before the first visitor."""
    monkeypatch.setattr(descriptors, "limit", lambda: limit)
    assert descriptors.for_connections() == connections
