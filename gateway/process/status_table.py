"""What `gateway status` shows: the answer to `GET /v1/status`, for people.

Knows nothing of who was asked, nor how. What strangers have named (hosts, paths, sandboxes) is made printable by who
prints it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.admin.reload import Reload
from gateway.counting import counted
from gateway.observe.heavy_hitters import Hitter
from gateway.observe.recent_failures import RecentFailure
from gateway.process.text_table import aligned

BUSIEST = 10
"""Sandboxes that are shown; a script is told of all that are known."""
_UNITS = ((86400, "days"), (3600, "h"), (60, "min"), (1, "s"))


class Directory(msgspec.Struct):
    """Of `Status`."""

    backend: str = ""
    available: bool = True
    error: str = ""
    remembered: int = 0


class Status(msgspec.Struct):
    """The answer to `GET /v1/status`, as far as it is shown; a gateway of another version may say more or less."""

    version: str
    status: str = ""
    draining: bool = False
    uptime_seconds: int = 0
    workers: list[dict[str, Any] | None] = []
    failing: list[str] = []
    certificates: list[str] = []
    certificate_files: list[dict[str, Any]] = []
    counters: dict[str, Any] = {}
    requests: dict[str, Any] = {}
    connections: dict[str, int] = {}
    tunnels: dict[str, int] = {}
    limits: dict[str, int] = {}
    worker_restarts: dict[str, int] = {}
    access_log_dropped: int = 0
    directory: Directory | None = None
    busiest: list[Hitter] = []
    failures: list[RecentFailure] = []
    reload: Reload | None = None


def render_status(status: Status, now: float) -> Iterator[str]:
    """Lines for a terminal; `now` is Unix time. What there is nothing of is left out."""
    how = f": {status.status}" if status.status else ""
    up = f", up {span(status.uptime_seconds)}" if status.uptime_seconds else ""
    yield f"gateway {status.version}{how}{', about to end' if status.draining else ''}{up}"
    for sentence in status.certificates:
        yield f"certificates: {sentence}"
    for sentence in status.failing:
        yield f"failing: {sentence}"
    yield from _now(status)
    yield from _table(_workers(status))
    died = [f"{count} ({cause})" for cause, count in status.worker_restarts.items() if count]
    if died:
        yield from ("", f"workers that died: {', '.join(died)}")
    if status.access_log_dropped:
        yield from ("", f"lines of the access log dropped: {status.access_log_dropped}")
    if status.directory is not None:
        yield from ("", _directory(status.directory))
    if status.reload is not None:
        yield from _reload(status.reload)
    yield from _table(_certificates(status))
    yield from _table(_failures(status, now))
    yield from _table(_busiest(status))
    yield from _table(_limits(status))
    yield from _table(_counters(status.counters))


def span(seconds: float) -> str:
    """The largest unit of which there are two, as people say it."""
    for length, unit in _UNITS:
        if seconds >= 2 * length:
            return f"{int(seconds / length)} {unit}"
    return f"{int(seconds)} s"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if len(rows) > 1:  # the first is the head
        yield ""
        yield from aligned(rows)


def _now(status: Status) -> Iterator[str]:
    if status.requests:
        yield f"{counted(status.requests.get('total', 0), 'request')}, {status.requests.get('in_flight', 0)} in flight"
    connections, tunnels = status.connections, status.tunnels
    if connections:
        open_now = (
            f"{counted(connections.get('downstream', 0), 'connection')} of visitors",
            f"{connections.get('upstream', 0)} to sandboxes",
            f"{connections.get('upstream_idle', 0)} of them idle",
            counted(tunnels.get("websocket", 0), "WebSocket"),
            counted(tunnels.get("other", 0), "other tunnel"),
        )
        yield f"open: {', '.join(open_now)}"


def _workers(status: Status) -> list[Sequence[str]]:
    names = ("state", "pid", "generation", "connections", "exchanges", "upstream")
    rows: list[Sequence[str]] = [("worker", *names)]
    for slot, worker in enumerate(status.workers):
        if worker is None:
            rows.append((str(slot), "does not answer", "", "", "", "", ""))
        else:
            rows.append((str(slot), *(str(worker.get(name, "")) for name in names)))
    return rows


def _directory(directory: Directory) -> str:
    how = "answers" if directory.available else f"cannot be asked: {directory.error}"
    return f"directory: {directory.backend or 'unknown'}, {how}; {counted(directory.remembered, 'record')} remembered"


def _reload(reload: Reload) -> Iterator[str]:
    draining = f"; draining: {', '.join(map(str, reload.draining))}" if reload.draining else ""
    yield f"generation {reload.generation}{draining}"
    if reload.ended:
        when = datetime.fromtimestamp(reload.ended, UTC)
        how = "successful" if reload.successful else f"NOT successful: {reload.error}"
        yield f"last reload: {when:%Y-%m-%d %H:%M:%S} UTC, {how}"
    if reload.needs_restart:
        yield f"not before a restart: {', '.join(reload.needs_restart)}"


def _certificates(status: Status) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [("certificate", "valid until", "left")]
    for each in status.certificate_files:
        days = each.get("days_left", 0)
        left = counted(days, "day") if days >= 0 else "EXPIRED"
        rows.append((str(each.get("name", "")), str(each.get("not_after", "")), left))
    return rows


def _failures(status: Status, now: float) -> list[Sequence[str]]:
    totals = status.requests.get("failures", {})
    rows: list[Sequence[str]] = [("latest failures", "total", "status", "when", "request id", "what")]
    for each in status.failures:
        when = f"{span(max(0.0, now - each.time))} ago"
        what = f"{each.method} {each.host}{each.path}{f': {each.detail}' if each.detail else ''}"
        rows.append((each.reason, str(totals.get(each.reason, "")), str(each.status), when, each.request_id, what))
    seen = {each.reason for each in status.failures}
    for reason, total in totals.items():
        if reason not in seen:
            rows.append((reason, str(total), "", "", "", "the latest was met by a process that has ended"))
    return rows


def _busiest(status: Status) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [("busiest sandboxes", "requests", "octets")]
    return rows + [(each.id, str(each.requests), str(each.octets)) for each in status.busiest[:BUSIEST]]


def _limits(status: Status) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [("limit", "value", "refused")]
    refused = [status.counters.get(name, {}) for name in ("connections_refused", "exchanges_refused")]
    for name, value in status.limits.items():
        rows.append((f"limits.{name}", str(value), str(sum(each.get(name, 0) for each in refused))))
    return rows


def _counters(counters: dict[str, Any]) -> list[Sequence[str]]:
    """What has happened at all, but for refusals, which stand with the limits."""
    rows: list[Sequence[str]] = [("counted since the start", "")]
    return rows + [(name, str(count)) for name, count in counters.items() if isinstance(count, int) and count]
