"""Both sides of the seam as a test plays them, and what every implementation of them has to keep to.

The second protocol of these fakes is no protocol at all: `Connection` is an upstream connection that carries up to
`capacity` streams at a time (1: like HTTP/1.1), `Downstream` one of any number of streams from a browser. Nothing
leaves the process. Each call checks the contract of its docstring; what breaks it is gathered in `Contract`, because
an exchange turns what is raised into an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv6Address, IPv6Network, ip_address
from math import inf
from unittest.mock import patch

import msgspec

from gateway.app_protocol import H2C, HTTP1
from gateway.config import Settings
from gateway.diagnosis import protocol_probe
from gateway.directory.sandbox import Sandbox, TableDirectory
from gateway.edge import edge as edge_module
from gateway.edge.edge import Edge
from gateway.edge.exchange import Exchange
from gateway.edge.forwarded import Peer
from gateway.edge.stream import DownstreamStream, RequestSink
from gateway.endpoint import Endpoint
from gateway.errors import Failure, GatewayError, Reason
from gateway.http.hop import OF_REQUEST
from gateway.http.message import AS_TUNNEL, NO_BODY, Fields, FieldSection, Framing, RequestHead, ResponseHead
from gateway.http.validate import check_request, request_section
from gateway.observe.access_log import AccessRecord
from gateway.upstream.claims import ClaimKey
from gateway.upstream.context import ConnectionContext
from gateway.upstream.pool import Pool
from gateway.upstream.stream import Owner, ResponseSink, UpstreamConnection, UpstreamFailure, UpstreamStream
from tests.support.field_lines import judged
from tests.support.telemetry import AtOnce

HOST = b"5000-demo.sandbox.localhost"
ROOM = 1000
"""Octets that either fake takes at once."""


class Contract:
    """What was broken, in words."""

    def __init__(self) -> None:
        self.broken: list[str] = []

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            self.broken.append(what)


def request(method: bytes = b"GET", fields: Fields | None = None, host: bytes = HOST) -> RequestHead:
    """A valid head, as a codec of no HTTP version makes it."""
    section, _ = request_section(OF_REQUEST[1], judged([(b"Host", host), *(fields or [])]))
    head = RequestHead(method, b"/", "HTTP/2", section)
    check_request(head)
    return head


def upload(method: bytes = b"POST") -> RequestHead:
    return request(method, [(b"Transfer-Encoding", b"chunked")])


def handshake() -> RequestHead:
    return request(fields=[(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")])


def answer(status: int = 200, framing: Framing = Framing.STREAM, fields: Fields | None = None) -> ResponseHead:
    upgrade = b"websocket" if framing is AS_TUNNEL else None
    return ResponseHead(status, FieldSection.of(fields or []), framing, upgrade=upgrade)


class Downstream(DownstreamStream):
    """A stream from downstream. `said` is what its browser has got, in order."""

    def __init__(self, contract: Contract, peer: Peer) -> None:
        self.peer = peer
        self.bound: UpstreamStream | None = None
        self.said: list[object] = []
        self.body = b""
        self.paused = False
        self.ended = 0
        self.lost_login = 0
        self.head_sent = 0
        self.head: RequestHead
        self.exchange: Exchange
        self.sink: RequestSink
        self.quiet = True
        self._contract = contract
        self._head: ResponseHead | None = None
        self._over = ""  # finished or aborted

    @property
    def status(self) -> int:
        return self._head.status if self._head else 0

    def _check(self, what: str) -> None:
        self._contract.check(not self.ended, f"{what} after the exchange has ended")
        self._contract.check(not self._over, f"{what} after {self._over}")

    def send_informational(self, head: ResponseHead, request_id: bytes) -> None:
        self._check("an interim answer")
        self._contract.check(self._head is None, "an interim answer after the final one")
        self.said.append(head.status)

    def send_head(self, head: ResponseHead, request_id: bytes) -> None:
        self._check("a head")
        self._contract.check(self._head is None, "two heads")
        self._contract.check(bool(request_id), "a head without a request id")
        self._head = head
        self.said.append(head.status)

    def send_body(self, data: bytes) -> None:
        self._check("body")
        self._contract.check(self._head is not None, "body before the head")
        self.body += data

    def finish(self, trailers: Fields) -> None:
        self._check("an end")
        self._contract.check(self._head is not None, "an end before the head")
        self._over = "finish"
        self.said.append("end")

    def flush(self) -> None: ...

    def abort(self, error: GatewayError) -> None:
        self._contract.check(not self.ended, "abort after the exchange has ended")
        self._over = "abort"
        self.said.append("abort")

    def room(self) -> int:
        return ROOM

    def pause(self, waiting: int = 0) -> None:
        self._contract.check(not self.ended, "pause after the exchange has ended")
        self.paused = True

    def resume(self) -> None:
        self._contract.check(not self.ended, "resume after the exchange has ended")
        self.paused = False

    def redirect(self, sink: RequestSink) -> None:
        self._contract.check(not self.ended, "redirect after the exchange has ended")
        self.sink = sink

    def is_quiet(self) -> bool:
        return self.quiet

    def exchange_ended(self) -> None:
        self.ended += 1
        self._contract.check(self.ended == 1, "an exchange ended twice")

    def keep(self, upstream: UpstreamStream) -> bool:
        return False  # see `DownstreamStream.bound`

    def bound_lost(self) -> None:
        self.bound = None
        self.lost_login += 1


class Stream(UpstreamStream):
    """A stream of `Connection`. `sent` is what the app has got; the methods under "the app" are what it says."""

    def __init__(self, connection: Connection, reused: bool) -> None:
        self.connection = connection
        self.endpoint = connection.endpoint
        self.sink: ResponseSink | None = None
        self.owner: Owner | None = None
        self.challenged = False
        self.reused = reused
        self.persists = True
        self.head: RequestHead | None = None
        self.sent: list[object] = []
        self.paused = False
        self.quiet = True
        self.over = ""  # released, closed or failed
        self.complete = False  # the answer is
        self._finished = False  # the request is
        self._answered = False
        self._telling = False  # its sink is being told that it has failed
        self._contract = connection.contract

    def _check(self, what: str) -> None:
        self._contract.check(not self.over or self._telling, f"{what} after the stream was {self.over}")

    @property
    def is_retired(self) -> bool:
        return self.connection.ends != inf

    def early_failure(self) -> Failure | None:
        return None

    def send_request(
        self, sink: ResponseSink, head: RequestHead, host: bytes, added: FieldSection, request_id: bytes
    ) -> None:
        self._check("a request")
        self._contract.check(self.head is None, "two requests by one stream")
        self.sink = sink
        self.head = head
        self._finished = head.framing is NO_BODY
        self.sent.append(head.method)

    def send_body(self, data: bytes) -> None:
        self._check("request body")
        self._contract.check(not self._finished, "request body after its end")
        self.sent.append(data)

    def finish(self, trailers: Fields) -> None:
        self._check("the end of a request")
        self._contract.check(not self._finished, "two ends of a request")
        self._finished = True
        self.sent.append("end")

    def flush(self) -> None:
        self._check("flush")

    def room(self) -> int:
        return ROOM

    def pause(self) -> None:
        self._check("pause")
        self.paused = True

    def resume(self) -> None:
        self._check("resume")
        self.paused = False

    def is_alive(self) -> bool:
        return self.connection.alive

    def is_quiet(self) -> bool:
        return self.quiet

    def release(self) -> None:
        self._leave("released", clean=self.complete and self._finished)

    def close(self) -> None:
        self._leave("closed", clean=False)

    def _leave(self, how: str, clean: bool) -> None:
        self._check(how)
        self.sink = None
        if self.over:
            return  # by itself: it has failed
        self.over = how
        self.connection.stream_over(self, clean)

    # --- the app -------------------------------------------------------------------------------------------------

    def says(self, head: ResponseHead, body: bytes = b"", ends: bool = False) -> None:
        """What one read brings: a head, and what follows it."""
        assert self.sink is not None
        self._answered = True
        if head.status < 200 and head.framing is not AS_TUNNEL:
            self.sink.informational(head)
        else:
            if head.framing is AS_TUNNEL:
                self._finished = False
            self.sink.response_head(head)
        if body and self.sink is not None:
            self.sink.response_body(body)
        if ends and self.sink is not None:
            self.ends()
        self.flushes()

    def says_body(self, data: bytes) -> None:
        assert self.sink is not None
        self.sink.response_body(data)
        self.flushes()

    def ends(self) -> None:
        assert self.sink is not None
        self.complete = True
        self.sink.response_end([])

    def flushes(self) -> None:
        if self.sink is not None:
            self.sink.flush_response()

    def fails(self, reason: Reason = Reason.HTTP_PROTOCOL_ERROR, unprocessed: bool = False) -> None:
        sink = self.sink
        assert sink is not None
        self._leave("failed", clean=False)
        error = GatewayError(reason, "as the test wants it")
        self._telling = True
        sink.upstream_failed(UpstreamFailure(error, self.reused, self._answered, unprocessed))
        self._telling = False


class Connection(UpstreamConnection):
    """Carries up to `capacity` streams at a time. A stream that was not over cleanly ends it only where it is alone."""

    def __init__(self, context: ConnectionContext, endpoint: Endpoint, capacity: int, contract: Contract) -> None:
        self.endpoint = endpoint
        self.key = endpoint.by(HTTP1)
        self.claim_key = ClaimKey(self.key)
        self.is_available = True
        self.since = 0.0
        self.deadline = inf
        self.ends = inf
        self.contract = contract
        self.streams: list[Stream] = []
        self.opened: list[Stream] = []  # all, ever
        self.alive = True
        self.is_closed = False
        self._context = context
        self._capacity = capacity

    def open_stream(self) -> UpstreamStream:
        self.contract.check(self.is_available, "a stream of a connection that is not available")
        stream = Stream(self, reused=bool(self.opened))
        self.streams.append(stream)
        self.opened.append(stream)
        self.is_available = len(self.streams) < self._capacity
        return stream

    def rest(self, since: float, deadline: float) -> None:
        self.since, self.deadline = since, deadline

    def stream_over(self, stream: Stream, clean: bool) -> None:
        self.streams.remove(stream)
        if self.is_closed:
            return
        if not self.streams and (self.ends != inf or not self.alive or (self._capacity == 1 and not clean)):
            self.close()
        elif self.ends == inf and self.alive:
            was, self.is_available = self.is_available, True
            if not self.streams:
                self._context.released(self, True)
            elif not was:
                self._context.reopened(self)

    def goes_away(self) -> None:
        """The app wants no more requests here; those under way go on (HTTP/2: GOAWAY)."""
        self.alive = self.is_available = False
        if not self.streams:
            self.close()

    def lost(self) -> None:
        """The app has gone."""
        self.alive = self.is_available = False
        for stream in [each for each in self.streams if not each.complete]:
            stream.fails(Reason.CONNECTION_TERMINATED)
        if not self.streams:
            self.close()

    def is_alive(self) -> bool:
        return self.alive or bool(self.streams)

    def is_claimable(self) -> bool:
        return not self.streams

    def awaits_first_octet(self) -> bool:
        return False

    def retire(self, ends: float) -> None:
        self.ends = ends
        self.is_available = False
        if not self.streams:
            self.close()

    def cut_off(self) -> None:
        for stream in list(self.streams):
            stream.fails(Reason.HTTP_RESPONSE_INCOMPLETE)

    def expire(self, now: float) -> None:
        self.close()

    def end_if_dead(self, patience: float) -> None: ...

    def close(self) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self.is_available = False
        for stream in list(self.streams):
            stream.close()
        self._context.closed(self)


class FakePool(Pool):
    """The real one, whose connections are the test's."""

    capacity = 1
    contract: Contract
    dialed: list[Connection]
    refuses: GatewayError | None = None
    gate: asyncio.Event
    """Until it is set no dial comes to an end."""

    async def _connect_h2c(self, endpoint: Endpoint) -> UpstreamConnection:
        connection = await self._connect(endpoint)
        connection.key = endpoint.by(H2C)
        return connection

    async def _connect(self, endpoint: Endpoint) -> UpstreamConnection:
        await self.gate.wait()
        if self.refuses is not None:
            raise self.refuses
        connection = Connection(self.context, endpoint, self.capacity, self.contract)
        self.dialed.append(connection)
        return connection


class Records:
    """An access log."""

    dropped = 0

    def __init__(self) -> None:
        self.all: list[AccessRecord] = []

    def write(self, records: list[AccessRecord]) -> None:
        self.all.extend(records)

    def reopen(self) -> None: ...

    def close(self) -> None: ...


class Gateway:
    """A worker without sockets: everything between the two sides is real."""

    def __init__(self, edge: Edge, records: Records, pool: FakePool) -> None:
        self.edge = edge
        self.records = records
        self.pool = pool
        self.contract = pool.contract
        self.downstreams: list[Downstream] = []
        self.peer = Peer(ip_address("2001:db8::9"), b"https")

    def ask(self, head: RequestHead | None = None, on: Downstream | None = None) -> Downstream:
        """A request, begun; by a stream of its own if it is not by `on`."""
        downstream = self.prepare(head, on)
        assert downstream.sink is not None  # the exchange, or who looks on
        downstream.sink.begin()
        return downstream

    def prepare(self, head: RequestHead | None = None, on: Downstream | None = None) -> Downstream:
        """A request that has not begun yet."""
        downstream = on or Downstream(self.contract, self.peer)
        downstream.head = head or request()
        downstream.sink = (self.edge.look_on or Exchange)(self.edge, downstream, downstream.head)
        exchange = downstream.sink.behind
        assert isinstance(exchange, Exchange)
        downstream.exchange = exchange
        self.downstreams.append(downstream)
        return downstream

    async def warm(self, count: int = 1) -> Connection:
        """An idle connection that has served before."""
        asked = self.ask()
        await settle()
        stream = self.streams[-1]
        stream.says(answer(), b"warm", ends=True)
        assert asked.ended
        del self.downstreams[:], self.records.all[:]
        return stream.connection

    @property
    def streams(self) -> list[Stream]:
        """All upstream streams, in the order of their connections."""
        return [stream for connection in self.pool.dialed for stream in connection.opened]

    @property
    def stream(self) -> Stream:
        """The one that is open."""
        (stream,) = [each for each in self.streams if not each.over]
        return stream

    def check_over(self) -> None:
        """Everything that was asked is over, once, and nothing is left behind."""
        assert self.contract.broken == []
        assert [each.ended for each in self.downstreams] == [1] * len(self.downstreams)
        assert len(self.records.all) == len(self.downstreams)
        assert [each for each in self.streams if not each.over] == []
        assert self.edge.limits.exchanges == {}
        assert self.edge.limits.per_source == {}
        for connection in self.pool.connections:
            assert isinstance(connection, Connection)
            assert not connection.streams
        assert len(self.pool.idle) == len(self.pool.connections)


async def settle() -> None:
    """Every task goes as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


@asynccontextmanager
async def gateway(
    capacity: int = 1, port_speaks: protocol_probe.DetectedProtocol | None = None
) -> AsyncIterator[Gateway]:
    """`port_speaks` is what a look at the app's port finds."""
    replace = msgspec.structs.replace
    settings = Settings()
    settings = replace(
        settings,
        edge=replace(settings.edge, domains=("sandbox.localhost",)),
        upstream=replace(settings.upstream, allow=(IPv6Network("fd00::/8"),)),
    )

    async def detect(*_: object) -> protocol_probe.DetectedProtocol | None:
        return port_speaks

    records = Records()
    table = {"demo": Sandbox("demo", IPv6Address("fd00::5"), "1")}
    with patch.object(edge_module, "Pool", FakePool), patch.object(protocol_probe, "_ask_in_turn", detect):
        edge = Edge(settings, TableDirectory(table), AtOnce(records))
        pool = edge.pool
        assert isinstance(pool, FakePool)
        pool.capacity, pool.contract, pool.dialed, pool.gate = capacity, Contract(), [], asyncio.Event()
        pool.gate.set()
        await edge.directory.fetch("demo")
        try:
            yield Gateway(edge, records, pool)
        finally:
            await edge.close()
        assert not pool.connections
