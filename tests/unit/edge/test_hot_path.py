"""The hot path stays as short as it is: what a request costs is counted in calls, which no machine's speed changes.

A timing in CI proves little on a shared machine. The number of Python and C calls between the octets of a request and
the octets of its response is exact, and grows with nearly everything that would make the road longer.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from ipaddress import IPv6Address, IPv6Network, ip_address
from pathlib import Path
from types import FrameType
from typing import Any, cast

import msgspec
import pytest

from gateway.config import Settings
from gateway.directory.sandbox import Sandbox, TableDirectory
from gateway.edge.edge import Edge
from gateway.edge.exchange import Exchange
from gateway.edge.forwarded import Peer
from gateway.edge.http1 import Http1Downstream
from gateway.edge.tls_transport import TlsTransport
from gateway.endpoint import Endpoint, Origin
from gateway.observe.access_log import LineLog, json_lines
from gateway.observe.sink import LogSink
from gateway.observe.telemetry import Telemetry
from gateway.tls import local_ca
from gateway.tls.context import CertificatePair, server_context
from gateway.transport import WriteBatcher
from gateway.turns import READ, WIDE_READ
from gateway.upstream.http1 import Http1Upstream
from tests.support.tls_client import TlsClient

pytestmark = pytest.mark.pure  # fakes stand in the place of what is compiled

CALLS_PER_REQUEST = 131
"""Python and C calls for a small GET on a warm TLS connection, access log included; the same on CPython 3.11
to 3.14. Raise it only with a reason in `docs/performance.md`; the test allows a tenth more."""

ROUNDS = 200
NAME = "5000-demo.sandbox.localhost"
REQUEST = (
    b"GET /items?page=2 HTTP/1.1\r\nHost: 5000-demo.sandbox.localhost\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n"
    b"Accept-Encoding: gzip, br\r\nAccept-Language: en\r\nCookie: session=1\r\nCache-Control: no-cache\r\n"
    b"Sec-Fetch-Mode: cors\r\n\r\n"
)
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 33\r\n\r\n" + b"x" * 33


class Wire(asyncio.Transport):
    """A transport that remembers its writes."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def abort(self) -> None: ...


class Road:
    """A downstream TLS connection and a pooled upstream one, without sockets."""

    def __init__(self, edge: Edge, server: ssl.SSLContext, client: ssl.SSLContext) -> None:
        self.edge = edge
        self.write_batcher = edge.write_batcher = edge.pool.context.write_batcher = WriteBatcher(
            lambda callback: None
        )  # turns end when `travel` says so
        endpoint = Endpoint(Origin("demo", "1", "fd00::5"), 5000)
        self.upstream = Http1Upstream(edge.pool.context, endpoint, cast("Any", None))
        self.upstream_wire = Wire()
        self.upstream.connection_made(self.upstream_wire)
        edge.pool.add(self.upstream)
        edge.pool.context.released(self.upstream, True)
        self.downstream_wire = Wire()
        self.transport = TlsTransport(server, edge.tls_buffers, self)
        self.transport.connection_made(self.downstream_wire)
        self.client = TlsClient(client, NAME)
        self._feed(self.client.shake_hands(self._exchange))
        self.tickets = self._taken()
        self._requests: list[bytes] = []

    # --- gateway.edge.tls_callbacks.HandshakeHandler ---------------------------------------------------------------

    def handshake_received(self, octets: int) -> bool:
        return self.transport.shake_hands()

    def handshake_completed(self) -> Http1Downstream:
        return Http1Downstream(self.edge, Peer(ip_address("2001:db8::9"), b"https"), lambda: None)

    def plain_http_received(self, tcp: asyncio.Transport, octets: bytes) -> None: ...

    def handshake_failed(self, error: Exception | None) -> None: ...

    # --- the way ---------------------------------------------------------------------------------------------------

    def prepare(self, count: int) -> None:
        """The client's part of the work, done beforehand: each request can be sent once, and in this order."""
        self._requests += [self.client.sealed(REQUEST) for _ in range(count)]

    def travel(self, answer: bytes = RESPONSE) -> None:
        self._feed(self._requests.pop(0))
        self.write_batcher.flush()
        while answer:
            read = self.upstream.get_buffer(-1)[: len(answer)]
            size = len(read)
            read[:], answer = answer[:size], answer[size:]
            self.upstream.buffer_updated(size)
        self.write_batcher.flush()

    def _feed(self, octets: bytes) -> None:
        """As the event loop does."""
        self.transport.get_buffer(-1)[: len(octets)] = octets
        self.transport.buffer_updated(len(octets))

    def _exchange(self, octets: bytes) -> bytes:
        self._feed(octets)
        return self._taken()

    def _taken(self) -> bytes:
        octets = b"".join(self.downstream_wire.writes)
        self.downstream_wire.writes.clear()
        return octets


@pytest.fixture
async def road(tmp_path: Path) -> AsyncIterator[Road]:
    certificates = local_ca.ensure(tmp_path, "sandbox.localhost")
    server = server_context([CertificatePair(certificates.certificate, certificates.key)])
    client = ssl.create_default_context(cafile=certificates.authority)
    replace = msgspec.structs.replace
    settings = Settings()
    settings = replace(
        settings,
        edge=replace(settings.edge, domains=("sandbox.localhost",)),
        upstream=replace(settings.upstream, allow=(IPv6Network("fd00::/8"),)),
    )
    with Path(os.devnull).open("wb") as nowhere:
        log = LineLog(json_lines, lambda delay, callback: None, LogSink(nowhere.fileno()))
        table = {"demo": Sandbox("demo", IPv6Address("fd00::5"), "1")}
        edge = Edge(settings, TableDirectory(table), Telemetry(log))
        await edge.directory.fetch("demo")
        yield Road(edge, server, client)
        await edge.close()


class _Counting:
    """Counts calls between `with` and its end, by what was called."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def __enter__(self) -> Counter[str]:
        sys.setprofile(self._note)
        return self.calls

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            self.calls[frame.f_code.co_qualname] += 1
        elif event == "c_call":
            self.calls[getattr(argument, "__qualname__", repr(argument))] += 1


@pytest.fixture
def counting() -> Iterator[_Counting]:
    yield _Counting()
    sys.setprofile(None)


async def test_a_request_costs_no_more_calls_than_it_did(road: Road, counting: _Counting) -> None:
    road.prepare(2 * ROUNDS)
    for _ in range(ROUNDS):
        road.travel()  # names, sections and hosts are remembered from here on
    with counting as calls:
        for _ in range(ROUNDS):
            road.travel()
    cost = sum(calls.values()) / ROUNDS
    listing = "\n".join(f"{count / ROUNDS:6.2f} {name}" for name, count in calls.most_common(60))
    assert cost <= CALLS_PER_REQUEST * 1.1, f"{cost:.1f} calls a request:\n{listing}"
    # The other way round, a road that became much shorter wants its gain protected.
    assert cost >= CALLS_PER_REQUEST * 0.75, f"only {cost:.1f} calls a request: lower CALLS_PER_REQUEST"


async def test_a_large_answer_makes_the_next_ones_no_dearer(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Exchange] = []
    monkeypatch.setattr(Exchange, "response_room", lambda exchange: asked.append(exchange) or 10 * WIDE_READ)
    road.prepare(4)
    body = b"x" * 1024 * 1024
    road.travel(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert asked, "a body that fills its reads is read in larger ones"
    asked.clear()
    road.travel()
    road.travel()
    body = b"x" * 64 * 1024
    road.travel(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert not asked
    assert road.upstream.get_buffer(-1).nbytes == READ


async def test_a_request_makes_no_task_and_one_write_each_way(road: Road) -> None:
    road.prepare(11)
    road.travel()
    tasks = asyncio.all_tasks()
    road.upstream_wire.writes.clear()
    road.client.read(road.tickets + b"".join(road.downstream_wire.writes))
    road.downstream_wire.writes.clear()
    for _ in range(10):
        road.travel()
    assert asyncio.all_tasks() == tasks
    assert len(road.upstream_wire.writes) == 10
    assert len(road.downstream_wire.writes) == 10
    answers = [road.client.read(write) for write in road.downstream_wire.writes]
    assert all(answer.endswith(b"\r\n\r\n" + b"x" * 33) for answer in answers)
    assert len(road.edge.pool.idle) == 1
    assert not road.edge.exchanges
