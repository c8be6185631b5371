"""What the connections of one worker share: settings ready for use, caches, counts.

Also the sweeper: deadlines are numbers on connections, looked at by one timer, so that a request costs no timer.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Protocol

from gateway import descriptors
from gateway.addresses import Bound
from gateway.config import Settings
from gateway.directory.cache import DirectoryCache
from gateway.directory.sandbox import Directory
from gateway.directory.shared import Shared
from gateway.edge.handshakes import Handshakes
from gateway.edge.road import Road
from gateway.edge.silence import Silence
from gateway.edge.tls_transport import Buffers
from gateway.errors import GatewayError, Reason
from gateway.hostname import HostnameParser, Target
from gateway.http.forwarding import Address
from gateway.http.head_parser import HeadLimits
from gateway.observe.access_log import AccessLog
from gateway.observe.ids import RequestIds
from gateway.problems.probe import Probe
from gateway.tasks import Tasks
from gateway.transport import Outbox
from gateway.upstream.claims import Claims
from gateway.upstream.policy import AddressPolicy
from gateway.upstream.pool import Pool

log = logging.getLogger("gateway.edge")

DOUBTS = "whose is what is open?"
"""The task that asks about what may have become another's."""
DRAIN_SWEEP = 0.1
"""Seconds between sweeps while draining, so that the end does not wait for the sweeper."""
ROUTES_REMEMBERED = 8192
"""Authorities whose parsed form is kept (about 400 octets each)."""


class Downstream(Protocol):
    """What the edge needs of a downstream connection besides its stream."""

    deadline: float

    def expire(self, now: float) -> None:
        """The deadline has passed."""

    def end_if_silent(self, patience: float) -> None:
        """Ends it if nothing of what was sent has been acknowledged for `patience` seconds."""

    def drain(self) -> None:
        """Finish what is under way, then close."""

    def close(self) -> None:
        """Close now."""


class Acceptor(Protocol):
    """A listener that lets nobody in because there is no room."""

    def accept_again(self) -> None:
        """There is room again."""


class Edge:
    """One per worker; made inside its event loop."""

    def __init__(
        self,
        settings: Settings,
        backend: Directory,
        access_log: AccessLog,
        own_listeners: Sequence[Bound] = (),
        shared: Shared | None = None,
        claims: Claims | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.loop = loop
        self.settings = settings
        self.timeouts = settings.timeouts
        self.clock: Callable[[], float] = loop.time
        self.access_log = access_log
        self.ids = RequestIds()
        self.tasks = Tasks()
        limits = settings.limits
        self.head_limits = HeadLimits(
            limits.header_bytes, limits.target_bytes, limits.field_bytes, limits.header_fields
        )
        self.directory = DirectoryCache(backend, self.clock, settings.directory, shared)
        self.pool = Pool(
            settings,
            AddressPolicy(settings.upstream.allow, own_listeners),
            self.clock,
            self.tasks,
            lambda: self.connections,
            claims,
        )
        self.directory.told = lambda name, sandbox: self.pool.keep_only(name, sandbox.origin if sandbox else None)
        self.directory.forgot = lambda: self._doubt(self.pool.sandboxes())
        parser = HostnameParser(settings.edge.domains)
        self.example_domain = parser.domains[-1]
        denied_ports = frozenset(settings.upstream.deny_ports)

        @lru_cache(maxsize=ROUTES_REMEMBERED)
        def route(authority: bytes) -> Target:
            target = parser.parse(authority.decode("latin-1"))
            if target.port in denied_ports:
                raise GatewayError(Reason.PORT_DENIED, f"port {target.port} is in upstream.deny_ports")
            return target

        self.route: Callable[[bytes], Target] = route
        """The target an authority names; raises GatewayError as `HostnameParser.parse` does, or `port_denied`."""
        self.probe = Probe(
            self.clock,
            self.tasks,
            allow_ipv4=settings.upstream.allow_ipv4,
            denied_ports=denied_ports,
            own=own_listeners,
        )
        self.road = Road(self.pool, self.directory, self.probe)
        self.host = settings.upstream.host
        self.intake = self.pool.intake
        self.outbox = Outbox(loop.call_soon)
        self.tls_buffers = Buffers(self.intake)
        self.handshakes = Handshakes(loop.call_soon, limits.handshake_bytes)
        self.draining = False
        self.moment = settings.timeouts.linger
        """Seconds that a new connection has to ask or to say hello while draining: its octets may be on their way. One
        that has asked before is closed at once, which browsers are prepared for (RFC 9112 section 9.6)."""
        self.discreet = False
        """Whether a page of another site is told that its request failed and nothing else: for a gateway that only this
        machine's browsers reach, so that not every page they show sees what runs here."""
        self._drained = asyncio.Event()
        self._doubted: dict[str, None] = {}  # ids that may have become another's, in that order
        self.downstreams: set[Downstream] = set()
        self.exchanges: dict[str, int] = {}  # sandbox id -> exchanges under way; no entry means none
        self.connections = 0  # admitted and not yet dismissed, those still shaking hands included
        self._awaiting_room: deque[Acceptor] = deque()  # in the order in which they go on
        self._per_address: dict[int, int] = {}  # address group -> connections
        self._sweep_interval = _sweep_interval(settings)
        self._silence = Silence(settings.timeouts.tcp_keepalive, self._sweep_interval)
        self._sweeping = loop.call_later(self._sweep_interval, self._sweep)

    @property
    def failing(self) -> list[str]:
        """As `Tasks.failing`."""
        return self.tasks.failing + self.directory.failing

    # --- limits --------------------------------------------------------------------------------------------------

    def enter(self, sandbox_id: str) -> None:
        """Counts an exchange in; raises GatewayError(connection_limit_reached), counting nothing."""
        count = self.exchanges.get(sandbox_id, 0)
        if count >= self.settings.limits.exchanges_per_sandbox:
            raise GatewayError(Reason.CONNECTION_LIMIT_REACHED, f"{count} exchanges under way")
        self.exchanges[sandbox_id] = count + 1

    def leave(self, sandbox_id: str) -> None:
        """Counts an exchange out."""
        count = self.exchanges[sandbox_id] - 1
        if count:
            self.exchanges[sandbox_id] = count
        else:
            del self.exchanges[sandbox_id]

    @property
    def has_room(self) -> bool:
        """Whether whoever is let in finds a descriptor for the app, and so does everybody who is inside.

        Without it newcomers wait in the kernel's queue; a limit that can be held refuses (see `admit`).
        """
        fits = descriptors.for_downstream()
        return self.connections < fits or fits >= self.settings.limits.connections

    def give_up(self, most: int) -> bool:
        """There is no descriptor to accept with: closes idle connections to apps, half of those that are more than the
        visitors, since a newcomer will need one, too; whether there were any. While draining nobody asks again.
        """
        surplus = (len(self.pool.connections) - self.connections) // descriptors.PER_CONNECTION
        return self.pool.give_up(most if self.draining else max(min(surplus, most), 0))

    def await_room(self, acceptor: Acceptor) -> None:
        """`acceptor` goes on when there is room again."""
        self._awaiting_room.append(acceptor)

    def _accept_again(self) -> None:
        while self._awaiting_room and self.has_room:
            self._awaiting_room.popleft().accept_again()

    def admit(self, address: Address) -> bool:
        """Whether one more connection from `address` is within the limits; if so it is counted (see `dismiss`)."""
        limits = self.settings.limits
        group = _address_group(address)
        count = self._per_address.get(group, 0)
        alone = self.source(address) is not None
        if self.connections >= limits.connections or (count >= limits.connections_per_address and alone):
            return False
        self._per_address[group] = count + 1
        self.connections += 1
        self.pool.make_room()
        return True

    def source(self, address: Address) -> int | None:
        """Who counts as one with `address`; None for a balancer's, behind which are many."""
        if any(address in network for network in self.settings.edge.trusted_proxies):
            return None
        return _address_group(address)

    def dismiss(self, address: Address) -> None:
        """A connection that `admit` counted has closed."""
        self.connections -= 1
        self._count_out(address)
        if self._awaiting_room:
            self.loop.call_soon(self._accept_again)
        if self.draining and not self.connections:
            self._drained.set()

    def meet(self, visitor: Address) -> None:
        """Counts in an exchange of somebody behind a trusted proxy, whose connections carry many: so does nginx's
        limit_conn behind its realip module. Raises GatewayError(connection_limit_reached); `part` is due even then.
        """
        group = _address_group(visitor)
        self._per_address[group] = count = self._per_address.get(group, 0) + 1
        if count > self.settings.limits.connections_per_address:
            raise GatewayError(Reason.CONNECTION_LIMIT_REACHED, f"{count - 1} exchanges of {visitor} under way")

    def part(self, visitor: Address) -> None:
        """Counts out what `meet` counted."""
        self._count_out(visitor)

    def _count_out(self, address: Address) -> None:
        group = _address_group(address)
        count = self._per_address[group] - 1
        if count:
            self._per_address[group] = count
        else:
            del self._per_address[group]

    # --- whose is what is open -----------------------------------------------------------------------------------

    def records_changed(self, sandbox_ids: Iterable[str]) -> None:
        """The backend says that these records differ: what was opened to a machine that is replaced is given up."""
        changed = list(sandbox_ids)
        self.directory.invalidate(changed)
        self._doubt([name for name in changed if self.pool.serves(name)])

    def _doubt(self, sandbox_ids: Iterable[str]) -> None:
        """Whose these are is asked about, a few at a time: a whole fleet may be written anew."""
        self._doubted.update(dict.fromkeys(sandbox_ids))
        if self._doubted:
            self.tasks.keep(self._settle_doubts, DOUBTS)

    async def _settle_doubts(self) -> None:
        while self._doubted:
            doubted, self._doubted = self._doubted, {}
            try:
                await self.directory.ask_again(list(doubted))
            except Exception:
                self._doubted = doubted | self._doubted
                raise

    # --- the sweeper ---------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        now = self.clock()
        self._sweeping = self.loop.call_later(self._sweep_interval, self._sweep)
        for connections in (self.downstreams, self.pool.connections):
            for connection in [each for each in connections if each.deadline <= now]:
                self._end(connection, partial(connection.expire, now))
        for upstream in self.pool.past_grace(now):
            self._end(upstream, upstream.end)
        if not self.tasks.keeps(DOUBTS):
            self._doubt(self.directory.due(self.exchanges))
        self._accept_again()  # the limit may have been raised from outside
        self._silence.look(self.downstreams, self.pool.connections)

    def _end(self, connection: object, end: Callable[[], None]) -> None:
        try:
            end()
        except Exception:  # one connection's bug must not stop the clock of all others
            log.exception("ending %r failed", connection)

    # --- ending --------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Every connection finishes what is under way and closes; idle ones close now."""
        self.draining = True
        self._sweep_interval = min(self._sweep_interval, DRAIN_SWEEP)
        self._sweeping.cancel()
        self._sweep()
        for connection in list(self.downstreams):
            connection.drain()

    async def drained(self) -> None:
        """Returns when, after `drain`, the last connection has closed."""
        while self.connections:
            self._drained.clear()
            await self._drained.wait()

    async def close(self) -> None:
        """Closes what is left."""
        for connection in list(self.downstreams):
            connection.close()
        await self.tasks.cancel()
        await self.directory.close()
        self.pool.close()
        self._sweeping.cancel()
        self.access_log.flush()


def _address_group(address: Address) -> int:
    """Who counts as one source: an IPv4 address, or an IPv6 /64, which is what one subscriber gets.

    A number, because hashing an address object takes a microsecond; below zero for IPv4, so that the two never meet.
    """
    return ~int(address) if address.version == 4 else int(address) >> 64


def _sweep_interval(settings: Settings) -> float:
    """Seconds between sweeps: a quarter of the shortest deadline, at most one."""
    timeouts, upstream = settings.timeouts, settings.upstream
    shortest = min(
        timeouts.request_header,
        timeouts.idle,
        timeouts.body_idle,
        timeouts.tunnel_idle,
        timeouts.half_closed,
        timeouts.linger,
        timeouts.handshake,
        timeouts.tcp_keepalive or timeouts.idle,
        upstream.response_header_timeout,
        upstream.idle_timeout,
        upstream.tunnel_grace or timeouts.idle,
    )
    return min(1.0, max(0.02, shortest / 4))
