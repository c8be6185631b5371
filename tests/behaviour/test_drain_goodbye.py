"""The end of a drain: who has no end of its own is told, a moment before what is left is cut off."""

from __future__ import annotations

import asyncio
import logging
import struct

import pytest

from gateway.edge import websocket_drain
from gateway.edge.drain import Drain
from gateway.process.drain import Shutdown, drain
from gateway.tasks import Tasks
from tests.behaviour.harness import OK, PATIENCE, App, Gateway, OpenGateway, Wire, answering, get, until

both = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])

GOING_AWAY = struct.pack("!H", 1001)
CLOSE = b"\x88\x02" + GOING_AWAY
"""As the browser gets it."""


def masked(frame: bytes, key: bytes = b"\x01\x02\x03\x04") -> bytes:
    """A short frame as a browser sends it."""
    payload = bytes(octet ^ key[index % 4] for index, octet in enumerate(frame[2:]))
    return bytes((frame[0], frame[1] | 0x80)) + key + payload


def unmasked(frame: bytes) -> bytes:
    """The same as an app reads it."""
    first, second, key, payload = frame[0], frame[1], frame[2:6], frame[6:]
    assert second & 0x80, "a browser's frame is masked (RFC 6455 section 5.1)"
    return bytes((first, second & 0x7F)) + bytes(octet ^ key[index % 4] for index, octet in enumerate(payload))


@pytest.fixture
async def app(gateway: Gateway) -> App:
    return await gateway.app()


async def tunnel(gateway: Gateway, app: App, *, tls: bool = False, protocol: bytes = b"websocket") -> tuple[Wire, Wire]:
    browser = await gateway.connect(tls=tls)
    asks = b"Connection: Upgrade\r\nUpgrade: %b\r\n" % protocol
    browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (app.host, asks))
    wire = await app.accept()
    await wire.request()
    wire.send(b"HTTP/1.1 101 Fine\r\n%b\r\n" % asks)
    await browser.head()
    return browser, wire


async def begun(gateway: Gateway) -> Drain:
    """A drain whose time never comes by itself, and which takes every pause for a silence."""
    plan = Drain(gateway.edge, 3600.0)
    plan._silence = 0.0
    plan.begin()
    await plan.look_around()
    return plan


async def said_goodbye(plan: Drain) -> None:
    """Sees them off until they have gone."""
    async with asyncio.timeout(PATIENCE):
        while not all(each.is_over for each in plan._drained):
            await plan.say_goodbye()


class Draining:
    """A worker's drain, in the background."""

    def __init__(self, gateway: Gateway, timeout: float, spread: float = 0.0) -> None:
        self.gateway = gateway
        self.plan = Drain(gateway.edge, timeout, spread)
        self.run: asyncio.Task[None]

    async def __aenter__(self) -> Draining:
        self.plan.begin()
        await self.plan.look_around()
        self.run = self.gateway.edge.tasks.spawn(self.plan.run(), "drain")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.run.cancel()
        self.plan.end()

    @property
    def counted(self) -> tuple[int, int]:
        self.plan.end()
        return self.gateway.edge.counters.websockets_closed, self.gateway.edge.counters.tunnels_cut


# --- WebSockets -----------------------------------------------------------------------------------------------------


@both
async def test_an_idle_websocket_gets_1001_on_both_sides(gateway: Gateway, app: App, tls: bool) -> None:
    browser, wire = await tunnel(gateway, app, tls=tls)
    async with Draining(gateway, 1.0) as draining:
        assert await browser.read(4) == CLOSE
        assert unmasked(await wire.read(8)) == CLOSE
        browser.send(masked(CLOSE))
        wire.send(CLOSE)
        assert await browser.eof() == b""
        assert await wire.ended() == b"", "the browser's answer is not a second Close"
        await until(lambda: draining.counted == (1, 0), "it is counted")


@both
async def test_between_two_frames_and_nothing_behind_it(gateway: Gateway, app: App, tls: bool) -> None:
    """Both ways busy, one in the middle of a frame when the time comes: that one is completed."""
    browser, wire = await tunnel(gateway, app, tls=tls)
    half = b"\x82\x7e\x01\x00" + bytes(100)
    plan = await begun(gateway)
    wire.send(b"\x81\x02hi" + half)
    browser.send(masked(b"\x81\x02ho"))
    assert await browser.read(4 + len(half)) == b"\x81\x02hi" + half
    assert unmasked(await wire.read(8)) == b"\x81\x02ho"
    await plan.say_goodbye()
    assert unmasked(await wire.read(8)) == CLOSE
    assert not browser.unread
    wire.send(bytes(156) + b"\x81\x05late")
    assert await browser.read(156 + 4) == bytes(156) + CLOSE
    browser.send(masked(CLOSE))
    wire.send(CLOSE)
    await said_goodbye(plan)
    assert await browser.eof() == b""
    assert await wire.ended() == b""
    plan.end()
    assert gateway.edge.counters.websockets_closed == 1


async def test_a_stream_that_never_pauses(gateway: Gateway, app: App) -> None:
    """The drain begins, and ends, in the middle of frames of any size; what arrives are whole frames and a Close."""
    browser, wire = await tunnel(gateway, app)
    frames = [b"\x82\x7e" + struct.pack("!H", size) + bytes([size % 251]) * size for size in range(200, 1200, 7)]
    stream = b"".join(frames)
    wire.send(stream[:70])
    await browser.read(70)
    sent = 70
    async with Draining(gateway, 2.0):
        while not wire.end and sent < 100 * len(stream):
            begin = sent % len(stream)
            piece = (stream + stream)[begin : begin + 1337]
            wire.send(piece)
            sent += len(piece)
            await asyncio.sleep(0.003)
            if browser.received.endswith(CLOSE):
                break
        passed = bytes(browser.received)
        passed = passed[passed.index(b"\r\n\r\n") + 4 :]
        assert passed.endswith(CLOSE)
        position = 0
        while position < len(passed) - 4:
            assert passed[position : position + 2] == b"\x82\x7e"
            position += 4 + struct.unpack("!H", passed[position + 2 : position + 4])[0]
        assert position == len(passed) - 4
        wire.send(CLOSE)
        browser.send(masked(CLOSE))
        await browser.ended()


async def test_one_connections_bug_keeps_no_other_from_being_told(
    gateway: Gateway, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    tunnels = [await tunnel(gateway, app) for _ in range(3)]
    plan = await begun(gateway)
    broken = plan._drained[0]
    say_goodbye = websocket_drain.WebSocketDrain.say_goodbye

    def fail(each: websocket_drain.WebSocketDrain) -> None:
        if each is broken:
            raise LookupError("a bug of ours")
        say_goodbye(each)

    monkeypatch.setattr(websocket_drain.WebSocketDrain, "say_goodbye", fail)
    await plan.say_goodbye()
    await until(lambda: sum(browser.received.endswith(CLOSE) for browser, _ in tunnels) == 2, "the others are told")
    gateway.expect_complaint("a bug of ours")


async def test_who_has_closed_already_gets_the_others_answer(gateway: Gateway, app: App) -> None:
    browser, wire = await tunnel(gateway, app)
    plan = await begun(gateway)
    browser.send(masked(b"\x88\x02\x03\xe8"))
    assert unmasked(await wire.read(8)) == b"\x88\x02\x03\xe8"
    await plan.say_goodbye()
    assert not browser.unread and not wire.unread, "no second Close"
    wire.send(b"\x88\x02\x03\xe8")
    assert await browser.read(4) == b"\x88\x02\x03\xe8"
    await said_goodbye(plan)
    assert await browser.eof() == b""
    assert await wire.ended() == b""


async def test_who_does_not_answer_is_not_waited_for(
    gateway: Gateway, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_drain, "CLOSE_WAIT", 0.2)
    browser, wire = await tunnel(gateway, app)
    plan = await begun(gateway)
    await plan.say_goodbye()
    browser.send(masked(b"\x82\x02go") * 100)  # goes on
    await said_goodbye(plan)
    assert await browser.eof() == CLOSE
    assert [each.phase.name for each in gateway.edge.downstreams] == ["LINGER"], "no reset overtakes the Close"
    assert unmasked(await wire.ended()) == CLOSE


async def test_a_slow_reader_gets_it_when_its_turn_comes(gateway: Gateway, app: App) -> None:
    browser, wire = await tunnel(gateway, app)
    browser.stop_reading()
    frame = b"\x82\x7e\xff\xff" + bytes(65535)
    async with Draining(gateway, 2.0):
        await asyncio.sleep(0.6)
        for _ in range(200):
            wire.send(frame)
        await asyncio.sleep(1.0)  # the goodbye
        browser.read_on()
        received = await browser.read(4)
        while received != CLOSE:
            assert received == frame[:4]
            assert await browser.read(65535) == frame[4:]
            received = await browser.read(4)
        wire.send(CLOSE)
        browser.send(masked(CLOSE))
        assert await browser.eof() == b""
        wire.read_on()


async def test_where_no_frame_ends_nothing_is_said(gateway: Gateway, app: App) -> None:
    """In the middle of a frame to the last: cut off, and counted."""
    browser, wire = await tunnel(gateway, app)
    tasks = Tasks()

    async def talk() -> None:
        while True:
            wire.send(b"\xff" * 700)
            browser.send(b"\xff" * 700)
            await asyncio.sleep(0.01)

    tasks.spawn(talk(), "talk")
    await drain(Drain(gateway.edge, 1.0), [gateway.plain, gateway.secure], Shutdown())
    await tasks.cancel()
    received = await browser.ended()
    assert CLOSE not in received
    assert gateway.edge.counters.tunnels_cut == 1
    gateway.expect_complaint("closing 1 connection that did not finish within 1 s")


async def test_what_is_no_websocket_is_left_alone_until_the_end(gateway: Gateway, app: App) -> None:
    browser, wire = await tunnel(gateway, app, protocol=b"tcp")
    async with Draining(gateway, 0.6) as draining:
        await asyncio.sleep(0.6)
        wire.send(b"hello")
        assert await browser.read(5) == b"hello"
        assert draining.counted == (0, 1)


async def test_half_closed(gateway: Gateway, app: App) -> None:
    """Who has ended its side, and can be told nothing any more: the other is."""
    browser, wire = await tunnel(gateway, app)
    browser.half_close()
    assert await wire.eof() == b""
    async with Draining(gateway, 1.0):
        assert await browser.read(4) == CLOSE
        wire.send(CLOSE)
        assert await browser.eof() == b""
        wire.close()


# --- event streams --------------------------------------------------------------------------------------------------

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n%b\r\n"


async def stream(gateway: Gateway, app: App, fields: bytes = b"", *, tls: bool = False) -> tuple[Wire, Wire]:
    browser = await gateway.connect(tls=tls)
    browser.send(get(app))
    wire = await app.accept()
    await wire.request()
    wire.send(STREAM % fields)
    await browser.head()
    return browser, wire


@both
async def test_a_silent_event_stream_ends_cleanly(gateway: Gateway, app: App, tls: bool) -> None:
    browser, wire = await stream(gateway, app, tls=tls)
    async with Draining(gateway, 1.0):
        assert await browser.eof() == b"0\r\n\r\n"
        await wire.ended()
    assert [(record.status, record.reason) for record in gateway.log] == [(200, "")]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
async def test_behind_an_event(gateway: Gateway, app: App, line_end: bytes) -> None:
    browser, wire = await stream(gateway, app)
    begun, rest = b"data: a" + line_end, b"data: b" + line_end + line_end
    async with Draining(gateway, 1.0):
        wire.send(begun)
        assert await browser.read(3 + len(begun) + 2) == b"%x\r\n%b\r\n" % (len(begun), begun)
        await asyncio.sleep(0.7)  # the goodbye
        assert not browser.unread
        wire.send(rest + b"data: late" + line_end)
        assert await browser.eof() == b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest)
        await wire.ended()


async def test_half_an_event_is_no_clean_end(gateway: Gateway, app: App) -> None:
    browser, wire = await stream(gateway, app)
    async with Draining(gateway, 0.4):
        wire.send(b"data: a\n")
        await browser.read_until(b"data: a\n\r\n")
        await asyncio.sleep(0.5)
    await gateway.edge.close()
    assert await browser.ended() == b""
    await wire.ended()


async def test_other_answers_are_not_ended(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    wire = await app.accept()
    await wire.request()
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n")
    await browser.head()
    async with Draining(gateway, 0.4):
        await asyncio.sleep(0.5)
        wire.send(b"3\r\nend\r\n0\r\n\r\n")
        assert await browser.eof() == b"3\r\nend\r\n0\r\n\r\n"


# --- idle connections -----------------------------------------------------------------------------------------------


@both
async def test_idle_connections_go_one_after_the_other(gateway: Gateway, tls: bool) -> None:
    app = await gateway.app(answering(OK))
    browsers = [await gateway.connect(tls=tls) for _ in range(20)]
    for browser in browsers:
        browser.send(get(app))
        await browser.answer()
    async with Draining(gateway, 60.0, 1.0):
        begun = gateway.edge.clock()
        gone: list[float] = []
        for _ in browsers:
            await until(lambda: sum(bool(browser.end) for browser in browsers) > len(gone), "one more", PATIENCE)
            gone.append(gateway.edge.clock() - begun)
        assert gone[-1] < 1.5
        assert gone[14] - gone[4] > 0.15, gone


@both
async def test_one_that_is_used_meanwhile_is_answered(gateway: Gateway, tls: bool) -> None:
    app = await gateway.app(answering(OK))
    browser = await gateway.connect(tls=tls)
    browser.send(get(app))
    await browser.answer()
    async with Draining(gateway, 60.0, 50.0):
        browser.send(get(app))
        answer = await browser.answer()
        assert (answer.body, answer.get(b"Connection")) == (b"ok", b"close")
        assert await browser.eof() == b""


@both
async def test_what_has_just_come_is_answered(open_gateway: OpenGateway, tls: bool) -> None:
    """The request is in the kernel's buffer, and its connection's time has come, in one turn of the event loop."""
    gateway = await open_gateway()
    app = await gateway.app(answering(OK))
    sock = await gateway.blocking_socket(tls=tls)
    await asyncio.to_thread(sock.sendall, get(app))
    first = await asyncio.to_thread(sock.recv, 65536)
    while not first.endswith(b"ok"):
        first += await asyncio.to_thread(sock.recv, 65536)
    sock.sendall(get(app))  # and the event loop has no turn before
    gateway.edge.drain()
    received = b""
    while piece := await asyncio.to_thread(sock.recv, 65536):
        received += piece
    assert received.endswith(b"ok") and b"\r\nConnection: close\r\n" in received
    sock.close()


@both
async def test_nor_does_its_time_overtake_it(gateway: Gateway, tls: bool) -> None:
    """The same at the end of its share of `drain_spread`, or of `timeouts.idle`."""
    app = await gateway.app(answering(OK))
    sock = await gateway.blocking_socket(tls=tls)
    await asyncio.to_thread(sock.sendall, get(app))
    first = b""
    while not first.endswith(b"ok"):
        first += await asyncio.to_thread(sock.recv, 65536)
    [connection] = gateway.edge.downstreams
    gateway.edge.drain(50.0)
    assert gateway.edge.clock() < connection.deadline <= gateway.edge.clock() + 50.0
    sock.sendall(get(app))
    connection.expire(connection.deadline)
    received = b""
    while piece := await asyncio.to_thread(sock.recv, 65536):
        received += piece
    assert received.endswith(b"ok") and b"\r\nConnection: close\r\n" in received
    sock.close()


# --- what is said ---------------------------------------------------------------------------------------------------


async def test_the_log_says_who_is_left(gateway: Gateway, app: App, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gateway.process")
    await tunnel(gateway, app)
    await tunnel(gateway, app, protocol=b"tcp")
    await stream(gateway, app)
    held = await gateway.connect()
    held.send(get(app))
    await (await app.accept()).request()
    idle = await gateway.connect()
    await until(lambda: gateway.edge.connections == 5, "all are there")
    async with Draining(gateway, 60.0):
        await until(lambda: caplog.messages, "it is said")
    said = "draining: 1 request, 1 event stream, 1 WebSocket, 1 other tunnel, 1 idle; what is left is cut off in 60 s"
    assert caplog.messages[0] == said
    assert caplog.messages[1:] == ["draining: 0 WebSockets closed (1001), 2 tunnels cut off"]
    idle.close()
