"""One HTTP/1.1 connection from downstream: a codec around exchanges, one at a time, in order.

    IDLE --octets--> HEAD --head complete--> EXCHANGE --101--> TUNNEL
      ^                                         |
      `------- both messages complete ----------+---- anything else ----> LINGER --> CLOSED

Octets that came too early (pipelined requests, a body that upstream does not take yet, what a browser sends along
with an upgrade) stay unread in `_held`; with what waits upstream they are at most `limits.buffer_bytes`, past that the
transport is paused. What each phase waits for, and for how long, is in deadlines.py.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from math import inf
from random import random
from typing import TYPE_CHECKING, Final

from gateway import errnos
from gateway.edge.connection import REST, DownstreamConnection
from gateway.edge.deadlines import CLOSED, EXCHANGE, HEAD, IDLE, LINGER, TUNNEL, TimedConnection
from gateway.edge.exchange import Exchange
from gateway.edge.forwarded import Peer
from gateway.edge.local_reply import LocalReply, local_answer, plain_on_tls, reply
from gateway.edge.stream import DownstreamStream, RequestSink
from gateway.errors import GatewayError, Reason
from gateway.http import serialize
from gateway.http.body import BodyError, ChunkedReader, CloseReader, LengthReader
from gateway.http.greeting import explained
from gateway.http.head_parser import HEAD_END, check_partial_head, parse_request_head
from gateway.http.http1 import HTTP_1_0, Http1RequestHead
from gateway.http.message import AS_STREAM, AS_TUNNEL, BY_LENGTH, NO_BODY, FieldLine, Fields, ResponseHead
from gateway.metrics import BYTES
from gateway.transport import CLOSED_TRANSPORT
from gateway.turns import HEAD_WORK, LOOK, SHARE, SMALL_HEAD, Portions

if TYPE_CHECKING:
    from gateway.edge.edge import Edge
    from gateway.upstream.stream import UpstreamStream

log: Final = logging.getLogger("gateway.edge")
_time: Final = time.time

_RECEIVED: Final = BYTES.at("downstream", "received")
HTTP2_PREFACE: Final = b"PRI * HTTP/2.0\r\n"
"""A request line that asks for nothing: what an HTTP/2 connection begins with (RFC 9113 section 3.4)."""

OtherVersion = Callable[[Peer, Callable[[], None], LocalReply | None], DownstreamConnection]
"""Makes the protocol object of a connection that has turned out to speak another version of HTTP."""


class Http1Downstream(TimedConnection, DownstreamStream):
    """A connection that is its own only stream, and the protocol object of its transport."""

    __slots__ = (
        "_chunked",
        "_eof",
        "_head",
        "_http2",
        "_is_last",
        "_keep_alive",
        "_lines_before",
        "_local_reply",
        "_out",
        "_processing",
        "_rest_until",
        "_waiting",
        "bound",
        "head_sent",
    )

    def __init__(
        self,
        edge: Edge,
        peer: Peer,
        on_close: Callable[[], None],
        local_reply: LocalReply | None = None,
        http2: OtherVersion | None = None,
    ) -> None:
        """`http2` makes what takes the connection over if it begins with HTTP/2's preface."""
        super().__init__(edge, peer, on_close)
        self._local_reply = local_reply
        self._http2 = http2
        self._head: Http1RequestHead | None = None  # of the exchange
        self._lines_before: list[FieldLine] = []  # of the last head that came, see `parse_request_head`
        self._waiting = 0  # octets that upstream does not take for now, while it is paused
        self._processing = False  # `_process` is on the stack
        self._out: list[bytes] = []  # written at the next flush
        self._chunked = False  # the response body goes out chunked
        self._keep_alive = False  # decided with each response head; before the first one nothing is
        self.bound: UpstreamStream | None = None
        self.head_sent = 0
        self._rest_until = 0.0  # loop time until which an upload's rest is read away in LINGER; 0: there is none
        self._is_last = False  # no other request is served: a login bound to this connection has ended
        self._eof = False  # downstream's is; what came before waits in `_held` if it could not be read yet

    def __repr__(self) -> str:
        return f"<Downstream http1 {self.phase.name} {self.peer.text} held={len(self._held)} {self._exchange!r}>"

    # --- asyncio.BufferedProtocol --------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        phase = self.phase
        self._edge.cells[_RECEIVED] += len(data)
        if phase is LINGER:
            self.discarded(len(data))
            return
        try:
            if phase is TUNNEL and not self._held and not self._paused and self._reader is not None:
                # A tunnel's octets that nobody has to wait for: `_process` in short.
                exchange = self._exchange
                assert exchange is not None  # set in TUNNEL
                self._set_deadline()
                exchange.request_body(data)
                exchange.flush_request()
            else:
                self._process(self._held + data if self._held else data)
        except Exception:
            self._fault()

    def eof_received(self) -> bool:
        """Downstream sends no more (a FIN, or close_notify); False: nothing is left to do."""
        self._ended = self._eof = True
        if self._goes_on():
            return True
        self.hung_up()
        return False

    def hung_up(self) -> None:
        self._tell_lost("the connection was closed")
        self._close()

    def _goes_on(self) -> bool:
        """Whether a half-closed connection still has something to do; a tunnel hears of it once all octets are read."""
        phase = self.phase
        if phase is TUNNEL and self._exchange is not None:
            if self._reader is not None and not self._held:
                self._reader = None
                self._exchange.request_end([])
            self._set_deadline()
            return not self._transport.is_closing()
        if phase is EXCHANGE and (self._reader is None or self._held):
            # The request has come and its sender waits: some programs close their direction after asking.
            self._set_deadline()
            return True
        return HEAD_END in self._held  # requests not begun yet

    def connection_lost(self, exc: Exception | None) -> None:
        self._tell_lost(errnos.lost(exc), self._forget)  # it counts until whoever answers it has heard
        self.phase = CLOSED
        self._held = b""
        self._part_with_bound()
        self._transport = CLOSED_TRANSPORT

    def _tell_lost(self, detail: str, and_then: Callable[[], None] | None = None) -> None:
        exchange, tunnel = self._exchange, self.phase is TUNNEL
        if exchange is None:
            if and_then is not None:
                and_then()
            return
        if tunnel and self._held:
            exchange.request_body(self._held)  # last words that upstream did not take yet
            exchange.flush_request()
            self._held = b""
        self.phase = CLOSED  # from here on nothing is sent, and no next request begun
        Portions(self._intake.turns, [self], partial(_lost, detail), and_then)

    def pause_writing(self) -> None:
        self._write_full = True
        self._takes_octets()
        self._set_deadline()
        if self._exchange is not None:
            self._exchange.downstream_full()

    def resume_writing(self) -> None:
        self._write_full = False
        if self.phase is CLOSED:
            return
        self._set_deadline()
        if self._exchange is not None:
            self._exchange.downstream_drained()
        elif self._held:
            self._process_held()
        elif self.phase is IDLE and self._edge.draining:
            self._close()  # see drain

    # --- reading -------------------------------------------------------------------------------------------------

    def _process(self, data: bytes) -> None:
        """Works through `data` until it is used up, somebody has to be waited for or it is others' turn; the rest is
        held.

        A reply made at once ends its exchange while this is on the stack; `_processing` keeps that from coming back
        here, the loop goes on instead.
        """
        self._processing = True
        self._unfinished = False
        pipelined = False
        try:
            while data and self._work < SHARE:
                phase = self.phase
                if phase is IDLE or phase is HEAD:
                    if self._write_full:
                        break  # its reader is slow: no new answers until the last one is taken
                    if pipelined:  # a read's first is paid for by having to be read (CVE-2026-54273)
                        self._work += HEAD_WORK
                        self._intake.turns.begun += 1
                    pipelined = True
                    rest = self._read_head(data)
                    if rest is None:
                        self._work += len(data) // LOOK
                        self._unfinished = True
                        break
                    data = rest
                elif self._reader is not None and not self._paused:
                    data = self._read_body(data)
                elif phase is CLOSED or phase is LINGER:
                    data = b""
                else:
                    break
        finally:
            self._processing = False
        self._held = data
        if self._exchange is not None:
            self._exchange.flush_request()
        if self._work >= SHARE:
            self._wait_turn()
        elif data or self._paused or not self._reading:
            self._set_reading()

    def _process_held(self) -> None:
        if self._queued:
            return  # see _go_on
        self._process(self._held)
        if self._eof and not self._goes_on():
            self.hung_up()

    def _put_off(self, data: bytes) -> bool:
        if self.phase is LINGER or self.phase is CLOSED:
            return False
        self._edge.cells[_RECEIVED] += len(data)
        self._held += data
        return True

    def _go_on(self) -> None:
        if self._transport.is_closing():
            return  # no request is begun for nobody; what a tunnel has held is `_tell_lost`'s
        try:
            self._process_held()
        except Exception:
            self._fault()

    def _has_room(self) -> bool:
        if (self.phase is IDLE or self.phase is HEAD) and not self._write_full:
            return True  # what is held is the beginning of a head, and has a limit of its own
        return len(self._held) + self._waiting <= self._edge.intake.ahead and not self._eof

    def passable(self) -> int:
        if self._exchange is None or self._reader is None or self._paused:
            return 0
        # What stands behind the body, or a chunk of it, may have to wait: other requests, thousands of chunks.
        return min(self._exchange.request_room(), self._reader.to_come())

    def _read_head(self, data: bytes) -> bytes | None:
        """Begins an exchange with the head at the start of `data`: what follows it, or None while it is unfinished."""
        edge = self._edge
        # RFC 9112 section 2.2: a server SHOULD ignore at least one empty line before the request-line. One it is.
        if data[0] == 0x0D and self.phase is IDLE:
            if b"\r\n".startswith(data):
                return None  # alone, it does not refresh the idle deadline
            if data[1] == 0x0A:
                self._head_begins()
                return data[2:]
        limits = edge.head_limits
        end = data.find(HEAD_END) + 4
        try:
            if end < 4 or end > limits.head:
                check_partial_head(data[: limits.head + 1], limits)
                self._head_begins()
                return None
            head = parse_request_head(data[:end], limits, self._lines_before)
            self._lines_before = head.lines
        except GatewayError as error:
            if self._http2 is not None and data.startswith(HTTP2_PREFACE) and not self.head_sent:
                self._hand_over(self._http2, data)
                return b""
            check = edge.health.without_host(data[:end], limits) if 4 <= end <= limits.head else None
            if check is None or self._local_reply is plain_on_tls:
                self._refuse_head(data, error)
                return b""
            head = check
        head.octets = end
        if end > SMALL_HEAD:
            self._work += end // LOOK
        self._head = head
        self.phase = EXCHANGE
        if head.framing is NO_BODY:
            self.deadline = inf  # the sandbox's turn, see _set_deadline
        else:
            section = head.section
            if head.framing is BY_LENGTH:
                self._reader = LengthReader(section.content_length)
            else:
                self._reader = ChunkedReader(limits, len(section.field_lines))
            self._conversing = section.grpc  # whose answer may begin long after the request has
            self._expecting = section.expects_continue
            self._set_deadline()
        if self._local_reply is not None:
            self._refuse(head, self._local_reply(head))
            return data[end:]
        if self._wide >= 0:
            self._narrow()
        look_on = edge.look_on
        self._exchange = exchange = Exchange(edge, self, head) if look_on is None else look_on(edge, self, head)
        exchange.begin()
        return data[end:]

    def _read_body(self, data: bytes) -> bytes:
        """Passes on the request body (or a tunnel's octets) at the start of `data`; what follows it, or what of it is
        for another turn (then there still is a reader).
        """
        reader, exchange = self._reader, self._exchange
        assert reader is not None and exchange is not None  # a reader outlives its exchange only in LINGER
        self._expecting = False  # RFC 9110 section 10.1.1: its sender may stop waiting
        try:
            content, rest = reader.read(data, SHARE - self._work)
        except BodyError as error:
            exchange.fail(GatewayError(Reason.BAD_REQUEST, f"in the body, {error}"))
            return b""
        self._work += reader.work
        self._set_deadline()
        if content:
            exchange.request_body(content)
        if rest is None:
            return b""
        if not reader.ends_at_eof():
            return rest
        trailers = reader.trailers
        self._reader = None
        self._set_deadline()
        exchange.request_end(trailers)
        return rest

    def _hand_over(self, other_version: OtherVersion, data: bytes) -> None:
        """The connection begins with `data`, and speaks another version of HTTP."""
        self.phase = CLOSED
        self.deadline = inf
        self._edge.downstreams.discard(self)
        self._edge.cells[_RECEIVED] -= len(data)  # which the other one counts
        transport, self._transport = self._transport, CLOSED_TRANSPORT
        if not self._reading:  # its first octets were put off
            transport.resume_reading()
        other = other_version(self.peer, self._on_close, self._local_reply)
        transport.hand_over(other)
        other.data_received(data)

    # --- DownstreamStream ----------------------------------------------------------------------------------------

    def send_informational(self, head: ResponseHead, request_id: bytes) -> None:
        if head.status == 100:
            self._expecting = False
            self._set_body_deadline()
        # RFC 9110 section 15.2: a server MUST NOT send a 1xx response to an HTTP/1.0 client.
        if self._head is not None and self._head.protocol is not HTTP_1_0:
            self._out += serialize.response_head(head, request_id, False, None)
            self.flush()

    def send_head(self, head: ResponseHead, request_id: bytes) -> None:
        request = self._head
        assert request is not None  # an exchange (or a local reply) is under way
        framing = head.framing
        if framing is AS_TUNNEL:
            self._begin_tunnel(head, request_id)
            return
        is_old = request.protocol is HTTP_1_0
        self._chunked = chunked = framing is AS_STREAM and not is_old
        until_close = framing is AS_STREAM and is_old  # it knows no chunks: the connection's end is the stream's
        if self._reader is not None:
            self._conversing = True
            self._expecting = False
            self._set_deadline()
        # A request body still on its way when the answer begins would have to be read to its end for nothing.
        is_last = self._is_last or self._reader is not None or until_close or self._edge.announces_close
        self._keep_alive = request.keep_alive and not is_last
        persistent = b"keep-alive" if is_old else None
        connection = persistent if self._keep_alive else b"close"
        if head.upgrade is not None:  # a 426
            connection = b"Upgrade" if connection is None else connection + b", Upgrade"
        # RFC 9110 section 6.6.1: an origin server with a clock MUST generate Date in 2xx, 3xx and 4xx responses, and
        # whoever forwards a response without one MUST append it.
        parts = serialize.response_head(head, request_id, chunked, connection, None if head.dated else _time())
        octets = b"".join(parts)  # here, which makes the flush's own shorter
        self.head_sent = len(octets)
        self._out.append(octets)

    def _begin_tunnel(self, head: ResponseHead, request_id: bytes) -> None:
        octets = b"".join(serialize.response_head(head, request_id, False, b"Upgrade"))
        self.head_sent = len(octets)
        self._out.append(octets)
        self.phase = TUNNEL
        self._keep_alive = self._chunked = False
        self._reader = CloseReader()
        self._set_deadline()
        self.flush()
        if (self._held or self._eof) and not self._processing:
            self._process_held()

    def send_body(self, data: bytes) -> None:
        if self._chunked:
            self._out += serialize.chunk(data)
        else:
            self._out.append(data)

    def finish(self, trailers: Fields) -> None:
        if self._chunked:
            self._out.append(serialize.last_chunk(trailers))
        self.flush()
        if self.phase is TUNNEL and self._exchange is not None:
            if self._transport.can_write_eof() and not self._transport.is_closing():
                self._transport.write_eof()
                self._ended = True
                self._set_deadline()
            else:
                # TLS transports cannot half-close: what upstream ended is ended for both.
                self._exchange.downstream_lost("upstream closed the tunnel")

    def flush(self) -> None:
        out = self._out
        if out:
            self._out = []
            if self.phase is TUNNEL or self._ended or self._conversing:
                self._set_deadline()
            self._transport.write(b"".join(out))  # one alone is not copied

    def abort(self, error: GatewayError) -> None:
        self.flush()  # what came is delivered
        if self._head is not None and self._head.protocol is not HTTP_1_0 and self.phase is not TUNNEL:
            # A missing last chunk, or fewer octets than declared, shows that it is not all.
            self._close()
        else:
            self._reset()

    def pause(self, waiting: int = 0) -> None:
        self._paused = True
        self._waiting = waiting
        self._set_body_deadline()
        if not self._processing:
            self._set_reading()

    def resume(self) -> None:
        self._paused = False
        self._waiting = 0
        self._set_body_deadline()
        if self._processing:
            return  # it goes on by itself
        if self._held and not self._queued:
            self._process_held()
        else:  # what is held may have to wait; what was made meanwhile, a request's head, may not
            if self._exchange is not None:
                self._exchange.flush_request()
            self._set_reading()

    def redirect(self, sink: RequestSink) -> None:
        self._exchange = sink

    def exchange_ended(self) -> None:
        phase, head, unread = self.phase, self._head, self._reader
        self._exchange = self._reader = self._head = None
        self._paused = False
        self._waiting = 0
        if phase is CLOSED or phase is LINGER:
            return
        if phase is TUNNEL:
            if self._transport.is_closing():
                return  # it was reset
            # Draining, a Close frame is on its way to somebody who may still send: no reset must overtake it.
            self._linger() if self._edge.draining else self._close()
        elif unread is not None:
            self._rest_until = self._edge.clock() + REST
            self._linger()
        elif not self._keep_alive or (head is not None and head.upgrade and self._has_more()):
            self._linger()
        else:
            self.phase = IDLE
            edge = self._edge
            timeouts = edge.timeouts
            self.deadline = edge.clock() + (timeouts.body_idle if self._write_full else timeouts.idle)
            if not self._processing:
                if self._held:
                    if not self._transport.is_closing():
                        self._process_held()
                elif self._ended:
                    self._close()
                elif not self._reading:
                    self._set_reading()

    # --- Owner ---------------------------------------------------------------------------------------------------

    def keep(self, upstream: UpstreamStream) -> bool:
        if self.peer.trusted or self.phase is CLOSED:
            return False
        self.bound = upstream
        return True

    def bound_lost(self) -> None:
        """Ends as well, so that whoever has logged in sees what he would without us, and begins anew."""
        bound, self.bound = self.bound, None
        if self.peer.trusted:
            return  # a proxy's connection carries the requests of many
        self._keep_alive = False
        asks = self.phase is HEAD or bool(self._held)  # a request has come, or begun to; it loses no login
        if self._head is not None or (asks and bound is not None and not bound.challenged):
            self._is_last = True
        elif self.phase is IDLE or self.phase is HEAD:
            self._close()

    def _part_with_bound(self) -> None:
        bound, self.bound = self.bound, None
        if bound is not None:
            bound.owner = None
            bound.close()

    def _has_more(self) -> bool:
        """What came along with an upgrade that was refused was meant for a tunnel; it is not read as a request."""
        return self._processing or bool(self._held)

    # --- replies without an exchange -----------------------------------------------------------------------------

    def _refuse_head(self, data: bytes, error: GatewayError) -> None:
        """`data` does not begin with a head; `error` says why."""
        edge, error = self._edge, explained(data, error)
        if error.reason is Reason.UNEXPECTED_PROXY_HEADER:
            edge.counters.proxy_headers_unexpected += 1
            edge.proxy_headers_unexpected.happened(self.peer.text)
        self._refuse_unread(error, data[: edge.head_limits.head])

    def _refuse_unread(self, error: GatewayError, received: bytes = b"") -> None:
        head, body, request_id = reply(self._edge, self.peer, None, error, received or self._held)
        self._out = [*serialize.response_head(head, request_id, False, b"close", _time()), body]
        self.flush()
        self._linger()

    def _refuse(self, request: Http1RequestHead, answer: GatewayError | ResponseHead) -> None:
        """Answers a request on a listener that forwards nothing."""
        head, body, request_id = local_answer(self._edge, self.peer, request, answer)
        self.send_head(head, request_id)
        self._out.append(body)
        self.finish([])
        self.exchange_ended()

    def _fault(self) -> None:
        """A bug of ours, met while reading: told to whoever waits, with a traceback in the log."""
        log.exception("reading from %s failed inside the gateway", self.peer.text)
        failure = GatewayError(Reason.PROXY_INTERNAL_ERROR, "unexpected error, logged with a traceback")
        if self._exchange is not None:
            self._exchange.fail(failure)
        elif self.phase in (IDLE, HEAD, EXCHANGE):
            self._refuse_unread(failure)
        else:
            self._transport.abort()

    # --- endings -------------------------------------------------------------------------------------------------

    def _begin_linger(self) -> None:
        super()._begin_linger()
        self.phase = LINGER
        self._part_with_bound()
        self._held = b""
        self._waiting = 0
        self._set_reading()

    def discarded(self, octets: int) -> None:
        now = self._edge.clock()
        if now >= self._rest_until or self._edge.draining:
            super().discarded(octets)
        else:
            # Many clients read no answer before all of their request is written, and after a reset find none.
            self.deadline = max(self.deadline, min(now + self._edge.timeouts.linger, self._rest_until))

    def sinks(self) -> Iterable[RequestSink]:
        return () if self._exchange is None else (self._exchange,)

    def drain(self, spread: float) -> None:
        if self.phase is IDLE and not self._write_full:
            # Not all at once: each will connect anew, and shake hands. And none in the first fifth: who asks often does
            # so meanwhile, and is told with the answer, so that no request of his crosses a close.
            patience = (0.2 + 0.8 * random()) * spread  # noqa: S311 - nothing to guess
            if not self._keep_alive:
                self._await_first(patience)
            elif patience:
                self.deadline = min(self.deadline, self._edge.clock() + patience)
            elif self.is_quiet():
                self._close()
            else:
                self.deadline = self._edge.clock()
        self._keep_alive = False  # also after an answer whose head has left already and said nothing about it

    def close(self) -> None:
        self._transport.abort()
        if self._exchange is not None:
            self._exchange.downstream_lost("the gateway is shutting down")


def _lost(detail: str, connection: Http1Downstream) -> None:
    """Whoever answers hears of it, if that is not over by now, and whoever has taken his place meanwhile."""
    for sink in connection.sinks():
        sink.downstream_lost(detail)
