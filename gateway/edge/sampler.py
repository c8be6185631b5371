"""What is not counted where it happens but looked at, once a second, or when somebody asks: how much is open just now,
how late the event loop is, what the process has cost.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.metrics import (
    CONNECTIONS_OPEN,
    CPU,
    IN_FLIGHT,
    LOG_DROPPED,
    LOOP_LAG,
    SPANS_DROPPED,
    TUNNELS_OPEN,
    UPSTREAM_CONNECTIONS,
    Cells,
)

if TYPE_CHECKING:
    from gateway.edge.edge import Edge

INTERVAL = 1.0
"""Seconds between two looks; so old what is told of a worker may be that is stuck, or was killed."""


class Sampler:
    """One per worker; works from the beginning until `close`."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self._due = 0.0
        self._wait()

    def _wait(self) -> None:
        self._due = time.monotonic() + INTERVAL  # the loop's own time has millisecond steps
        self._timer = self.edge.loop.call_later(INTERVAL, self._look)

    def _look(self) -> None:
        LOOP_LAG.observe(self.edge.cells, max(0.0, time.monotonic() - self._due))
        self._wait()
        self.sample()

    def sample(self) -> None:
        """Brings the cells up to date, and shows them."""
        edge = self.edge
        edge.telemetry.flush()
        cells, pool = edge.cells, edge.pool
        idle = len(pool.idle)
        tunnels = sum(cells[cell] for _, cell in TUNNELS_OPEN.series())
        cells[IN_FLIGHT.at()] = sum(edge.exchanges.values()) - tunnels
        cells[CONNECTIONS_OPEN.at("downstream")] = edge.connections
        cells[CONNECTIONS_OPEN.at("upstream")] = len(pool.connections)
        cells[UPSTREAM_CONNECTIONS.at("idle")] = idle
        cells[UPSTREAM_CONNECTIONS.at("active")] = len(pool.connections) - idle
        cells[LOG_DROPPED.at()] = edge.telemetry.access_log.dropped
        if edge.telemetry.spans is not None:
            cells[SPANS_DROPPED.at()] = edge.telemetry.spans.log.dropped
        sample_cpu(cells)
        edge.telemetry.publish(cells)

    def close(self) -> None:
        """The last look: what is open now is closed by the process's end."""
        self._timer.cancel()
        self.sample()


def sample_cpu(cells: Cells) -> None:
    """What this process has cost since it was forked."""
    cells[CPU.at()] = time.process_time_ns() // 1000
