"""Sums over processes, and what is read from histograms."""

from __future__ import annotations

import pytest

from gateway.metrics import DIAL, IN_FLIGHT, REQUEST_DURATION, REQUESTS, private
from gateway.observe.totals import Totals


def test_what_several_processes_counted_is_added() -> None:
    first, second = private(), private()
    first[REQUESTS.at("HTTP/1.1", "GET", "200")] += 2
    second[REQUESTS.at("HTTP/1.1", "GET", "200")] += 3
    second[REQUESTS.at("HTTP/1.1", "POST", "502")] += 1
    second[IN_FLIGHT.at()] += 7
    totals = Totals.of([first, second])
    assert totals.value(REQUESTS, "HTTP/1.1", "GET", "200") == 5
    assert totals.value(IN_FLIGHT) == 7
    assert dict(totals.series(REQUESTS)) == {("HTTP/1.1", "GET", "200"): 5, ("HTTP/1.1", "POST", "502"): 1}
    assert totals.sum(REQUESTS) == 6
    assert totals.sum(REQUESTS, method="POST") == 1
    assert totals.sum(REQUESTS, code="200", protocol="HTTP/1.0") == 0


def test_nobody_has_counted_anything() -> None:
    totals = Totals.of([])
    assert totals.sum(REQUESTS) == 0
    assert totals.quantile(DIAL, 0.5) is None


def test_what_was_counted_since() -> None:
    cells = private()
    cells[REQUESTS.at("HTTP/1.1", "GET", "200")] += 2
    before = Totals.of([cells])
    cells[REQUESTS.at("HTTP/1.1", "GET", "200")] += 5
    assert before.sum(REQUESTS) == 2, "a look is of its moment"
    assert (Totals.of([cells]) - before).sum(REQUESTS) == 5


def test_a_histogram_is_read_over_labels() -> None:
    cells = private()
    for kind, seconds in (("response", 0.003), ("response", 0.02), ("local_reply", 100.0)):
        REQUEST_DURATION.observe(cells, seconds, "HTTP/1.1", kind)
    totals = Totals.of([cells])
    buckets, seconds = totals.buckets(REQUEST_DURATION)
    assert (buckets[0], buckets[2], buckets[-1], sum(buckets)) == (1, 1, 1, 3)
    assert seconds == pytest.approx(100.023, abs=1e-5)
    assert totals.sum(REQUEST_DURATION) == 3
    assert totals.sum(REQUEST_DURATION, kind="response") == 2


@pytest.mark.parametrize(
    ("observed", "share", "seconds"),
    [
        ([0.0002] * 4, 0.5, 0.000175),  # half-way from 0.1 to 0.25 ms
        ([0.0002] * 4, 1.0, 0.00025),
        ([0.00005] * 2, 0.5, 0.00005),  # from zero
        ([0.0002, 0.02], 0.99, 0.02470),
        ([9.0], 0.5, 5.0),  # the last bucket has no end
        ([0.0002, 9.0], 0.25, 0.000175),
    ],
)
def test_a_quantile_is_interpolated(observed: list[float], share: float, seconds: float) -> None:
    cells = private()
    for each in observed:
        DIAL.observe(cells, each)
    assert Totals.of([cells]).quantile(DIAL, share) == pytest.approx(seconds, rel=1e-3)
