"""Upstream connections: who may be used again, and how a new one is made.

Idle connections are kept under (id, generation, address, port), newest first, and all of them in the order in which
they became idle: there are so many per target and so many in all, and the oldest goes to make room. Whoever needs a
file descriptor goes before them, so nothing is refused while connections lie idle (`make_room`, `give_up`); and so does
whoever waits at an app that they keep busy (claims.py).

The pool only keeps books: it asks a connection what it is (`is_alive`), and the connection acts. `connections` holds
every live one, idle or not, so that the sweeper can look at deadlines and a test can prove that nothing is left behind.
Whose each of them is stands here too, by name, and in no cache: `keep_only` ends what a name no longer leads to.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from math import inf

from gateway import descriptors
from gateway.config import Settings
from gateway.http.head_parser import HeadLimits
from gateway.socket_options import keep_alive
from gateway.tasks import Tasks
from gateway.transport import WriteBatcher
from gateway.turns import Intake
from gateway.upstream.claims import LOOK, Claimants, Claims
from gateway.upstream.connection import Http1Upstream
from gateway.upstream.dial import connected_socket
from gateway.upstream.hints import Told
from gateway.upstream.inquiry import Inquiry
from gateway.upstream.policy import AddressPolicy

Key = tuple[tuple[str, str, str], int]
"""((id, generation, address), port): a recycled address under a new generation never meets an old connection."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds, each from the settings of the same name."""

    connect: float
    response_header: float
    response_idle: float
    """A response that has begun may be silent as long as a tunnel may: event streams are."""
    idle: float
    proven: float
    linger: float
    keepalive: float
    tunnel_grace: float


class Pool:
    """One per worker, made inside its event loop, whose time `clock` is."""

    def __init__(
        self,
        settings: Settings,
        policy: AddressPolicy,
        clock: Callable[[], float],
        tasks: Tasks,
        others: Callable[[], int] = lambda: 0,
        claims: Claims | None = None,
    ) -> None:
        """`tasks` owns who asks apps what they speak; `others` counts the descriptors that downstream connections have;
        `claims` are those of all workers."""
        upstream, limits = settings.upstream, settings.limits
        self.clock = clock
        self._loop = asyncio.get_running_loop()
        self.call_soon = self._loop.call_soon
        self.write_batcher = WriteBatcher(self.call_soon)
        self.timeouts = Timeouts(
            connect=upstream.connect_timeout,
            response_header=upstream.response_header_timeout,
            response_idle=settings.timeouts.tunnel_idle,
            idle=upstream.idle_timeout,
            proven=upstream.idle_proven,
            linger=settings.timeouts.linger,
            keepalive=settings.timeouts.tcp_keepalive,
            tunnel_grace=upstream.tunnel_grace,
        )
        self.intake = Intake(self.call_soon, limits.buffer_bytes)
        self.head_limits = HeadLimits(
            limits.header_bytes, limits.target_bytes, limits.field_bytes, limits.header_fields
        )
        self.connections: set[Http1Upstream] = set()
        self._of: dict[str, set[Http1Upstream]] = {}  # the same by sandbox id; no empty sets
        self._retired: set[Http1Upstream] = set()  # of them those in their grace
        self.inquiry = Inquiry(tasks)
        self.told = Told()  # hints logged lately
        self._others = others
        self._dialing = 0  # sockets that are not connections yet
        self._idle: dict[Key, dict[Http1Upstream, None]] = {}  # of each target, the oldest first; or none is left
        # The same of all targets. A plain dict would look for its first entry past all that were deleted before it.
        self._all_idle: OrderedDict[Http1Upstream, None] = OrderedDict()
        self._apart: set[Http1Upstream] = set()  # their owners', but for whoever claims them
        self._max_per_target = upstream.max_idle_per_target
        self._max_idle = upstream.max_idle
        self._policy = policy
        self._claims = claims or Claims()
        self._claimed = self._claims.table
        self._claims_seen = self._claims.made
        self._claimants = Claimants(self._claims)
        self._looking: asyncio.TimerHandle | None = None  # while there is something to give or to claim

    @property
    def idle_count(self) -> int:
        """Connections waiting for work."""
        return len(self._all_idle)

    def acquire(self, key: Key, replayable: bool) -> Http1Upstream | None:
        """An idle connection for `key`, or None: then `dial`.

        A request that cannot be replayed, and any request after a long silence or an answer without content, gets only
        a connection that has just been proven alive.
        """
        idle = self._idle.get(key)
        if not idle:
            return None
        latest = self.clock() - self.timeouts.proven
        while idle:
            connection, _ = idle.popitem()
            del self._all_idle[connection]
            if (replayable and connection.since > latest) or connection.is_alive():
                return connection
            connection.close()
        return None

    def put(self, connection: Http1Upstream, proven: bool = True) -> None:
        """Keeps a connection whose exchange is over; the oldest, of its target or of all, makes room for it.

        One that is not `proven` to be quiet is looked at before it is used again, however soon.
        """
        if self._claimed[connection.mark.place] and self._is_claimed(connection):
            connection.close()
            return
        if self._looking is None:
            self._look_later()
        now = self.clock()
        connection.since = now if proven else -inf
        connection.deadline = now + self.timeouts.idle
        idle = self._idle.get(connection.key)
        if idle is None:
            self._idle[connection.key] = idle = {}
        idle[connection] = None
        self._all_idle[connection] = None
        if len(idle) > self._max_per_target:
            next(iter(idle)).close()
        if len(self._all_idle) > self._max_idle:
            self.give_up()

    def put_apart(self, connection: Http1Upstream) -> None:
        """Leaves a connection to its owner, unless it is claimed: a word of a visitor does not keep others out."""
        if self._claimed[connection.mark.place] and self._is_claimed(connection):
            connection.close()
            return
        self._apart.add(connection)
        if self._looking is None:
            self._look_later()

    def _is_claimed(self, connection: Http1Upstream) -> bool:
        """Whether somebody waits for it, who then has it; its own claims, from when it was fresh, are none."""
        self._claimants.withdraw_if_over(connection.mark)
        claimed = self._claims.owed(connection.mark) > 0
        if claimed:
            self._claims.settle(connection.mark)
        return claimed

    def _look_later(self) -> None:
        self._looking = self._loop.call_later(LOOK, self._look)

    def _look(self) -> None:
        """Claims for those who wait here, and gives what is claimed, here or by another worker."""
        self._looking = None
        self._claimants.look(self.clock())
        if self._claims_seen != self._claims.made:
            self._claims_seen = self._claims.made
            claimed = self._claimed
            for idle in [each for each in self._idle.values() if each and claimed[next(iter(each)).mark.place]]:
                mark = next(iter(idle)).mark
                for connection in list(idle)[: self._claims.owed(mark)]:
                    self._claims.settle(mark)
                    connection.close()
            for connection in [each for each in self._apart if claimed[each.mark.place] and each.is_claimable()]:
                if self._claims.owed(connection.mark):
                    self._claims.settle(connection.mark)
                    connection.close()
        if self._claimants or self._all_idle or self._apart:
            self._look_later()

    def add(self, connection: Http1Upstream) -> None:
        """A connection has been made."""
        self.connections.add(connection)
        self._of.setdefault(connection.key[0][0], set()).add(connection)

    def forget(self, connection: Http1Upstream) -> None:
        """A connection has closed."""
        if connection in self.connections:  # else it was stillborn
            self.connections.remove(connection)
            self._retired.discard(connection)
            self._apart.discard(connection)
            (name, _, _), _ = connection.key
            self._of[name].discard(connection)
            if not self._of[name]:
                del self._of[name]
        idle = self._idle.get(connection.key)
        if connection in self._all_idle:
            del self._all_idle[connection]
            assert idle is not None  # `put` has seen to that
            del idle[connection]
        if idle is not None and not idle:
            del self._idle[connection.key]

    def give_up(self, count: int = 1) -> bool:
        """Closes the oldest idle connections, at most so many; whether there was one.

        Their descriptors are free when the event loop has had its next turn.
        """
        given = False
        while count and self._all_idle:
            next(iter(self._all_idle)).close()
            given = True
            count -= 1
        return given

    def make_room(self) -> None:
        """Called with each new connection, either side: idle ones leave some descriptors for files and looks."""
        if self._all_idle and len(self.connections) + self._dialing + self._others() > descriptors.for_connections():
            self.give_up()

    def sandboxes(self) -> list[str]:
        """The ids to which there are connections."""
        return list(self._of)

    def serves(self, sandbox_id: str) -> bool:
        """Whether there is a connection to whoever has, or had, that id."""
        return sandbox_id in self._of

    def keep_only(self, sandbox_id: str, origin: tuple[str, str, str] | None) -> None:
        """The id leads to `origin`, or nowhere: its other connections close when idle, else after a grace at most."""
        for connection in list(self._of.get(sandbox_id, ())):
            if connection.key[0] != origin and connection not in self._retired:
                self._retired.add(connection)
                connection.retire(self.clock() + self.timeouts.tunnel_grace)

    def past_grace(self, now: float) -> list[Http1Upstream]:
        """What was retired and should have ended."""
        return [each for each in self._retired if each.ends <= now]

    def close(self) -> None:
        """Closes every connection; exchanges under way hear nothing, they were ended before."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self._claimants.leave()
        for connection in list(self.connections):
            connection.close()

    async def dial(self, key: Key) -> Http1Upstream:
        """A new connection. The address is the record's own: nothing is resolved between policy and connect.

        Raises GatewayError: `destination_ip_prohibited`, or what became of the attempt (refused, timed out, …).
        """
        (_, _, address), port = key
        self._policy.check(ip_address(address), port)
        self._dialing += 1
        try:
            self.make_room()
            connection = await self._connect(key)
            self.add(connection)
            self._claimants.add(connection, self.clock())
            if self._looking is None:
                self._look_later()
        finally:
            self._dialing -= 1
        return connection

    async def _connect(self, key: Key) -> Http1Upstream:
        (_, _, address), port = key
        sock = await connected_socket(address, port, self.timeouts.connect, self.give_up)
        keep_alive(sock, self.timeouts.keepalive)
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Http1Upstream(self, key, sock), sock=sock
            )
        except BaseException:
            sock.close()
            raise
        if (stillborn := connection.stillborn()) is not None:
            raise stillborn.error()
        return connection
