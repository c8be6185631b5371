"""What a drain does with an exchange that has no end of its own: stands beside it, and ends it well.

A `Drained` takes an exchange's place as the one whom both of its streams tell, and passes everything on. So it sees the
octets of a stream of events or a tunnel from the drain's beginning on, and nobody pays for that before. Knows, as the
exchange does, no version of HTTP.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Final

from gateway.edge.exchange import OPEN, TUNNEL, Exchange
from gateway.edge.exchange_info import is_event_stream, kind_of_tunnel
from gateway.edge.stream import RequestSink
from gateway.http.message import AS_STREAM
from gateway.observe.telemetry import WEBSOCKET
from gateway.upstream.stream import ResponseSink

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.errors import GatewayError
    from gateway.http.message import Fields, ResponseHead
    from gateway.upstream.stream import UpstreamFailure

_EVENT_ENDS: Final = (b"\n\n", b"\r\r", b"\n\r\n", b"\r\r\n")
"""A blank line, whatever ends lines (HTML Standard, section 9.2.5)."""
_EVENT_END: Final = re.compile(b"|".join(_EVENT_ENDS))
_TAIL: Final = 3
"""Octets of the longest."""


class Kind(Enum):
    """What an exchange is, as far as its end is concerned."""

    REQUEST = "request"
    EVENT_STREAM = "event stream"  # over when somebody ends it; whoever reads it asks anew
    WEBSOCKET = "WebSocket"
    TUNNEL = "other tunnel"


def kind_of(exchange: Exchange) -> Kind:
    answer = exchange.answer
    if answer is None:
        return Kind.REQUEST
    if exchange.phase is TUNNEL:
        return Kind.WEBSOCKET if kind_of_tunnel(answer) == WEBSOCKET else Kind.TUNNEL
    if exchange.phase is OPEN and answer.framing is AS_STREAM and is_event_stream(answer):
        return Kind.EVENT_STREAM
    return Kind.REQUEST


class Drained(RequestSink, ResponseSink):
    """Passes everything on; the two kinds that are ended see to their octets."""

    __slots__ = ("_clock", "_downstream", "_exchange", "_silence", "_upstream", "kind")

    def __init__(self, exchange: Exchange, kind: Kind, clock: Callable[[], float], silence: float) -> None:
        """`silence`: seconds without an octet after which a sender has said what it wanted to, for now."""
        streams = exchange.streams
        assert streams is not None  # the caller has asked
        self._exchange = exchange
        self.kind = kind
        self._clock = clock
        self._silence = silence
        self._downstream, self._upstream = streams
        self._downstream.redirect(self)
        self._upstream.sink = self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._exchange!r}>"

    @property
    def is_over(self) -> bool:
        return self._exchange.phase is not OPEN and self._exchange.phase is not TUNNEL

    @property
    def was_closed(self) -> bool:
        """Whether both sides have heard that this is the end."""
        return False

    def say_goodbye(self) -> None:
        """The end is near: ends the exchange as soon as that can be done well. May be said again."""

    def look(self) -> None:
        """Time has passed since the goodbye."""

    # --- RequestSink ---------------------------------------------------------------------------------------------

    def begin(self) -> None:
        raise AssertionError("it has begun")

    def request_body(self, data: bytes) -> None:
        self._exchange.request_body(data)

    def request_end(self, trailers: Fields) -> None:
        self._exchange.request_end(trailers)

    def request_room(self) -> int:
        return self._exchange.request_room()

    def flush_request(self) -> None:
        self._exchange.flush_request()

    def downstream_full(self) -> None:
        self._exchange.downstream_full()

    def downstream_drained(self) -> None:
        self._exchange.downstream_drained()

    def downstream_lost(self, detail: str) -> None:
        self._exchange.downstream_lost(detail)

    def fail(self, error: GatewayError) -> None:
        self._exchange.fail(error)

    # --- ResponseSink --------------------------------------------------------------------------------------------

    def informational(self, head: ResponseHead) -> None:
        raise AssertionError("no interim answer follows a final one")

    def response_head(self, head: ResponseHead) -> None:
        raise AssertionError("an exchange has one final answer")

    def response_body(self, data: bytes) -> None:
        self._exchange.response_body(data)

    def response_end(self, trailers: Fields) -> None:
        self._exchange.response_end(trailers)

    def response_room(self) -> int:
        return self._exchange.response_room()

    def flush_response(self) -> None:
        self._exchange.flush_response()

    def upstream_full(self, waiting: int) -> None:
        self._exchange.upstream_full(waiting)

    def upstream_drained(self) -> None:
        self._exchange.upstream_drained()

    def upstream_failed(self, failure: UpstreamFailure) -> None:
        self._exchange.upstream_failed(failure)


class DrainedEventStream(Drained):
    """Ends behind an event, so that no reader loses half of one, and each asks anew."""

    __slots__ = ("_ending", "_last", "_readable", "_tail")

    def __init__(self, exchange: Exchange, clock: Callable[[], float], silence: float) -> None:
        super().__init__(exchange, Kind.EVENT_STREAM, clock, silence)
        assert exchange.answer is not None  # or it would be no event stream
        self._readable = exchange.answer.get(b"content-encoding") is None
        self._ending = False
        self._last = clock()  # when octets came
        self._tail: bytes | None = None  # the last octets; None: none have come since the drain began

    def say_goodbye(self) -> None:
        self._ending = True
        self.look()

    def look(self) -> None:
        if self._ending and not self.is_over and self._is_between_events():
            self._end()

    def response_body(self, data: bytes) -> None:
        self._last = self._clock()
        before = (self._tail or b"")[1 - _TAIL :]  # not the whole of an end, which would have been the end
        if self._ending and self._readable:
            found = _EVENT_END.search(before + data)
            if found is not None:
                self._exchange.response_body(data[: found.end() - len(before)])
                self._end()
                return
        self._tail = (before + data)[-_TAIL:]
        self._exchange.response_body(data)

    def _is_between_events(self) -> bool:
        if self._readable and self._tail is not None:
            return self._tail.endswith(_EVENT_ENDS)
        # Apps write whole events, and what is compressed is flushed behind one.
        return self._clock() >= self._last + self._silence and self._upstream.is_quiet()

    def _end(self) -> None:
        self._exchange.flush_response()
        self._exchange.end_answer()
