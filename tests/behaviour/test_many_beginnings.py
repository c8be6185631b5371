"""A thousand connections bring something in one moment: what a turn of the event loop has no time for is put off.

The head of a request, or of an answer, takes 50 µs. A thousand of them that can be read together would keep everybody
else waiting for all of them.
"""

from __future__ import annotations

import asyncio

import pytest

from gateway import turns
from gateway.edge.http1 import Http1Downstream
from gateway.turns import PORTION, ReadingConnection
from gateway.upstream.http1 import Http1Upstream
from tests.behaviour.crowds import each_turn, look_each_turn, most_at_once
from tests.behaviour.h2_wire import h2_browser
from tests.behaviour.harness import OK, SANDBOX, App, Gateway, Wire, answering, get, until

pytestmark = pytest.mark.pure  # a turn is made as short as can be

CROWD = 6 * PORTION
IN_A_TURN = PORTION + 1
"""Reads that are worked on in any case, and one that was put off."""
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"


@pytest.fixture(autouse=True)
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_LIMIT", 0.0)
    monkeypatch.setattr(turns, "ROUND_LIMIT", 0.0)


@pytest.fixture
async def app(gateway: Gateway) -> App:
    """Answers when the test says so; its sandbox has been looked up."""
    app = await gateway.app()
    hello = await gateway.app(answering(OK))
    browser = await gateway.connect()
    browser.send(get(hello))
    assert (await browser.answer()).status == 200
    gateway.log.clear()
    return app


async def crowd(gateway: Gateway, *, tls: bool = False) -> list[Wire]:
    """Browsers that have asked nothing yet."""
    browsers = [await gateway.connect(tls=tls) for _ in range(CROWD)]
    await until(lambda: gateway.edge.handshakes.waiting == 0, "all have shaken hands")
    return browsers


def begun(gateway: Gateway) -> list[int]:
    """How many exchanges there are in each turn from now on, until the whole crowd has one."""
    return each_turn(lambda: gateway.edge.exchanges.get(SANDBOX, 0), CROWD)


async def all_answer(app: App) -> None:
    """In one turn of the event loop."""
    wires = [await app.accept() for _ in range(CROWD)]
    for wire in wires:
        await wire.request()
    for wire in wires:
        wire.send(OK)


async def tunnel(browser: Wire, app: App) -> Wire:
    """The app's end of one."""
    browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n" % app.host)
    wire = await app.accept()
    await wire.request()
    wire.send(SWITCHED)
    await browser.head()
    return wire


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_requests_and_answers(gateway: Gateway, app: App, tls: bool) -> None:
    browsers = await crowd(gateway, tls=tls)
    seen = begun(gateway)
    for browser in browsers:
        browser.send(get(app))
    await until(lambda: seen[-1] == CROWD, "all have begun")
    left = look_each_turn(gateway)
    await all_answer(app)
    for browser in browsers:
        assert (await browser.answer()).body == b"ok"
    assert most_at_once(seen) <= IN_A_TURN
    assert most_at_once(left) <= IN_A_TURN


async def test_requests_over_http2(gateway: Gateway, app: App) -> None:
    browsers = [await h2_browser(gateway, app.host) for _ in range(CROWD)]
    seen = begun(gateway)
    streams = [browser.ask() for browser in browsers]
    await all_answer(app)
    for browser, stream in zip(browsers, streams, strict=True):
        assert (await browser.answer(stream)).body == b"ok"
    assert most_at_once(seen) <= IN_A_TURN


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: 5000-nobody.sandbox.localhost\r\n\r\n", 404),
        (b"GET / HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n", 421),
        (b"GET / HTTP/1.1\r\nno field\r\n\r\n", 400),
    ],
)
async def test_requests_that_are_refused(gateway: Gateway, app: App, request_: bytes, status: int) -> None:
    browser = await gateway.connect()
    browser.send(request_)  # so that what is known of the name is known
    assert (await browser.answer()).status == status
    gateway.log.clear()
    browsers = await crowd(gateway)
    seen = each_turn(lambda: len(gateway.log), CROWD)
    for browser in browsers:
        browser.send(request_)
    for browser in browsers:
        assert (await browser.answer()).status == status
    assert most_at_once(seen) <= IN_A_TURN


async def test_messages(gateway: Gateway, app: App) -> None:
    """In tunnels, in both directions, and in the order in which they were sent."""
    browsers = await crowd(gateway)
    wires = []
    for browser in browsers:
        wires.append(await tunnel(browser, app))
    for senders, receivers in ((browsers, wires), (wires, browsers)):
        seen = each_turn(lambda receivers=receivers: sum(bool(each.unread) for each in receivers), CROWD)
        for part in (b"one ", b"two ", b"three"):
            for sender in senders:
                sender.send(part)
            await asyncio.sleep(0)
        for receiver in receivers:
            assert await receiver.read(13) == b"one two three"
        assert most_at_once(seen) <= 2 * IN_A_TURN  # it takes the other end a turn to read them, too


async def test_who_comes_meanwhile_is_served_meanwhile(gateway: Gateway, app: App) -> None:
    browsers, other = await crowd(gateway), await gateway.connect()
    for browser in browsers:
        browser.send(get(app))
    await until(lambda: gateway.edge.exchanges, "the first have begun")
    other.send(b"GET / HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n")
    assert (await other.answer()).status == 421
    assert gateway.edge.exchanges[SANDBOX] < CROWD / 2, "it waits for none that were put off"
    await all_answer(app)
    for browser in browsers:
        assert (await browser.answer()).body == b"ok"


class Somebody:
    """Waits, too."""

    def take_turn(self) -> None: ...


def put_off(gateway: Gateway, connection: ReadingConnection, octets: bytes, others: int = 1000) -> None:
    """They come when the turn has lasted too long already, and so many turns pass until they are worked on."""
    turns = gateway.edge.intake.turns
    for _ in range(others):
        turns.wait(Somebody(), late=True)
    turns.begun = PORTION
    connection.get_buffer(-1)[: len(octets)] = octets
    connection.buffer_updated(len(octets))
    assert connection._queued


async def other_end(gateway: Gateway) -> tuple[Wire, Http1Downstream]:
    """A browser and what serves it."""
    before = set(gateway.edge.downstreams)
    browser = await gateway.connect()
    (downstream,) = await until(lambda: set(gateway.edge.downstreams) - before, "it is served")
    assert isinstance(downstream, Http1Downstream)
    return browser, downstream


async def served(browser: Wire, app: App) -> Wire:
    """The app's end of the connection by which it has answered `browser`."""
    browser.send(get(app, b"/first"))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"
    return upstream


async def test_a_request_does_not_wait_for_what_follows_it(gateway: Gateway, app: App) -> None:
    """Its head is made when its sandbox has been looked up. Until it leaves, what the app says would be its answer."""
    browser, downstream = await other_end(gateway)
    upstream = await served(browser, app)
    gateway.edge.directory.invalidate([SANDBOX])
    downstream.data_received(get(app, b"/second"))
    put_off(gateway, downstream, get(app, b"/third"))
    assert (await upstream.request()).start == b"GET /second HTTP/1.1"
    assert downstream._queued
    upstream.send(OK)
    assert (await upstream.request()).start == b"GET /third HTTP/1.1"
    upstream.send(OK)
    for _ in range(2):
        assert (await browser.answer()).body == b"ok"


async def test_last_words_of_an_app_that_is_gone_arrive(gateway: Gateway, app: App) -> None:
    """Writing to it fails before their turn comes."""
    browser = await gateway.connect()
    before = set(gateway.edge.pool.connections)
    wire = await tunnel(browser, app)
    (upstream,) = set(gateway.edge.pool.connections) - before
    assert isinstance(upstream, Http1Upstream)
    put_off(gateway, upstream, b"goodbye")
    transport = upstream._transport
    upstream.connection_lost(ConnectionResetError())
    transport.abort()
    assert await browser.ended() == b"goodbye"
    assert await wire.ended() == b""


async def test_no_request_is_begun_for_who_was_cut_off(gateway: Gateway, app: App) -> None:
    """The connection is lost one turn after it was aborted, and in between comes its own."""
    browser, downstream = await other_end(gateway)
    upstream = await served(browser, app)
    browser.send(get(app, b"/second"))
    await upstream.request()
    put_off(gateway, downstream, get(app, b"/third"), others=0)
    downstream.close()
    await browser.ended()
    assert [record.path for record in gateway.log] == ["/first", "/second"]
