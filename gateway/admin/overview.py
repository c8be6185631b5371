"""How the gateway is, in one document: `GET /v1/status`, `gateway status`, and what the status page shows.

    the workers' answers (how they are, whom they serve most, what failed last)
    + what all processes have counted + the last reload + certificates, the directory, limits

Knows where to look (`Sources`), and nobody who asks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway import __version__
from gateway.admin.metrics import Sources
from gateway.config.settings import Limits
from gateway.metrics import (
    CONNECTIONS_OPEN,
    FAILURES,
    IN_FLIGHT,
    LOG_DROPPED,
    REQUESTS,
    RESTARTS,
    TUNNELS_OPEN,
    UNANSWERED,
    UPSTREAM_CONNECTIONS,
)
from gateway.observe.counters import told as counted
from gateway.observe.heavy_hitters import Hitter, merged
from gateway.observe.recent_failures import RecentFailure, latest
from gateway.observe.totals import Totals
from gateway.reasons import Reason

Answer = dict[str, Any] | None
"""A worker's word on how it is; None: it has not answered."""
BUSIEST = 20
"""Sandboxes that are told of."""
DETAILS = ("busiest", "failures", "directory", "records")
"""Of a worker's answer: told of all of them together, and to whom the API answers."""

_ROWS = {str(reason): reason.value for reason in Reason}


def overview(workers: list[Answer], sources: Sources) -> dict[str, Any]:
    """Everything but what only `Health` knows: readiness, tasks that fail, the reload."""
    totals = sources.totals()
    answered = [worker for worker in workers if worker is not None]
    return {
        "version": __version__,
        "started": sources.started,
        "uptime_seconds": int(time.time() - sources.started) if sources.started else 0,
        "workers": [without_details(worker) for worker in workers],
        "counters": counted(totals),
        "requests": {
            "total": totals.sum(REQUESTS),
            "in_flight": totals.value(IN_FLIGHT),
            "failures": {labels[0]: count for labels, count in totals.series(FAILURES)},
        },
        "connections": _connections(totals),
        "worker_restarts": {labels[0]: totals.value(RESTARTS, *labels) for labels, _ in RESTARTS.series()},
        "access_log_dropped": totals.value(LOG_DROPPED),
        "tunnels": {labels[0]: totals.value(TUNNELS_OPEN, *labels) for labels, _ in TUNNELS_OPEN.series()},
        "directory": _directory(answered, sources),
        "certificate_files": list(_certificates(sources)),
        "limits": sources.limits,
        "busiest": [
            msgspec.to_builtins(each)
            for each in merged((_typed(worker, "busiest", Hitter) for worker in answered), BUSIEST)
        ],
        "failures": [
            _explained(each) for each in latest(_typed(worker, "failures", RecentFailure) for worker in answered)
        ],
    }


def refusing(limits: Limits) -> dict[str, int]:
    """The limits by which somebody may be refused, by name."""
    names = ("connections", "connections_per_address", "exchanges_per_sandbox", "handshake_bytes")
    return {name: getattr(limits, name) for name in names}


def without_details(worker: Answer) -> Answer:
    """What probes are told, which come every few seconds and from anybody."""
    return worker and {key: value for key, value in worker.items() if key not in DETAILS}


def _connections(totals: Totals) -> dict[str, int]:
    return {
        "downstream": totals.value(CONNECTIONS_OPEN, "downstream"),
        "upstream": totals.value(CONNECTIONS_OPEN, "upstream"),
        "upstream_idle": totals.value(UPSTREAM_CONNECTIONS, "idle"),
    }


def _directory(workers: Iterable[dict[str, Any]], sources: Sources) -> dict[str, Any]:
    away = [worker["directory"] for worker in workers if worker.get("directory")]
    return {
        "backend": sources.directory,
        "available": not away,
        "error": away[0] if away else "",
        "remembered": max((worker.get("records", 0) for worker in workers), default=0),
    }


def _certificates(sources: Sources) -> Iterator[dict[str, Any]]:
    now = time.time()
    for name, expires, sha256 in sources.certificates():
        not_after = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        days_left = math.floor((expires - now) / 8640) / 10
        yield {"name": name, "not_after": not_after, "days_left": days_left, "sha256": sha256}


def _typed(worker: dict[str, Any], name: str, kind: type[Any]) -> list[Any]:
    return [msgspec.convert(each, kind) for each in worker.get(name, ())]


def _explained(failure: RecentFailure) -> dict[str, Any]:
    """With the title under which a reader has met it, and when."""
    told: dict[str, Any] = msgspec.to_builtins(failure)
    row = _ROWS.get(failure.reason)
    told["title"] = row.title.format_map(_Known(failure)) if row is not None else UNANSWERED.get(failure.reason, "")
    return told


class _Known(dict[str, object]):
    """What texts of the Reason table may speak of; anything else stays as it is."""

    def __init__(self, failure: RecentFailure) -> None:
        super().__init__(host=failure.host, sandbox=failure.sandbox, port=failure.port)

    def __missing__(self, key: str) -> str:
        return f"{{{key}}}"
