"""A thousand connections end in one moment: each is an event of its own, and what they end is told in portions.

Each exchange that ends so answers, retries or records. A thousand of them in one turn of the event loop would hold
everybody else up for 50 ms.
"""

from __future__ import annotations

import asyncio
import weakref

import pytest

from gateway import turns
from gateway.edge.http1 import Http1Downstream
from gateway.turns import PACE, PORTION
from tests.behaviour.crowds import each_turn, look_each_turn, most_at_once
from tests.behaviour.h2_wire import h2_browser
from tests.behaviour.harness import OK, SANDBOX, App, Gateway, OpenGateway, Wire, answering, get, post, until

pytestmark = pytest.mark.pure  # a round of turns is made as short as can be

CROWD = 6 * PORTION
IN_A_TURN = PORTION + 1
"""Who is told at once, and the one whose turn a round begins with."""
WEBSOCKET = (
    b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
PART = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"


@pytest.fixture(autouse=True)
def one_turn_each_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "ROUND_LIMIT", 0.0)


async def crowd(gateway: Gateway, app: App, request: bytes, answer: bytes = b"", *, tls: bool = False) -> list[Wire]:
    """Browsers whose requests wait, and have got `answer` so far, each on a connection of its own."""
    browsers = [await gateway.connect(tls=tls) for _ in range(CROWD)]
    for browser in browsers:
        browser.send(request)
    for _ in browsers:
        wire = await app.accept()
        await wire.read_until(b"\r\n\r\n")
        wire.send(answer)
    for browser in browsers:
        await browser.read(len(answer) and 1)
    return browsers


def who_counts(gateway: Gateway) -> list[tuple[int, int]]:
    """Connections and exchanges in each turn from now on, until there are no exchanges."""
    loop, edge = asyncio.get_running_loop(), gateway.edge
    seen: list[tuple[int, int]] = []

    def look() -> None:
        seen.append((edge.connections, edge.exchanges.get(SANDBOX, 0)))
        if seen[-1][1]:
            loop.call_soon(look)

    loop.call_soon(look)
    return seen


async def ended(gateway: Gateway, seen: list[int], reason: str, *, most: int = IN_A_TURN) -> None:
    await until(lambda: not gateway.edge.exchanges, "all are told")
    assert most_at_once(seen) <= most
    assert [record.reason for record in gateway.log] == [reason] * CROWD


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("how", ["reset", "hang_up"])
@pytest.mark.parametrize("kind", ["request", "websocket"])
async def test_browsers_that_leave_together(gateway: Gateway, kind: str, how: str, tls: bool) -> None:
    app = await gateway.app()
    unfinished = b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 9\r\n\r\nabc" % app.host
    request, answer = (unfinished, b"") if kind == "request" else (WEBSOCKET % app.host, SWITCHED)
    browsers = await crowd(gateway, app, request, answer, tls=tls)
    seen, counted = look_each_turn(gateway), who_counts(gateway)
    for browser in browsers:
        getattr(browser, how)()
    if kind == "websocket" and how == "hang_up" and not tls:
        for wire in app.connections:  # a tunnel is half-closed until the app ends it, too
            wire.close()
    await ended(gateway, seen, "" if kind == "websocket" else "downstream_closed")
    assert all(connections >= exchanges for connections, exchanges in counted), "who is not told still counts"
    await until(lambda: not gateway.edge.connections, "and then no more")


async def test_what_openssl_has_to_free(gateway: Gateway) -> None:
    """Takes longer than the end of a connection that carries nothing."""
    browsers = [await gateway.connect(tls=True) for _ in range(CROWD)]
    downstreams = gateway.edge.downstreams
    await until(lambda: all(isinstance(each, Http1Downstream) for each in downstreams), "all have shaken hands")
    ssl_objects = [weakref.ref(each._transport.get_extra_info("ssl_object")) for each in downstreams]
    assert len(ssl_objects) == CROWD
    kept = each_turn(lambda: sum(each() is not None for each in ssl_objects), 0)
    for browser in browsers:
        browser.reset()
    await until(lambda: not any(each() for each in ssl_objects), "all are freed")
    assert most_at_once([*kept, 0]) <= IN_A_TURN


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [(b"", "connection_terminated"), (PART, "http_response_incomplete"), (SWITCHED, "connection_terminated")],
    ids=["before answering", "inside the body", "websocket"],
)
async def test_apps_that_die_together(gateway: Gateway, answer: bytes, reason: str, how: str) -> None:
    app = await gateway.app()
    request = WEBSOCKET % app.host if answer is SWITCHED else post(app, b"abc")
    browsers = await crowd(gateway, app, request, answer, tls=answer is SWITCHED)
    seen = look_each_turn(gateway)
    for wire in app.connections:
        getattr(wire, how)()
    most = IN_A_TURN if answer else PACE  # who has no answer is told once it is known why
    await ended(gateway, seen, "" if (answer, how) == (SWITCHED, "close") else reason, most=most)
    if not answer:
        for browser in browsers:
            assert (await browser.answer()).reason == reason.encode()


@pytest.mark.parametrize("how", ["reset", "hang_up", "broken"])
async def test_streams_whose_connection_ends(gateway: Gateway, how: str) -> None:
    app = await gateway.app()
    browser = await h2_browser(gateway, app.host)
    for _ in range(CROWD):
        browser.ask()
    await until(lambda: len(app.connections) == CROWD, "all are under way")
    assert gateway.edge.under_way == 1 + CROWD, "for the collector, that is not one connection"
    seen, counted = look_each_turn(gateway), who_counts(gateway)
    if how == "broken":
        browser.tell(6, 0, 1, bytes(8))
    else:
        getattr(browser.wire, how)()
    await ended(gateway, seen, "downstream_closed")
    if how != "broken":
        assert all(connections for connections, exchanges in counted if exchanges), "who is not told still counts"


async def test_who_leaves_while_streams_are_still_told(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    """The last word was said with GOAWAY; what streams would add does not follow it."""
    app = await gateway.app()
    browser = await h2_browser(gateway, app.host)
    for _ in range(CROWD):
        browser.ask()
    await until(lambda: len(app.connections) == CROWD, "all are under way")
    browser.tell(6, 0, 1, bytes(8))
    await browser.wait(lambda: browser.peer.goaway, "it is told")
    browser.wire.hang_up()
    await until(lambda: not gateway.edge.exchanges and not gateway.edge.connections, "all are told")
    assert "Traceback" not in caplog.text and "Fatal error" not in caplog.text


async def test_streams_whose_bodies_stand_still(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(timeouts={"body_idle": 0.5})
    app = await gateway.app()
    browser = await h2_browser(gateway, app.host)
    for _ in range(CROWD):
        browser.ask(method=b"POST", end=False)
    await until(lambda: len(app.connections) == CROWD, "all are under way")
    await ended(gateway, look_each_turn(gateway), "request_timeout")


async def test_idle_connections_that_a_drain_ends(gateway: Gateway) -> None:
    """All at once, if `drain_spread` is 0."""
    browsers = [await gateway.connect() for _ in range(CROWD)]
    app = await gateway.app(answering(OK))
    for browser in browsers:
        browser.send(get(app))
        assert (await browser.answer()).status == 200
    left = each_turn(lambda: gateway.edge.connections, 0)
    gateway.edge.drain()
    for browser in browsers:
        await browser.eof()
        browser.close()
    await gateway.edge.drained()
    assert most_at_once([*left, 0]) <= IN_A_TURN
