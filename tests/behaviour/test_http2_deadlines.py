"""Nobody holds an HTTP/2 connection, or a stream of it, by doing nothing or next to nothing; and a stream that does
holds up no other.
"""

from __future__ import annotations

import asyncio

import pytest

from gateway.edge.http2 import Http2Downstream
from gateway.metrics import HTTP2_ERRORS
from tests.behaviour.h2_wire import H2Browser, h2_browser
from tests.behaviour.harness import OK, OpenGateway, answering, until
from tests.support.h2_frames import PREFACE, Code, Flag, Setting, Type, frame, number, settings

SHORT = 0.2
SETTINGS = frame(Type.SETTINGS)


async def ended(browser: H2Browser) -> list[int]:
    await browser.wait(lambda: browser.wire.end, "the end of the connection")
    return [goaway.code for goaway in browser.goaways]


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(PREFACE[:20], id="preface"),
        pytest.param(PREFACE, id="preface alone"),
        pytest.param(PREFACE + SETTINGS[:5], id="SETTINGS"),
        pytest.param(PREFACE + SETTINGS + frame(Type.HEADERS, 0, 1, b"\x82"), id="field block"),
        pytest.param(PREFACE + SETTINGS + frame(Type.HEADERS, 0, 1, b"\x82" * 9)[:12], id="HEADERS"),
    ],
)
async def test_what_begins_and_stops(open_gateway: OpenGateway, begun: bytes) -> None:
    gateway = await open_gateway(timeouts={"request_header": SHORT, "idle": 60.0})
    browser = await h2_browser(gateway, b"anybody", greets=begun)
    browser.peer.acknowledges = False  # which would interrupt what has begun
    assert await ended(browser) == [Code.NO_ERROR]


async def test_a_field_block_that_crawls(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(timeouts={"request_header": SHORT * 2, "idle": 60.0})
    browser = await h2_browser(gateway, b"anybody", greets=PREFACE + SETTINGS + frame(Type.HEADERS, 0, 1, b"\x82"))
    browser.peer.acknowledges = False
    for _ in range(50):
        if browser.wire.end:
            break
        browser.wire.send(frame(Type.CONTINUATION, 0, 1, b""))
        await asyncio.sleep(0.05)
    assert await ended(browser) == [Code.NO_ERROR]


async def test_an_upload_whose_reads_end_in_frames(open_gateway: OpenGateway) -> None:
    """Each of them is another one, however often it is half of one that waits."""
    gateway = await open_gateway(timeouts={"body_idle": 0.5, "request_header": 0.5})
    app = await gateway.app()
    browser = await h2_browser(gateway, app.host)
    stream = browser.ask(method=b"POST", end=False)
    wire = await app.accept()
    octets = b"".join(
        frame(Type.DATA, Flag.END_STREAM if number == 9 else 0, stream.id, bytes(64)) for number in range(10)
    )
    for at in range(0, len(octets), 73):
        browser.wire.send(octets[at + 30 - 73 if at else 0 : at + 30])
        await asyncio.sleep(0.15)
    browser.wire.send(octets[len(octets) - 73 + 30 :])
    assert len((await wire.request()).body) == 640
    wire.send(OK)
    assert (await browser.answer(stream)).status == 200


async def test_settings_that_are_not_acknowledged(open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.edge.http2.SETTINGS_PATIENCE", SHORT)
    gateway = await open_gateway(timeouts={"request_header": SHORT})
    browser = await h2_browser(gateway, b"anybody")
    browser.peer.acknowledges = False
    assert await ended(browser) == [Code.SETTINGS_TIMEOUT]


async def test_an_idle_connection(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(timeouts={"idle": SHORT})
    app = await gateway.app(answering(OK))
    browser = await h2_browser(gateway, app.host)
    assert (await browser.answer(browser.ask())).status == 200
    assert await ended(browser) == [Code.NO_ERROR]


async def test_a_body_that_stands_still(open_gateway: OpenGateway) -> None:
    """It alone: another stream of the connection waits as long as it likes."""
    gateway = await open_gateway(timeouts={"body_idle": SHORT})
    app = await gateway.app()
    browser = await h2_browser(gateway, app.host)
    waits = browser.ask(b"/waits")
    wire = await app.accept()
    await wire.request()
    stands = browser.ask(b"/stands", method=b"POST", end=False)
    browser.send(stands, b"half")
    assert (await browser.answer(stands)).reason == b"request_timeout"
    assert not waits.over
    wire.send(OK)
    assert (await browser.answer(waits)).status == 200


async def test_a_reader_that_stops_stalls_itself_alone(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(timeouts={"body_idle": 2.0})
    large = 1_000_000
    app = await gateway.app()
    greets = PREFACE + frame(Type.SETTINGS, 0, 0, settings((Setting.INITIAL_WINDOW_SIZE, 1000)))
    browser = await h2_browser(gateway, app.host, greets=greets)
    browser.peer.initial, browser.peer.grants = 1000, False
    stalled = browser.ask(b"/large")
    wire = await app.accept()
    await wire.request()
    wire.send(b"HTTP/1.1 200 Fine\r\nContent-Length: %d\r\n\r\n" % large + bytes(large))
    await browser.wait(lambda: len(stalled.body) == 1000, "its window")
    for turn in range(5):
        other = browser.ask(b"/small")
        if not turn:
            wire = await app.accept()
        await wire.request()
        wire.send(OK)
        assert bytes((await browser.answer(other)).body) == b"ok"
    assert len(stalled.body) == 1000
    assert gateway.edge.downstreams
    (connection,) = gateway.edge.downstreams
    assert isinstance(connection, Http2Downstream)
    assert connection.session.stalled < 100_000, "its app is not read any more"
    assert (await browser.answer(stalled)).reset == Code.CANCEL, "nobody waits for ever"


async def test_a_slow_reader_is_left_alone(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(timeouts={"body_idle": 0.5})
    app = await gateway.app(answering(b"HTTP/1.1 200 Fine\r\nContent-Length: 3000\r\n\r\n" + bytes(3000)))
    greets = PREFACE + frame(Type.SETTINGS, 0, 0, settings((Setting.INITIAL_WINDOW_SIZE, 1000)))
    browser = await h2_browser(gateway, app.host, greets=greets)
    browser.peer.initial, browser.peer.grants = 1000, False
    stream = browser.ask()
    await browser.wait(lambda: len(stream.body) == 1000, "its window")
    for _ in range(5):
        await asyncio.sleep(0.25)
        stream.granted += 200
        browser.tell(Type.WINDOW_UPDATE, 0, stream.id, number(200))
        await browser.wait(lambda: stream.granted == 0, "what it has asked for")
    stream.granted += 1000
    browser.tell(Type.WINDOW_UPDATE, 0, stream.id, number(1000))
    assert len((await browser.answer(stream)).body) == 3000


async def test_a_websocket_that_is_silent(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(timeouts={"tunnel_idle": SHORT})
    app = await gateway.app()
    browser = await h2_browser(gateway, app.host)
    stream = browser.ask_for_websocket()
    wire = await app.accept()
    asked = await wire.request()
    wire.send(browser.switching(asked))
    await browser.wait(lambda: stream.status == 200, "the tunnel")
    assert (await browser.answer(stream)).reset == Code.CANCEL
    assert not browser.wire.end


async def test_a_browser_shares_its_streams_out(open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose page has taken them all for long gives half of them back; a client that is no browser may keep them."""
    monkeypatch.setattr("gateway.edge.stream_shares.CROWDED_ALONE", SHORT)
    gateway = await open_gateway(limits={"http2_streams": 6})
    app = await gateway.app()
    browser = await h2_browser(gateway, app.host)
    browsers = [(b"sec-fetch-site", b"same-origin")]
    streams = [browser.ask(b"/events", more=browsers) for _ in range(6)]
    await until(lambda: len(app.waiting) == 6 if hasattr(app, "waiting") else True, "they arrive")
    assert gateway.edge.counters.exchanges_refused.http2_streams == 0
    for stream in reversed(streams[3:]):
        assert (await browser.answer(stream)).reason == b"connection_limit_reached"
    assert not any(stream.over for stream in streams[:3])
    others = await h2_browser(gateway, app.host)
    kept = [others.ask(b"/events", method=b"POST", more=[(b"content-type", b"application/grpc")]) for _ in range(6)]
    others.tell(Type.PING, 0, 0, b"a round ")
    await others.wait(lambda: others.peer.pongs, "a round trip")
    await asyncio.sleep(SHORT * 3)
    others.look()
    assert not any(stream.over for stream in kept)


@pytest.mark.pure
async def test_an_answer_that_has_to_wait_is_not_read(
    open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for closed windows is bounded, of all streams together; as soon as a window opens, all comes."""
    monkeypatch.setattr("gateway.edge.http2.MAX_STALLED", 100_000)
    gateway = await open_gateway()
    answer = b"HTTP/1.1 200 Fine\r\nContent-Length: 30000\r\n\r\n" + bytes(30_000)
    app = await gateway.app(answering(answer))
    greets = PREFACE + frame(Type.SETTINGS, 0, 0, settings((Setting.INITIAL_WINDOW_SIZE, 0)))
    browser = await h2_browser(gateway, app.host, greets=greets)
    browser.peer.initial = 0
    first = [browser.ask() for _ in range(4)]
    await browser.wait(lambda: all(stream.status for stream in first), "the heads of the first")
    streams = [*first, *[browser.ask() for _ in range(40)]]
    await until(lambda: app.received.count(b"GET ") == 44, "all requests have reached the app")
    (connection,) = gateway.edge.downstreams
    assert isinstance(connection, Http2Downstream)
    assert connection.session.stalled < 220_000, connection.session.stalled
    for stream in streams:
        stream.granted += 40_000
    browser.tell(Type.SETTINGS, 0, 0, settings((Setting.INITIAL_WINDOW_SIZE, 40_000)))
    browser.tell(Type.WINDOW_UPDATE, 0, 0, number(10_000_000))
    browser.peer.granted += 10_000_000
    for stream in streams:
        assert len((await browser.answer(stream)).body) == 30_000


async def test_http2_may_be_off(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(edge={"http2": False})
    browser = await h2_browser(gateway, b"anybody")
    await browser.wire.wait(lambda: bool(browser.wire.end), "the end")
    assert browser.wire.received.startswith(b"HTTP/1.1 505 "), browser.wire


async def test_coalescing_may_be_discouraged(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(edge={"coalescing": "discourage"})
    browser = await h2_browser(gateway, b"anybody")
    await browser.wait(lambda: len(browser.peer.frames) > 1, "what it begins with")
    assert [each.type for each in browser.peer.frames[:3] if each.type != Type.WINDOW_UPDATE] == [
        Type.SETTINGS,
        Type.ORIGIN,
    ]


async def test_what_ends_a_connection_is_counted_and_told(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(limits={"http2_streams": 1})
    app = await gateway.app()
    browser = await h2_browser(gateway, app.host)
    browser.ask()
    refused = await browser.answer(browser.ask())
    assert refused.reset == Code.REFUSED_STREAM
    assert gateway.edge.counters.exchanges_refused.http2_streams == 1
    browser.tell(Type.DATA, 0, 0, b"on stream 0")
    assert await ended(browser) == [Code.PROTOCOL_ERROR]
    assert gateway.edge.cells[HTTP2_ERRORS.at("protocol_error")] == 1


async def test_a_program_has_half_of_the_streams_for_one_of_several_sandboxes(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(limits={"http2_streams": 6})
    app = await gateway.app()
    browser = await h2_browser(gateway, b"5000-other.sandbox.localhost")
    assert (await browser.answer(browser.ask())).reason == b"destination_not_found"
    browser.host = app.host
    kept = [browser.ask(b"/slow") for _ in range(3)]
    assert (await browser.answer(browser.ask())).reset == Code.REFUSED_STREAM
    browser.host = b"5000-other.sandbox.localhost"
    assert (await browser.answer(browser.ask())).reason == b"destination_not_found"
    assert not any(stream.over for stream in kept)


async def test_a_program_that_asks_one_sandbox_has_all_streams_that_it_was_told_of(open_gateway: OpenGateway) -> None:
    """Node's client, for one, sends nothing again that was refused."""
    gateway = await open_gateway(limits={"http2_streams": 6})
    app = await gateway.app(answering(OK))
    browser = await h2_browser(gateway, app.host)
    await browser.wait(lambda: browser.peer.settings, "SETTINGS")
    streams = [browser.ask() for _ in range(browser.peer.settings[Setting.MAX_CONCURRENT_STREAMS])]
    assert [(await browser.answer(stream)).status for stream in streams] == [200] * 6
