"""One stream of an HTTP/2 connection to a sandbox: a request and its answer, either of which may end first.

    OPENED --send_request--> HEAD --final head--> BODY --END_STREAM--> DONE --release--> OVER
       `------------------------`-------------------`---- a failure, `release`, `close` ---'

What comes while downstream takes no more waits here, and no credit is given for it: a stream's window bounds what its
app can make us hold, and no other stream notices. What goes up waits in the session while the app's windows are closed;
then downstream is told to wait.

A stream ends by itself: the connection, and whoever uses it, goes on.
"""

from __future__ import annotations

from abc import abstractmethod
from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING, Final

from gateway.errors import Failure, GatewayError, Reason
from gateway.http.h2.client_fields import answer_head, answer_trailers, request_block
from gateway.http.h2.errors import ErrorCode, StreamFault
from gateway.http.h2.fields import trailers_block
from gateway.http.h2.messages import HEAD_TOO_LARGE
from gateway.http.h2.stream import Stream, hold
from gateway.http.message import BY_LENGTH, NO_BODY, Fields, FieldSection, RequestHead, ResponseHead
from gateway.session_connection import SessionConnection
from gateway.upstream.stream import Owner, ResponseSink, UpstreamFailure, UpstreamStream
from gateway.wordings import LOST, REPLACED, STREAM_RESET

if TYPE_CHECKING:
    from gateway.endpoint import Endpoint
    from gateway.http.h2.decoder import DecodedField
    from gateway.http.h2.session import Session
    from gateway.http.head_parser import HeadLimits
    from gateway.upstream.context import Timeouts

_CANCEL: Final = ErrorCode.CANCEL
END_PATIENCE: Final = 3.0
"""Seconds within which END_STREAM has to follow an answer that is whole without it."""
_REPLACED: Final = "the sandbox was replaced or removed, or its lifetime has ended"


class Phase(Enum):
    """See the drawing above."""

    OPENED = auto()  # handed out by the pool; nothing is sent yet
    HEAD = auto()  # a request goes out; its final head is awaited
    BODY = auto()  # of the answer
    DONE = auto()  # the answer is complete, `release` is to come
    OVER = auto()  # nothing more is said


OPENED: Final = Phase.OPENED
HEAD: Final = Phase.HEAD
BODY: Final = Phase.BODY
DONE: Final = Phase.DONE
OVER: Final = Phase.OVER
"""By themselves: see `message.NO_BODY`."""

_CUT_OFF: Final = {HEAD: Reason.HTTP_RESPONSE_TIMEOUT, BODY: Reason.HTTP_RESPONSE_INCOMPLETE}
"""What is told of an exchange that outlasts the grace of its sandbox. Neither repeats the request."""


class Carrier(SessionConnection):
    """What streams need of the connection that carries them."""

    __slots__ = ("endpoint", "ends", "head_limits", "timeouts")

    endpoint: Endpoint
    head_limits: HeadLimits
    timeouts: Timeouts
    ends: float
    """As of `UpstreamConnection`."""

    @property
    @abstractmethod
    def holds_frames(self) -> bool:
        """Whether something has come that was not delivered, as far as can be seen from here."""

    @abstractmethod
    def early_failure(self) -> Failure | None: ...

    @abstractmethod
    def is_alive(self) -> bool: ...

    @abstractmethod
    def begin(self) -> bool:
        """Whether a stream that was handed out can send its request now; the app may have changed its mind."""

    @abstractmethod
    def stream_over(self, unused: bool) -> None:
        """An exchange has let go of its stream, which is forgotten already; `unused`: it never was given a request."""

    @abstractmethod
    def close_if_idle(self) -> None:
        """Ends the connection if it carries no stream."""


class Http2UpstreamStream(Stream, UpstreamStream):
    """Made by an `Http2Upstream` for each exchange."""

    __slots__ = (
        "_connection",
        "_content_ended",
        "_continue",
        "_drops_content",
        "_full",
        "_heard",
        "_held",
        "_is_conversation",
        "_method",
        "_passed",
        "_paused",
        "_touched",
        "_trailers",
        "challenged",
        "deadline",
        "endpoint",
        "owner",
        "persists",
        "phase",
        "reused",
        "session",
        "sink",
    )

    def __init__(self, connection: Carrier, reused: bool) -> None:
        super().__init__()
        self._connection = connection
        self.session: Session = connection.session
        self.endpoint = connection.endpoint
        self.phase = OPENED
        self.sink: ResponseSink | None = None
        self.owner: Owner | None = None  # of no meaning: no login binds a connection that requests share
        self.challenged = False
        self.reused = reused
        self.persists = True
        self.deadline = inf  # loop time at which `expire` is due; the connection looks
        self._method = b""
        self._is_conversation = False  # gRPC: its answer may begin whenever the app has something to say
        self._heard = False  # something of an answer has come
        self._continue: ResponseHead | None = None  # a 100 that came while downstream took nothing
        self._drops_content = False  # the answer can have none, whatever comes
        self._held: list[bytes] = []  # content that downstream does not take yet
        self._content_ended = False  # END_STREAM has come, behind what is held
        self._trailers: Fields = []  # of the answer, until it is told to be complete
        self._passed = 0  # octets passed on, for which no credit was given yet
        self._paused = False  # downstream takes no more for now
        self._full = False  # the sink was told that the app takes no more for now
        self._touched = False  # `flush_received` is due

    def __repr__(self) -> str:
        return f"<Upstream http2 {self.phase.name} {self.endpoint} stream={self.id} waiting={self.waiting}>"

    # --- UpstreamStream ------------------------------------------------------------------------------------------

    @property
    def is_retired(self) -> bool:
        return self._connection.ends != inf

    def early_failure(self) -> Failure | None:
        return self._connection.early_failure()

    def send_request(
        self, sink: ResponseSink, head: RequestHead, host: bytes, added: FieldSection, request_id: bytes
    ) -> None:
        self.sink = sink
        self.phase = HEAD
        self._method = head.method
        self._is_conversation = head.section.grpc
        if not self._connection.begin():
            self.fail(GatewayError(Reason.CONNECTION_TERMINATED, "the app takes no more requests"), unprocessed=True)
            return
        ended = head.framing is NO_BODY
        self.session.open_stream(self, request_block(head, host, added, request_id), ended)

    def send_body(self, data: bytes) -> None:
        self.session.send_data(self, data)
        if self.waiting and not self._full:
            self._full = True
            if self.sink is not None:
                self.sink.upstream_full(self.waiting)

    def finish(self, trailers: Fields) -> None:
        self.session.end_stream(self, trailers_block(trailers) if trailers else b"")

    def flush(self) -> None:
        if self.phase is HEAD or self.phase is BODY:
            self._connection.flush()
            self._set_deadline()

    def room(self) -> int:
        return 0 if self.waiting else self._connection.room_for(self)

    def pause(self) -> None:
        self._paused = True
        self._set_deadline()

    def resume(self) -> None:
        if not self._paused:
            return
        self._paused = False
        self._set_deadline()
        goes_on, self._continue = self._continue, None
        if goes_on is not None and self.sink is not None:
            self.sink.informational(goes_on)
        self._deliver_held()
        self.flush_received()
        self._connection.flush()  # WINDOW_UPDATE

    def is_alive(self) -> bool:
        return self._connection.is_alive()

    def is_quiet(self) -> bool:
        return not self._held and not self._connection.holds_frames

    def release(self) -> None:
        self._leave()

    def close(self) -> None:
        self._leave()
        self._connection.close_if_idle()

    def _leave(self) -> None:
        """The exchange is over. An answer that is not complete is not wanted, and neither is what waits to be sent."""
        self.sink = None
        if self.phase is OVER:
            return
        complete = self.phase is DONE and self.ending and not self.waiting
        unused = self.phase is OPENED
        self.phase = OVER
        self.deadline = inf
        self._held = []
        if self.id:
            if not complete:
                self.session.reset(self, _CANCEL)
            self.session.forget(self)
        self._connection.stream_over(unused)

    # --- from the session ----------------------------------------------------------------------------------------

    def headers_received(self, fields: list[DecodedField], ended: bool) -> None:
        sink = self.sink
        if sink is None:
            return
        self._heard = True
        self._touch()
        try:
            head = answer_head(fields, ended, self._method, self._connection.head_limits)
            if head.framing is BY_LENGTH:
                self.expect(head.content_length, ended)
        except StreamFault as fault:
            self._malformed(GatewayError(Reason.HTTP_PROTOCOL_ERROR, f"in HTTP/2, {fault.detail}"))
            return
        except GatewayError as error:
            self._malformed(error)
            return
        if head.status < 200:
            if not self._paused:
                sink.informational(head)
            elif head.status == 100:  # others could be more than anybody holds: downstream reads nothing now
                self._continue = head
            self._set_deadline()  # a sign of life
            return
        self._continue = None
        self._drops_content = head.framing is NO_BODY
        self.phase = BODY
        sink.response_head(head)
        if ended:
            self._end([])
        else:
            self._set_deadline()

    def data_received(self, data: bytes) -> None:
        sink = self.sink
        if sink is None:
            return
        if self._drops_content:
            self._passed += len(data)
            self._touch()
            return
        self._set_deadline()
        if self._paused or self._held:
            hold(self._held, data)
            return
        self._passed += len(data)
        self._touch()
        sink.response_body(data)
        if self.expected == 0:
            self._set_deadline()

    def end_received(self, trailer_fields: list[DecodedField]) -> None:
        trailers: Fields = []
        if trailer_fields and self.sink is not None:
            try:
                trailers = answer_trailers(trailer_fields, self._connection.head_limits)
            except StreamFault as fault:
                self._malformed(GatewayError(Reason.HTTP_PROTOCOL_ERROR, f"in HTTP/2, {fault.detail}"))
                return
        self._end(trailers)

    def _malformed(self, error: GatewayError) -> None:
        """Told here, and not by the session: to it the stream may be over already."""
        self.session.reset(self, ErrorCode.PROTOCOL_ERROR)
        self.fail(error)

    def _end(self, trailers: Fields) -> None:
        if self.sink is None:
            return
        self._content_ended = True
        self._trailers = trailers
        self._set_deadline()
        if not self._held:
            self._complete()

    def reset_received(self, code: int) -> None:
        if self._content_ended:
            return  # RFC 9113 section 8.1: the answer is complete; the app wants no more of the request
        name = ErrorCode.name_of(code)
        if self.fault is not None:
            too_large = self.fault == HEAD_TOO_LARGE
            reason = Reason.HTTP_RESPONSE_HEADER_SECTION_SIZE if too_large else Reason.HTTP_PROTOCOL_ERROR
            self.fail(GatewayError(reason, f"in HTTP/2, {self.fault}"))
        elif self.unprocessed:
            self.refused()
        elif self.phase is BODY:
            error = GatewayError(Reason.HTTP_RESPONSE_INCOMPLETE, f"the app reset the stream inside the body ({name})")
            error.reset_code = code
            self.fail(error)
        elif code == ErrorCode.HTTP_1_1_REQUIRED:
            self.fail(GatewayError(Reason.UPSTREAM_SPEAKS_HTTP1, f"the app reset the stream with {name}"))
        else:
            detail = f"the app reset the stream before answering ({name})"
            wording = None if self._is_conversation else STREAM_RESET
            self.fail(GatewayError(Reason.CONNECTION_TERMINATED, detail, wording=wording))

    def wait_for_the_news(self) -> None:
        """It will be `refused`, some turns later: nothing of the request may be used up meanwhile."""
        if self.sink is not None:
            self._full = True
            self.sink.upstream_full(self.waiting)

    def refused(self) -> None:
        """The app has not processed it, whatever it says."""
        if self._content_ended:
            return
        detail = "the app refused the stream, or went away before it took it (REFUSED_STREAM, GOAWAY)"
        self.fail(GatewayError(Reason.CONNECTION_TERMINATED, detail, wording=LOST), unprocessed=True)

    def drained(self) -> None:
        if self._full:
            self._full = False
            self._set_deadline()
            if self.sink is not None:
                self.sink.upstream_drained()

    # --- for the connection --------------------------------------------------------------------------------------

    def passable(self) -> int:
        sink = self.sink
        return 0 if sink is None or self._paused or self.phase is HEAD else sink.response_room()

    def flush_received(self) -> None:
        """What one read has brought was passed on: it leaves, and its sender may go on."""
        self._touched = False
        if self.sink is not None:
            self.sink.flush_response()
        if self._passed and not self._paused:
            passed, self._passed = self._passed, 0
            self.session.consumed(self, passed)

    def lost(self, how: str, by_the_app: bool) -> None:
        """The connection has ended; what has come in full stays."""
        if self._content_ended or self.phase is OVER:
            return
        if self.phase is BODY:
            self.fail(GatewayError(Reason.HTTP_RESPONSE_INCOMPLETE, f"the app {how} inside the body"))
        else:
            wording = None if by_the_app else LOST
            self.fail(GatewayError(Reason.CONNECTION_TERMINATED, f"the app {how} before answering", wording=wording))

    def cut_off(self) -> None:
        """The grace of a sandbox that was replaced is over."""
        reason = _CUT_OFF.get(self.phase)
        if reason is None:
            self.close()
        else:
            wording = REPLACED if self.phase is HEAD else None
            self.fail(GatewayError(reason, _REPLACED, wording=wording))

    def expire(self, now: float) -> None:
        """The deadline has passed, if nothing was said meanwhile."""
        if self.deadline > now:
            return
        allowed = self._patience()
        self.session.reset(self, _CANCEL)
        if self._is_whole():
            self._end([])
            return
        if self.phase is HEAD:
            self.fail(GatewayError(Reason.HTTP_RESPONSE_TIMEOUT, f"no answer within {allowed:g} s"))
        else:
            self.fail(GatewayError(Reason.HTTP_RESPONSE_INCOMPLETE, f"the answer stood still for {allowed:g} s"))

    def fail(self, error: GatewayError, *, unprocessed: bool = False) -> None:
        """Tells the sink, once, and leaves. Of what the app has never processed there is nothing else to say."""
        if self.unprocessed and not unprocessed:
            self.refused()
            return
        if self._is_whole() and not self._content_ended:
            self._end([])
            return
        sink = self.sink
        self._leave()
        if sink is not None:
            # Nothing is asked before the app's SETTINGS have come.
            sink.upstream_failed(UpstreamFailure(error, self.reused, self._heard, unprocessed, greeted=True))

    # --- inside --------------------------------------------------------------------------------------------------

    def _touch(self) -> None:
        if not self._touched:
            self._touched = True
            self._connection.touched.append(self)

    def _deliver_held(self) -> None:
        held, self._held = self._held, []
        for at, data in enumerate(held):
            sink = self.sink
            if sink is None:
                return
            if self._paused:
                self._held = held[at:]
                return
            self._passed += len(data)
            sink.response_body(data)
        if self._content_ended and self.phase is BODY:
            self._complete()

    def _complete(self) -> None:
        self.phase = DONE
        self.deadline = inf
        sink = self.sink
        if sink is not None:
            sink.response_end(self._trailers)

    def _is_whole(self) -> bool:
        """Whether nothing more belongs to the answer, by its head or the length it declares, though END_STREAM has yet
        to come: whoever asked has all of it, and over HTTP/1.1 his next request may wait behind it.
        """
        return self.phase is BODY and (self._drops_content or self.expected == 0)

    def _patience(self) -> float:
        timeouts = self._connection.timeouts
        if self._is_whole() and self.ending and not self.waiting:  # else the app may wait for the rest of the request
            return END_PATIENCE
        if self.phase is BODY and not self.waiting:
            return timeouts.response_idle
        # A call of gRPC has its own deadline, and an answer that may begin long after its request did.
        return timeouts.response_idle if self._is_conversation and not self.waiting else timeouts.response_header

    def _set_deadline(self) -> None:
        """Every call is a sign of progress."""
        if self._paused or self._content_ended or not (self.phase is HEAD or self.phase is BODY):
            self.deadline = inf  # downstream's turn
        else:
            self.deadline = self._connection.due_in(self._patience())
