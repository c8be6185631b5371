"""What `gateway reload` and `gateway status` ask of a running gateway, and how they show it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.admin.reload import Reload
from gateway.config import Settings
from gateway.errors import UserError
from gateway.process.admin_client import AdminClient

ROLLED_WITHIN = 120.0
"""Seconds until all processes of a valid configuration serve; each takes half a second."""
INTERVAL = 0.2
"""Seconds between two looks how far it is."""


class Status(msgspec.Struct):
    """The answer to `GET /v1/status`, as far as it is shown; a gateway of another version may say more or less."""

    version: str
    draining: bool = False
    workers: list[dict[str, Any] | None] = []
    failing: list[str] = []
    certificates: list[str] = []
    counters: dict[str, Any] = {}
    reload: Reload | None = None
    status: str = ""
    uptime_seconds: int = 0
    requests: dict[str, Any] = {}
    connections: dict[str, int] = {}
    tunnels: dict[str, int] = {}
    directory: dict[str, Any] = {}
    certificate_files: list[dict[str, Any]] = []
    limits: dict[str, int] = {}
    busiest: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []


def admin_of(settings: Settings) -> str:
    """The URL of the admin listener of a gateway with `settings`, from this machine."""
    listen = settings.admin.listen
    host = {"::": "::1", "0.0.0.0": "127.0.0.1"}.get(listen.host, listen.host)
    return f"http://[{host}]:{listen.port}" if ":" in host else f"http://{host}:{listen.port}"


def fetch_status(client: AdminClient) -> Status:
    return client.fetch(Status, "GET", "/v1/status")


def reload(client: AdminClient) -> list[str]:
    """Reloads, and waits until it is rolled out: what to tell, line by line. Raises UserError if it is refused, or the
    roll fails.
    """
    asked = client.fetch(Reload, "POST", "/v1/reload")
    end, now = time.monotonic() + ROLLED_WITHIN, asked
    while now.state == "rolling" or (now.state == "waiting" and not now.draining):
        if time.monotonic() > end:
            raise UserError(
                f"the new configuration is valid, and not rolled out after {ROLLED_WITHIN:g} s: see the log"
            )
        time.sleep(INTERVAL)
        now = fetch_status(client).reload or now
    if now.state == "failed":
        raise UserError(f"the reload ended early: {now.error}; what was not replaced goes on as before")
    if now.state == "refused":  # another one, asked for meanwhile
        raise UserError(f"a later reload was refused: {now.error}")
    if now.state == "waiting":
        lines = ["valid; it is rolled out once processes that drain have ended (process.max_draining)"]
    else:
        lines = [f"reloaded: generation {now.generation} serves"]
    return lines + [f"not before a restart: {name}" for name in asked.needs_restart]


BUSIEST = 5
"""Sandboxes shown; all that are known are in the JSON."""


def render_status(status: Status) -> Iterator[str]:
    """For a terminal."""
    about = [status.status] if status.status else []
    if status.draining:
        about.append("about to end")
    if status.uptime_seconds:
        about.append(f"up {_duration(status.uptime_seconds)}")
    yield ", ".join([f"gateway {status.version}", *about])
    for slot, worker in enumerate(status.workers):
        if worker is None:
            yield f"worker {slot}: does not answer"
            continue
        counts = ", ".join(f"{worker.get(what, 0)} {what}" for what in ("connections", "exchanges", "upstream"))
        yield f"worker {slot}: {worker.get('state')}, pid {worker.get('pid')}, {counts}"
    if status.requests:
        tunnels = sum(status.tunnels.values())
        failed = sum(status.requests.get("failures", {}).values())
        total, in_flight = status.requests.get("total", 0), status.requests.get("in_flight", 0)
        yield f"requests: {total} since the start, {failed} failed, {in_flight} in flight, {tunnels} tunnels open"
    if status.directory:
        how = "answers" if status.directory.get("available") else f"DOES NOT ANSWER: {status.directory.get('error')}"
        yield f"directory: {status.directory.get('backend')}: {how}, {status.directory.get('remembered', 0)} remembered"
    for each in status.certificate_files:
        yield f"certificate: {each.get('name')}, valid until {each.get('not_after')} ({each.get('days_left')} days)"
    for sentence in status.certificates:
        yield f"certificates: {sentence}"
    for sentence in status.failing:
        yield f"failing: {sentence}"
    if status.reload is not None:
        yield from _render_reload(status.reload)
    for name, count in _flat(status.counters):
        if count:
            yield f"{name}: {count}"
    yield from _render_table(
        ("busiest", "requests", "octets"),
        [(each["id"], str(each["requests"]), str(each["octets"])) for each in status.busiest[:BUSIEST]],
    )
    yield from _render_table(
        ("failures", "total", "the latest"),
        [
            (each["reason"], str(status.requests.get("failures", {}).get(each["reason"], "")), _failure(each))
            for each in status.failures
        ],
    )


def _render_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    if not rows:
        return
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    yield ""
    for row in (head, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _failure(each: dict[str, Any]) -> str:
    when = datetime.fromtimestamp(each["time"], UTC)
    return f"{when:%Y-%m-%d %H:%M:%S} UTC, {each['host']}{each['path']}, request {each['request_id']}"


def _duration(seconds: int) -> str:
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"


def _render_reload(reload: Reload) -> Iterator[str]:
    draining = f"; draining: {', '.join(map(str, reload.draining))}" if reload.draining else ""
    yield f"generation {reload.generation}{draining}"
    if reload.ended:
        when = datetime.fromtimestamp(reload.ended, UTC)
        how = "successful" if reload.successful else f"NOT successful: {reload.error}"
        yield f"last reload: {when:%Y-%m-%d %H:%M:%S} UTC, {how}"
    if reload.needs_restart:
        yield f"not before a restart: {', '.join(reload.needs_restart)}"


def _flat(counters: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, int]]:
    for name, count in counters.items():
        if isinstance(count, dict):
            yield from _flat(count, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", count
