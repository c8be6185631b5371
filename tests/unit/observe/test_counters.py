"""The names by which rare things are counted."""

from __future__ import annotations

from gateway.metrics import CONNECTIONS_REFUSED, HEALTH_CHECKS, private
from gateway.observe.counters import Counters, told
from gateway.observe.totals import Totals


def test_a_name_is_a_cell() -> None:
    cells = private()
    counters = Counters(cells)
    counters.health_checks += 2
    counters.connections_refused.connections += 1
    assert (counters.health_checks, counters.connections_refused.connections) == (2, 1)
    assert cells[HEALTH_CHECKS.at()] == 2
    assert cells[CONNECTIONS_REFUSED.at("connections")] == 1
    assert sum(cells) == 3


def test_all_are_told_of_all_workers() -> None:
    first, second = private(), private()
    Counters(first).exchanges_refused.exchanges_per_sandbox += 1
    Counters(second).exchanges_refused.exchanges_per_sandbox += 4
    Counters(second).tunnels_cut += 1
    assert told(Totals.of([first, second])) == {
        "connections_refused": {"connections": 0, "connections_per_address": 0, "handshake_bytes": 0},
        "exchanges_refused": {"exchanges_per_sandbox": 5, "connections_per_address": 0, "http2_streams": 0},
        "waits_for_descriptors": 0,
        "proxy_headers_refused": 0,
        "proxy_headers_unexpected": 0,
        "plain_http_on_tls": 0,
        "health_checks": 0,
        "websockets_closed": 0,
        "tunnels_cut": 1,
    }
