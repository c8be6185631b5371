"""Upstream connections: who may be used again, and the one road to a new one.

    open -----> available? -------------------------------------> a stream, at once
    connect --> refused lately? -> few under way? -> dial -----> a stream, or what became of the dial

HTTP/1.1 has a connection for each exchange; by HTTP/2 they share one, and whoever waits for a dial then looks again for
a connection that has room.

Connections that can open a stream are kept under their endpoint, newest first; those that carry none, besides, in the
order in which they became idle: there are so many per endpoint and so many in all, and the oldest goes to make room.
Whoever needs a file descriptor goes before them, so nothing is refused while connections lie idle (`make_room`,
`give_up`); and so does whoever waits at an app that they keep busy (claims.py). How often and how many at once are
dialed, refusals.py and dial_limiter.py say.

The pool only keeps track: it asks a connection what it is, and the connection acts. `connections` holds every live one,
so that the sweeper can look at deadlines and a test can prove that nothing is left behind. Whose each of them is stands
here too, by name, and in no cache: `retire_replaced` ends what a name no longer leads to.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from itertools import islice
from math import inf
from typing import Final, TypeVar, cast

from gateway import descriptors
from gateway.app_protocol import H2C
from gateway.config import Settings
from gateway.counting import counted
from gateway.endpoint import AppKey, Endpoint, Origin
from gateway.errors import Failure, GatewayError, Reason
from gateway.http.head_parser import HeadLimits
from gateway.metrics import BYTES, CONNECTIONS, DIAL, Cells, private
from gateway.socket_options import keep_alive
from gateway.transport import WriteBatcher
from gateway.turns import Intake, Pace
from gateway.upstream.claims import CHECK_INTERVAL, Claimants, Claims
from gateway.upstream.context import ConnectionContext, Timeouts
from gateway.upstream.dial import OpenSocket, connected_socket
from gateway.upstream.dial_limiter import DialLimiter
from gateway.upstream.http1 import Http1Upstream
from gateway.upstream.http2 import START_TIMEOUT, Http2Upstream
from gateway.upstream.policy import AddressPolicy
from gateway.upstream.refusals import RefusalCache
from gateway.upstream.stream import UpstreamConnection, UpstreamStream

DIAL_STEPS: Final = 16
"""Dials that begin, or become connections, in one turn of the event loop: each step takes 0.1 to 0.2 ms, and what slow
start permits at once (dial_limiter.py) doubles."""
_DIALED: Final = CONNECTIONS.at("upstream")

T = TypeVar("T", bound="UpstreamConnection")


class Pool:
    """One per worker, made inside its event loop, whose time `clock` is."""

    def __init__(
        self,
        settings: Settings,
        policy: AddressPolicy,
        clock: Callable[[], float],
        downstream_count: Callable[[], int] = lambda: 0,
        claims: Claims | None = None,
        cells: Cells | None = None,
    ) -> None:
        """`downstream_count`: the descriptors that downstream connections have. `claims` are those of all workers."""
        limits = settings.limits
        self._cells = cells = private() if cells is None else cells
        self._loop = asyncio.get_running_loop()
        self.context = ConnectionContext(
            clock=clock,
            timeouts=Timeouts.of(settings),
            head_limits=HeadLimits(limits.header_bytes, limits.target_bytes, limits.field_bytes, limits.header_fields),
            intake=Intake(self._loop.call_soon, limits.buffer_bytes),
            write_batcher=WriteBatcher(self._loop.call_soon, cells, BYTES.at("upstream", "sent")),
            released=self._released,
            reopened=self._reopened,
            released_to_owner=self._released_to_owner,
            closed=self._closed,
            cells=cells,
        )
        self.open_socket: OpenSocket = connected_socket
        """The way to an address; `gateway dev` may know another one."""
        self._clock = clock
        self.refusals = RefusalCache(clock)
        turns = self.context.intake.turns
        self._dials = DialLimiter(turns)
        self._shared_dials = DialLimiter(turns, at_once=1)  # of HTTP/2
        self.connections: set[UpstreamConnection] = set()
        self._by_sandbox: dict[str, set[UpstreamConnection]] = {}  # the same by sandbox id; no empty sets
        self._retired: set[UpstreamConnection] = set()  # of them those in their grace
        self._downstream_count = downstream_count
        self.dialing = 0  # sockets that are not connections yet
        self._pace = Pace(self._loop.call_soon, DIAL_STEPS)
        # Those that can open a stream, by their key, the oldest first; perhaps none is left.
        self._available: dict[AppKey, dict[UpstreamConnection, None]] = {}
        # Of these all that carry no stream. A plain dict would look for its first entry past all that were deleted.
        self.idle: OrderedDict[UpstreamConnection, None] = OrderedDict()
        self._owned: set[UpstreamConnection] = set()  # their owners' alone, but for whoever claims an idle one
        self._max_per_target = settings.upstream.max_idle_per_target
        self._max_idle = settings.upstream.max_idle
        self._policy = policy
        self._claims = claims or Claims()
        self._claimed = self._claims.table
        self._claims_seen = self._claims.made
        self._claimants = Claimants(self._claims)
        self._claims_timer: asyncio.TimerHandle | None = None  # while there is something to give or to claim

    def open(self, key: AppKey, replayable: bool) -> UpstreamStream | None:
        """A stream that a connection can open at once, or None: then `connect`.

        A request that cannot be replayed, and any request after a long silence or an answer without content, gets only
        a connection that has just been proven alive. Raises GatewayError: the endpoint refuses, as is known.
        """
        available = self._available.get(key)
        if available:
            idle = self.idle
            latest = self._clock() - self.context.timeouts.proven
            while available:
                connection, _ = available.popitem()
                if not connection.is_available:
                    continue  # it was retired, or takes no more requests, and finishes what is under way
                if connection in idle:
                    del idle[connection]
                if (replayable and connection.since > latest) or connection.is_alive():
                    stream = connection.open_stream()
                    if connection.is_available:
                        available[connection] = None
                    return stream
                connection.close()
        self.check_refusal(Endpoint(key[0], key[1]))
        return None

    def check_refusal(self, endpoint: Endpoint) -> None:
        """Raises GatewayError if the endpoint has refused often enough just now, and somebody has looked why."""
        refusal = self.refusals.instead_of_dialing(endpoint)
        if refusal is not None and refusal.looked:
            raise refusal.failure.error()

    async def connect(self, key: AppKey) -> UpstreamStream | Failure:
        """A stream of a new connection, or why there is none, which may be what another's dial has met. By HTTP/2, the
        connection may be new for others, too.

        Who has waited in vain for a dial of their own as long as it would take is told so.
        """
        endpoint, is_shared = Endpoint(key[0], key[1]), key[2] is H2C
        refusal = self.refusals.instead_of_dialing(endpoint)
        if refusal is not None:
            return refusal.failure  # one look for all who come while it lasts
        dials = self._shared_dials if is_shared else self._dials
        if not dials.try_acquire(endpoint):
            patience = self.context.timeouts.connect + (START_TIMEOUT if is_shared else 0)
            failure = await self._wait(endpoint, dials, patience)
            if failure is not None:
                return failure
            if is_shared and (shared := self._open_shared(key)) is not None:
                return shared
        self.refusals.count(endpoint)
        failure = None
        stream: UpstreamStream | None = None
        try:
            stream = await self.dial(key)
        except GatewayError as error:
            failure = error.failure()
            if failure.reason is Reason.CONNECTION_REFUSED:
                self.refusals.remember(endpoint, failure, dials=dials.under_way(endpoint))
        finally:
            dials.release(endpoint, failure, connected=stream is not None and not is_shared)
        if stream is not None:
            self.refusals.forget(endpoint)
            return stream
        assert failure is not None  # anything else was raised
        return failure

    def _open_shared(self, key: AppKey) -> UpstreamStream | None:
        """A stream of what another's dial has made, for who was about to dial; the next one looks, too."""
        stream = None
        try:
            stream = self.open(key, replayable=True)
            return stream
        except GatewayError:
            return None  # known by now, and told by whoever dials
        finally:
            if stream is not None:
                self._shared_dials.release(Endpoint(key[0], key[1]))

    async def _wait(self, endpoint: Endpoint, dials: DialLimiter, patience: float) -> Failure | None:
        try:
            async with asyncio.timeout(patience):
                return await dials.acquire(endpoint)
        except TimeoutError:
            late = f"not begun within {patience:g} s, because others are on their way"
            return Failure(Reason.CONNECTION_TIMEOUT, f"connect to {endpoint}: {late}")

    async def dial(self, key: AppKey) -> UpstreamStream:
        """A stream of a new connection, whoever else dials, and however often.

        The address is the record's own: nothing is resolved between policy and connect. Raises GatewayError:
        `destination_ip_prohibited`, `overloaded`, or what became of the attempt (refused, timed out, …).
        """
        endpoint = Endpoint(key[0], key[1])
        self._policy.check(ip_address(endpoint.address), endpoint.port)
        self.dialing += 1
        try:
            self._check_descriptors()
            self.make_room()
            began = time.monotonic()
            connection = await (self._connect_h2c(endpoint) if key[2] is H2C else self._connect(endpoint))
            DIAL.observe(self._cells, time.monotonic() - began)
            self._cells[_DIALED] += 1
            self.add(connection)
            self._claimants.add(connection, self._clock())
            if self._claims_timer is None:
                self._serve_claims_later()
        finally:
            self.dialing -= 1
        stream = connection.open_stream()
        if connection.is_available:
            self._reopened(connection)
        return stream

    async def _connect(self, endpoint: Endpoint) -> UpstreamConnection:
        connection = await self._made(endpoint, Http1Upstream)
        if (failure := connection.early_failure()) is not None:
            raise failure.error()
        return connection

    async def _connect_h2c(self, endpoint: Endpoint) -> UpstreamConnection:
        connection = await self._made(endpoint, Http2Upstream)
        try:
            await connection.started()
        except BaseException:
            connection.close()
            raise
        return connection

    async def _made(self, endpoint: Endpoint, kind: Callable[[ConnectionContext, Endpoint, socket.socket], T]) -> T:
        await self._pace.keep()  # many may have been permitted at once
        sock = await self.open_socket(endpoint.address, endpoint.port, self.context.timeouts.connect, self.give_up)
        connection = None
        try:
            await self._pace.keep()  # … or be answered
            keep_alive(sock, self.context.timeouts.keepalive)
            connection = kind(self.context, endpoint, sock)
            await self._loop.create_connection(lambda: cast("asyncio.BaseProtocol", connection), sock=sock)
        except BaseException:
            if connection is not None:
                connection.abandon()
            sock.close()
            raise
        return connection

    # --- what connections tell -----------------------------------------------------------------------------------

    def add(self, connection: UpstreamConnection) -> None:
        """A connection has been made."""
        self.connections.add(connection)
        self._by_sandbox.setdefault(connection.endpoint.sandbox_id, set()).add(connection)

    def _reopened(self, connection: UpstreamConnection) -> None:
        """Keeps a connection that can open a stream beside others."""
        self._available.setdefault(connection.key, {})[connection] = None

    def _released(self, connection: UpstreamConnection, proven: bool) -> None:
        """Keeps a connection whose last stream is over; the oldest idle one, of its endpoint or of all, makes room.

        One that is not `proven` to be quiet is looked at before it is used again, however soon.
        """
        if self._claimed[connection.claim_key.slot] and self._is_claimed(connection):
            connection.close()
            return
        if self._claims_timer is None:
            self._serve_claims_later()
        now = self._clock()
        connection.rest(now if proven else -inf, now + self.context.timeouts.idle)
        available = self._available.get(connection.key)
        if available is None:
            self._available[connection.key] = available = {}
        available[connection] = None
        self.idle[connection] = None
        if len(available) > self._max_per_target:
            next(each for each in available if each in self.idle).close()
        if len(self.idle) > self._max_idle:
            self.give_up()

    def _released_to_owner(self, connection: UpstreamConnection) -> None:
        """Leaves a connection to its owner, unless it is claimed: what downstream says does not keep others out."""
        if self._claimed[connection.claim_key.slot] and self._is_claimed(connection):
            connection.close()
            return
        self._owned.add(connection)
        if self._claims_timer is None:
            self._serve_claims_later()

    def _is_claimed(self, connection: UpstreamConnection) -> bool:
        """Whether somebody waits for it, who then has it; its own claims, from when it was fresh, are none."""
        self._claimants.withdraw_if_over(connection.claim_key)
        claimed = self._claims.owed(connection.claim_key) > 0
        if claimed:
            self._claims.settle(connection.claim_key)
        return claimed

    def _serve_claims_later(self) -> None:
        self._claims_timer = self._loop.call_later(CHECK_INTERVAL, self._serve_claims)

    def _serve_claims(self) -> None:
        """Claims for those who wait here, and gives what is claimed, here or by another worker."""
        self._claims_timer = None
        self._claimants.check(self._clock())
        if self._claims_seen != self._claims.made:
            self._claims_seen = self._claims.made
            claimed = self._claimed
            keyed = [(next(iter(each)).claim_key, each) for each in self._available.values() if each]
            for key, available in [(key, each) for key, each in keyed if claimed[key.slot]]:
                idle = [each for each in available if each in self.idle]
                for connection in idle[: self._claims.owed(key)]:
                    self._claims.settle(key)
                    connection.close()
            owned = [each for each in self._owned if claimed[each.claim_key.slot] and each.is_claimable()]
            for connection in owned:
                if self._claims.owed(connection.claim_key):
                    self._claims.settle(connection.claim_key)
                    connection.close()
        if self._claimants or self.idle or self._owned:
            self._serve_claims_later()

    def _closed(self, connection: UpstreamConnection) -> None:
        if connection in self.connections:  # else it has closed before it was added
            self.connections.remove(connection)
            self._retired.discard(connection)
            self._owned.discard(connection)
            sandbox_id = connection.endpoint.sandbox_id
            self._by_sandbox[sandbox_id].discard(connection)
            if not self._by_sandbox[sandbox_id]:
                del self._by_sandbox[sandbox_id]
        self.idle.pop(connection, None)
        available = self._available.get(connection.key)
        if available is not None:
            available.pop(connection, None)
            if not available:
                del self._available[connection.key]

    def give_up(self, count: int = 1) -> bool:
        """Closes the oldest idle connections, at most so many, and then such as their owners may lose; whether there
        was one.

        Their descriptors are free when the event loop has had its next turn.
        """
        given = False
        while count and self.idle:
            next(iter(self.idle)).close()
            given = True
            count -= 1
        for connection in list(islice(self._claimable(), count)):
            connection.close()
            given = True
        return given

    def _claimable(self) -> Iterator[UpstreamConnection]:
        """Of those that have an owner the idle ones without a login: what downstream says keeps nobody out."""
        return (connection for connection in self._owned if connection.is_claimable())

    def _check_descriptors(self) -> None:
        """Raises GatewayError(overloaded) if there would be one connection too many."""
        used = len(self.connections) - len(self.idle) + self.dialing
        most = descriptors.for_apps(self._downstream_count())
        if used > most:
            used -= sum(1 for _ in islice(self._claimable(), used - most))  # for whom somebody gives way
        if used > most:
            detail = (
                f"in use: {counted(used - 1, 'connection')} to apps, of {most} for which there are file descriptors"
            )
            raise GatewayError(Reason.OVERLOADED, detail)

    def make_room(self) -> None:
        """Called with each new connection, either side: idle ones leave some descriptors for files and looks."""
        if not (self.idle or self._owned):
            return
        if len(self.connections) + self.dialing + self._downstream_count() > descriptors.for_connections():
            self.give_up()

    def sandboxes(self) -> list[str]:
        """The ids to which there are connections."""
        return list(self._by_sandbox)

    def serves(self, sandbox_id: str) -> bool:
        """Whether there is a connection to whoever has, or had, that id."""
        return sandbox_id in self._by_sandbox

    def retire_replaced(self, sandbox_id: str, origin: Origin | None) -> None:
        """The id leads to `origin`, or nowhere: its other connections close when idle, else after a grace at most."""
        for connection in list(self._by_sandbox.get(sandbox_id, ())):
            if connection.endpoint.origin != origin and connection not in self._retired:
                self._retired.add(connection)
                connection.retire(self._clock() + self.context.timeouts.tunnel_grace)

    def retired_past_grace(self, now: float) -> list[UpstreamConnection]:
        """What was retired and should have ended."""
        return [each for each in self._retired if each.ends <= now]

    def cut_off(self, retired: UpstreamConnection) -> None:
        """Ends it, whatever is under way, if it has not ended."""
        if retired in self._retired:
            retired.cut_off()

    def close(self) -> None:
        """Closes every connection; exchanges under way hear nothing, they were ended before."""
        if self._claims_timer is not None:
            self._claims_timer.cancel()
            self._claims_timer = None
        self._claimants.withdraw_all()
        for connection in list(self.connections):
            connection.close()
