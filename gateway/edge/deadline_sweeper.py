"""Deadlines are numbers on connections and streams, looked at by one timer per worker, so that a request costs none.

Who comes together is late together: ten thousand silent connections would hold the event loop for a fifth of a second
as they are ended. So they are ended in portions (`turns.Portions`), and whoever has gone on meanwhile goes on.

The same timer asks the kernel who is gone without a word (`dead_peers`).

What a replaced sandbox leaves open is not its business: `Pool.retire_replaced` and `retired_past_grace`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from functools import partial
from typing import Protocol, TypeVar

from gateway.config import Settings
from gateway.edge.dead_peers import Connection, DeadPeerDetector
from gateway.turns import Portions, Turns

log = logging.getLogger("gateway.edge")

DRAIN_INTERVAL = 0.1
"""Seconds between sweeps while draining, so that the end does not wait for the sweeper."""


T = TypeVar("T")


class Sweepable(Protocol):
    """What has a deadline."""

    deadline: float
    """Loop time."""

    def expire(self, now: float) -> None:
        """The deadline has passed."""


class SweepableConnection(Sweepable, Connection, Protocol):
    """Of either side."""


class Sweeper:
    """Looks at `connections` and at `others`, which change meanwhile, again and again; then calls `and_then` with the
    loop time.
    """

    def __init__(
        self,
        turns: Turns,
        settings: Settings,
        connections: tuple[Collection[SweepableConnection], ...],
        others: Collection[Sweepable],
        and_then: Callable[[float], None],
    ) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._turns = turns
        self._connections = connections
        self._groups: tuple[Collection[Sweepable], ...] = (*connections, others)
        self._and_then = and_then
        self._interval = _interval(settings)
        self._dead_peers = DeadPeerDetector(settings.timeouts.tcp_keepalive, self._interval)
        self._timer = loop.call_later(self._interval, self.sweep)

    def sweep(self) -> None:
        now = self._loop.time()
        self._timer.cancel()
        self._timer = self._loop.call_later(self._interval, self.sweep)
        for group in self._groups:
            late = [each for each in group if each.deadline <= now]
            if late:
                self.end_all(late, partial(_expire, group, now))
        self._and_then(now)
        self._dead_peers.look(*self._connections)

    def end_all(self, many: list[T], end: Callable[[T], None]) -> None:
        """Calls `end` with each, which must bear that some turns have passed."""
        Portions(self._turns, many, end)

    def hurry(self) -> None:
        """Sweeps now, and often from here on."""
        self._interval = min(self._interval, DRAIN_INTERVAL)
        self.sweep()

    def stop(self) -> None:
        self._timer.cancel()


def _expire(group: Collection[Sweepable], now: float, who: Sweepable) -> None:
    if who.deadline <= now and who in group:
        who.expire(now)


def _interval(settings: Settings) -> float:
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
