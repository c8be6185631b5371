"""One HTTP/1.1 connection to a sandbox.

A connection serves one request at a time and goes round in a circle; every arrow not drawn here ends in CLOSED:

    IDLE --send_request--> HEAD --final head--> BODY --body complete--> DONE --release--> IDLE (in the pool, or with
                             |                                                                  its owner)
                             `----101 asked for--> TUNNEL

Interim answers (1xx) change nothing but the deadline, however many they are: an app may say every 20 s of an hour that
it is at work (RFC 9110 section 15.2: a proxy forwards them). A flood of them is work like any other (gateway.turns),
and waits for a slow reader as a body does.

A 101 that comes before the request is complete waits for that: until then what downstream sends is the request's body.

What comes from a sandbox is hostile. Octets while IDLE, octets after the body, a 101 nobody asked for, a body that
breaks its framing: the connection is closed and never reused, and the exchange hears why. Octets after an answer may
also come when the next request is under way here. Then they are no answer to it if they cannot be read as one, or come
before it has left: the request is not answered, and may be repeated elsewhere.

What it awaits in each state, and what its end means there, is http1_lifecycle.py's.
"""

from __future__ import annotations

import logging
import socket
from math import inf
from typing import TYPE_CHECKING, Final

from gateway.app_protocol import HTTP1
from gateway.errors import GatewayError, Reason
from gateway.http import serialize
from gateway.http.body import BodyError, ChunkedReader, CloseReader, LengthReader
from gateway.http.head_parser import HEAD_END, check_partial_response, parse_answer_lines, parse_response_head, quote
from gateway.http.message import (
    AS_STREAM,
    BY_LENGTH,
    NO_BODY,
    FieldLine,
    Fields,
    FieldSection,
    RequestHead,
    ResponseHead,
)
from gateway.http.validate import check_switch
from gateway.metrics import BYTES
from gateway.transport import CLOSED_TRANSPORT, GatheringTransport, StreamTransport
from gateway.turns import HEAD_WORK, LAST_WORK, LOOK, SHARE, SMALL_HEAD, Portions
from gateway.upstream import evidence, peek
from gateway.upstream.claims import ClaimKey
from gateway.upstream.http1_lifecycle import BODY, CLOSED, DONE, HEAD, IDLE, TUNNEL, Http1Lifecycle
from gateway.upstream.stream import ResponseSink, UpstreamStream

if TYPE_CHECKING:
    from gateway.endpoint import Endpoint
    from gateway.upstream.context import ConnectionContext

log: Final = logging.getLogger("gateway.upstream")

_RECEIVED: Final = BYTES.at("upstream", "received")


class Http1Upstream(Http1Lifecycle):
    """A connection that is its own only stream; made by a pool."""

    __slots__ = (
        "_awaits_request",
        "_chunked",
        "_had_body",
        "_lines_before",
        "_out",
        "_request",
        "_request_done",
        "_write_full",
        "challenged",
        "claim_key",
        "is_available",
        "key",
        "since",
    )

    def __init__(self, context: ConnectionContext, endpoint: Endpoint, sock: socket.socket) -> None:
        super().__init__(context, endpoint, sock)
        self.key = endpoint.by(HTTP1)
        self.claim_key = ClaimKey(self.key)
        self._request: RequestHead | None = None
        self._request_done = True
        self._write_full = False  # the transport has octets that the app does not take
        self._had_body = False  # the last answer had one, so its end has been seen
        # `_held` is an unfinished head, or a 101 that waits (see the next line), or what is for the next turn.
        self._awaits_request = False  # a 101 is here, the end of the request is not
        self._lines_before: list[FieldLine] = []  # of the last answer's head, see `parse_request_head`
        self._out: list[bytes] = []  # written at the next flush
        self._chunked = False  # the request body goes out chunked
        self.challenged = False
        self.is_available = True
        self.since = 0.0  # when it became idle

    def __repr__(self) -> str:
        return f"<Upstream http1 {self.state.name} {self.endpoint} held={len(self._held)}>"

    # --- UpstreamStream ------------------------------------------------------------------------------------------

    def send_request(
        self, sink: ResponseSink, head: RequestHead, host: bytes, added: FieldSection, request_id: bytes
    ) -> None:
        self.sink = sink
        self._request = head
        self._request_done = head.framing is NO_BODY
        self._chunked = head.framing is AS_STREAM
        self._heard = False
        self.persists = True
        if self._wide >= 0:
            self._narrow()
        self.state = HEAD  # its deadline begins with the flush
        self._out.append(serialize.request_head(head, host, added, request_id))

    def send_body(self, data: bytes) -> None:
        if self._chunked:
            self._out += serialize.chunk(data)
        else:
            self._out.append(data)

    def finish(self, trailers: Fields) -> None:
        self._request_done = True
        if self.state is TUNNEL:
            self.flush()
            if not self._transport.is_closing():
                self._transport.write_eof()
        elif self._chunked:
            self._out.append(serialize.last_chunk(trailers))
        if self._awaits_request:
            self._awaits_request = False
            self._wait_turn()

    def flush(self) -> None:
        out = self._out
        if out and self.state is not CLOSED:
            self._transport.write(b"".join(out))  # one alone is not copied
            if self.state is HEAD:
                self.deadline = self._clock() + self._context.timeouts.response_header
            elif self.state is BODY:
                self._await_body()  # the answer may wait for what is being sent: a conversation
        self._out = []

    def pause(self) -> None:
        if not self._paused and self.state is not CLOSED:
            self._paused = True
            self._await_body()
            self._set_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            if self.state is not CLOSED and not self._transport.is_closing():
                self._await_body()
                if self.state is HEAD and self.deadline == inf:  # see expire
                    self.deadline = self._clock() + self._context.timeouts.response_header
                if self._held and not self._awaits_request:
                    self._wait_turn()  # `_go_on` could not
                else:
                    self._set_reading()

    def release(self) -> None:
        self.sink = None
        if self.state is not DONE or not self.persists or not self._request_done or self.ends != inf:
            self.close()
            return
        if self._write_full:  # answered before it has read the request: who comes next would not hear that it is full
            self.close()
            return
        self._request = None
        if self._paused:
            self.resume()
        self.state = IDLE
        self.reused = True
        if self.owner is not None:
            if not self.owner.keep(self):
                self.close()
            elif not self.challenged:
                self._context.released_to_owner(self)
        else:
            self.is_available = True
            self._context.released(self, self._had_body)

    def _clear(self) -> None:
        self.is_available = False
        self._awaits_request = False
        self._out = []

    # --- UpstreamConnection --------------------------------------------------------------------------------------

    def open_stream(self) -> UpstreamStream:
        self.is_available = False
        return self

    def rest(self, since: float, deadline: float) -> None:
        self.since = since
        self.deadline = deadline

    def is_claimable(self) -> bool:
        return self.state is IDLE and not self.challenged

    def awaits_first_octet(self) -> bool:
        return not self._heard and not self.reused and (self.state is HEAD or self.state is IDLE)

    # --- asyncio.Protocol ----------------------------------------------------------------------------------------

    def connection_made(self, transport: StreamTransport) -> None:
        self._transport = GatheringTransport(transport, self._context.write_batcher)
        self._transport.set_write_buffer_limits(high=self._context.intake.may_wait)

    def data_received(self, data: bytes) -> None:
        state = self.state
        self._context.cells[_RECEIVED] += len(data)
        try:
            if state is HEAD:
                self._read_head(data)
            elif state is BODY:
                self._await_body()
                self._read_body(data)
            elif state is TUNNEL:
                self._deliver_tunnel(data)
            elif state is DONE and self.sink is not None:
                self.persists = False  # its exchange has yet to let go
            else:
                # Nothing was asked (IDLE), or everything was said (DONE): a response smuggled for the next request.
                self._heard = True
                self.close()
                self._held = data  # see early_failure
            if self.sink is not None:
                self.sink.flush_response()
                if self._work >= SHARE:
                    self._wait_turn()
        except Exception:
            log.exception("reading from %r failed inside the gateway", self)
            self._fail(GatewayError(Reason.PROXY_INTERNAL_ERROR, "unexpected error, logged with a traceback"))

    def _put_off(self, data: bytes) -> bool:
        state = self.state
        # What comes while nothing is asked, or is not asked yet, is no answer, and would be taken for one later.
        if state is not BODY and state is not TUNNEL and (state is not HEAD or self._transport.waiting):
            return False
        self._context.cells[_RECEIVED] += len(data)
        self._held += data
        return True

    def eof_received(self) -> bool:
        if self.state is TUNNEL and self.sink is not None:
            Portions(self._intake.turns, [self], _end_tunnel)
            return True  # half-closed: the other direction may go on
        self._app_closed(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and (self.state is HEAD or self.state is BODY or self.state is TUNNEL):
            self._read_what_is_left()
        self._app_closed(exc)
        self._context.closed(self)
        self._transport = CLOSED_TRANSPORT

    def pause_writing(self) -> None:
        self._write_full = True
        if self.sink is not None:
            self.sink.upstream_full(self._transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._write_full = False
        if self.sink is not None:
            self.sink.upstream_drained()

    # --- reading -------------------------------------------------------------------------------------------------

    def _read_head(self, data: bytes) -> None:
        """Takes (more of) heads."""
        if self._transport.waiting and self.reused and self._is_unasked():
            detail = f"the app went on after its last answer, with {quote(data)}"
            self._fail(GatewayError(Reason.HTTP_PROTOCOL_ERROR, detail))
            return
        self._heard = True
        if self._held:
            data = self._held + data
            self._held = b""
            self._unfinished = False
        limits = self._context.head_limits
        request, sink = self._request, self.sink
        assert request is not None and sink is not None  # HEAD is entered by send_request only
        head = None
        try:
            while True:
                end = data.find(HEAD_END) + 4
                if end < 4 or end > limits.head:
                    check_partial_response(data[: limits.head + 1], limits)
                    self._held = data
                    self._work += len(data) // LOOK
                    self._unfinished = True
                    return
                head = parse_response_head(data[:end], limits, request.method, self._lines_before)
                if end > SMALL_HEAD:
                    self._work += end // LOOK
                whole, data = data, data[end:]
                if head.status >= 200:
                    break
                if head.status == 101:
                    check_switch(request, head)
                    if self._request_done:
                        self._switch(head, data)
                    else:
                        self._held = whole
                        self._awaits_request = True
                        self._set_reading()
                    return
                self.persists = head.hop.keep_alive
                sink.informational(head)
                if self.sink is None:
                    return  # downstream is gone
                self.deadline = self._clock() + self._context.timeouts.response_header  # a sign of life
                if not data:
                    return
                self._work += HEAD_WORK
                if self._work >= SHARE:
                    self._held = data
                    return
        except GatewayError as error:
            if self.reused and head is None:
                self._heard = False  # what cannot be read may belong to the answer before
            is_switch = head is not None and head.status == 101  # whose head was read
            received = whole if is_switch else data
            self._fail(evidence.recognize(error, received), received)
            return
        self._lines_before = head.lines
        framing = head.framing
        self.persists = head.hop.keep_alive and (head.hop.streams or framing is not AS_STREAM)
        self._had_body = framing is not NO_BODY
        if framing is BY_LENGTH and len(data) == head.content_length:  # as most answers come: no need to count
            self.state = BODY
            sink.response_head(head)
            if self.sink is not None:
                self.sink.response_body(data)
            if self.state is BODY:  # else the exchange ended it: downstream is gone
                self._complete(b"")
            return
        if self._had_body:
            if framing is BY_LENGTH:
                self._reader = LengthReader(head.content_length)
            elif head.hop.streams:
                self._reader = ChunkedReader(limits, len(head.section.field_lines), parse_answer_lines)
            else:
                self._reader = CloseReader()
        self.state = BODY
        self.deadline = inf
        sink.response_head(head)
        if self.state is not BODY:
            return  # the exchange ended it: downstream is gone
        if self._reader is None:
            self._complete(data)
            return
        self._await_body()
        if data:
            self._read_body(data)

    def _is_unasked(self) -> bool:
        """Whether what comes cannot be an answer: the request, which waits with others' for the turn to end, has not
        left yet."""
        return self._request is not None and self._request.framing is NO_BODY

    def _read_body(self, data: bytes) -> None:
        reader, sink = self._reader, self.sink
        assert reader is not None and sink is not None  # both are set exactly in BODY
        try:
            content, rest = reader.read(data, SHARE - self._work)
        except BodyError as error:
            self._fail(GatewayError(Reason.HTTP_PROTOCOL_ERROR, f"in the body of the answer, {error}"))
            return
        self._work += reader.work
        if content:
            sink.response_body(content)
        if rest is None or self.state is not BODY:
            return
        if reader.ends_at_eof():
            self._complete(rest)
        else:
            self._held = rest  # for the next turn: SHARE is reached

    def _go_on(self) -> None:
        if not self._paused and not self._awaits_request:
            data, self._held = self._held, b""
            self._context.cells[_RECEIVED] -= len(data)  # which is counted once more
            self.data_received(data)

    def passable(self) -> int:
        if self.sink is None or self._paused or self.state is HEAD:  # interim answers grow as they pass
            return 0
        return self.sink.response_room()

    def _has_room(self) -> bool:
        return not self._paused and not self._awaits_request

    def _complete(self, rest: bytes) -> None:
        reader, sink = self._reader, self.sink
        assert sink is not None  # we were in HEAD or BODY
        if rest:
            self.persists = False  # octets beyond the body are dropped with the connection
        self.state = DONE
        self.deadline = inf
        self._reader = None
        sink.response_end(reader.trailers if reader is not None else [])

    def _switch(self, head: ResponseHead, data: bytes) -> None:
        sink = self.sink
        assert sink is not None  # we are in HEAD
        self._chunked = False
        self._request_done = False
        self.state = TUNNEL
        self.deadline = inf  # a tunnel's silence is timed downstream, where both directions pass
        sink.response_head(head)
        if data and self.state is TUNNEL:
            sink.response_body(data)

    def _deliver_tunnel(self, data: bytes) -> None:
        if self.sink is not None:
            self.sink.response_body(data)

    def _read_what_is_left(self) -> None:
        """Takes an answer, or a tunnel's last words, that were already here when writing failed.

        An app that answers 413 and closes without reading the upload makes our next write fail, and the transport
        gives up without reading. The kernel still holds the answer, and during connection_lost the socket is open.
        """
        self._work = -LAST_WORK
        if self._held and not self._unfinished:
            self._go_on()
        for data in peek.left_in(self._socket):
            held, self._held = self._held, b""
            self.data_received(held + data)
            if self._work >= SHARE or self.sink is None or self._paused:
                break  # all that its last words may cost, all that they say, or all that a slow reader may hold


def _end_tunnel(connection: Http1Upstream) -> None:
    """The app sends no more."""
    if connection.state is TUNNEL and connection.sink is not None:
        connection.sink.response_end([])
