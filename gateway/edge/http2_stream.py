"""One stream of an HTTP/2 connection from downstream: a request and its response, and how they end.

What comes before upstream takes it waits in `_held`, and no credit is given for it: a stream's window bounds what it
can make us hold. What goes down waits in the session while the stream's window is closed or the connection takes no
more; meanwhile nothing more is read from the app. Neither holds up another stream.

A WebSocket comes by extended CONNECT (RFC 8441). The exchange sees a handshake as HTTP/1.1 has it, and grants a tunnel;
how that is spelled, `http/h2/fields.py` knows. Octets that are sent before it is granted wait for that.
"""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING, Final

from gateway.edge.connection import REST
from gateway.edge.served_stream import Carrier, ServedStream
from gateway.edge.stream import DownstreamStream, RequestSink
from gateway.errors import GatewayError, Reason
from gateway.http.h2.abuse import YOUNG
from gateway.http.h2.errors import ErrorCode, StreamFault
from gateway.http.h2.fields import MalformedRequest, response_block, trailers, trailers_block
from gateway.http.h2.frames import HEADER
from gateway.http.h2.stream import hold
from gateway.http.message import AS_TUNNEL, BY_LENGTH, NO_BODY, Fields, RequestHead, ResponseHead

if TYPE_CHECKING:
    from gateway.edge.forwarded import Peer
    from gateway.http.h2.decoder import DecodedField
    from gateway.upstream.stream import UpstreamStream

CANCEL, INTERNAL_ERROR = ErrorCode.CANCEL, ErrorCode.INTERNAL_ERROR
_time: Final = time.time
NO_LOGIN: Final = f"the app wants to log in the connection, which HTTP/2 cannot do: {ErrorCode.HTTP_1_1_REQUIRED.name}"


class Http2Stream(ServedStream, DownstreamStream):
    """Made by an `Http2Downstream` for each request."""

    __slots__ = (
        "_complete",
        "_conversing",
        "_end_waits",
        "_exchange",
        "_expecting",
        "_finished",
        "_full",
        "_gone",
        "_held",
        "_passed",
        "_paused",
        "_rest_until",
        "_touched",
        "_trailers",
        "_tunnel",
        "_upgrade",
        "head",
        "head_sent",
        "peer",
    )

    bound: UpstreamStream | None = None

    def __init__(self, connection: Carrier, stream_id: int, head: RequestHead, complete: bool) -> None:
        """`complete`: the request has ended with its head."""
        super().__init__(connection, stream_id)
        self.peer: Peer = connection.peer
        self.head = head
        self.urgency = head.section.urgency
        self.head_sent = 0
        self._exchange: RequestSink | None = None  # from `begin` to its end
        self._held: list[bytes] = []  # what upstream does not take yet
        self._passed = 0  # octets that it has taken, and for which no credit was given yet
        self._paused = False  # upstream takes no request body for now
        self._complete = complete  # downstream has said all it had to say
        self._end_waits = False  # … behind what is held
        self._trailers: Fields = []  # of the request, while its end waits
        self._upgrade = head.upgrade is not None  # a tunnel is asked for, and not granted yet
        self._tunnel = False
        self._conversing = False  # the answer has begun while the request's body was still on its way
        self._expecting = False  # the body's sender asked for 100 (Continue) first, which the app has not given yet
        self._full = False  # the exchange was told to bring no more of the response
        self._finished = False  # the end of the response was handed over
        self._gone = False  # nothing is said on this stream any more
        self._touched = False  # `flush_received` is due
        self._rest_until = 0.0  # loop time until which what is left of the request is read away; 0: it is not
        framing = head.framing
        if framing is BY_LENGTH:
            self.expected = head.section.content_length
        elif framing is NO_BODY and not self._upgrade:
            self.expected = 0

    def __repr__(self) -> str:
        return f"<Stream http2 {self.id} {self.peer.text} waiting={self.waiting} {self._exchange!r}>"

    def begin(self, exchange: RequestSink) -> None:
        """The request is `exchange`'s."""
        self._exchange = exchange
        if not self._complete:
            self._expecting = self.head.section.expects_continue
            self._set_deadline()
        exchange.begin()
        connection = self._connection
        if self.sink is not None and (connection.takes_no_more or connection.holds_back(self)):
            self._become_full()
        if self.sink is not None:
            exchange.flush_request()

    @property
    def sink(self) -> RequestSink | None:
        return self._exchange

    @property
    def is_tunnel(self) -> bool:
        return self._tunnel and not self._rest_until

    @property
    def is_browsers(self) -> bool:
        return self.head.get(b"sec-fetch-site") is not None

    @property
    def sandbox_id(self) -> str:
        try:
            return self._connection.edge.route(self.head.authority).sandbox_id
        except GatewayError:
            return ""

    # --- from the session ----------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            self._read_away(len(data))
            return
        if self._paused or self._upgrade:
            hold(self._held, data)
            return
        self._expecting = False  # RFC 9110 section 10.1.1: its sender may stop waiting
        self._passed += len(data)
        exchange.request_body(data)
        if not self._touched:
            self._touched = True
            self._connection.touched.append(self)
            self._set_deadline()

    def end_received(self, trailer_fields: list[DecodedField]) -> None:
        self._complete = True
        exchange = self._exchange
        if exchange is None:
            self._let_go()
            return
        passing: Fields = []
        if trailer_fields:
            try:
                in_head = len(self.head.section.field_lines)
                passing = trailers(trailer_fields, self._connection.edge.head_limits, in_head)
            except MalformedRequest as malformed:
                if self.state.over:  # of a tunnel whose other way has ended: the session has nobody to tell
                    exchange.fail(GatewayError(Reason.BAD_REQUEST, malformed.detail))
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, malformed.detail) from None
            except GatewayError as error:
                exchange.fail(error)
                return
        if self._paused or self._upgrade:
            self._end_waits = True
            self._trailers = passing
            return
        if not self._touched:
            self._touched = True
            self._connection.touched.append(self)
        self._end_request(exchange, passing)

    def reset_received(self, code: int) -> None:
        exchange, self._gone = self._exchange, True
        if exchange is None:
            self._let_go()
            return
        if self.fault is None:
            exchange.downstream_lost(f"the stream was reset ({ErrorCode.name_of(code)})")
        else:
            exchange.fail(GatewayError(Reason.BAD_REQUEST, self.fault))

    def is_young(self) -> bool:
        return self._exchange is None or self._exchange.age() < YOUNG

    def drained(self) -> None:
        if self._exchange is None:
            if self._rest_until:
                self._set_deadline()
            self._connection.stream_ended()
        elif self._full and not self._connection.takes_no_more:
            self._full = False
            self._set_deadline()
            self._exchange.downstream_drained()

    # --- for the connection --------------------------------------------------------------------------------------

    def passable(self) -> int:
        exchange = self._exchange
        return 0 if exchange is None or self._paused or self._upgrade else exchange.request_room()

    def flush_received(self) -> None:
        self._touched = False
        if self._exchange is not None:
            self._exchange.flush_request()
            self._give_credit()

    def connection_full(self) -> None:
        if self._exchange is not None and not self._full:
            self._become_full()

    def connection_drained(self) -> None:
        if not self.waiting:
            self.drained()

    def cut_off(self) -> None:
        exchange, self._gone = self._exchange, True
        if exchange is not None and self._tunnel and self._held:
            held, self._held = self._held, []
            for data in held:  # last words that upstream did not take yet
                exchange.request_body(data)
            exchange.flush_request()

    def lost(self, detail: str) -> None:
        self.cut_off()
        if self._exchange is not None:
            self._exchange.downstream_lost(detail)

    def expire(self, now: float) -> None:
        exchange = self._exchange
        if self._is_alive():
            self._set_deadline()  # slow, but alive
        elif self._rest_until and not self.waiting:
            self._let_go()
        elif self.waiting or self._tunnel:
            self.session.reset(self, CANCEL)
            self.lost("it stopped taking octets" if self.waiting else "it was silent")
            self._connection.stream_ended()
        elif exchange is not None:
            allowed = self._body_idle()
            exchange.fail(GatewayError(Reason.REQUEST_TIMEOUT, f"the body stood still for {allowed:g} s"))
        else:
            self.deadline = inf

    # --- DownstreamStream ----------------------------------------------------------------------------------------

    def send_informational(self, head: ResponseHead, request_id: bytes) -> None:
        if self._gone:
            return
        if head.status == 100:
            self._expecting = False
            self._set_deadline()
        self.session.send_headers(self, response_block(head, request_id), end=False)
        self.flush()

    def send_head(self, head: ResponseHead, request_id: bytes) -> None:
        if self._gone:
            return
        if head.binds and head.status == 401 and not self.peer.trusted:
            self._ask_for_http1()
            return
        framing = head.framing
        block = response_block(head, request_id, None if head.dated else _time())
        self.head_sent = len(block) + HEADER
        if framing is NO_BODY:
            self._finished = True
            self.session.send_headers(self, block, end=True)
            return
        self.session.send_headers(self, block, end=False)
        if framing is AS_TUNNEL:
            self._begin_tunnel()
        elif not self._complete:
            self._conversing = True
            self._expecting = False
            self._set_deadline()

    def _ask_for_http1(self) -> None:
        """The app asks for a login of the connection (NTLM), which only HTTP/1.1 has one of for each visitor.

        Browsers ask again by HTTP/1.1 when they are told HTTP_1_1_REQUIRED (RFC 9113 section 7); IIS says it, too.
        """
        exchange, self._gone = self._exchange, True
        self.session.reset(self, ErrorCode.HTTP_1_1_REQUIRED)
        self.flush()
        if exchange is not None:
            exchange.downstream_lost(NO_LOGIN)

    def _begin_tunnel(self) -> None:
        self._tunnel = True
        self._upgrade = False
        self._set_deadline()
        self.flush()
        if not self._paused:
            self._deliver_held()

    def send_body(self, data: bytes) -> None:
        if self._gone or self._finished:
            return
        self.session.send_data(self, data)
        if self.waiting and not self._full:
            self._become_full()
        elif self._tunnel or self._conversing:
            self._set_deadline()

    def finish(self, trailer_fields: Fields) -> None:
        if not self._gone and not self._finished:
            self._finished = True
            self.session.end_stream(self, trailers_block(trailer_fields) if trailer_fields else b"")
            if self._tunnel:
                self._set_deadline()
        self.flush()

    def flush(self) -> None:
        self._connection.flush()

    def abort(self, error: GatewayError) -> None:
        if self._gone:
            return
        self._gone = True
        # RFC 8441 section 5: what would be a reset of the TCP connection is CANCEL.
        code = CANCEL if self._tunnel else INTERNAL_ERROR if error.reset_code is None else error.reset_code
        self.session.reset(self, code)
        self.flush()

    def room(self) -> int:
        return 0 if self.waiting or self._full else self._connection.room_for(self)

    def pause(self, waiting: int = 0) -> None:
        self._paused = True
        self._set_deadline()

    def resume(self) -> None:
        self._paused = False
        self._set_deadline()
        if not self._upgrade:
            self._deliver_held()
            self.flush()
        elif self._exchange is not None:
            self._exchange.flush_request()

    def redirect(self, sink: RequestSink) -> None:
        self._exchange = sink

    def is_quiet(self) -> bool:
        return not self._held and self._connection.is_quiet()

    def exchange_ended(self) -> None:
        self._exchange = None
        held, self._held = self._held, []
        session = self.session
        if not self._finished and not self._gone:
            self._finished = True
            session.end_stream(self)  # of a tunnel that has ended with a Close frame of ours; else it is reset
        if self._complete or self._gone or self._upgrade or self.head.section.grpc or self._has_to_hurry():
            session.forget(self)  # what waits still leaves; whoever has more to say is asked to stop
        else:  # an upload, or a tunnel that ends with a Close frame of ours, which is to be answered and not reset
            self._rest_until = self._connection.due_in(REST)
            self._read_away(self._passed + sum(map(len, held)))
        if not self._complete:
            self.flush()
        if self.waiting:
            self._set_deadline()
        else:
            self._connection.stream_ended()

    # --- Owner ---------------------------------------------------------------------------------------------------

    def keep(self, upstream: UpstreamStream) -> bool:
        return False

    def bound_lost(self) -> None:
        """Nothing ever is (see `DownstreamStream.bound`)."""

    # --- inside --------------------------------------------------------------------------------------------------

    def _become_full(self) -> None:
        self._full = True
        self._stall = self.waiting
        self._set_deadline()
        if self._exchange is not None:
            self._exchange.downstream_full()

    def _deliver_held(self) -> None:
        exchange = self._exchange
        held, self._held = self._held, []
        for data in held:
            if exchange is None:
                return
            self._passed += len(data)
            exchange.request_body(data)
            exchange = self._exchange
        if self._end_waits and exchange is not None:
            self._end_waits = False
            self._end_request(exchange, self._trailers)
            exchange = self._exchange
        if exchange is not None:
            exchange.flush_request()
            self._give_credit()

    def _end_request(self, exchange: RequestSink, trailer_fields: Fields) -> None:
        self._set_deadline()
        exchange.request_end(trailer_fields)

    def _give_credit(self) -> None:
        if self._passed and not self._paused and not self._gone:
            passed, self._passed = self._passed, 0
            self.session.consumed(self, passed)

    def _read_away(self, octets: int) -> None:
        """What comes of a request that was answered before its end. Not all understand to be asked to stop, as RFC 9113
        section 8.1 allows: Java's HttpClient and Python's httpx then wait for a window for ever. Others stop by
        themselves once they have the answer.
        """
        if self._has_to_hurry() or self._connection.clock() >= self._rest_until:
            self._let_go()
            return
        self.session.consumed(self, octets)
        if not self.waiting:  # else it is its reader's turn
            self._set_deadline()

    def _has_to_hurry(self) -> bool:
        """Whether a drain waits for what is not worth it."""
        return self._connection.edge.draining and not self._tunnel

    def _let_go(self) -> None:
        """Nothing more of the request is awaited."""
        self._rest_until = 0.0
        self.session.forget(self)
        self._connection.stream_ended()

    def _body_idle(self) -> float:
        """How long the request's body may be silent: once the answer has begun, as long as a tunnel."""
        timeouts = self._connection.timeouts
        conversing = self._conversing or self.head.section.grpc  # which may begin long before its answer does
        return timeouts.tunnel_idle if conversing else timeouts.body_idle

    def _set_deadline(self) -> None:
        """Every call is a sign of progress."""
        connection = self._connection
        timeouts = connection.timeouts
        if self.waiting:
            self._stall, self._turned = self.waiting, self.session.turned
            patience = timeouts.body_idle
        elif self._rest_until:
            self.deadline = min(connection.due_in(timeouts.linger), self._rest_until)
            return
        elif self._tunnel:
            patience = timeouts.half_closed if self._complete or self._finished else timeouts.tunnel_idle
        elif self._complete or self._paused or self._expecting or self.head.framing is NO_BODY:
            self.deadline = inf  # the sandbox's turn; the upstream connection has a deadline of its own
            return
        else:
            patience = self._body_idle()
        self.deadline = connection.due_in(patience)
