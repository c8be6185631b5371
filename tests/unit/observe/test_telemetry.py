"""What is logged is counted, and the other way round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.metrics import (
    DURATIONS,
    FAILURES,
    FIRST_BYTE,
    REQUEST_DURATION,
    REQUESTS,
    TUNNEL_DURATION,
    Cells,
    private,
)
from gateway.observe.access_log import AccessRecord
from gateway.observe.telemetry import (
    EVENT_STREAM,
    FLUSH_DELAY,
    LOCAL_REPLY,
    MAX_BATCH,
    OTHER_TUNNEL,
    RESPONSE,
    WEBSOCKET,
    Telemetry,
)
from gateway.observe.totals import Totals
from tests.unit.observe.test_access_log import record


class Log:
    dropped = 0

    def __init__(self) -> None:
        self.records: list[AccessRecord] = []

    def write(self, records: list[AccessRecord]) -> None:
        self.records.extend(records)

    def reopen(self) -> None: ...

    def close(self) -> None: ...


class Worker:
    """Its telemetry, and what others see of it."""

    def __init__(self) -> None:
        self.log = Log()
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.published: list[Cells] = []
        self.telemetry = Telemetry(self.log, private(), lambda cells: self.published.append(list(cells)))
        self.telemetry.start(lambda delay, callback: self.due.append((delay, callback)))

    def ends(self, kind: str = RESPONSE, **known: Any) -> None:
        self.telemetry.exchange_ended(record(**known), kind)

    @property
    def seen(self) -> Totals:
        return Totals.of(self.published[-1:])


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_it_is_logged_and_counted_a_moment_later(worker: Worker) -> None:
    for _ in range(3):
        worker.ends()
    assert not worker.log.records
    assert not worker.published
    [(delay, flush)] = worker.due
    assert delay == FLUSH_DELAY
    flush()
    assert len(worker.log.records) == 3
    assert worker.seen.value(REQUESTS, "HTTP/1.1", "GET", "200") == 3
    worker.ends()
    assert len(worker.due) == 2, "the next one has a moment of its own"


def test_a_busy_worker_does_not_gather_without_end(worker: Worker) -> None:
    for _ in range(MAX_BATCH):
        worker.ends()
    assert worker.seen.sum(REQUESTS) == len(worker.log.records) == MAX_BATCH
    worker.telemetry.flush()
    assert len(worker.published) == 1, "nothing has happened since"


def test_each_goes_under_its_labels(worker: Worker) -> None:
    worker.ends(method="BREW", status=418, protocol="HTTP/1.0")
    worker.ends(kind=LOCAL_REPLY, method="-", status=400, reason="bad_request")
    worker.ends(kind=LOCAL_REPLY, status=499, reason="downstream_closed", first_byte_ms=0.0)
    worker.telemetry.flush()
    assert dict(worker.seen.series(REQUESTS)) == {
        ("HTTP/1.0", "other", "4xx"): 1,
        ("HTTP/1.1", "other", "400"): 1,
        ("HTTP/1.1", "GET", "499"): 1,
    }
    assert dict(worker.seen.series(FAILURES)) == {("bad_request",): 1, ("downstream_closed",): 1}
    assert worker.seen.sum(FIRST_BYTE) == 2, "who left before there was an answer has seen no first octet"


@pytest.mark.parametrize("ms", [0.0, 5.0, 5.01, 99.0, 60_000.0, 60_000.01, 1e7])
def test_a_duration_is_in_the_bucket_that_ends_with_it_or_later(worker: Worker, ms: float) -> None:
    worker.ends(duration_ms=ms)
    worker.ends(duration_ms=ms)
    worker.telemetry.flush()
    buckets, seconds = worker.seen.buckets(REQUEST_DURATION)
    expected = next((number for number, bound in enumerate(DURATIONS) if ms <= bound * 1e3), len(DURATIONS))
    assert buckets[expected] == 2 == sum(buckets)
    assert seconds == pytest.approx(ms / 500, abs=1e-5)


def test_many_durations_at_once_are_sorted_into_their_buckets(worker: Worker) -> None:
    for ms in (70_000.0, 1.0, 300.0, 2.0, 300.0, 9000.0):
        worker.ends(duration_ms=ms, first_byte_ms=1.0)
    worker.telemetry.flush()
    buckets, seconds = worker.seen.buckets(REQUEST_DURATION)
    filled = {number: count for number, count in enumerate(buckets) if count}
    assert filled == {0: 2, DURATIONS.index(0.5): 2, DURATIONS.index(10.0): 1, len(DURATIONS): 1}
    assert seconds == pytest.approx(79.603, abs=1e-5)


@pytest.mark.parametrize("kind", [WEBSOCKET, OTHER_TUNNEL])
def test_tunnels_have_durations_of_their_own(worker: Worker, kind: str) -> None:
    worker.ends(kind=kind, status=101, upgraded=True, duration_ms=120_000.0)
    worker.telemetry.flush()
    assert worker.seen.sum(REQUEST_DURATION) == 0
    assert worker.seen.sum(TUNNEL_DURATION, protocol=kind) == 1
    assert worker.seen.buckets(TUNNEL_DURATION)[1] == 120.0
    assert worker.seen.sum(FIRST_BYTE, kind="tunnel") == 1


def test_event_streams_are_apart(worker: Worker) -> None:
    worker.ends(kind=EVENT_STREAM, duration_ms=3_600_000.0)
    worker.telemetry.flush()
    assert worker.seen.sum(REQUEST_DURATION, kind="response") == 0
    assert worker.seen.sum(REQUEST_DURATION, kind="event_stream") == 1


def test_the_busiest_and_the_latest_failures_are_known(worker: Worker) -> None:
    there = {"target": "[fd00::5]:5000"}
    worker.ends(sandbox="busy", received=1, sent=2, **there)
    worker.ends(sandbox="busy", received=3, sent=4, **there)
    worker.ends(kind=LOCAL_REPLY, sandbox="nobody", status=404, reason="destination_not_found")
    worker.ends(
        kind=LOCAL_REPLY, sandbox="dead", status=502, reason="connection_refused", detail="1", time=1.0, **there
    )
    worker.ends(
        kind=LOCAL_REPLY, sandbox="dead", status=502, reason="connection_refused", detail="2", time=2.0, **there
    )
    worker.ends(kind=LOCAL_REPLY, sandbox="", status=421, reason="unknown_domain")
    worker.telemetry.flush()
    now = worker.telemetry.busiest._began
    busiest = {each.id: (each.requests, each.octets) for each in worker.telemetry.busiest.top(5, now)}
    assert busiest == {"busy": (2, 10), "dead": (2, 66)}
    failures = {each.reason: each for each in worker.telemetry.failures.all()}
    assert set(failures) == {"connection_refused", "unknown_domain", "destination_not_found"}
    assert failures["connection_refused"].detail == "2"
