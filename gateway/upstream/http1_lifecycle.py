"""What an HTTP/1.1 connection to a sandbox awaits, for how long, and what its end means in each state: when the app
closes early, says nothing in time, or is replaced.

A connection has one deadline, whose meaning is the state's (`expire`), for the sweeper; when its sandbox is replaced it
gets another for the end of what is under way (`cut_off`), which the pool looks at.
"""

from __future__ import annotations

import socket
from enum import Enum, auto
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final

from gateway.errnos import SILENCE, ended, is_by_the_app
from gateway.errors import Failure, GatewayError, Reason
from gateway.http.head_parser import quote
from gateway.socket_options import unanswered
from gateway.turns import Portions, ReadingConnection
from gateway.upstream import evidence, peek
from gateway.upstream.stream import Owner, ResponseSink, UpstreamConnection, UpstreamFailure, UpstreamStream
from gateway.wordings import HUNG_UP_IN_HEAD, HUNG_UP_UNASKED, LOST, REPLACED

if TYPE_CHECKING:
    from gateway.endpoint import Endpoint
    from gateway.http.body import BodyReader
    from gateway.upstream.context import ConnectionContext


class State(Enum):
    """See the drawing in http1.py."""

    IDLE = auto()  # new, or in the pool, or its owner's: nothing is asked
    HEAD = auto()  # a request goes out; its final head is awaited
    BODY = auto()  # of the answer
    TUNNEL = auto()  # opaque octets both ways
    DONE = auto()  # the answer is complete, `release` is to come
    CLOSED = auto()  # nothing more is said; a tunnel's last octets may still leave


IDLE: Final = State.IDLE
HEAD: Final = State.HEAD
BODY: Final = State.BODY
TUNNEL: Final = State.TUNNEL
DONE: Final = State.DONE
CLOSED: Final = State.CLOSED
"""By themselves: see `message.NO_BODY`."""

_CUT_OFF: Final = {
    HEAD: Reason.HTTP_RESPONSE_TIMEOUT,
    BODY: Reason.HTTP_RESPONSE_INCOMPLETE,
    TUNNEL: Reason.CONNECTION_TERMINATED,
}
"""What is told of an exchange that outlasts the grace of its sandbox. None of these repeats the request."""


class Http1Lifecycle(ReadingConnection, UpstreamConnection, UpstreamStream):
    """The base of `Http1Upstream`, which reads and writes."""

    __slots__ = (
        "_clock",
        "_context",
        "_heard",
        "_paused",
        "_reader",
        "_socket",
        "deadline",
        "endpoint",
        "ends",
        "owner",
        "persists",
        "reused",
        "sink",
        "state",
    )

    def __init__(self, context: ConnectionContext, endpoint: Endpoint, sock: socket.socket) -> None:
        super().__init__(context.intake)
        self._context = context
        self._clock = context.clock
        self.endpoint = endpoint
        self._socket = sock  # ours to look at (`is_alive`), the transport's to read, write and close
        self.state = IDLE
        self.sink: ResponseSink | None = None
        self.owner: Owner | None = None
        self.persists = True
        self.reused = False
        self._reader: BodyReader | None = None  # in BODY, unless the whole body came with the head
        self._paused = False
        self._heard = False  # octets of an answer to this request have come, or of what cannot be one
        self.deadline = inf  # loop time at which `expire` is due
        self.ends = inf  # loop time at which `cut_off` is due, whatever is under way; until `retire` there is none

    def _clear(self) -> None:
        """What is not written yet, and what waits to be read, is of no use any more."""
        raise NotImplementedError

    def _complete(self, rest: bytes) -> None:
        """The response has ended, and `rest` came behind it."""
        raise NotImplementedError

    @property
    def is_retired(self) -> bool:
        return self.ends != inf

    def early_failure(self) -> Failure | None:
        if self.state is not CLOSED:
            return None
        if self._heard:  # SSH, SMTP and databases greet whoever connects
            detail = f"the app spoke before it was asked, beginning with {quote(self._held)}"
            return evidence.recognize(GatewayError(Reason.HTTP_PROTOCOL_ERROR, detail), self._held).failure()
        detail = "the app closed the connection before it was asked"
        return Failure(Reason.CONNECTION_TERMINATED, detail, wording=HUNG_UP_UNASKED)

    def is_alive(self) -> bool:
        """Whether an idle connection still is what it seems: no FIN, no reset, no stray octet waiting to be read."""
        return not self._transport.is_closing() and peek.is_quiet(self._socket)

    def is_quiet(self) -> bool:
        return not self._held and self.is_alive()

    def _await_body(self) -> None:
        """Begins a body's time anew, of which there is no end while downstream is the slow one; no other state's."""
        if self.state is BODY:
            self.deadline = inf if self._paused else self._clock() + self._context.timeouts.response_idle

    def end_if_dead(self, patience: float) -> None:  # see `edge.dead_peers`
        if unanswered(self._socket) > patience:
            self._app_closed(SILENCE)

    def retire(self, ends: float) -> None:
        self.ends = ends
        if self.state is IDLE:
            self.close()

    def cut_off(self) -> None:
        reason = _CUT_OFF.get(self.state)
        if reason is not None:
            wording = REPLACED if self.state is HEAD else None
            detail = "the sandbox was replaced or removed, or its lifetime has ended"
            self._fail(GatewayError(reason, detail, wording=wording))

    def expire(self, now: float) -> None:
        timeouts = self._context.timeouts
        if self.state is HEAD and self._paused and (self._held or not self.is_alive()):
            self.deadline = inf  # it did answer, and downstream has yet to make room before that can be read
        elif self.state is HEAD:
            detail = f"no answer within {timeouts.response_header:g} s"
            self._fail(GatewayError(Reason.HTTP_RESPONSE_TIMEOUT, detail))
        elif self.state is BODY:
            detail = f"the answer stood still for {timeouts.response_idle:g} s"
            self._fail(GatewayError(Reason.HTTP_RESPONSE_INCOMPLETE, detail))
        elif self.state is CLOSED:
            self._transport.abort()  # the sandbox did not take a tunnel's last octets
            self._context.closed(self)
        else:
            self.close()

    def close(self) -> None:
        """Ends the connection without a word to the sink.

        A request that was not sent yet is not wanted any more; the last octets of a tunnel (a WebSocket's Close) are.
        """
        if self.state is CLOSED:
            return
        tunnel = self.state is TUNNEL
        if tunnel:
            self.flush()
        self.state = CLOSED
        self.sink = None
        self._reader = None
        self._held = b""
        self._clear()
        if tunnel and self._transport.get_write_buffer_size():
            self.deadline = self._clock() + self._context.timeouts.linger
            self._transport.close()
        else:
            self._transport.abort()
            self._context.closed(self)
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.bound_lost()

    def _app_closed(self, exc: Exception | None) -> None:
        """The sandbox closed, cleanly or not. Of its answers, which may be a thousand, each ends in its turn."""
        if self.sink is None:
            self.close()
        else:
            self.persists = False  # whatever comes of it meanwhile
            Portions(self._intake.turns, [self], partial(_end, exc))

    def end(self, exc: Exception | None) -> None:
        """What the app's end, met earlier, means now."""
        state = self.state
        how = ended(exc)
        if state is HEAD:
            when = "in the middle of its answer's head" if self._held else "before answering"
            hung_up = HUNG_UP_IN_HEAD if self._held else None
            wording = hung_up if is_by_the_app(exc) else LOST
            self._fail(GatewayError(Reason.CONNECTION_TERMINATED, f"the app {how} {when}", wording=wording))
        elif state is BODY:
            reader = self._reader
            assert reader is not None
            if exc is None and reader.ends_at_eof():
                self._complete(b"")
            else:
                self._fail(GatewayError(Reason.HTTP_RESPONSE_INCOMPLETE, f"the app {how} inside the body"))
        elif state is TUNNEL:
            self._fail(GatewayError(Reason.CONNECTION_TERMINATED, f"the app {how}"))
        elif state is not DONE or self.sink is None:  # else the answer is withheld, its exchange has yet to let go
            self.close()

    def _fail(self, error: GatewayError, received: bytes = b"") -> None:
        sink = self.sink
        self.close()
        if sink is not None:
            # Whoever speaks HTTP/2 alone has read nothing that it could have acted on.
            unprocessed = error.reason is Reason.UPSTREAM_SPEAKS_HTTP2
            sink.upstream_failed(UpstreamFailure(error, self.reused, self._heard, unprocessed, received))


def _end(exc: Exception | None, connection: Http1Lifecycle) -> None:
    connection.end(exc)
