"""A WebSocket's end, as a drain makes it, between two fakes of the seam: no sockets, no HTTP, a clock that is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.edge.drained import DrainedEventStream, Kind, kind_of
from gateway.edge.websocket_drain import CLOSE_WAIT, WebSocketDrain
from gateway.errors import Reason
from gateway.http.message import AS_TUNNEL
from tests.support.clock import Clock
from tests.support.seam import Downstream, Gateway, Stream, answer, gateway, handshake

pytestmark = pytest.mark.pure  # fakes stand in the place of what is compiled

SILENCE = 1.0
CLOSE = b"\x88\x02\x03\xe9"
OWN = b"\x88\x02\x03\xe8"
"""Somebody's own Close, 1000."""
TEXT, HALF = b"\x81\x02hi", b"\x82\x05ha"


def masked(frame: bytes) -> bytes:
    """With a key of zeros."""
    return bytes((frame[0], frame[1] | 0x80)) + bytes(4) + frame[2:]


class Tunnel:
    """A WebSocket that is drained."""

    def __init__(self, g: Gateway, browser: Downstream, app: Stream) -> None:
        self.g, self.browser, self.app, self.clock = g, browser, app, Clock()
        self.drained = WebSocketDrain(browser.exchange, self.clock, SILENCE)

    def browser_says(self, data: bytes) -> None:
        self.browser.sink.request_body(data)
        if not self.is_over:
            self.browser.sink.flush_request()

    def pass_time(self, seconds: float = SILENCE) -> None:
        self.clock.now += seconds
        self.drained.look()

    def silence(self) -> None:
        self.clock.now += SILENCE

    @property
    def app_has(self) -> bytes:
        return b"".join(each for each in self.app.sent[1:] if isinstance(each, bytes))

    @property
    def app_has_close(self) -> bool:
        head, key, code = self.app_has[-8:-6], self.app_has[-6:-2], self.app_has[-2:]
        return head == b"\x88\x82" and bytes(a ^ b for a, b in zip(code, key, strict=False)) == CLOSE[2:]

    @property
    def is_over(self) -> bool:
        return self.browser.ended == 1

    def check_over(self) -> None:
        assert self.is_over and self.drained.is_over
        assert not self.g.contract.broken, self.g.contract.broken


@asynccontextmanager
async def a_tunnel() -> AsyncIterator[Tunnel]:
    async with gateway(capacity=4) as g:  # as HTTP/2: a stream of many
        connection = await g.warm()
        browser = g.ask(handshake())
        [app] = connection.streams
        app.says(answer(101, AS_TUNNEL))
        assert kind_of(browser.exchange) is Kind.WEBSOCKET
        yield Tunnel(g, browser, app)


async def test_after_a_silence_both_sides_are_told() -> None:
    async with a_tunnel() as t:
        t.silence()
        t.drained.say_goodbye()
        assert t.browser.body == CLOSE
        assert t.app_has_close and len(t.app_has) == 8
        assert t.drained.was_closed and not t.is_over
        t.browser_says(masked(CLOSE))
        t.app.says_body(CLOSE)
        t.drained.look()
        assert (t.browser.body, len(t.app_has)) == (CLOSE, 8), "the answers are no second Close"
        t.check_over()


async def test_before_a_silence_is_known_nobody_is() -> None:
    async with a_tunnel() as t:
        t.clock.now += SILENCE / 2
        t.drained.say_goodbye()
        assert (t.browser.body, t.app_has) == (b"", b"")
        t.pass_time(SILENCE / 2)
        assert t.browser.body == CLOSE and t.app_has_close


async def test_silence_of_who_cannot_speak_is_none() -> None:
    """Reading is paused, or what has come was not delivered: there may be the half of a frame."""
    async with a_tunnel() as t:
        t.browser.sink.downstream_full()
        t.browser.quiet = False
        t.silence()
        t.drained.say_goodbye()
        assert (t.browser.body, t.app_has) == (b"", b"")
        t.browser.quiet = True
        t.browser.sink.downstream_drained()
        t.drained.look()
        assert t.browser.body == b"" and t.app_has_close
        t.pass_time()
        assert t.browser.body == CLOSE


async def test_in_the_middle_of_a_frame_its_end_is_awaited() -> None:
    async with a_tunnel() as t:
        t.silence()
        t.app.says_body(TEXT + HALF)
        t.drained.say_goodbye()
        assert t.browser.body == TEXT + HALF
        t.app.says_body(b"lf")
        t.app.says_body(b"!" + HALF)
        assert t.browser.body == TEXT + HALF + b"lf!" + CLOSE
        t.app.says_body(b"lf!" + TEXT)
        assert t.browser.body.endswith(CLOSE), "nothing behind it"


async def test_who_never_comes_to_a_frames_end_is_not_closed() -> None:
    async with a_tunnel() as t:
        t.silence()
        t.app.says_body(HALF)
        t.drained.say_goodbye()
        for _ in range(10):
            t.pass_time()
        assert not t.drained.was_closed and not t.is_over, "for the end of the drain to cut"
        assert t.app_has_close, "the other side"
        t.browser_says(masked(CLOSE))
        assert len(t.app_has) == 8


async def test_an_unknown_way_carries_the_others_answer() -> None:
    async with a_tunnel() as t:
        t.browser_says(b"\xff" * 5)
        t.silence()
        t.browser_says(b"\xff" * 5)
        t.drained.say_goodbye()
        t.browser_says(masked(CLOSE))  # found in nothing; it passes
        assert t.app_has == b"\xff" * 10 + masked(CLOSE)


@pytest.mark.parametrize("by_browser", [True, False])
async def test_a_handshake_under_way_gets_its_answer_and_no_other(by_browser: bool) -> None:
    async with a_tunnel() as t:
        t.silence()
        t.browser_says(masked(OWN)) if by_browser else t.app.says_body(OWN)
        t.silence()
        t.drained.say_goodbye()
        t.drained.look()
        assert (t.app_has, t.browser.body) == ((masked(OWN), b"") if by_browser else (b"", OWN))
        t.app.says_body(OWN) if by_browser else t.browser_says(masked(OWN))
        assert (t.app_has, t.browser.body) == (masked(OWN), OWN)
        t.drained.look()
        t.check_over()


async def test_nor_is_its_answer_waited_for_without_end() -> None:
    async with a_tunnel() as t:
        t.silence()
        t.browser_says(masked(OWN))
        t.drained.say_goodbye()
        t.pass_time(CLOSE_WAIT)
        t.check_over()


async def test_who_goes_on_is_not_listened_to_without_end() -> None:
    async with a_tunnel() as t:
        t.silence()
        t.drained.say_goodbye()
        while not t.is_over:
            t.browser_says(masked(TEXT))
            t.app.says_body(TEXT)
            t.pass_time(0.1)
        assert t.clock.now <= 1000.0 + SILENCE + CLOSE_WAIT + 0.2
        assert (t.browser.body, len(t.app_has)) == (CLOSE, 8)
        t.check_over()


async def test_an_app_that_hangs_up_after_its_close() -> None:
    async with a_tunnel() as t:
        t.silence()
        t.drained.say_goodbye()
        t.app.says_body(CLOSE)
        t.app.ends()
        assert t.drained.was_closed
        t.check_over()


async def test_who_has_ended_its_side_before_has_nothing_to_be_told() -> None:
    async with a_tunnel() as t:
        t.browser.sink.request_end([])
        t.silence()
        t.drained.say_goodbye()
        assert t.browser.body == CLOSE and t.app_has == b""
        t.app.says_body(CLOSE)
        t.drained.look()
        t.check_over()


async def test_one_that_fails_meanwhile() -> None:
    async with a_tunnel() as t:
        t.silence()
        t.drained.say_goodbye()
        t.app.fails(Reason.CONNECTION_TERMINATED)
        t.drained.look()
        t.check_over()


# --- event streams --------------------------------------------------------------------------------------------------


async def test_an_event_stream_ends_once() -> None:
    async with gateway(capacity=4) as g:
        connection = await g.warm()
        browser = g.ask()
        [app] = connection.streams
        app.says(answer(fields=[(b"Content-Type", b"Text/Event-Stream;charset=utf-8")]))
        assert kind_of(browser.exchange) is Kind.EVENT_STREAM
        clock = Clock()
        drained = DrainedEventStream(browser.exchange, clock, SILENCE)
        app.says_body(b"data: a\n\ndata")
        clock.now += 10 * SILENCE
        drained.say_goodbye()
        assert not drained.is_over, "in the middle of an event"
        app.says_body(b": b\n\ndata: c\n\n")
        assert browser.body == b"data: a\n\ndata: b\n\n"
        drained.look()
        drained.say_goodbye()
        assert (browser.said, browser.ended, app.over) == ([200, "end"], 1, "released")
        assert not g.contract.broken, g.contract.broken


async def test_one_between_two_events_ends_at_once() -> None:
    async with gateway(capacity=4) as g:
        connection = await g.warm()
        browser = g.ask()
        [app] = connection.streams
        app.says(answer(fields=[(b"Content-Type", b"text/event-stream")]))
        drained = DrainedEventStream(browser.exchange, Clock(), SILENCE)
        app.says_body(b"data: a\n\n")
        drained.say_goodbye()
        drained.look()
        drained.say_goodbye()
        assert (browser.said, browser.ended) == ([200, "end"], 1)
        assert not g.contract.broken, g.contract.broken


async def test_a_compressed_one_ends_in_a_silence() -> None:
    async with gateway(capacity=4) as g:
        connection = await g.warm()
        browser = g.ask()
        [app] = connection.streams
        app.says(answer(fields=[(b"Content-Type", b"text/event-stream"), (b"Content-Encoding", b"gzip")]))
        clock = Clock()
        drained = DrainedEventStream(browser.exchange, clock, SILENCE)
        app.says_body(b"packed\n\n")
        drained.say_goodbye()
        app.says_body(b"more\n\n")
        drained.look()
        assert not drained.is_over
        clock.now += SILENCE
        drained.look()
        assert drained.is_over and browser.body == b"packed\n\nmore\n\n"
