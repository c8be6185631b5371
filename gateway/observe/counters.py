"""What one worker has counted since it started: plain integers, incremented where the thing happens.

A counter is one attribute, so that a flood costs an addition. Knows neither who counts nor who shows it: the worker
sends the whole in its status, `/readyz` shows the sum of all workers. A worker that is replaced begins at zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec


class ConnectionsRefused(msgspec.Struct, kw_only=True):
    """Connections closed as soon as they were accepted, by the setting of `[limits]` that was reached."""

    connections: int = 0
    connections_per_address: int = 0
    handshake_bytes: int = 0


class ExchangesRefused(msgspec.Struct, kw_only=True):
    """Requests answered with `connection_limit_reached`, by the setting of `[limits]` that was reached."""

    exchanges_per_sandbox: int = 0
    connections_per_address: int = 0  # by a visitor behind a trusted proxy


class Counters(msgspec.Struct, kw_only=True):
    """One per worker, at `Edge.counters`."""

    connections_refused: ConnectionsRefused = msgspec.field(default_factory=ConnectionsRefused)
    exchanges_refused: ExchangesRefused = msgspec.field(default_factory=ExchangesRefused)
    waits_for_descriptors: int = 0
    """Times that a listener stopped accepting until a descriptor was free; nothing is refused then."""
    proxy_headers_refused: int = 0
    """Connections closed because their PROXY header was missing, broken, late, or not from a trusted proxy."""
    proxy_headers_unexpected: int = 0
    """PROXY headers on a TLS listener that reads none."""
    plain_http_on_tls: int = 0
    """Requests in plain HTTP on a TLS listener."""
    health_checks: int = 0
    """Answers to `edge.health_path`."""
    websockets_closed: int = 0
    """WebSockets that were told to go (1001) at the end of a drain."""
    tunnels_cut: int = 0
    """Tunnels cut without a word at the end of a drain."""


def summed(reports: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sums of several workers' counters, as builtins; those of a newer version are kept."""
    total: dict[str, Any] = {}
    for report in reports:
        for name, value in report.items():
            if isinstance(value, Mapping):
                total[name] = summed([total.get(name, {}), value])
            else:
                total[name] = total.get(name, 0) + value
    return total
