"""`gateway status`, for people."""

from __future__ import annotations

import msgspec
import pytest

from gateway.process.status_table import Status, render_status, span

NOW = 1_800_000_000.0
TOLD = {
    "version": "1.2.3",
    "status": "not ready",
    "draining": False,
    "uptime_seconds": 7300,
    "workers": [
        {"worker": 0, "state": "ready", "pid": 11, "generation": 2, "connections": 7, "exchanges": 3, "upstream": 4},
        None,
    ],
    "failing": ["admin: certificate watch"],
    "certificates": ["no valid certificate is left for *.example.dev"],
    "certificate_files": [
        {"name": "old.pem", "not_after": "2026-01-01T00:00:00Z", "days_left": -3.2},
        {"name": "new.pem", "not_after": "2027-01-01T00:00:00Z", "days_left": 61.5},
    ],
    "counters": {
        "connections_refused": {"connections": 5},
        "exchanges_refused": {"connections": 1, "exchanges_per_sandbox": 9},
        "tunnels_cut": 2,
        "health_checks": 0,
    },
    "requests": {"total": 99, "in_flight": 3, "failures": {"connection_refused": 12}},
    "connections": {"downstream": 7, "upstream": 4, "upstream_idle": 1},
    "tunnels": {"websocket": 2, "other": 1},
    "directory": {"backend": "redis", "available": False, "error": "refused", "remembered": 8},
    "limits": {"connections": 20000, "exchanges_per_sandbox": 1000},
    "busiest": [{"id": f"box{number}", "requests": 100 - number, "octets": 5} for number in range(20)],
    "failures": [
        {
            "reason": "connection_refused",
            "time": NOW - 150,
            "status": 502,
            "method": "GET",
            "host": "5000-box.example.dev",
            "path": "/a",
            "detail": "[fd00::1]:5000 refused",
            "request_id": "id-1",
            "title": "Nothing listens",
        }
    ],
    "reload": {"generation": 2, "draining": [1], "ended": NOW, "successful": False, "error": "tls: no"},
}


def rendered(told: dict[str, object]) -> list[str]:
    return list(render_status(msgspec.convert(told, Status), NOW))


def test_everything_in_its_place() -> None:
    lines = rendered(TOLD)
    assert lines[:5] == [
        "gateway 1.2.3: not ready, up 2 h",
        "certificates: no valid certificate is left for *.example.dev",
        "failing: admin: certificate watch",
        "99 requests, 3 in flight",
        "open: 7 connections of visitors, 4 to sandboxes, 1 of them idle, 2 WebSockets, 1 other tunnel",
    ]
    words = [line.split() for line in lines]
    assert ["0", "ready", "11", "2", "7", "3", "4"] in words
    assert "1       does not answer" in lines
    assert "directory: redis, cannot be asked: refused; 8 records remembered" in lines
    assert "generation 2; draining: 1" in lines
    assert any(line.startswith("last reload: ") and line.endswith("NOT successful: tls: no") for line in lines)
    assert ["old.pem", "2026-01-01T00:00:00Z", "EXPIRED"] in words
    assert ["new.pem", "2027-01-01T00:00:00Z", "61.5", "days"] in words
    [failure] = [line for line in lines if line.startswith("connection_refused ")]
    assert failure.split()[1:6] == ["12", "502", "2", "min", "ago"]
    assert failure.endswith("id-1        GET 5000-box.example.dev/a: [fd00::1]:5000 refused")
    assert ["limits.connections", "20000", "6"] in words
    assert ["limits.exchanges_per_sandbox", "1000", "9"] in words
    assert ["tunnels_cut", "2"] in words
    assert not any("health_checks" in line for line in lines)


def test_the_busiest_are_few() -> None:
    lines = rendered(TOLD)
    assert [line.split() for line in lines if line.startswith("box")] == [
        [f"box{number}", str(100 - number), "5"] for number in range(10)
    ]


def test_columns_are_aligned() -> None:
    lines = rendered(TOLD)
    head, first = (next(line for line in lines if line.startswith(start)) for start in ("worker ", "0 "))
    assert head.index("state") == first.index("ready")
    assert head.index("pid") == first.index("11")


def test_a_gateway_that_says_less() -> None:
    """Of another version: what it does not say is left out."""
    assert rendered({"version": "0.1", "workers": [], "new": 1}) == ["gateway 0.1"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (1.9, "1 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (200_000, "2 days")],
)
def test_spans(seconds: float, said: str) -> None:
    assert span(seconds) == said


def test_what_was_lost_is_told_and_nothing_else() -> None:
    well = "\n".join(render_status(Status(version="1"), 0.0))
    assert "died" not in well
    assert "dropped" not in well
    status = Status(version="1", worker_restarts={"exit": 0, "signal": 2, "stuck": 1}, access_log_dropped=7)
    told = list(render_status(status, 0.0))
    assert "workers that died: 2 (signal), 1 (stuck)" in told
    assert "lines of the access log dropped: 7" in told


def test_a_reason_whose_latest_failure_is_forgotten_is_told() -> None:
    status = Status(version="1", requests={"total": 9, "failures": {"unknown_domain": 3}})
    [row] = [line for line in render_status(status, 0.0) if line.startswith("unknown_domain")]
    assert row.split()[1] == "3"
    assert "a process that has ended" in row
