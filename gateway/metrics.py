"""What is counted, and where: every metric's name, help, labels and their values, and its place in a block of cells.

A process counts in a list of plain integers, its cells. Each value of each label is known beforehand, so a metric is
one index, counting is one addition, and whoever holds two lists adds them cell by cell. Every so often they are copied
into memory that processes share (`process/shared_metrics.py`), where they outlive the process that counted.

    cells = private()
    cells[CONNECTIONS.at("downstream")] += 1
    DIAL.observe(cells, 0.003)

Names and units are Prometheus's (seconds, octets called bytes; `gateway_` goes before each where they are shown).
Nothing that a visitor chooses is a label: neither a host nor a sandbox, and methods and statuses that nobody has
registered count as one. Knows neither who counts nor who shows it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import product
from math import prod
from typing import Final

from gateway.reasons import Reason

PROTOCOLS: Final = ("HTTP/1.0", "HTTP/1.1", "HTTP/2")
"""As the access log has them. What could not be read at all counts as HTTP/1.1, which is what it is answered in."""
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other")
DOWNSTREAM_CLOSED: Final = 499
"""Status of a request whose sender left before an answer (nginx's number)."""
UNANSWERED: Final = {
    "downstream_closed": "The client left before the end",
}
"""Reasons that no client is told, with what they mean."""
_REGISTERED: Final = (
    *(101, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307, 308),
    *(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 423, 424),
    *(425, 426, 428, 429, 431, 451, DOWNSTREAM_CLOSED, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511),
)
CODES: Final = (*map(str, _REGISTERED), "1xx", "2xx", "3xx", "4xx", "5xx", "other")
"""Statuses; those that are not registered are counted by class, and as `other` above 599."""
DURATIONS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0)
"""Seconds: OpenTelemetry's buckets for HTTP, and two beyond."""
LIFETIMES: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
SHORT: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

Cells = list[int]
"""What one process has counted, each number in its place."""


class Kind(Enum):
    """How a metric behaves."""

    COUNTER = "counter"  # only grows; goes on when the process that counted has ended
    GAUGE = "gauge"  # is as it is now; ends with the process
    HISTOGRAM = "histogram"  # counters: how many took up to so long, and the sum in microseconds


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: `labels` with all `values` that each of them may have, and where its cells begin."""

    name: str
    """Without the prefix; a counter's ends in `_total`."""
    help: str
    kind: Kind
    labels: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    offset: int
    bounds: tuple[float, ...] = ()
    """Of a histogram: the upper ends of its buckets in seconds; one more bucket has no end."""

    @property
    def width(self) -> int:
        """Cells for each combination of labels: a histogram has its buckets and the sum."""
        return len(self.bounds) + 2 if self.kind is Kind.HISTOGRAM else 1

    @property
    def size(self) -> int:
        """Cells in all."""
        return self.width * prod(map(len, self.values))

    def at(self, *values: str) -> int:
        """The cell of these labels, a histogram's first one. Raises ValueError: a label has no such value."""
        index = 0
        for value, known in zip(values, self.values, strict=True):
            index = index * len(known) + known.index(value)
        return self.offset + index * self.width

    def series(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """Every combination of labels, with its (first) cell."""
        yield from zip(product(*self.values), range(self.offset, self.offset + self.size, self.width), strict=True)

    def observe(self, cells: Cells, seconds: float, *values: str) -> None:
        """Counts a duration in a histogram."""
        first = self.at(*values)
        cells[first + bisect_left(self.bounds, seconds)] += 1
        cells[first + len(self.bounds) + 1] += int(seconds * 1e6)


METRICS: Final[list[Metric]] = []
"""All of them, in the order in which they are shown."""


def _define(kind: Kind, name: str, text: str, bounds: tuple[float, ...] = (), /, **labels: tuple[str, ...]) -> Metric:
    before = METRICS[-1] if METRICS else None
    offset = before.offset + before.size if before is not None else 0
    metric = Metric(name, text, kind, tuple(labels), tuple(labels.values()), offset, bounds)
    METRICS.append(metric)
    return metric


# --- requests -----------------------------------------------------------------------------------------------------

REQUESTS: Final = _define(
    Kind.COUNTER,
    "requests_total",
    "Requests and tunnels that have ended, by the status that was sent; 499: the client left before.",
    protocol=PROTOCOLS,
    method=METHODS,
    code=CODES,
)
KINDS: Final = ("response", "event_stream", "local_reply")
"""An app's answer; one that lasts as long as somebody listens; the gateway's own, or none."""
REQUEST_DURATION: Final = _define(
    Kind.HISTOGRAM,
    "request_duration_seconds",
    "From a request's head to the end of its answer; tunnels have a metric of their own.",
    DURATIONS,
    protocol=PROTOCOLS,
    kind=KINDS,
)
FIRST_BYTE: Final = _define(
    Kind.HISTOGRAM,
    "time_to_first_byte_seconds",
    "From a request's head to the head of its answer.",
    DURATIONS,
    protocol=PROTOCOLS,
    kind=(*KINDS, "tunnel"),
)
IN_FLIGHT: Final = _define(
    Kind.GAUGE, "requests_in_flight", "Requests to sandboxes whose answer is not complete; no tunnels."
)
FAILURES: Final = _define(
    Kind.COUNTER,
    "failures_total",
    "Requests that failed, by reason as in docs/errors.md; downstream_closed: the client left.",
    reason=(*(str(reason) for reason in Reason), *UNANSWERED),
)
TUNNEL_PROTOCOLS: Final = ("websocket", "other")
TUNNELS_OPEN: Final = _define(Kind.GAUGE, "tunnels_open", "Tunnels that are open.", protocol=TUNNEL_PROTOCOLS)
TUNNEL_DURATION: Final = _define(
    Kind.HISTOGRAM, "tunnel_duration_seconds", "How long tunnels were open.", LIFETIMES, protocol=TUNNEL_PROTOCOLS
)

# --- connections --------------------------------------------------------------------------------------------------

SIDES: Final = ("downstream", "upstream")
CONNECTIONS_OPEN: Final = _define(
    Kind.GAUGE, "connections_open", "Open connections, those still shaking hands included.", side=SIDES
)
CONNECTIONS: Final = _define(Kind.COUNTER, "connections_total", "Connections accepted, and dialed.", side=SIDES)
BYTES: Final = _define(
    Kind.COUNTER,
    "bytes_total",
    "Octets of HTTP and of tunnels, heads and framing included, TLS not.",
    side=SIDES,
    direction=("received", "sent"),
)
UPSTREAM_CONNECTIONS: Final = _define(
    Kind.GAUGE,
    "upstream_connections",
    "Connections to apps; idle: free for the next request. One that a login has bound is active.",
    state=("active", "idle"),
)
DIAL: Final = _define(
    Kind.HISTOGRAM, "upstream_dial_seconds", "How long connecting to an app took, where that succeeded.", SHORT
)
CONNECTIONS_REFUSED: Final = _define(
    Kind.COUNTER,
    "connections_refused_total",
    "Connections closed as soon as they were accepted, by the setting of [limits] that was reached.",
    limit=("connections", "connections_per_address", "handshake_bytes"),
)
REQUESTS_REFUSED: Final = _define(
    Kind.COUNTER,
    "requests_refused_total",
    "Requests answered with connection_limit_reached, or whose HTTP/2 stream was refused (REFUSED_STREAM), by the "
    "setting of [limits] that was reached.",
    limit=("exchanges_per_sandbox", "connections_per_address", "http2_streams"),
)
HTTP2_ERRORS: Final = _define(
    Kind.COUNTER,
    "http2_connection_errors_total",
    "HTTP/2 connections from downstream that ended for a fault of their client, by the error code they were told.",
    code=(
        "protocol_error",
        "flow_control_error",
        "settings_timeout",
        "stream_closed",
        "frame_size_error",
        "compression_error",
        "enhance_your_calm",
    ),
)
ACCEPT_PAUSES: Final = _define(
    Kind.COUNTER, "accept_pauses_total", "Times that a listener stopped accepting until a file descriptor was free."
)
PROXY_HEADERS: Final = _define(
    Kind.COUNTER,
    "proxy_protocol_errors_total",
    "PROXY headers that were missing, broken, late or not from a trusted proxy, and those that no listener reads.",
    cause=("refused", "unexpected"),
)
PLAIN_ON_TLS: Final = _define(Kind.COUNTER, "plain_http_on_tls_total", "Requests in plain HTTP to a TLS listener.")
HEALTH_CHECKS: Final = _define(Kind.COUNTER, "health_checks_total", "Answers to edge.health_path.")
DRAIN_CLOSED: Final = _define(
    Kind.COUNTER,
    "drain_tunnels_closed_total",
    "Tunnels that the end of a drain has ended: WebSockets told to go (1001), and what was cut without a word.",
    how=("websocket_close", "cut"),
)

# --- TLS ----------------------------------------------------------------------------------------------------------

HANDSHAKES: Final = _define(
    Kind.COUNTER,
    "tls_handshakes_total",
    "Handshakes that succeeded.",
    version=("TLSv1.2", "TLSv1.3", "other"),
    resumed=("no", "yes"),
)
HANDSHAKE_FAILURES: Final = _define(
    Kind.COUNTER,
    "tls_handshake_failures_total",
    "Handshakes that failed: the client left, was too slow, spoke something else, has no version or cipher in common,"
    " rejects the certificate, came in a flood, or broke the protocol.",
    cause=("closed", "timeout", "no_tls", "nothing_in_common", "certificate_rejected", "limit", "protocol"),
)

# --- the directory ------------------------------------------------------------------------------------------------

LOOKUPS: Final = _define(
    Kind.COUNTER,
    "directory_lookups_total",
    "Where requests learned what an id leads to: remembered, or the backend's record, or no record, or what was known"
    " before it failed, or nothing because it failed.",
    result=("cached", "found", "not_found", "stale", "unavailable"),
)
LOOKUP_SECONDS: Final = _define(
    Kind.HISTOGRAM, "directory_lookup_seconds", "How long the directory's backend took to answer, or to fail.", SHORT
)

# --- the process --------------------------------------------------------------------------------------------------

LOOP_LAG: Final = _define(
    Kind.HISTOGRAM,
    "event_loop_lag_seconds",
    "How late timers of the event loop are: what a connection waits for others at most.",
    SHORT,
)
SPANS_DROPPED: Final = _define(Kind.COUNTER, "spans_dropped_total", "Spans that no collector took (otel.endpoint).")
LOG_DROPPED: Final = _define(Kind.COUNTER, "access_log_dropped_total", "Lines of the access log that nobody took.")
CPU: Final = _define(Kind.COUNTER, "process_cpu_microseconds_total", "Of all processes; shown in seconds.")
RESTARTS: Final = _define(
    Kind.COUNTER,
    "worker_restarts_total",
    "Workers that ended, or had to be ended, without being told to.",
    cause=("exit", "signal", "stuck"),
)
RELOADS: Final = _define(
    Kind.COUNTER, "config_reloads_total", "Reloads of the configuration.", result=("success", "failure")
)
RELOAD_SUCCESSFUL: Final = _define(
    Kind.GAUGE, "config_last_reload_successful", "1 unless the last reload was refused or ended early."
)
DRAINING: Final = _define(Kind.GAUGE, "draining", "1 while the gateway is about to end.")

SIZE: Final = METRICS[-1].offset + METRICS[-1].size
"""Cells of a block."""


def private() -> Cells:
    """Cells for one process."""
    return [0] * SIZE


# --- for the hot path ---------------------------------------------------------------------------------------------

BY_PROTOCOL: Final = {protocol: REQUESTS.at(protocol, METHODS[0], CODES[0]) for protocol in PROTOCOLS}
BY_METHOD: Final = {method: number * len(CODES) for number, method in enumerate(METHODS[:-1])}
OTHER_METHOD: Final = (len(METHODS) - 1) * len(CODES)
"""`cells[BY_PROTOCOL[protocol] + BY_METHOD.get(method, OTHER_METHOD) + BY_CODE[status]]`."""


def _code(status: int) -> int:
    known = str(status)
    return CODES.index(known if known in CODES else f"{status // 100}xx" if 100 <= status <= 599 else "other")


BY_CODE: Final = tuple(_code(status) for status in range(1000))
