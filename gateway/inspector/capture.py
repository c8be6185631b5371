"""Looks on: stands between a downstream stream and its exchange, notes what passes, and passes it on unchanged.

Three who look, for one exchange:

    connection -> LookingSink -> Exchange -> LookingStream -> downstream stream
                                    `-> access log -> Capture.write (what came of it)

Nothing here waits, decides, or can be slow: per call a few attributes are set. What a body holds is kept up to
`BODY_OCTETS` and only counted beyond; what is kept is decoded when somebody asks. A request without a body, which asks
for no tunnel, needs no sink: what its connection still tells the exchange says nothing new.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final

from gateway.edge.exchange import Exchange
from gateway.edge.exchange_info import is_event_stream
from gateway.edge.stream import DownstreamStream, RequestSink
from gateway.http.message import AS_TUNNEL, BY_LENGTH, NO_BODY
from gateway.http.validate import offers
from gateway.inspector.captured import INTERIM_HEADS, Body, Captured, Kind, Message
from gateway.inspector.messages import EventReader, FrameReader
from gateway.observe.grpc_call import NOT_SAID, WEB, GrpcOutcome, outcome_in, outcome_in_body

if TYPE_CHECKING:
    from gateway.edge.edge import Edge
    from gateway.errors import GatewayError
    from gateway.http.message import Fields, RequestHead, ResponseHead
    from gateway.inspector.store import Store
    from gateway.observe.access_log import AccessLog, AccessRecord
    from gateway.upstream.stream import UpstreamStream

log: Final = logging.getLogger("gateway.inspector")

AWAITED: Final = 2048
"""Exchanges that have ended and whose record is to come: more than telemetry gathers."""


def _let_be(captured: Captured) -> None:
    """Nobody looks."""


class Capture:
    """One per gateway: what makes its exchanges, and what its access log tells."""

    def __init__(self, store: Store, access_log: AccessLog, call_soon: Callable[[Callable[[], None]], object]) -> None:
        """`access_log`: who is told in turn; `call_soon` is the event loop's."""
        self.store = store
        self._access_log = access_log
        self._call_soon = call_soon
        self.look: Callable[[Captured], None] = _let_be
        """Told of each exchange at its end."""
        self._awaited: dict[str, Captured] = {}  # by request id, those whose record is to come
        self.calls: dict[str, GrpcOutcome] = {}
        """By request id, how calls of gRPC have ended whose record is to come, or is just being written."""
        self._early: dict[str, AccessRecord] = {}  # by request id, of whom nothing was seen, or not its end yet

    def look_on(self, edge: Edge, downstream: DownstreamStream, head: RequestHead) -> RequestSink:
        """As `Edge.look_on`."""
        captured = self.store.begin(head, downstream.peer, monotonic())
        stream = LookingStream(self, downstream, captured)
        stream.exchange = exchange = Exchange(edge, stream, head)
        if head.framing is NO_BODY and head.upgrade is None:
            captured.request_complete = True
            return exchange
        stream.sink = sink = LookingSink(self.store, exchange, captured)
        return sink

    # --- AccessLog ---------------------------------------------------------------------------------------------------

    @property
    def dropped(self) -> int:
        return self._access_log.dropped

    def write(self, records: list[AccessRecord]) -> None:
        for record in records:
            captured = self._awaited.pop(record.request_id, None)
            if captured is not None:
                captured.record = record
                self.store.touch(captured)
            else:
                if not self._early:
                    self._call_soon(self._add_refused)
                self._early[record.request_id] = record
        self._access_log.write(records)
        if self.calls:
            for record in records:
                self.calls.pop(record.request_id, None)

    def reopen(self) -> None:
        self._access_log.reopen()

    def close(self) -> None:
        self._access_log.close()

    def _add_refused(self) -> None:
        """Those without an exchange: a head that could not be read, or a listener that answers nobody."""
        store, early = self.store, self._early
        self._early = {}
        for record in early.values():
            captured = store.begin(None, None, monotonic())
            captured.request_id = record.request_id.encode()
            captured.response = Body(0)
            captured.response.size = record.sent
            captured.record = record
            captured.ended = captured.began
            store.end(captured)

    # --- for the streams ---------------------------------------------------------------------------------------------

    def call_ended(self, captured: Captured, outcome: GrpcOutcome) -> None:
        """Its record is to come, a moment before `ended` or after it."""
        captured.more.call = outcome
        if len(self.calls) < AWAITED:
            self.calls[captured.request_id.decode()] = outcome

    def ended(self, captured: Captured, exchange: Exchange) -> None:
        """It is over; its record is on its way."""
        captured.ended = monotonic()
        captured.request_id = exchange.request_id
        self.look(captured)
        self.store.end(captured)
        name = captured.request_id.decode()
        captured.record = self._early.pop(name, None)  # a batch of the log was full
        if captured.record is None:
            self._awaited[name] = captured
            if len(self._awaited) > AWAITED:  # of health checks there is none
                del self._awaited[next(iter(self._awaited))]


class _Listener:
    """Hears what the readers read of one direction of an exchange."""

    __slots__ = ("_captured", "_from_app", "_store")

    def __init__(self, store: Store, captured: Captured, *, from_app: bool) -> None:
        self._store = store
        self._captured = captured
        self._from_app = from_app

    def told(self, kind: Kind, size: int, octets: bytes, note: str) -> None:
        captured = self._captured
        extras = captured.more
        extras.total_messages = number = extras.total_messages + 1
        message = Message(number, monotonic(), self._from_app, kind, size, octets, note)
        self._store.add_message(captured, message)


class LookingSink(RequestSink):
    """Sees the request's body, or the visitor's half of a tunnel."""

    __slots__ = ("_body", "_captured", "_sink", "_store", "frames")

    def __init__(self, store: Store, sink: RequestSink, captured: Captured) -> None:
        self._store = store
        self._sink = sink
        self._captured = captured
        captured.request = self._body = Body()
        self.frames: FrameReader | None = None  # set once a WebSocket is granted

    def __repr__(self) -> str:
        return f"<LookingSink {self._sink!r}>"

    @property
    def behind(self) -> RequestSink:
        return self._sink

    def begin(self) -> None:
        self._sink.begin()

    def request_body(self, data: bytes) -> None:
        kept = self._body.take(data)
        if kept:
            self._store.grow(self._captured, kept)
        self._store.touch(self._captured)
        if self.frames is not None:
            _feed(self.frames, data)
        self._sink.request_body(data)

    def request_end(self, trailers: Fields) -> None:
        if trailers:
            self._captured.more.request_trailers = trailers
        self._captured.request_complete = True
        self._sink.request_end(trailers)

    def request_room(self) -> int:
        return self._sink.request_room()

    def flush_request(self) -> None:
        self._sink.flush_request()

    def downstream_full(self) -> None:
        self._sink.downstream_full()

    def downstream_drained(self) -> None:
        self._sink.downstream_drained()

    def downstream_lost(self, detail: str) -> None:
        self._sink.downstream_lost(detail)

    def age(self) -> float:
        return self._sink.age()

    def fail(self, error: GatewayError) -> None:
        self._sink.fail(error)


class LookingStream(DownstreamStream):
    """Sees the answer, and when what happened. Stands in a downstream stream's place."""

    __slots__ = (
        "_capture",
        "_captured",
        "_inner",
        "_reader",
        "_store",
        "bound",
        "exchange",
        "head_sent",
        "peer",
        "sink",
    )

    def __init__(self, capture: Capture, inner: DownstreamStream, captured: Captured) -> None:
        self._capture = capture
        self._store = capture.store
        self._inner = inner
        self._captured = captured
        self._reader: FrameReader | EventReader | None = None
        self.exchange: Exchange | None = None  # from its beginning to its end
        self.sink: LookingSink | None = None  # who looks on the other way, if anybody does
        self.peer = inner.peer
        self.head_sent = 0
        self.bound: UpstreamStream | None = None
        if inner.bound is not None:  # the exchange takes it from here; what it leaves goes back in the end
            self.bound, inner.bound = inner.bound, None

    def __repr__(self) -> str:
        return f"<LookingStream {self._inner!r}>"

    def send_informational(self, head: ResponseHead, request_id: bytes) -> None:
        if len(self._captured.extras.interim) < INTERIM_HEADS:
            self._captured.more.interim.append(head)
        self._inner.send_informational(head, request_id)

    def send_head(self, head: ResponseHead, request_id: bytes) -> None:
        captured = self._captured
        captured.response_head = head
        captured.request_id = request_id
        captured.first_byte = monotonic()
        framing = head.framing
        if framing is not NO_BODY:
            captured.response = Body()
            if framing is not BY_LENGTH:
                self._follow(head)
        if captured.is_call and (outcome := outcome_in(head.fields)) is not None:
            self._capture.call_ended(captured, outcome)  # "Trailers-Only"
        self._store.grow(captured, sum([len(line.line) for line in head.section.field_lines]))
        self._store.touch(captured)
        self._inner.send_head(head, request_id)
        self.head_sent = self._inner.head_sent

    def _follow(self, head: ResponseHead) -> None:
        """It goes on as long as it likes: messages, or events."""
        if head.framing is not AS_TUNNEL:
            if is_event_stream(head) and head.get(b"content-encoding") is None:
                self._reader = EventReader(_Listener(self._store, self._captured, from_app=True).told)
            return
        if not offers(head.upgrade, b"websocket"):
            return
        extensions = (head.get(b"sec-websocket-extensions") or b"").lower()
        store, captured = self._store, self._captured
        self._reader = FrameReader(_Listener(store, captured, from_app=True).told, extensions, from_app=True)
        if self.sink is not None:
            told = _Listener(store, captured, from_app=False).told
            self.sink.frames = FrameReader(told, extensions, from_app=False)

    def send_body(self, data: bytes) -> None:
        captured, store = self._captured, self._store
        kept = captured.response.take(data)
        if kept:
            store.grow(captured, kept)
        store.version = captured.version = store.version + 1
        if self._reader is not None:
            _feed(self._reader, data)
        self._inner.send_body(data)

    def finish(self, trailers: Fields) -> None:
        captured = self._captured
        if trailers:
            captured.more.response_trailers = trailers
        if captured.is_call and (captured.extras.call is None or trailers):
            outcome = outcome_in(trailers) or captured.extras.call or _told_otherwise(captured)
            if outcome is not None:
                self._capture.call_ended(captured, outcome)
        self._inner.finish(trailers)

    def flush(self) -> None:
        self._inner.flush()

    def abort(self, error: GatewayError) -> None:
        self._captured.more.trouble = str(error)
        self._inner.abort(error)

    def room(self) -> int:
        return self._inner.room()

    def pause(self, waiting: int = 0) -> None:
        captured = self._captured
        if not captured.opened and not captured.request.size:
            captured.is_waiting = True
        self._inner.pause(waiting)

    def resume(self) -> None:
        captured = self._captured
        if captured.is_waiting:
            captured.is_waiting = False
            captured.opened = monotonic()
        self._inner.resume()

    def redirect(self, sink: RequestSink) -> None:
        if self.sink is None:
            self._inner.redirect(sink)
            return
        frames = self.sink.frames
        self.sink = LookingSink(self._store, sink, self._captured)
        self.sink.frames = frames
        self._inner.redirect(self.sink)

    def is_quiet(self) -> bool:
        return self._inner.is_quiet()

    def exchange_ended(self) -> None:
        if self.bound is not None:
            self._inner.bound, self.bound = self.bound, None
        if self.exchange is not None:
            self._capture.ended(self._captured, self.exchange)
        self.exchange = self.sink = None  # what refers to itself is left to the collector
        self._inner.exchange_ended()

    # --- Owner -------------------------------------------------------------------------------------------------------

    def keep(self, upstream: UpstreamStream) -> bool:
        return self._inner.keep(upstream)

    def bound_lost(self) -> None:
        self._inner.bound_lost()


def _told_otherwise(captured: Captured) -> GrpcOutcome | None:
    """What is said of a call outside its trailers; None: in octets that are not kept."""
    head, body = captured.response_head, captured.response
    content_type = (head and head.get(b"content-type")) or b""
    if not content_type.lower().startswith(WEB):
        return NOT_SAID
    return outcome_in_body(bytes(body.octets), content_type) if body.is_whole else None


def _feed(reader: FrameReader | EventReader, data: bytes) -> None:
    """Whatever is wrong in what was read: the exchange goes on."""
    try:
        reader.feed(data)
    except Exception:
        log.exception("the inspector could not read a message")
