"""One request and its response: the road from a head to its end.

    ROUTING --stream at hand---> OPEN --------response complete--> ENDED
       |                         ^  | `--tunnel granted--> TUNNEL --both sides done--> ENDED
       |                         |  v sent a second time, once (`_may_retry`)
       `--directory miss, dial--> CONNECTING

Every arrow to ENDED passes through `_end`, once: the upstream connection is released, the exchange recorded, the
downstream stream told. There are three ways to end: completed, failed (a Reason; told to downstream as a problem, or
by a visible truncation if the head was already sent), and downstream gone.

When the sandbox is cached and a connection can open a stream, everything here is plain function calls. Only CONNECTING
has a task, and OPEN while a failure is looked into. Knows nothing of HTTP versions; the streams on both sides do.
"""

from __future__ import annotations

import asyncio
import logging
import time
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from gateway.app_protocol import H2C, HTTP1
from gateway.diagnosis import hints
from gateway.diagnosis.protocol_probe import symptom_of
from gateway.edge import cookies, host_rewrite
from gateway.edge.exchange_info import ExchangeInfo, is_event_stream, kind_of_tunnel
from gateway.edge.local_reply import options, ready
from gateway.edge.stream import RequestSink
from gateway.edge.upstream_protocol import SPOKEN
from gateway.endpoint import AppKey, Endpoint
from gateway.errors import GatewayError, Reason
from gateway.http.message import AS_STREAM, AS_TUNNEL, NO_BODY, Fields, RequestHead, ResponseHead
from gateway.http.validate import IDEMPOTENT
from gateway.metrics import TUNNEL_PROTOCOLS, TUNNELS_OPEN
from gateway.observe.telemetry import EVENT_STREAM, LOCAL_REPLY, RESPONSE
from gateway.problems import websocket
from gateway.problems.cross_site import is_cross_site, withheld
from gateway.problems.problem import RequestContext
from gateway.problems.reply import grpc_trailers, render
from gateway.upstream.stream import ResponseSink, UpstreamFailure
from gateway.wordings import HUNG_UP_UNASKED

if TYPE_CHECKING:
    from gateway.directory.sandbox import Sandbox
    from gateway.edge.edge import Edge
    from gateway.edge.stream import DownstreamStream
    from gateway.upstream.stream import UpstreamStream

log: Final = logging.getLogger("gateway.edge")

_monotonic: Final = time.monotonic
"""The loop's own time has millisecond steps."""
MAX_DIALS: Final = 3
"""Addresses that are dialed for one request, if its record changes while each of them is."""
_TUNNELS_OPEN: Final = {kind: TUNNELS_OPEN.at(kind) for kind in TUNNEL_PROTOCOLS}


class Phase(Enum):
    """See the drawing above."""

    ROUTING = auto()  # from the head to a stream, without waiting
    CONNECTING = auto()  # a task asks the directory or dials; downstream is paused
    OPEN = auto()  # the request has begun to go upstream
    TUNNEL = auto()  # granted: opaque octets both ways
    ENDED = auto()  # recorded; nothing more is said


ROUTING: Final = Phase.ROUTING
CONNECTING: Final = Phase.CONNECTING
OPEN: Final = Phase.OPEN
TUNNEL: Final = Phase.TUNNEL
ENDED: Final = Phase.ENDED
"""By themselves: see `message.NO_BODY`."""


def is_no_handshake(request: RequestHead, answer: ResponseHead) -> bool:
    """Whether `answer` would grant a tunnel where none is: to an extended CONNECT any 2xx does (RFC 8441 section 5)."""
    return request.key_is_ours and answer.status < 300 and answer.framing is not AS_TUNNEL


class Exchange(ExchangeInfo, RequestSink, ResponseSink):
    """Stands between two streams; made by a downstream connection for each request."""

    __slots__ = (
        "_admitted",
        "_answered",
        "_connecting",
        "_edge",
        "_examined",
        "_full",
        "_no_retry",
        "_request_complete",
        "_response_complete",
        "_rewritten_host",
        "_upstream",
        "phase",
    )

    def __init__(self, edge: Edge, downstream: DownstreamStream, head: RequestHead) -> None:
        super().__init__(downstream, head)
        self._edge = edge
        self.phase = ROUTING
        self._rewritten_host = b""  # the Host field that was sent instead of downstream's
        self._upstream: UpstreamStream | None = None  # ours alone from acquire or dial until _end
        self._connecting: asyncio.Task[None] | None = None
        self._admitted = ""  # sandbox id counted in, to be dismissed in _end
        self._request_complete = False
        self._response_complete = False
        self._no_retry = False  # no other connection is tried after this one
        self._full = False  # downstream takes no more of the response for now
        self._examined = False  # the head of the answer is, or was, withheld for a look
        self._answered = False  # by the app

    def __repr__(self) -> str:
        where = self.target.host if self.target else self.request.authority.decode("latin-1")
        return f"<Exchange {self.phase.name} {where} rx={self.received} tx={self.sent}>"

    @property
    def waits_for_app_since(self) -> float | None:
        """When the request came (time.monotonic), while the app has all of it and has not answered; else None."""
        waits = self.phase is OPEN and self.answer is None and self._request_complete
        return self.started if waits else None

    # --- the way up ----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        edge, head, peer = self._edge, self.request, self.downstream.peer
        if (spans := edge.telemetry.spans) is not None:
            self.span = spans.begin(head.section.trace_parent, trusted=peer.trusted)
        self.request_id = (head.forwarding and peer.request_id(head)) or (peer.ids or edge.ids).new()
        try:
            if peer.trusted:
                self.client = client = peer.client(head)
                if client is not None:
                    edge.limits.admit_client(client)
            self.target = target = edge.route(head.authority)
            if head.ends_here:
                self._answer(options())
                return
            sandbox = edge.directory.get_cached(target.sandbox_id)
            if sandbox is not None:
                self._admit(sandbox)
                section, port = head.section, target.port
                if section.probes:
                    edge.pool.check_refusal(Endpoint(sandbox.origin, port))
                else:
                    # What an app was seen to speak is looked up by who finds no connection.
                    chosen = section.grpc or sandbox.protocol
                    key = edge.protocols.choose(head, sandbox, port) if chosen else (sandbox.origin, port, HTTP1)
                    upstream = self._open(key)
                    if upstream is not None:
                        self.reused = True
                        self._send(upstream)
                        return
        except GatewayError as error:
            if error.reason is Reason.PORT_DENIED:
                self.target = edge.named(head.authority)  # which its texts speak of
            elif (answer := edge.health.answer(head, error)) is not None:
                self._answer_check(*answer)
                return
            self.fail(error)
            return
        except Exception:
            self._fault()
            return
        self._connect_cold()

    def _admit(self, sandbox: Sandbox) -> None:
        """Counts the exchange in; raises GatewayError(connection_limit_reached)."""
        if not self._admitted:
            self._edge.limits.admit_exchange(sandbox.id)
            self._admitted = sandbox.id
        self.sandbox = sandbox

    def _open(self, key: AppKey) -> UpstreamStream | None:
        """A stream that needs no waiting: by the connection that a login has bound to downstream's, or by any."""
        if (bound := self.downstream.bound) is None or key[2] is H2C:
            return self._edge.pool.open(key, self._replayable())
        self.downstream.bound = None
        if bound.endpoint != key[:2]:  # there is one at most: that one connection asks several apps is rare
            bound.owner = None
            bound.close()
            return self._edge.pool.open(key, self._replayable())
        self._no_retry = True  # no other is logged in, or knows half of the handshake
        if not bound.is_alive():
            bound.close()
            detail = "the app closed the connection that a login had bound"
            raise GatewayError(Reason.CONNECTION_TERMINATED, detail, wording=HUNG_UP_UNASKED)
        return bound

    def _replayable(self) -> bool:
        """May be sent again if a reused connection turns out dead: nothing of a body can have been used up."""
        head = self.request
        return head.framing is NO_BODY and head.method in IDEMPOTENT

    def _connect_cold(self) -> None:
        self.phase = CONNECTING
        self.downstream.pause()
        self._connecting = self._edge.tasks.spawn(self._connect(), f"connect {self.target and self.target.host}")

    async def _connect(self) -> None:
        try:
            upstream = await self._reach()
            self._connecting = None
            if self.request.section.probes:
                upstream.release()  # closed: an app that serves one connection at a time would wait for it
                self._answer(ready())
            else:
                self._send(upstream)
                if self.phase is OPEN:  # else the stream has failed at once
                    self.downstream.resume()
        except GatewayError as error:
            await self._edge.pace.keep()  # others may have waited for the same
            self._connecting = None
            self.fail(error)
        except Exception:
            self._connecting = None
            self._fault()

    async def _reach(self) -> UpstreamStream:
        """A connection to the target. Raises GatewayError saying as much as could be found out."""
        edge, target = self._edge, self.target
        assert target is not None  # CONNECTING comes after routing
        for _ in range(MAX_DIALS):  # each time round the record has changed while its address was dialed
            waits = edge.directory.get_cached(target.sandbox_id) is None
            sandbox = await edge.directory.look_up(target.sandbox_id)
            if waits:
                await edge.pace.keep()  # others may have waited for the same
            self._admit(sandbox)
            key = edge.protocols.choose(self.request, sandbox, target.port)
            upstream = None
            if not self.request.section.probes and (key[2] is H2C or not self._no_retry):  # else only a new one will do
                upstream = self._open(key)
            if upstream is not None:
                self.reused = True
                return upstream
            began = _monotonic()
            try:
                upstream = await edge.connector.connect(key, sandbox)
            except GatewayError as error:
                if error.reason not in SPOKEN or not self._learn(error.reason):
                    raise
            finally:
                self.dial_ms = int((_monotonic() - began) * 1e5) / 1e2
            if upstream is not None:
                return upstream
        detail = f"the record of {target.sandbox_id} has changed {MAX_DIALS} times while its address was dialed"
        raise GatewayError(Reason.CONNECTION_TIMEOUT, detail)

    def _learn(self, reason: Reason) -> bool:
        """Notes what the app was seen to speak; whether it can be asked again, in that."""
        sandbox, target = self.sandbox, self.target
        assert sandbox is not None and target is not None  # somebody was asked
        return self._edge.protocols.learn(reason, self.request, sandbox, target.port)

    def _send(self, upstream: UpstreamStream) -> None:
        head, sandbox, target = self.request, self.sandbox, self.target
        assert sandbox is not None and target is not None  # both were needed to find `upstream`
        self._upstream = upstream
        self.phase = OPEN
        host = target.rewritten(sandbox.host or self._edge.host, head.authority)
        added = self.downstream.peer.added(head)
        if host is not head.authority:
            self._rewritten_host = host
            if head.upgrade is not None:
                head = host_rewrite.rewrite_request(head, host, added)
        if self.span is not None:
            head = self.span.sent_with(head)
        upstream.send_request(self, head, host, added, self.request_id)
        if self._full:
            upstream.pause()
        self._request_complete = head.framing is NO_BODY

    # --- from downstream -----------------------------------------------------------------------------------------

    def request_body(self, data: bytes) -> None:
        if self._upstream is not None:
            self.received += len(data)
            self._upstream.send_body(data)

    def request_end(self, trailers: Fields) -> None:
        if self._upstream is None:
            return
        if self.phase is TUNNEL and self._response_complete:
            self._end()
            return
        self._request_complete = True
        self._upstream.finish(trailers)

    def flush_request(self) -> None:
        if self._upstream is not None:
            self._upstream.flush()

    def request_room(self) -> int:
        return self._upstream.room() if self._upstream is not None else 0

    def downstream_full(self) -> None:
        self._full = True
        if self._upstream is not None:
            self._upstream.pause()

    def downstream_drained(self) -> None:
        self._full = False
        self._resume_response()

    def _resume_response(self) -> None:
        if self._upstream is not None and not self._full:
            self._upstream.resume()

    def downstream_lost(self, detail: str) -> None:
        if self.phase is TUNNEL:
            self._end()  # how tunnels end; who closed first says nothing
        else:
            self._end("drain_timeout" if self._edge.closing else "downstream_closed", detail)

    # --- from upstream (ResponseSink) ----------------------------------------------------------------------------

    def informational(self, head: ResponseHead) -> None:
        self._no_retry = True  # the app has begun to answer
        if head.binds:
            self._bind(head)
        if head.status != 100 or self.request.section.expects_continue:
            if head.section.set_cookies or head.section.locates:
                head = self._rewritten(head)
            self.downstream.send_informational(head, self.request_id)

    def response_head(self, head: ResponseHead) -> None:
        if head.status >= 400 and not self._examined:
            self._examined = True
            answers, upstream = self._edge.error_answers, self._upstream
            assert upstream is not None  # which has brought it
            if answers.withhold(self.request, head, upstream, self._resume_response):
                return
        elif self.request.upgrade is not None and is_no_handshake(self.request, head):
            detail = f"the app answered a WebSocket handshake with {head.status} instead of 101"
            self.fail(GatewayError(Reason.HTTP_PROTOCOL_ERROR, detail))
            return
        self.answer = head
        self._answered = True
        self.first_byte = _monotonic()
        section = head.section
        if section.set_cookies or section.locates:
            head = self._rewritten(head)
        if head.binds or self.request.section.binds:
            self._bind(head)
        if head.framing is AS_TUNNEL:
            self.phase = TUNNEL
            self._request_complete = False
            self._edge.cells[_TUNNELS_OPEN[kind_of_tunnel(head)]] += 1
        self.downstream.send_head(head, self.request_id)

    def _rewritten(self, head: ResponseHead) -> ResponseHead:
        """What the app says of itself, as it is to be understood outside."""
        target, stream, answers = self.target, self._upstream, self._edge.error_answers
        assert target is not None and stream is not None  # whoever answers has been found by it, and has brought it
        if head.section.locates and self._rewritten_host:
            added = self.downstream.peer.added(self.request)
            shown = host_rewrite.rewrite_response(head.section.field_lines, self._rewritten_host, target, added)
            head = head.with_lines(shown)
        if head.status >= answers.judged_from:
            head = answers.judged(self.request, head, self.downstream.peer.added(self.request), stream)
        if head.section.set_cookies:
            head = head.with_lines(cookies.confine(head.section.field_lines, target))
        return head

    def _bind(self, head: ResponseHead) -> None:
        """RFC 4559 section 6: the app logs in the connection, which serves nobody else from now on."""
        if self._upstream is not None:
            self._upstream.owner = self.downstream
            self._upstream.challenged |= head.binds
            if not self._upstream.persists:
                self.downstream.bound_lost()

    def response_body(self, data: bytes) -> None:
        self.sent += len(data)
        self.downstream.send_body(data)

    def response_end(self, trailers: Fields) -> None:
        self._response_complete = True
        if self.phase is TUNNEL and not self._request_complete:
            # Half-close where the transport can; where it cannot (TLS), the stream reports itself lost right away.
            self.downstream.finish(trailers)
            return
        self.downstream.finish(trailers)
        self._end()

    def flush_response(self) -> None:
        self.downstream.flush()

    def response_room(self) -> int:
        return self.downstream.room()

    def upstream_full(self, waiting: int) -> None:
        self.downstream.pause(waiting)

    def upstream_drained(self) -> None:
        self.downstream.resume()

    def upstream_failed(self, failure: UpstreamFailure) -> None:
        self._upstream = None
        reason = failure.error.reason
        learned = reason not in SPOKEN or self._learn(reason)
        if self.phase is TUNNEL:
            self.downstream.abort(failure.error)
            self._end(str(failure.error.reason), failure.error.detail)
        elif learned and self._may_retry(failure):
            self._no_retry = True
            self.reused = False
            self._connect_cold()
        elif not self._no_retry and symptom_of(failure) is not None:
            self._connecting = self._edge.tasks.spawn(self._explain(failure), f"explain {self.target}")
        else:
            if failure.unprocessed:
                self.phase = CONNECTING  # as if nothing had been passed on
            self.fail(hints.explain(self.request, failure))

    def _may_retry(self, failure: UpstreamFailure) -> bool:
        """RFC 9110 section 9.2.2 allows to retry what is idempotent when the connection closed before any response, and
        whatever was certainly not acted on.

        What may have been acted on, only if the connection had served before: that one may simply have grown stale
        while it was idle, or hold more octets than the last answer should have.
        """
        if self._no_retry or self.phase is not OPEN or self.answer:
            return False
        if self.request.framing is not NO_BODY and (self.received or self._request_complete):
            return False  # some of its content is used up
        return failure.unprocessed or (failure.is_stale and self._replayable())

    async def _explain(self, failure: UpstreamFailure) -> None:
        """Fails with the failure's error or its cause: a TLS server may have hung up on plain HTTP without a word."""
        try:
            sandbox, target = self.sandbox, self.target
            assert sandbox is not None and target is not None  # there was a connection
            error = await self._edge.connector.explain(failure, Endpoint(sandbox.origin, target.port), sandbox)
            await self._edge.pace.keep()
            self._connecting = None
            self.fail(error)
        except Exception:
            self._connecting = None
            self._fault()

    # --- draining ------------------------------------------------------------------------------------------------

    @property
    def streams(self) -> tuple[DownstreamStream, UpstreamStream] | None:
        """The two that it stands between; None: no answer is under way."""
        upstream = self._upstream
        return None if upstream is None or upstream.sink is not self else (self.downstream, upstream)

    @property
    def ended_ways(self) -> tuple[bool, bool]:
        """Whether downstream, and upstream, will send no more in this tunnel."""
        return self._request_complete, self._response_complete

    def end_answer(self) -> None:
        """Ends an event stream between two events, whose reader takes it for an end and asks anew."""
        self.downstream.finish([])
        self._end()

    def age(self) -> float:
        return _monotonic() - self.started

    # --- endings -------------------------------------------------------------------------------------------------

    def fail(self, error: GatewayError) -> None:
        if self.phase is ENDED:
            return
        answer = self.answer
        if answer is None:
            self._send_problem(error)
        elif error.reset_code is None and self.is_call:
            self.downstream.finish(grpc_trailers(error, self._circumstances()))
        else:
            self.downstream.abort(error)
        self._end(str(error.reason), error.detail)

    @property
    def is_call(self) -> bool:
        """Whether a call of gRPC is being answered whose caller reads trailers: they say how it has ended."""
        answer, section = self.answer, self.request.section
        if answer is None or answer.framing is not AS_STREAM or not (section.grpc and section.trailers_ok):
            return False
        return (answer.get(b"content-type") or b"").lower().startswith(b"application/grpc")

    def _circumstances(self) -> RequestContext:
        edge, head = self._edge, self.request
        return RequestContext(
            request_id=self.request_id.decode(),
            head=head,
            target=self.target,
            address=self.sandbox.origin.address if self.sandbox else "",
            domain="" if self.target else edge.domain_near(head.authority),
            public_port=edge.settings.edge.public_port,
            passed_on=self.phase is OPEN,
        )

    def _send_problem(self, error: GatewayError) -> None:
        edge, head, downstream = self._edge, self.request, self.downstream
        if edge.withholds_from_other_sites and is_cross_site(head, edge.example_domain):
            self._send_without_body(withheld())
            return
        circumstances = self._circumstances()
        closes = websocket.asks_for_close(head, always=edge.settings.edge.websocket_errors == "close")
        answer, body = websocket.accept_and_close(error, circumstances) if closes else render(error, circumstances)
        self.answer = answer
        self.first_byte = _monotonic()
        self.sent = len(body)
        downstream.send_head(answer, self.request_id)
        if body:
            downstream.send_body(body)
        if closes:
            downstream.flush()
        else:
            downstream.finish([])

    def _answer_check(self, head: ResponseHead, body: bytes) -> None:
        """Ends the exchange with the answer to a health check. It is not recorded, balancers ask every few seconds; and
        nothing but its client was counted in so far.
        """
        self.phase = ENDED
        downstream, client = self.downstream, self.client
        downstream.send_head(head, self.request_id)
        if body:
            downstream.send_body(body)
        downstream.finish([])
        if client is not None:
            self._edge.limits.dismiss_client(client)
        downstream.exchange_ended()

    def _answer(self, head: ResponseHead) -> None:
        """Ends the exchange with an answer of ours that has no body."""
        self._send_without_body(head)
        self._end()

    def _send_without_body(self, head: ResponseHead) -> None:
        self.answer = head
        self.first_byte = _monotonic()
        self.downstream.send_head(head, self.request_id)
        self.downstream.finish([])

    def _fault(self) -> None:
        """A bug of ours: the traceback goes to the log, the request id leads to it."""
        log.exception("request %s failed inside the gateway", self.request_id.decode())
        self.fail(GatewayError(Reason.PROXY_INTERNAL_ERROR, "unexpected error, logged under the request id"))

    def _end(self, reason: str = "", detail: str = "") -> None:
        phase = self.phase
        if phase is ENDED:
            return
        self.phase = ENDED
        upstream = self._upstream
        if upstream is not None:
            self._upstream = None
            upstream.release()
        connecting = self._connecting
        if connecting is not None:
            self._connecting = None
            connecting.cancel()
        edge = self._edge
        if self._admitted:
            edge.limits.dismiss_exchange(self._admitted)
        if self.client is not None:
            edge.limits.dismiss_client(self.client)
        answer, kind = self.answer, LOCAL_REPLY
        if phase is TUNNEL:
            assert answer is not None  # which has granted it
            kind = kind_of_tunnel(answer)
            edge.cells[_TUNNELS_OPEN[kind]] -= 1
        elif self._answered:
            assert answer is not None  # it is the app's
            kind = EVENT_STREAM if answer.framing is AS_STREAM and is_event_stream(answer) else RESPONSE
        telemetry = edge.telemetry
        ended = self.record(phase is TUNNEL, reason, detail, telemetry.worker)
        telemetry.exchange_ended(ended, kind)
        if self.span is not None and (spans := telemetry.spans) is not None:
            spans.log.ended(self.span, ended)
        self.downstream.exchange_ended()
