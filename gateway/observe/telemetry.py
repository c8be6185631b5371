"""Where each exchange passes when it has ended: counted, and handed to the access log.

A record that is in the log is counted, and the other way round: nobody else counts requests, and nobody else logs them.
This runs once per request, so it is additions to cells of `metrics` and nothing else.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

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
    private,
)
from gateway.observe.access_log import AccessLog, AccessRecord

RESPONSE, EVENT_STREAM, LOCAL_REPLY = ("response", "event_stream", "local_reply")
WEBSOCKET, OTHER_TUNNEL = TUNNEL_PROTOCOLS
"""What has ended: an app's answer, an app's answer that lasts as long as somebody listens, an answer of the gateway's
own (or none at all), and the two kinds of tunnels."""

_MS: Final = tuple(bound * 1e3 for bound in DURATIONS)
_SUM: Final = len(DURATIONS) + 1
_DURATION: Final = {
    (protocol, kind): REQUEST_DURATION.at(protocol, kind)
    for protocol in PROTOCOLS
    for kind in (RESPONSE, EVENT_STREAM, LOCAL_REPLY)
}
_FIRST_BYTE: Final = {
    (protocol, kind): FIRST_BYTE.at(protocol, "tunnel" if kind in TUNNEL_PROTOCOLS else kind)
    for protocol in PROTOCOLS
    for kind in (RESPONSE, EVENT_STREAM, LOCAL_REPLY, WEBSOCKET, OTHER_TUNNEL)
}
_TUNNEL: Final = {kind: TUNNEL_DURATION.at(kind) for kind in TUNNEL_PROTOCOLS}
_TUNNEL_MS: Final = tuple(bound * 1e3 for bound in LIFETIMES)
_FAILURE: Final = {reason: FAILURES.at(reason) for reason in FAILURES.values[0]}


class Telemetry:
    """One per worker; `cells` are those that it counts in, by default nobody else's."""

    __slots__ = ("access_log", "cells")

    def __init__(self, access_log: AccessLog, cells: memoryview | None = None) -> None:
        self.access_log = access_log
        self.cells = private() if cells is None else cells

    def exchange_ended(self, record: AccessRecord, kind: str) -> None:
        """`kind` is one of the five above."""
        cells, protocol = self.cells, record.protocol
        status = record.status
        cells[BY_PROTOCOL[protocol] + BY_METHOD.get(record.method, OTHER_METHOD) + BY_CODE[status]] += 1
        ms = record.duration_ms
        if not record.upgraded:
            first = _DURATION[protocol, kind]
            cells[first + bisect_left(_MS, ms)] += 1
            cells[first + _SUM] += int(ms * 1e3)
        else:
            first = _TUNNEL[kind]
            cells[first + bisect_left(_TUNNEL_MS, ms)] += 1
            cells[first + len(_TUNNEL_MS) + 1] += int(ms * 1e3)
        if (ms := record.first_byte_ms) or status != 499:
            first = _FIRST_BYTE[protocol, kind]
            cells[first + bisect_left(_MS, ms)] += 1
            cells[first + _SUM] += int(ms * 1e3)
        if record.reason:
            cells[_FAILURE[record.reason]] += 1
        self.access_log.record(record)
