"""Where each exchange passes when it has ended: counted, and handed to the access log.

A record that is in the log is counted, and the other way round: nobody else counts requests, and nobody else logs them.
What runs once per request gathers; all else happens a moment later, for many at once, as the log's lines are made.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable
from typing import Final

from mypy_extensions import mypyc_attr

from gateway.metrics import (
    BY_CODE,
    BY_METHOD,
    BY_PROTOCOL,
    DURATIONS,
    FAILURES,
    FIRST_BYTE,
    LIFETIMES,
    OTHER_METHOD,
    PROTOCOLS,
    REQUEST_DURATION,
    TUNNEL_DURATION,
    TUNNEL_PROTOCOLS,
    Cells,
    private,
)
from gateway.observe.access_log import NO_WORKER, AccessLog, AccessRecord
from gateway.observe.heavy_hitters import HeavyHitters
from gateway.observe.recent_failures import RecentFailures
from gateway.observe.spans import Spans

RESPONSE: Final = "response"
EVENT_STREAM: Final = "event_stream"
LOCAL_REPLY: Final = "local_reply"
WEBSOCKET: Final = TUNNEL_PROTOCOLS[0]
OTHER_TUNNEL: Final = TUNNEL_PROTOCOLS[1]
"""What has ended: an app's answer, an app's answer that lasts as long as somebody listens, an answer of the gateway's
own (or none at all), and the two kinds of tunnels."""

_MS: Final = tuple(bound * 1e3 for bound in DURATIONS)
_TUNNEL_MS: Final = tuple(bound * 1e3 for bound in LIFETIMES)
_HISTOGRAMS: Final = {
    (protocol, kind): (TUNNEL_DURATION.at(kind), _TUNNEL_MS, FIRST_BYTE.at(protocol, "tunnel"))
    if kind in TUNNEL_PROTOCOLS
    else (REQUEST_DURATION.at(protocol, kind), _MS, FIRST_BYTE.at(protocol, kind))
    for protocol in PROTOCOLS
    for kind in (RESPONSE, EVENT_STREAM, LOCAL_REPLY, WEBSOCKET, OTHER_TUNNEL)
}
"""Where durations are counted, with the ends of the buckets in milliseconds, and where first octets are."""
_PROTOCOLS: Final = BY_PROTOCOL
_METHODS: Final = BY_METHOD
_OTHER_METHOD: Final = OTHER_METHOD
_CODES: Final = BY_CODE
"""Bound here: what a module defines that is not compiled, compiled code looks up each time it is used."""
_NONE: Final = 0, 0
_FAILURE: Final = {reason: FAILURES.at(reason) for reason in FAILURES.values[0]}


FLUSH_DELAY: Final = 0.1
"""Seconds between an exchange's end and its being counted, at most; as for its line in the log."""
MAX_BATCH: Final = 512


@mypyc_attr(allow_interpreted_subclasses=True)
class Telemetry:
    """One per worker. `cells` are what it counts in, and `publish` shows them to others."""

    __slots__ = (
        "_ended",
        "_kinds",
        "_later",
        "access_log",
        "busiest",
        "cells",
        "failures",
        "publish",
        "spans",
        "worker",
    )

    def __init__(
        self,
        access_log: AccessLog,
        cells: Cells | None = None,
        publish: Callable[[Cells], None] = lambda cells: None,
        worker: int = NO_WORKER,
    ) -> None:
        self.access_log = access_log
        self.worker = worker
        self.cells = private() if cells is None else cells
        self.publish = publish
        self.spans: Spans | None = None
        """Set where `otel.endpoint` is."""
        self.busiest = HeavyHitters()
        self.failures = RecentFailures()
        self._ended: list[AccessRecord] = []
        self._kinds: list[str] = []  # theirs
        self._later: Callable[[float, Callable[[], None]], object] = lambda delay, callback: None

    def start(self, later: Callable[[float, Callable[[], None]], object]) -> None:
        """`later(delay, callback)` is the event loop's `call_later`."""
        self._later = later

    def exchange_ended(self, record: AccessRecord, kind: str) -> None:
        """`kind` is one of the five above."""
        ended = self._ended
        if not ended:
            self._later(FLUSH_DELAY, self.flush)
        ended.append(record)
        self._kinds.append(kind)
        if len(ended) >= MAX_BATCH:
            self.flush()

    def flush(self) -> None:
        """Logs and counts what has ended, now: what one of the two tells, the other does."""
        ended, kinds, cells = self._ended, self._kinds, self.cells
        if not ended:
            return
        self._ended, self._kinds = [], []
        observed: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
        busy: dict[str, tuple[int, int]] = {}
        for record, kind in zip(ended, kinds, strict=True):
            protocol, sandbox = record.protocol, record.sandbox
            cells[_PROTOCOLS[protocol] + _METHODS.get(record.method, _OTHER_METHOD) + _CODES[record.status]] += 1
            key = protocol, kind
            times = observed.get(key)
            if times is None:
                observed[key] = times = ([], [])
            times[0].append(record.duration_ms)
            first_byte_ms = record.first_byte_ms
            if first_byte_ms:
                times[1].append(first_byte_ms)
            if record.target:  # others name sandboxes that nobody has heard of
                requests, octets = busy.get(sandbox, _NONE)
                busy[sandbox] = requests + 1, octets + record.received + record.sent
            if record.reason:
                cells[_FAILURE[record.reason]] += 1
                self.failures.note(record)
        for key, (durations, first_bytes) in observed.items():
            duration, bounds, first_byte = _HISTOGRAMS[key]
            _observe(cells, duration, bounds, durations)
            _observe(cells, first_byte, _MS, first_bytes)
        self.busiest.add(busy, time.monotonic())
        # The two in one moment: nobody is killed between them, but for some 20 µs.
        self.access_log.write(ended)
        self.publish(cells)


def _observe(cells: Cells, first: int, bounds: tuple[float, ...], ms: list[float]) -> None:
    """Counts durations in a histogram: in order, so that there is one search for a bucket and not for a duration."""
    ms.sort()
    before = 0
    for number, bound in enumerate(bounds, first):
        upto = bisect_right(ms, bound, before)
        if upto > before:
            cells[number] += upto - before
            before = upto
        if before == len(ms):
            break
    else:
        cells[first + len(bounds)] += len(ms) - before
    cells[first + len(bounds) + 1] += int(sum(ms) * 1e3)
