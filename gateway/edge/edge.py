"""What the connections of one worker share: settings ready for use, caches, limits, the sweeper."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

from gateway import descriptors
from gateway.addresses import Bound
from gateway.config import Settings
from gateway.diagnosis.error_answer import ErrorAnswers
from gateway.diagnosis.port_probe import PortProbe
from gateway.diagnosis.protocol_probe import ProtocolProbe
from gateway.directory.cache import DirectoryCache
from gateway.directory.sandbox import Directory
from gateway.directory.shared import Shared
from gateway.edge.connector import Connector
from gateway.edge.deadline_sweeper import SweepableConnection, Sweeper
from gateway.edge.handshakes import HandshakeQueue
from gateway.edge.health import HealthChecks
from gateway.edge.limits import Limits
from gateway.edge.revalidation import Revalidation
from gateway.edge.stream import DownstreamStream, RequestSink
from gateway.edge.tls_buffers import Buffers
from gateway.edge.upstream_protocol import UpstreamProtocols
from gateway.errors import GatewayError, Reason
from gateway.hostname import HostnameParser, Target
from gateway.http.forwarding import Address
from gateway.http.message import RequestHead, ResponseHead
from gateway.memo import remember
from gateway.metrics import BYTES
from gateway.observe.counters import Counters
from gateway.observe.ids import RequestIds
from gateway.observe.notices import Notices
from gateway.observe.telemetry import Telemetry
from gateway.tasks import Tasks
from gateway.transport import WriteBatcher
from gateway.turns import Pace, Portions
from gateway.upstream.claims import Claims
from gateway.upstream.policy import AddressPolicy
from gateway.upstream.pool import Pool

log = logging.getLogger("gateway.edge")

ROUTES_REMEMBERED = 8192
"""Authorities whose parsed form is kept (about 400 octets each)."""


class Downstream(SweepableConnection, Protocol):
    """What the edge needs of a downstream connection besides its stream."""

    def sinks(self) -> Iterable[RequestSink]:
        """Who is told of the requests under way on it."""

    def drain(self, spread: float) -> None:
        """Finish what is under way, then close; idle, close at a random moment within `spread` seconds."""

    def close(self) -> None:
        """Close now."""


class Edge:
    """One per worker; made inside its event loop."""

    def __init__(
        self,
        settings: Settings,
        backend: Directory,
        telemetry: Telemetry,
        own_listeners: Sequence[Bound] = (),
        shared: Shared | None = None,
        claims: Claims | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.loop = loop
        self.settings = settings
        self.timeouts = settings.timeouts
        self.clock: Callable[[], float] = loop.time
        self.telemetry = telemetry
        telemetry.start(loop.call_later)
        self.cells = cells = telemetry.cells
        """What this worker counts: see `metrics`."""
        self.counters = Counters(cells)
        self.notices = notices = Notices()
        self.ids = RequestIds()
        self.tasks = Tasks()
        self.health = HealthChecks(settings.edge.health_path, self.counters, self.clock)
        limits = settings.limits
        self.limits = Limits(settings, loop.call_soon, self.counters, notices)
        self.directory = DirectoryCache(backend, self.clock, settings.directory, shared, cells)
        self.pool = Pool(
            settings,
            AddressPolicy(settings.upstream.allow, own_listeners),
            self.clock,
            lambda: self.limits.connections,
            claims,
            cells,
        )
        self.head_limits = self.pool.context.head_limits
        self.directory.on_answer = lambda name, sandbox: self.pool.retire_replaced(
            name, sandbox.origin if sandbox else None
        )
        self.revalidation = Revalidation(self.pool, self.directory, self.tasks)
        self.directory.on_flush = self.revalidation.all
        self.records_changed = self.revalidation.changed
        self._parser = parser = HostnameParser(settings.edge.domains)
        self.example_domain = parser.domains[-1]
        self._denied_ports = denied_ports = frozenset(settings.upstream.deny_ports)
        self._routes: dict[bytes, Target] = {}
        self.probe = PortProbe(
            self.clock,
            self.tasks,
            allow_ipv4=settings.upstream.allow_ipv4,
            denied_ports=denied_ports,
            own=own_listeners,
        )
        self.protocols = UpstreamProtocols(self.clock)
        protocols = ProtocolProbe(self.tasks)
        self.connector = Connector(self.pool, self.directory, self.probe, protocols)
        self.error_answers = ErrorAnswers(protocols, self.clock)
        self.host = settings.upstream.host
        self.intake = self.pool.context.intake
        self.pace = Pace(loop.call_soon)
        self.write_batcher = WriteBatcher(loop.call_soon, cells, BYTES.at("downstream", "sent"))
        self.tls_buffers = Buffers(self.intake)
        self.handshakes = HandshakeQueue(loop.call_soon, limits.handshake_bytes)
        self.accepting_paused = notices.add(
            logging.ERROR, "pauses in accepting, while new connections wait: %d, the last for: %s"
        )
        self.proxy_headers_unexpected = notices.add(
            logging.INFO,
            "PROXY protocol headers that nothing reads: %d, the last from %s (edge.proxy_protocol is not set for them)",
        )
        self.proxy_headers_refused = notices.add(
            logging.WARNING, "connections refused for want of a PROXY header (edge.proxy_protocol): %d, the last: %s"
        )
        self.http2_errors = notices.add(
            logging.INFO, "HTTP/2 connections ended for a fault of their client: %d, the last: %s"
        )
        self.plain_http_on_tls = notices.add(
            logging.INFO, "requests in plain HTTP to a TLS listener (edge.listen): %d, the last from %s"
        )
        self.listeners = 0
        """Those that accept."""
        self.announces_close = False
        """Whether every answer is the last of its connection, and says so."""
        self.draining = False
        self.closing = False
        """Whether what is left is cut off: who has no answer yet has not left, but was left."""
        self.drain_grace = settings.timeouts.linger
        """Seconds that a new connection has to ask or to say hello while draining: its octets may be on their way. One
        that has asked before is closed at once, which browsers are prepared for (RFC 9112 section 9.6)."""
        self.withholds_from_other_sites = False
        """Whether a page of another site is told that its request failed and nothing else: for a gateway that only this
        machine's browsers reach, so that not every page they show sees what runs here."""
        self.answer_to_plain_on_tls: Callable[[RequestHead], GatewayError | ResponseHead] | None = None
        """The `LocalReply` to plain HTTP on a TLS port; None: what `plain_on_tls` says."""
        self.look_on: Callable[[Edge, DownstreamStream, RequestHead], RequestSink] | None = None
        """Makes who is told of a request, an exchange and somebody before it (`gateway dev`); None: the exchange."""
        self._drained = asyncio.Event()
        self.downstreams: set[Downstream] = set()
        self.sweeper = Sweeper(
            self.intake.turns,
            settings,
            (self.downstreams, self.pool.connections),
            self.error_answers.waiting,
            self._swept,
        )

    @property
    def failing(self) -> list[str]:
        """As `Tasks.failing`."""
        return self.tasks.failing + self.directory.failing

    # --- names ---------------------------------------------------------------------------------------------------

    def domain_near(self, authority: bytes) -> str:
        """The domain that an authority lies in, or one that is served here."""
        return self._parser.nearest(authority.decode("latin-1"))

    def named(self, authority: bytes) -> Target:
        """The target that an authority names, whether or not it may be asked for. Raises GatewayError."""
        return self._parser.parse(authority.decode("latin-1"))

    def route(self, authority: bytes) -> Target:
        """The target an authority names. Raises GatewayError as `HostnameParser.parse` does, or `port_denied`."""
        target = self._routes.get(authority)
        if target is None:
            target = self.named(authority)
            if target.port in self._denied_ports:
                raise GatewayError(Reason.PORT_DENIED, f"port {target.port} is in upstream.deny_ports")
            remember(self._routes, authority, target, ROUTES_REMEMBERED)
        return target

    # --- limits --------------------------------------------------------------------------------------------------

    @property
    def connections(self) -> int:
        """Connections from downstream, those still shaking hands included."""
        return self.limits.connections

    @property
    def exchanges(self) -> dict[str, int]:
        """Exchanges under way by sandbox id; no entry means none."""
        return self.limits.exchanges

    @property
    def under_way(self) -> int:
        """Connections from downstream, and exchanges, of which one connection may carry hundreds."""
        return self.limits.connections + sum(self.limits.exchanges.values())

    def admit(self, address: Address) -> bool:
        """As `Limits.admit`; an idle connection to an app may have to go for it."""
        if not self.limits.admit(address):
            return False
        self.pool.make_room()
        return True

    def dismiss(self, address: Address) -> None:
        """A connection that `admit` counted has closed."""
        self.limits.dismiss(address)
        if self.draining and not self.limits.connections:
            self._drained.set()

    def give_up(self, most: int) -> bool:
        """There is no descriptor to accept with: closes idle upstream connections, half of those that are more than the
        downstream ones, since a new one will need another upstream; whether there were any. While draining nobody asks
        again.
        """
        surplus = (len(self.pool.connections) - self.limits.connections) // descriptors.PER_CONNECTION
        return self.pool.give_up(most if self.draining else max(min(surplus, most), 0))

    # --- the sweeper ---------------------------------------------------------------------------------------------

    def _swept(self, now: float) -> None:
        if retired := self.pool.retired_past_grace(now):
            self.sweeper.end_all(retired, self.pool.cut_off)
        self.revalidation.due(self.limits.exchanges)
        self.limits.accept_again()
        self.notices.tell(now)

    # --- ending --------------------------------------------------------------------------------------------------

    def announce_drain(self) -> None:
        """Answers say `Connection: close` from here on; idle connections stay open, and are served."""
        self.announces_close = True

    def drain(self, spread: float = 0.0) -> None:
        """Every connection finishes what is under way and closes; each that is idle at a random moment within `spread`
        seconds. What has no end of its own `edge.drain` ends.
        """
        self.announce_drain()
        self.draining = True
        self.sweeper.hurry()
        Portions(self.intake.turns, list(self.downstreams), partial(self._drain_one, spread))

    def _drain_one(self, spread: float, connection: Downstream) -> None:
        if connection in self.downstreams:
            connection.drain(spread)

    async def drained(self) -> None:
        """Returns when, after `drain`, the last connection has closed."""
        while self.limits.connections:
            self._drained.clear()
            await self._drained.wait()

    async def close(self) -> None:
        """Closes what is left."""
        self.closing = True
        for connection in list(self.downstreams):
            connection.close()
        await self.tasks.cancel()
        await self.directory.close()
        self.pool.close()
        self.sweeper.stop()
        self.notices.tell_rest()
        self.telemetry.flush()
