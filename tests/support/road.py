"""A request's whole road through the gateway, from ciphertext to ciphertext, without sockets and without an event loop.

What is counted there, calls or instructions, is the gateway's alone, and the same every time.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from gateway.config import Settings
from gateway.directory.sandbox import Sandbox, TableDirectory
from gateway.edge.edge import Edge
from gateway.edge.forwarded import Peer
from gateway.edge.http1 import Http1Downstream
from gateway.edge.tls_callbacks import SecureProtocol
from gateway.edge.tls_transport import TlsTransport
from gateway.endpoint import Endpoint, Origin
from gateway.observe.access_log import LineLog, json_lines
from gateway.observe.sink import LogSink
from gateway.observe.telemetry import Telemetry
from gateway.tls import local_ca
from gateway.tls.context import CertificatePair, server_context
from gateway.transport import WriteBatcher
from gateway.upstream.http1 import Http1Upstream
from tests.support.tls_client import TlsClient

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

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Road:
    """A downstream TLS connection and a pooled upstream one, without sockets."""

    UPSTREAMS = 1

    def __init__(self, edge: Edge, server: ssl.SSLContext, client: ssl.SSLContext) -> None:
        self.edge = edge
        self.write_batcher = edge.write_batcher = edge.pool.context.write_batcher = WriteBatcher(
            lambda callback: None
        )  # turns end when `travel` says so
        endpoint = Endpoint(Origin("demo", "1", "fd00::5"), 5000)
        self.upstreams = [self._upstream(endpoint) for _ in range(self.UPSTREAMS)]
        self.upstream, self.upstream_wire = self.upstreams[0]
        self.downstream_wire = Wire()
        self.transport = TlsTransport(server, edge.tls_buffers, self)
        self.transport.connection_made(self.downstream_wire)
        self.client = TlsClient(client, NAME)
        self._feed(self.client.shake_hands(self._exchange))
        self.tickets = self._taken()
        self._requests: list[bytes] = []

    def _upstream(self, endpoint: Endpoint) -> tuple[Http1Upstream, Wire]:
        """A pooled connection."""
        connection, wire = Http1Upstream(self.edge.pool.context, endpoint, cast("Any", None)), Wire()
        connection.connection_made(wire)
        self.edge.pool.add(connection)
        self.edge.pool.context.released(connection, True)
        return connection, wire

    # --- gateway.edge.tls_callbacks.HandshakeHandler ---------------------------------------------------------------

    def handshake_received(self, octets: int) -> bool:
        return self.transport.shake_hands()

    def handshake_completed(self) -> SecureProtocol:
        return Http1Downstream(self.edge, Peer(ip_address("2001:db8::9"), b"https"), lambda: None)

    def plain_http_received(self, tcp: asyncio.Transport, octets: bytes) -> None: ...

    def handshake_failed(self, error: Exception | None) -> None: ...

    # --- the way ---------------------------------------------------------------------------------------------------

    def prepare(self, *requests: bytes) -> None:
        """The client's part of the work, done beforehand: each request can be sent once, and in this order."""
        self._requests += [self.client.sealed(each) for each in requests]

    def travel(self, answer: bytes = RESPONSE) -> None:
        self.ask()
        self.answer(self.upstream, answer)
        self.write_batcher.flush()

    def ask(self) -> None:
        """What was prepared next comes from the client."""
        self.edge.intake.turns.begun = 0  # a turn of its own
        self._feed(self._requests.pop(0))
        self.write_batcher.flush()

    def answer(self, upstream: Http1Upstream, answer: bytes) -> None:
        """It comes from the app; when it leaves, the write batcher says."""
        self.edge.intake.turns.begun = 0
        while answer:
            read = upstream.get_buffer(-1)[: len(answer)]
            size = len(read)
            read[:], answer = answer[:size], answer[size:]
            upstream.buffer_updated(size)

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


R = TypeVar("R", bound=Road)


@asynccontextmanager
async def opened(folder: Path, kind: Callable[..., R] = Road) -> AsyncIterator[R]:
    """A road whose certificates are made in `folder`."""
    certificates = local_ca.ensure(folder, "sandbox.localhost")
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
        yield kind(edge, server, client)
        await edge.close()
