"""Whose turn it is to dial a target: a crowd waits for the outcome of a few.

A page that loads, or a thousand clients that come back at once, ask for the same target before anything is known of it.
If it is dead, one dial tells as much as a thousand; if it is alive, each of them needs a connection of its own. So
`AT_ONCE` dials are under way to one target, and each that succeeds makes room for one more beside its own, as in TCP's
slow start: after seven round trips a thousand have been made. The first that fails answers for all who still wait.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.errors import Failure, Reason

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
    )
)
"""What one dial has met, the next would meet. An app that accepts and hangs up is there: the next dial is another's."""


class _Queue:
    """One target with dials under way."""

    __slots__ = ("room", "under_way", "waiting")

    def __init__(self) -> None:
        self.room = AT_ONCE
        self.under_way = 0
        self.waiting: dict[asyncio.Future[Failure | None], None] = {}  # in the order they came


class Turns:
    """One per worker."""

    __slots__ = ("_queues",)

    def __init__(self) -> None:
        self._queues: dict[Endpoint, _Queue] = {}  # targets with a dial under way, and no others

    def __len__(self) -> int:
        return len(self._queues)

    def under_way(self, endpoint: Endpoint) -> int:
        """Turns that have begun and not ended."""
        queue = self._queues.get(endpoint)
        return queue.under_way if queue is not None else 0

    def begin(self, endpoint: Endpoint) -> bool:
        """Whether a turn has begun, which ends with `end`; if not, `wait`."""
        queue = self._queues.get(endpoint)
        if queue is None:
            queue = self._queues[endpoint] = _Queue()
        if queue.under_way >= queue.room:
            return False
        queue.under_way += 1
        return True

    async def wait(self, endpoint: Endpoint) -> Failure | None:
        """Waits, `begin` having said no. None: a turn has begun. Otherwise what another's dial has met meanwhile."""
        queue = self._queues[endpoint]
        waiter: asyncio.Future[Failure | None] = asyncio.get_running_loop().create_future()
        queue.waiting[waiter] = None
        try:
            return await waiter
        except asyncio.CancelledError:
            queue.waiting.pop(waiter, None)
            if waiter.done() and not waiter.cancelled() and waiter.result() is None:
                self.end(endpoint)  # its turn came together with its end
            raise

    def end(self, endpoint: Endpoint, failure: Failure | None = None, *, connected: bool = False) -> None:
        """A turn is over: with a connection, with a failure, or because nobody wants it any more."""
        queue = self._queues[endpoint]
        queue.under_way -= 1
        if connected:
            queue.room += 1
        elif failure is not None:
            queue.room = AT_ONCE
        waiting = queue.waiting
        if failure is not None and failure.reason in _FOR_ALL:
            for waiter in waiting:
                if not waiter.done():
                    waiter.set_result(failure)
            waiting.clear()
        while waiting and queue.under_way < queue.room:
            waiter = next(iter(waiting))
            del waiting[waiter]
            if not waiter.done():
                waiter.set_result(None)
                queue.under_way += 1
        if not queue.under_way:
            del self._queues[endpoint]
