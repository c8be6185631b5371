"""Deadlines are numbers on connections and streams, looked at by one timer per worker, so that a request costs none.

The same timer asks the kernel who is gone without a word (`dead_peers`).

What a replaced sandbox leaves open is not its business: `Pool.retire_replaced` and `retired_past_grace`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from functools import partial
from typing import Protocol

from gateway.config import Settings
from gateway.edge.dead_peers import Connection, DeadPeerDetector

log = logging.getLogger("gateway.edge")

DRAIN_INTERVAL = 0.1
"""Seconds between sweeps while draining, so that the end does not wait for the sweeper."""


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
        loop: asyncio.AbstractEventLoop,
        settings: Settings,
        connections: tuple[Collection[SweepableConnection], ...],
        others: Collection[Sweepable],
        and_then: Callable[[float], None],
    ) -> None:
        self._loop = loop
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
            for each in [each for each in group if each.deadline <= now]:
                self.end(each, partial(each.expire, now))
        self._and_then(now)
        self._dead_peers.look(*self._connections)

    def end(self, who: object, end: Callable[[], None]) -> None:
        """Calls `end`. One connection's bug must not stop the clock of all others."""
        try:
            end()
        except Exception:
            log.exception("ending %r failed", who)

    def hurry(self) -> None:
        """Sweeps now, and often from here on."""
        self._interval = min(self._interval, DRAIN_INTERVAL)
        self.sweep()

    def stop(self) -> None:
        self._timer.cancel()


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
