"""When an HTTP/1.1 connection has waited long enough, phase by phase.

A connection has exactly one deadline, whose meaning is the phase's; the sweeper calls `expire`. Pausing and resuming
belong to bodies: they never touch the deadline of a phase that has none.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING, Final

from gateway.edge.connection import DownstreamConnection
from gateway.errors import GatewayError, Reason
from gateway.turns import ReadingConnection

if TYPE_CHECKING:
    from gateway.edge.edge import Edge
    from gateway.edge.forwarded import Peer
    from gateway.edge.stream import RequestSink
    from gateway.http.body import BodyReader


READ_GRACE: Final = 1.0
"""Seconds past its deadline in which an idle connection is not closed while something waits to be read: a read is a
matter of milliseconds, unless the one who sends is cut off in the middle of a TLS record."""


class Phase(Enum):
    """See the drawing in http1.py."""

    IDLE = auto()  # no octet of a request has come
    HEAD = auto()  # part of a head has
    EXCHANGE = auto()  # a request is under way
    TUNNEL = auto()  # opaque octets both ways
    LINGER = auto()  # the last answer is written; what still comes is thrown away
    CLOSED = auto()  # the transport is lost, or about to be


IDLE: Final = Phase.IDLE
HEAD: Final = Phase.HEAD
EXCHANGE: Final = Phase.EXCHANGE
TUNNEL: Final = Phase.TUNNEL
LINGER: Final = Phase.LINGER
CLOSED: Final = Phase.CLOSED
"""By themselves: see `message.NO_BODY`."""


class TimedConnection(ReadingConnection, DownstreamConnection):
    """What `Http1Downstream` awaits, and for how long."""

    __slots__ = (
        "_conversing",
        "_edge",
        "_ended",
        "_exchange",
        "_expecting",
        "_linger_left",
        "_on_close",
        "_paused",
        "_reader",
        "_stall",
        "_write_full",
        "deadline",
        "peer",
        "phase",
    )

    def __init__(self, edge: Edge, peer: Peer, on_close: Callable[[], None]) -> None:
        super().__init__(edge.intake)
        self._begin(edge, peer, on_close)
        self.phase = IDLE
        self.deadline = inf
        self._write_full = False  # the transport takes no more for now
        self._exchange: RequestSink | None = None  # set exactly in EXCHANGE and TUNNEL
        self._reader: BodyReader | None = None  # None: the request's body is complete (or there is none)
        self._paused = False  # upstream takes no request body for now
        self._conversing = False  # the answer has begun while the request's body was still on its way
        self._expecting = False  # the body's sender asked for 100 (Continue) first, which the app has not given yet
        self._ended = False  # one direction is closed: downstream's, or in a tunnel upstream's

    def set_deadline(self, when: float) -> None:
        self.deadline = when

    def bring_forward(self, when: float) -> None:
        self.deadline = min(self.deadline, when)

    def _refuse_unread(self, error: GatewayError, received: bytes = b"") -> None:
        """Answers a head that could not be read, or never came whole; nothing on this connection is read again."""
        raise NotImplementedError

    def _head_begins(self) -> None:
        if self.phase is IDLE:
            self.phase = HEAD
            # Absolute: an inactivity timer never fires against one byte now and then (slowloris).
            self.deadline = self._edge.clock() + self._edge.timeouts.request_header

    def _set_deadline(self) -> None:
        """The deadline of the phase as it is now; every call is a sign of progress."""
        phase = self.phase
        if phase is HEAD or phase is LINGER or phase is CLOSED:
            return  # absolute: see _head_begins, and connection.py
        edge = self._edge
        timeouts = edge.timeouts
        if self._write_full:
            self.deadline = edge.clock() + timeouts.body_idle
        elif phase is IDLE:
            self.deadline = edge.clock() + timeouts.idle
        elif phase is TUNNEL:
            self.deadline = edge.clock() + (timeouts.half_closed if self._ended else timeouts.tunnel_idle)
        elif self._reader is not None and not self._paused and not self._expecting:
            self.deadline = edge.clock() + self._body_idle()
        elif self._ended:
            self.deadline = edge.clock() + timeouts.half_closed
        else:
            self.deadline = inf  # the sandbox's turn; the upstream connection has a deadline of its own

    def _set_body_deadline(self) -> None:
        """The request's body is awaited, or not any more; what else has a deadline keeps it."""
        if self.phase is EXCHANGE and self._reader is not None:
            self._set_deadline()

    def _body_idle(self) -> float:
        """How long the request's body may be silent: once the answer has begun, as long as a tunnel."""
        timeouts = self._edge.timeouts
        return timeouts.tunnel_idle if self._conversing else timeouts.body_idle

    def expire(self, now: float) -> None:
        phase = self.phase
        if phase is LINGER:
            self._expire_lingering(now)
        elif self._write_full and self._takes_octets():
            self._set_deadline()  # slow, but alive
        elif phase is HEAD:
            allowed = self._edge.timeouts.request_header
            self._refuse_unread(GatewayError(Reason.REQUEST_TIMEOUT, f"the head was not complete after {allowed:g} s"))
        elif phase is EXCHANGE and not self._write_full and not self._ended and self._exchange is not None:
            detail = f"the body stood still for {self._body_idle():g} s"
            self._exchange.fail(GatewayError(Reason.REQUEST_TIMEOUT, detail))
        elif phase is IDLE and not self._write_full:
            if self._has_unread() and now < self.deadline + READ_GRACE:
                return  # it is the next request, if anything; what is held is an empty line, which is none
            self._close()
        else:
            self._transport.abort()
            if self._exchange is not None:
                self._exchange.downstream_lost("it stopped taking octets" if self._write_full else "it was silent")
