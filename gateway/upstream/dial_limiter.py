"""How many dials of one endpoint are under way: all others who need a connection wait for the outcome of these.

A page that loads, or a thousand clients that come back at once, ask for the same target before anything is known of it.
If it is dead, one dial tells as much as a thousand; if it is alive, each of them needs a connection of its own. So
`AT_ONCE` dials are under way to one target, and each that succeeds makes room for one more beside its own, as in TCP's
slow start: after seven round trips a thousand have been made. The first that fails answers for all who still wait.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from gateway.errors import Failure, Reason
from gateway.turns import Portions, Turns

if TYPE_CHECKING:
    from gateway.endpoint import Endpoint

AT_ONCE = 8
"""Dials of one target under way, until one has succeeded."""

_FOR_ALL = frozenset(
    (
        Reason.CONNECTION_REFUSED,
        Reason.CONNECTION_TIMEOUT,
        Reason.DESTINATION_IP_UNROUTABLE,
        Reason.DESTINATION_IP_PROHIBITED,
        Reason.OVERLOADED,
        # Of a dial by HTTP/2, which an app has to answer, and not only to accept.
        Reason.HTTP_PROTOCOL_ERROR,
        Reason.HTTP_RESPONSE_TIMEOUT,
        Reason.UPSTREAM_SPEAKS_HTTP1,
        Reason.UPSTREAM_SPEAKS_TLS,
    )
)
"""What one dial has met, the next would meet. An app that accepts and hangs up is there: the next dial is another's."""


def _tell(failure: Failure, waiter: asyncio.Future[Failure | None]) -> None:
    if not waiter.done():
        waiter.set_result(failure)


class _Queue:
    """Of one endpoint, with dials under way."""

    __slots__ = ("room", "under_way", "waiting")

    def __init__(self, room: int) -> None:
        self.room = room
        self.under_way = 0
        self.waiting: dict[asyncio.Future[Failure | None], None] = {}  # in the order they came


class DialLimiter:
    """Two per worker: where connections carry many streams (HTTP/2), one dial at a time may serve all who wait."""

    __slots__ = ("_at_once", "_queues", "_turns")

    def __init__(self, turns: Turns, at_once: int = AT_ONCE) -> None:
        """`turns`: who hears of a failure hears it in portions."""
        self._turns = turns
        self._at_once = at_once
        self._queues: dict[Endpoint, _Queue] = {}  # those with a dial under way, and no others

    def __len__(self) -> int:
        return len(self._queues)

    def under_way(self, endpoint: Endpoint) -> int:
        """Dials that were permitted and are not over."""
        queue = self._queues.get(endpoint)
        return queue.under_way if queue is not None else 0

    def try_acquire(self, endpoint: Endpoint) -> bool:
        """Whether a dial may begin, which `release` ends; if not, `acquire`."""
        queue = self._queues.get(endpoint)
        if queue is None:
            queue = self._queues[endpoint] = _Queue(self._at_once)
        if queue.under_way >= queue.room:
            return False
        queue.under_way += 1
        return True

    async def acquire(self, endpoint: Endpoint) -> Failure | None:
        """Waits, `try_acquire` having said no. None: a dial may begin. Otherwise what another one has met meanwhile."""
        queue = self._queues[endpoint]
        waiter: asyncio.Future[Failure | None] = asyncio.get_running_loop().create_future()
        queue.waiting[waiter] = None
        try:
            return await waiter
        except asyncio.CancelledError:
            queue.waiting.pop(waiter, None)
            if waiter.done() and not waiter.cancelled() and waiter.result() is None:
                self.release(endpoint)  # it was permitted and cancelled at once
            raise

    def release(self, endpoint: Endpoint, failure: Failure | None = None, *, connected: bool = False) -> None:
        """A dial is over: with a connection, with a failure, or because nobody wants it any more."""
        queue = self._queues[endpoint]
        queue.under_way -= 1
        if connected:
            queue.room += 1
        elif failure is not None:
            queue.room = self._at_once
        waiting = queue.waiting
        if failure is not None and failure.reason in _FOR_ALL:
            Portions(self._turns, list(waiting), partial(_tell, failure))
            waiting.clear()
        while waiting and queue.under_way < queue.room:
            waiter = next(iter(waiting))
            del waiting[waiter]
            if not waiter.done():
                waiter.set_result(None)
                queue.under_way += 1
        if not queue.under_way:
            del self._queues[endpoint]
