"""An HTTP/2 connection leaves by two GOAWAYs, a round trip apart, so that no request is lost between them; one that
carries WebSockets says nothing before they have been closed, because Firefox drops them at the first.
"""

from __future__ import annotations

import struct

import pytest

from gateway.edge.drain import Drain
from tests.behaviour.h2_wire import H2Browser, h2_browser
from tests.behaviour.harness import OK, App, Gateway, OpenGateway, TlsSides, answering, until
from tests.support.h2_frames import PREFACE, Code, Frame, Type, frame

ANYTHING = 2**31 - 1
CLOSE = b"\x88\x02" + struct.pack("!H", 1001)


def last_id(goaway: Frame) -> int:
    return int.from_bytes(goaway.payload[:4], "big")


async def left(browser: H2Browser) -> list[int]:
    """What the GOAWAYs promised, once the gateway has closed."""
    await browser.wait(lambda: browser.wire.end, "the end of the connection")
    assert all(goaway.code == Code.NO_ERROR for goaway in browser.goaways), browser.goaways
    return [last_id(goaway) for goaway in browser.goaways]


async def settled(browser: H2Browser) -> None:
    await browser.wait(lambda: browser.peer.settings, "SETTINGS")


@pytest.fixture
async def app(gateway: Gateway) -> App:
    return await gateway.app(answering(OK))


async def test_an_idle_connection_leaves(gateway: Gateway, app: App) -> None:
    browser = await h2_browser(gateway, app.host)
    await browser.answer(browser.ask())
    gateway.edge.drain()
    gateway.edge.sweeper.sweep()
    assert await left(browser) == [ANYTHING, 1]


async def test_a_request_that_crosses_the_first_goaway_is_served(
    gateway: Gateway, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = await h2_browser(gateway, app.host)
    await browser.answer(browser.ask())
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(browser, "look", lambda: browser.peer)  # nothing that comes is looked at: on its way
        gateway.edge.drain()
        gateway.edge.sweeper.sweep()
        crossing = browser.ask()
    assert (await browser.answer(crossing)).status == 200
    assert await left(browser) == [ANYTHING, crossing.id]


async def test_a_request_under_way_is_finished(gateway: Gateway) -> None:
    app = await gateway.app()
    browser = await h2_browser(gateway, app.host)
    stream = browser.ask()
    wire = await app.accept()
    await wire.request()
    gateway.edge.drain()
    gateway.edge.sweeper.sweep()
    await browser.wait(lambda: len(browser.goaways) == 2, "both GOAWAYs")
    assert not browser.wire.end
    wire.send(OK)
    assert bytes((await browser.answer(stream)).body) == b"ok"
    assert await left(browser) == [ANYTHING, stream.id]


async def test_who_never_answers_the_ping_is_left(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(timeouts={"linger": 0.2})
    app = await gateway.app(answering(OK))
    browser = await h2_browser(gateway, app.host)
    browser.peer.acknowledges = False
    await browser.answer(browser.ask())
    gateway.edge.drain()
    gateway.edge.sweeper.sweep()
    assert await left(browser) == [ANYTHING, 1]


async def test_answers_are_the_last_while_a_drain_is_announced(gateway: Gateway, app: App) -> None:
    browser = await h2_browser(gateway, app.host)
    await browser.answer(browser.ask())
    gateway.edge.announce_drain()
    await browser.answer(browser.ask())
    assert await left(browser) == [ANYTHING, 3]


async def test_websockets_are_closed_before_the_first_goaway(gateway: Gateway) -> None:
    app = await gateway.app()
    browser = await h2_browser(gateway, app.host)
    stream = browser.ask_for_websocket()
    wire = await app.accept()
    asked = await wire.request()
    assert asked.start == b"GET /ws HTTP/1.1"
    wire.send(browser.switching(asked))
    await browser.wait(lambda: stream.status, "the tunnel is granted")
    plan = Drain(gateway.edge, 3600.0)
    plan._silence = 0.0
    plan.begin()
    await plan.look_around()
    gateway.edge.sweeper.sweep()
    browser.tell(6, 0, 0, b"a round ")
    await browser.wait(lambda: browser.peer.pongs, "a round trip")
    assert browser.goaways == []
    await plan.say_goodbye()
    await browser.wait(lambda: CLOSE in stream.body, "Close 1001")
    assert browser.goaways == []
    browser.send(stream, b"\x88\x82\0\0\0\0" + struct.pack("!H", 1001))
    wire.send(CLOSE)
    await until(lambda: len(wire.received) > len(asked.head), "the app's Close is on its way")
    await plan.say_goodbye()
    await browser.answer(stream)
    gateway.edge.sweeper.sweep()
    await browser.wait(lambda: len(browser.goaways) == 2 or browser.wire.end, "both GOAWAYs")
    assert await left(browser) == [ANYTHING, stream.id]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_who_is_cut_off_is_told_what_was_not_served(gateway: Gateway, tls_sides: TlsSides, tls: bool) -> None:
    app = await gateway.app()
    port, context = (gateway.tls_port, tls_sides.client_of("h2")) if tls else (gateway.plain_port, None)
    browser = H2Browser(await gateway.connect_to(port, context=context), app.host)
    browser.wire.send(PREFACE + frame(Type.SETTINGS))
    stream = browser.ask()
    await (await app.accept()).request()
    await gateway.edge.close()
    assert await left(browser) == [stream.id]
