"""The end of a WebSocket in a drain: Close 1001 to both sides, each between two frames, and nothing behind it.

Each way of the tunnel goes through this by itself:

    OPEN --goodbye--> ENDING --at a frame's end: our Close is sent--> ENDED
                        `------its sender's own Close, or end----------^

Before the goodbye octets pass as they come, and a `FrameTracker` finds out where frames end. A way that has had our
Close carries nothing else: what its sender still says is read until its own Close, which answers the one it has got
from us, and thrown away. Once both sides have said theirs, or `CLOSE_WAIT` after the last of ours, the exchange ends.

Where no frame's end is found, octets pass on: the answer to the Close that the other side has got may reach this one
among them. What is left when the drain ends is cut off.
"""

from __future__ import annotations

from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING, Final

from gateway.edge.drained import Drained, Kind
from gateway.http.websocket_frames import GOING_AWAY, FrameTracker, close_frame
from gateway.http.websocket_frames import State as Tracking

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.edge.exchange import Exchange
    from gateway.http.message import Fields

CLOSE_WAIT: Final = 2.0
"""Seconds for the other side's Close: a round trip, and a program that is busy (browsers wait as long for ours)."""


class Way(Enum):
    """See the drawing above."""

    OPEN = auto()
    ENDING = auto()  # a frame's end is awaited
    ENDED = auto()  # a Close has passed, ours or its sender's, or the sender has gone


class _Way:
    """One direction."""

    __slots__ = ("frames", "gone", "heard", "paused", "said", "state")

    def __init__(self, *, masked: bool, gone: bool, now: float) -> None:
        self.frames = FrameTracker(masked=masked)
        self.state = Way.ENDED if gone else Way.OPEN
        self.gone = gone  # its sender sends no more
        self.said = False  # our Close was sent
        self.heard = now  # when octets came last, or could have come
        self.paused = False  # nothing can: the receiver takes no more for now

    def __repr__(self) -> str:
        return f"<_Way {self.state.name} {self.frames!r}>"

    @property
    def has_closed(self) -> bool:
        """Whether its sender has said Close by itself."""
        return self.frames.state is Tracking.CLOSED and not self.said

    @property
    def is_answered(self) -> bool:
        """Whether its sender has nothing more to say."""
        return self.frames.has_closed or self.gone


class WebSocketDrain(Drained):
    """Follows frames from the time it is made."""

    __slots__ = ("_down", "_patience", "_up")

    def __init__(self, exchange: Exchange, clock: Callable[[], float], silence: float) -> None:
        super().__init__(exchange, Kind.WEBSOCKET, clock, silence)
        now, (asked, answered) = clock(), exchange.ended_ways
        self._up = _Way(masked=True, gone=asked, now=now)
        self._down = _Way(masked=False, gone=answered, now=now)
        self._patience = inf  # until when the last words of both sides are waited for

    @property
    def was_closed(self) -> bool:
        up, down = self._up, self._down
        return (up.said or down.said) and up.state is Way.ENDED and down.state is Way.ENDED

    # --- the goodbye ---------------------------------------------------------------------------------------------

    def say_goodbye(self) -> None:
        for way in (self._up, self._down):
            if way.state is Way.OPEN:
                way.state = Way.ENDING
        self.look()

    def look(self) -> None:
        if self.is_over:
            return
        up, down = self._up, self._down
        # Who has closed by itself awaits the other side's answer, and no word of ours.
        if up.state is Way.ENDING and not down.has_closed:
            self._try_to_end(up)
        if down.state is Way.ENDING and not up.has_closed:
            self._try_to_end(down)
        now = self._clock()
        if (
            self._patience == inf
            and (up.state is Way.ENDED or down.has_closed)
            and (down.state is Way.ENDED or up.has_closed)
        ):
            self._patience = now + CLOSE_WAIT
        if now >= self._patience or (up.is_answered and down.is_answered):
            self._end()

    def _try_to_end(self, way: _Way) -> None:
        """Between two reads."""
        frames = way.frames
        if frames.state is Tracking.CLOSED:
            way.state = Way.ENDED
            return
        if frames.state is Tracking.SEARCHING and self._is_silent(way):
            frames.assume_boundary()
        if frames.is_at_boundary:
            self._send_close(way, b"")

    def _is_silent(self, way: _Way) -> bool:
        stream = self._downstream if way is self._up else self._upstream
        return not way.paused and self._clock() >= way.heard + self._silence and stream.is_quiet()

    def _send_close(self, way: _Way, before: bytes) -> None:
        """Sends the end of the last frame, and a Close behind it."""
        way.said = True
        way.state = Way.ENDED
        exchange = self._exchange
        if way is self._up:
            exchange.request_body(before + close_frame(GOING_AWAY, masked=True))
            exchange.flush_request()
        else:
            exchange.response_body(before + close_frame(GOING_AWAY, masked=False))
            exchange.flush_response()

    def _end(self) -> None:
        self._exchange.downstream_lost("the gateway is shutting down")

    # --- what passes ---------------------------------------------------------------------------------------------

    def request_body(self, data: bytes) -> None:
        if passes := self._passes(self._up, data):
            self._exchange.request_body(passes)

    def response_body(self, data: bytes) -> None:
        if passes := self._passes(self._down, data):
            self._exchange.response_body(passes)

    def _passes(self, way: _Way, data: bytes) -> bytes:
        """What of `data` goes on."""
        now, frames = self._clock(), way.frames
        frames.feed(data, after_silence=now >= way.heard + self._silence)
        way.heard = now
        if way.said:
            return b""
        other = self._down if way is self._up else self._up
        if way.state is Way.ENDING and frames.boundary >= 0 and not (way.has_closed or other.has_closed):
            self._send_close(way, data[: frames.boundary])
            return b""
        return data

    def request_end(self, trailers: Fields) -> None:
        up = self._up
        up.gone, up.state = True, Way.ENDED
        if up.said and self._down.state is Way.ENDED:
            self._end()
        else:
            super().request_end(trailers)

    def response_end(self, trailers: Fields) -> None:
        down = self._down
        down.gone, down.state = True, Way.ENDED
        if down.said:
            self._end()  # the browser has its Close; an app that ends its side has no ear for the other
        else:
            super().response_end(trailers)

    # --- backpressure: while a receiver takes no more, its sender's silence says nothing -------------------------

    def downstream_full(self) -> None:
        self._down.paused = True
        super().downstream_full()

    def downstream_drained(self) -> None:
        self._down.paused, self._down.heard = False, self._clock()
        super().downstream_drained()

    def upstream_full(self, waiting: int) -> None:
        self._up.paused = True
        super().upstream_full(waiting)

    def upstream_drained(self) -> None:
        self._up.paused, self._up.heard = False, self._clock()
        super().upstream_drained()
