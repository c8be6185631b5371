"""One HTTP/2 connection from downstream: what its streams share.

    OPEN --drain, or its last answer--> LEAVING --streams are over--> LINGER --> CLOSED
      `------------ a fault of the connection, idle for too long -------^

The session (`http/h2`) speaks the protocol: it is given what was read and calls back, what it has to say waits in
`session.out`. This is its shell: reads in turns, writes, asks for an exchange for each request, watches the time.

Each stream has a deadline of its own. The connection's is the earliest of all, or earlier; so nothing is to be done
when a request begins or ends, and the sweeper still looks at one number.

Leaving takes two GOAWAYs (RFC 9113 section 6.8), a round trip apart, so that no request crosses them. A connection that
carries WebSockets says nothing before they have been closed: Firefox drops them at the first one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from enum import Enum, auto
from functools import partial
from math import inf
from random import random
from typing import TYPE_CHECKING, Final, cast

from gateway import errnos
from gateway.edge.exchange import Exchange
from gateway.edge.forwarded import VIA_HTTP_2
from gateway.edge.http2_stream import Http2Stream
from gateway.edge.local_reply import LocalReply, local_answer, reply
from gateway.edge.served_stream import Carrier, LocalReplyStream, ServedStream
from gateway.edge.stream_shares import StreamShares
from gateway.errors import GatewayError, Reason
from gateway.http.h2.errors import ErrorCode
from gateway.http.h2.fields import HTTP_2, MalformedRequest, readable_head, request_head
from gateway.http.h2.settings import SessionLimits
from gateway.metrics import BYTES, HTTP2_ERRORS
from gateway.transport import CLOSED_TRANSPORT, StreamTransport
from gateway.turns import Portions

if TYPE_CHECKING:
    from gateway.edge.edge import Edge
    from gateway.edge.forwarded import Peer
    from gateway.edge.stream import RequestSink
    from gateway.http.h2.decoder import DecodedField
    from gateway.http.message import RequestHead, ResponseHead

log: Final = logging.getLogger("gateway.edge")

LOOK_AGAIN: Final = 1.0
"""Seconds until it is looked again whether a connection's WebSockets are over."""
SETTINGS_PATIENCE: Final = 10.0
"""Seconds in which our SETTINGS are to be acknowledged."""
REQUEST_WORK: Final = 8
"""Units (see gateway.turns) of a request, besides its octets."""
READABLE: Final = 4
"""How many times too large a head may be and still be read, for an answer in the form that its sender can use. Beyond
that it is decoded in the dark, and past as many octets of a field block the connection ends."""
MAX_STALLED: Final = 1024 * 1024
"""Octets that may wait for windows, of all streams together. Past that no answer is read for whom it would wait, too: a
new stream whose window is `SMALL_WINDOW` at most."""
SMALL_WINDOW: Final = 4096

EMPTY_ORIGIN: Final = bytes((0, 0, 0, 0xC, 0, 0, 0, 0, 0))
"""A frame that says: this connection is for the name it was made for, and no other (RFC 8336 section 2.3)."""

_ERRORS: Final = {ErrorCode[name.upper()]: HTTP2_ERRORS.at(name) for name in HTTP2_ERRORS.values[0]}
_RECEIVED: Final = BYTES.at("downstream", "received")


class Phase(Enum):
    """See the drawing above."""

    OPEN = auto()
    LEAVING = auto()  # GOAWAY was sent, streams are under way
    LINGER = auto()  # the last octet is written; what still comes is thrown away
    CLOSED = auto()  # the transport is lost, or about to be


OPEN: Final = Phase.OPEN
LEAVING: Final = Phase.LEAVING
LINGER: Final = Phase.LINGER
CLOSED: Final = Phase.CLOSED
"""By themselves: see `message.NO_BODY`."""


class Http2Downstream(Carrier):
    """The protocol object of its transport."""

    __slots__ = (
        "_busy",
        "_edge",
        "_frame_block",
        "_frame_due",
        "_held_back",
        "_idle_due",
        "_leave_due",
        "_linger_left",
        "_local_reply",
        "_noticed",
        "_on_close",
        "_settings_due",
        "_settled",
        "_shares",
        "_stall",
        "_stall_due",
        "peer",
        "phase",
    )

    def __init__(
        self, edge: Edge, peer: Peer, on_close: Callable[[], None], local_reply: LocalReply | None = None
    ) -> None:
        streams, head = edge.settings.limits.http2_streams, edge.head_limits
        session_limits = SessionLimits(
            concurrent_streams=streams,
            header_list_told=head.head,
            header_list=READABLE * head.head,
            header_fields=READABLE * head.fields,
            block=READABLE * head.head,
        )
        super().__init__(edge.intake, session_limits, edge.clock, is_server=True)
        self._begin(edge, peer, on_close)
        self._local_reply = local_reply
        peer.protocol, peer.via = HTTP_2, VIA_HTTP_2
        self.phase = OPEN
        self._shares = StreamShares(streams, edge.route)
        self._busy = False  # there are streams, or were when `stream_ended` looked last
        self._held_back: list[ServedStream] = []  # see `holds_back`
        self._settings_due = inf  # loop time: our SETTINGS are not acknowledged yet
        self._frame_block = 0  # the stream of the field block that is awaited
        self._frame_due = inf  # … a frame, or a header block, is not complete
        self._idle_due = inf  # … while there are no streams
        self._leave_due = inf  # … the next step of leaving
        self._stall_due = inf  # … a slow reader has to have taken something
        self._settled = False  # the client's preface is complete
        self._noticed = False  # the first GOAWAY was sent

    def __repr__(self) -> str:
        return f"<Downstream http2 {self.phase.name} {self.peer.text} streams={len(self.session.streams)}>"

    @property
    def _streams(self) -> list[ServedStream]:
        return cast("list[ServedStream]", [*self.session.streams.values()])

    def holds_back(self, stream: ServedStream) -> bool:
        session = self.session
        if session.stalled < MAX_STALLED or stream.send_window > SMALL_WINDOW:
            return False
        self._held_back.append(stream)
        return True

    # --- asyncio.BufferedProtocol --------------------------------------------------------------------------------

    def connection_made(self, transport: StreamTransport) -> None:
        super().connection_made(transport)
        self._idle_due = self.deadline
        self.session.start()
        if self._edge.settings.edge.coalescing == "discourage":
            self.session.out.append(EMPTY_ORIGIN)
        self.flush()

    def data_received(self, data: bytes) -> None:
        self._edge.cells[_RECEIVED] += len(data)
        if self.phase is LINGER:
            self.discarded(len(data))
            return
        try:
            self._process(self._held + data if self._held else data)
        except Exception:
            self._fault()

    def _put_off(self, data: bytes) -> bool:
        if self._is_over:
            return False
        self._edge.cells[_RECEIVED] += len(data)
        self._held += data
        return True

    def eof_received(self) -> bool:
        """Whoever closes its direction does not wait for answers any more."""
        self.hung_up()
        return False

    def hung_up(self) -> None:
        self._tell_lost("the connection was closed")
        self.flush()
        self._close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.phase = CLOSED
        self._is_over = True
        self._held = b""
        self.session.over()
        self._tell_lost(errnos.lost(exc), self._forget)  # it counts until whoever answers it has heard
        self._transport = CLOSED_TRANSPORT

    def pause_writing(self) -> None:
        super().pause_writing()
        self._takes_octets()
        self._stall_due = due = self._edge.clock() + self.timeouts.body_idle
        self.deadline = min(self.deadline, due)
        for stream in self._streams:
            stream.connection_full()

    def _resumed(self) -> None:
        if not self._write_full:
            for stream in self._streams:
                stream.connection_drained()
        self._set_deadline()

    # --- reading -------------------------------------------------------------------------------------------------

    def _read_worked_through(self, *, moved: bool) -> None:
        session = self.session
        if not session.settings_acknowledged and self._settings_due == inf:
            self._settings_due = self.due_in(SETTINGS_PATIENCE)
        if self._held_back:
            self._look_at_held_back()
        if self._busy and not session.streams:
            self.stream_ended()
        if session.open_block or (self._held and self._unfinished) or not self._settled:
            self._await_frame(moved=moved)
        elif self._frame_due != inf:
            self._frame_due = inf

    def _broken(self, code: ErrorCode, detail: str) -> None:
        self._count_error(code, detail)
        self._tell_lost(f"it broke HTTP/2: {code.name}: {detail}")
        self._end()

    def _look_at_held_back(self) -> None:
        held_back, self._held_back = self._held_back, []
        for stream in held_back:
            if stream.sink is not None and not self.holds_back(stream):
                stream.connection_drained()

    def _await_frame(self, *, moved: bool) -> None:
        """The beginning of a frame, or of a field block, waits for the rest: absolutely, an octet now and then changes
        nothing. `moved`: frames have been completed, so that what has begun is another one.
        """
        block = self.session.open_block
        if self._frame_due != inf and (block == self._frame_block if block else not moved):
            return
        timeouts = self.timeouts
        is_head = not self._settled or self.session.awaits_headers(self._held)
        self._frame_block = block
        self._frame_due = self._edge.clock() + (timeouts.request_header if is_head else timeouts.body_idle)
        self.deadline = min(self.deadline, self._frame_due)

    # --- SessionOwner --------------------------------------------------------------------------------------------

    def request_received(self, stream_id: int, fields: list[DecodedField] | None, ended: bool) -> None:
        edge, session = self._edge, self.session
        session.work += REQUEST_WORK
        if self._wide >= 0:
            self._narrow()
        try:
            if fields is None:
                raise GatewayError(Reason.HEADER_SECTION_TOO_LARGE, "the request has too large a field section")
            head = request_head(fields, ended, edge.head_limits, session.block_octets)
        except GatewayError as error:
            self._refuse(stream_id, fields, error)
            return
        shares = self._shares
        if head.authority != shares.authority:
            shares.meet(head.authority)
        count = len(session.streams)
        if count >= shares.share and not self.peer.trusted and shares.are_taken_by(head, self._streams):
            session.refuse(stream_id)
            return
        if count >= shares.limit - 1:
            shares.all_taken(stream_id, edge.clock())
            self.deadline = min(self.deadline, shares.due)
        if not self._busy:
            self._busy = True
            if not self._write_full:  # else it is a slow reader's
                self.deadline = min(self._settings_due, self._frame_due, self._leave_due, self._shares.due)
        if self._local_reply is not None:
            self._answer(stream_id, head, self._local_reply(head))
            return
        stream = Http2Stream(self, stream_id, head, ended)
        session.adopt(stream)
        look_on = edge.look_on
        stream.begin(Exchange(edge, stream, head) if look_on is None else look_on(edge, stream, head))

    def stream_refused(self) -> None:
        self._edge.counters.exchanges_refused.http2_streams += 1

    def settings_received(self) -> None:
        self._settled = True

    def going_away(self, last_stream_id: int, code: int) -> None:
        """A client that opens no streams any more may still wait for answers."""

    def ping_acknowledged(self) -> None:
        if self._noticed and self.phase is OPEN:
            self._leave(ErrorCode.NO_ERROR)

    # --- replies without an exchange -----------------------------------------------------------------------------

    def _refuse(self, stream_id: int, fields: list[DecodedField] | None, error: GatewayError) -> None:
        """Answers a head that is not valid, as far as it can be read; `error` says why.

        RFC 9113 section 8.1.1: a server may answer before it resets the stream for what is malformed.
        """
        request = None if fields is None else readable_head(fields)
        malformed = isinstance(error, MalformedRequest)
        if request is not None or not malformed:
            head, body, request_id = reply(self._edge, self.peer, request, error)
            self._send(stream_id, head, body, request_id)
        if malformed:
            self.session.fault(stream_id, ErrorCode.PROTOCOL_ERROR, error.detail)

    def _answer(self, stream_id: int, request: RequestHead, answer: GatewayError | ResponseHead) -> None:
        """Answers a request on a listener that forwards nothing."""
        head, body, request_id = local_answer(self._edge, self.peer, request, answer)
        self._send(stream_id, head, body, request_id)

    def _send(self, stream_id: int, head: ResponseHead, body: bytes, request_id: bytes) -> None:
        stream = LocalReplyStream(self, stream_id)
        self.session.adopt(stream)
        stream.send(head, body, request_id)

    # --- the connection's end ------------------------------------------------------------------------------------

    def stream_ended(self) -> None:
        streams = self.session.streams
        self._shares.changed()
        if self._held_back:
            self._look_at_held_back()
        if self.phase is OPEN:
            if self._busy and not streams:
                self._busy = False
                self._idle_due = due = self._edge.clock() + self.timeouts.idle
                self.deadline = min(self.deadline, due)
            if self._edge.announces_close and not self._noticed:
                self._try_to_leave()
        elif self.phase is LEAVING and not streams:
            self._end()

    def sinks(self) -> Iterable[RequestSink]:
        return [sink for each in self._streams if (sink := each.sink) is not None]

    def drain(self, spread: float) -> None:
        # Not all at once: each will connect anew, and shake hands.
        if self.phase is OPEN and not self._noticed:
            self._leave_due = self._edge.clock() + random() * spread  # noqa: S311 - nothing to guess
            self.deadline = min(self.deadline, self._leave_due)

    def close(self) -> None:
        if self.phase is OPEN or self.phase is LEAVING:
            self.session.go_away(ErrorCode.NO_ERROR)
            self.flush()
            self._transport.flush()  # leaves, if the kernel takes it at once
        self._transport.abort()
        self._tell_lost("the gateway is shutting down")

    def _try_to_leave(self) -> None:
        """Says the first GOAWAY, unless there are WebSockets."""
        if any(each.is_tunnel for each in self._streams):
            self._leave_due = self._edge.clock() + LOOK_AGAIN
        else:
            self._noticed = True
            self.session.shutdown_notice()
            self.flush()
            self._leave_due = self._edge.clock() + self.timeouts.linger  # if PING is never answered
        self.deadline = min(self.deadline, self._leave_due)

    def _leave(self, code: ErrorCode) -> None:
        """Says the last GOAWAY: streams that are open go on, no others begin."""
        self._noticed = True
        self.phase = LEAVING
        self._leave_due = inf
        self.session.go_away(code)
        self.flush()
        if not self.session.streams:
            self._end()

    def _end(self) -> None:
        """Everything is said."""
        self.flush()
        self._linger()

    def _begin_linger(self) -> None:
        super()._begin_linger()
        self.phase = LINGER
        self._is_over = True
        self._held = b""
        self._set_reading()

    def _tell_lost(self, detail: str, and_then: Callable[[], None] | None = None) -> None:
        streams = self._streams
        for stream in streams:
            stream.cut_off()
        if not self._edge.closing:
            Portions(self._intake.turns, streams, partial(_lost, detail), and_then)
            return
        for stream in streams:  # no turns are left
            stream.lost(detail)
        if and_then is not None:
            and_then()

    def _fault(self) -> None:
        """A bug of ours, met while reading."""
        log.exception("reading from %s failed inside the gateway", self.peer.text)
        failure = GatewayError(Reason.PROXY_INTERNAL_ERROR, "unexpected error, logged with a traceback")
        for sink in self.sinks():
            sink.fail(failure)
        self._leave(ErrorCode.INTERNAL_ERROR)
        if self.phase is LEAVING:
            self._end()

    def _forget(self) -> None:
        self.session.streams.clear()  # each leads here
        super()._forget()

    # --- the time ------------------------------------------------------------------------------------------------

    def expire(self, now: float) -> None:
        if self.phase is LINGER:
            self._expire_lingering(now)
            return
        if self.phase is CLOSED:
            self._transport.abort()
            return
        if self._write_full and now >= self._stall_due:
            if not self._takes_octets():
                self._transport.abort()
                self._tell_lost("it stopped taking octets")
                return
            self._stall_due = now + self.timeouts.body_idle
        if now >= self._settings_due:
            self._settings_due = inf
            if not self.session.settings_acknowledged:
                self._cut_off(ErrorCode.SETTINGS_TIMEOUT, "it did not acknowledge our SETTINGS")
                return
        if now >= self._frame_due:
            self._cut_off(ErrorCode.NO_ERROR, "a frame was not complete in time")
            return
        late = [each for each in self._streams if each.deadline <= now]
        if late:
            Portions(self._intake.turns, late, partial(_expire, now), self._expired)
        if now >= self._shares.due:
            self._shares.make_room(self._streams)
        if now >= self._leave_due:
            self._leave_due = inf
            if self._noticed:
                self._leave(ErrorCode.NO_ERROR)
            else:
                self._try_to_leave()
        elif not self.session.streams and now >= self._idle_due:
            self._leave(ErrorCode.NO_ERROR)
        self._expired()

    def _expired(self) -> None:
        self.flush()
        if self.phase is OPEN or self.phase is LEAVING:
            self._set_deadline()

    def _count_error(self, code: ErrorCode, detail: str) -> None:
        edge = self._edge
        if (cell := _ERRORS.get(code)) is not None:
            edge.cells[cell] += 1
            edge.http2_errors.happened(f"{code.name}: {detail}, from {self.peer.text}")

    def _cut_off(self, code: ErrorCode, detail: str) -> None:
        self._count_error(code, detail)
        self.session.go_away(code)
        self.flush()
        self._tell_lost(detail)
        self._end()

    def _set_deadline(self) -> None:
        """The earliest of all there are."""
        streams = self.session.streams
        deadline = min(self._settings_due, self._frame_due, self._leave_due, self._shares.due)
        if self._write_full:
            deadline = min(deadline, self._stall_due)
        if streams:
            deadline = min(deadline, *[each.deadline for each in self._streams])
        else:
            deadline = min(deadline, self._idle_due)
        self.deadline = deadline


def _lost(detail: str, stream: ServedStream) -> None:
    stream.lost(detail)


def _expire(now: float, stream: ServedStream) -> None:
    if stream.deadline <= now:
        stream.expire(now)
