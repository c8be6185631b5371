"""Names for what a worker counts now and then: refusals, health checks, what a drain has cut off.

    counters.health_checks += 1

A name is a cell of `metrics`. Knows neither who counts nor who shows it; what happens with every request is counted by
`telemetry`, without names.
"""

from __future__ import annotations

from typing import Any

from gateway.metrics import (
    ACCEPT_PAUSES,
    CONNECTIONS_REFUSED,
    DRAIN_CLOSED,
    HEALTH_CHECKS,
    PLAIN_ON_TLS,
    PROXY_HEADERS,
    REQUESTS_REFUSED,
    Cells,
    Metric,
)
from gateway.observe.totals import Totals


class _Counter:
    """One cell, as an attribute."""

    def __init__(self, metric: Metric, *labels: str) -> None:
        self.cell = metric.at(*labels)

    def __get__(self, counters: _Counters, _: type[_Counters]) -> int:
        return counters.cells[self.cell]

    def __set__(self, counters: _Counters, count: int) -> None:
        counters.cells[self.cell] = count


class _Counters:
    def __init__(self, cells: Cells) -> None:
        self.cells = cells


class ConnectionsRefused(_Counters):
    """Connections closed as soon as they were accepted, by the setting of `[limits]` that was reached."""

    connections = _Counter(CONNECTIONS_REFUSED, "connections")
    connections_per_address = _Counter(CONNECTIONS_REFUSED, "connections_per_address")
    handshake_bytes = _Counter(CONNECTIONS_REFUSED, "handshake_bytes")


class ExchangesRefused(_Counters):
    """Requests answered with `connection_limit_reached`, by the setting of `[limits]` that was reached."""

    exchanges_per_sandbox = _Counter(REQUESTS_REFUSED, "exchanges_per_sandbox")
    connections_per_address = _Counter(REQUESTS_REFUSED, "connections_per_address")
    """By a visitor behind a trusted proxy."""
    http2_streams = _Counter(REQUESTS_REFUSED, "http2_streams")


class Counters(_Counters):
    """One per worker, at `Edge.counters`."""

    waits_for_descriptors = _Counter(ACCEPT_PAUSES)
    """Times that a listener stopped accepting until a descriptor was free; nothing is refused then."""
    proxy_headers_refused = _Counter(PROXY_HEADERS, "refused")
    """Connections closed because their PROXY header was missing, broken, late, or not from a trusted proxy."""
    proxy_headers_unexpected = _Counter(PROXY_HEADERS, "unexpected")
    """PROXY headers on a listener that reads none."""
    plain_http_on_tls = _Counter(PLAIN_ON_TLS)
    """Requests in plain HTTP on a TLS listener."""
    health_checks = _Counter(HEALTH_CHECKS)
    """Answers to `edge.health_path`."""
    websockets_closed = _Counter(DRAIN_CLOSED, "websocket_close")
    """WebSockets that were told to go (1001) at the end of a drain."""
    tunnels_cut = _Counter(DRAIN_CLOSED, "cut")
    """Tunnels cut without a word at the end of a drain."""

    def __init__(self, cells: Cells) -> None:
        super().__init__(cells)
        self.connections_refused = ConnectionsRefused(cells)
        self.exchanges_refused = ExchangesRefused(cells)


def told(totals: Totals) -> dict[str, Any]:
    """All of them as `/readyz` and `/v1/status` tell them."""
    return {
        "connections_refused": _named(ConnectionsRefused, totals),
        "exchanges_refused": _named(ExchangesRefused, totals),
        **_named(Counters, totals),
    }


def _named(kind: type[_Counters], totals: Totals) -> dict[str, int]:
    return {name: totals.cells[each.cell] for name, each in vars(kind).items() if isinstance(each, _Counter)}
