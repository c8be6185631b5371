"""The table of metrics: names that monitoring systems take, labels that nobody outside can make many of."""

from __future__ import annotations

import re

import pytest

from gateway import metrics
from gateway.http.phrases import phrase_for
from gateway.http.validate import COMMON_METHODS
from gateway.metrics import (
    BY_CODE,
    BY_METHOD,
    BY_PROTOCOL,
    CODES,
    DIAL,
    FAILURES,
    METHODS,
    METRICS,
    OTHER_METHOD,
    PROTOCOLS,
    REQUESTS,
    SIZE,
    Kind,
    Metric,
    private,
)
from gateway.reasons import Reason


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_name_says_what_it_counts_and_in_which_unit(metric: Metric) -> None:
    assert re.fullmatch("[a-z][a-z0-9_]*[a-z]", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    if metric.kind is Kind.HISTOGRAM:
        assert metric.name.endswith("_seconds")
        assert list(metric.bounds) == sorted(set(metric.bounds))
    assert metric.help.endswith(".")
    assert not {"host", "sandbox", "path", "client"} & set(metric.labels)
    assert metric.size <= 4096, "a label is not for what can be any of many"


def test_each_has_cells_of_its_own() -> None:
    taken = [cell for metric in METRICS for _, first in metric.series() for cell in range(first, first + metric.width)]
    assert taken == list(range(SIZE)) == list(range(len(private())))
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_a_cell_is_found_by_its_labels() -> None:
    for metric in METRICS:
        for labels, cell in metric.series():
            assert metric.at(*labels) == cell
    with pytest.raises(ValueError, match="not in"):
        REQUESTS.at("HTTP/1.1", "TRACE", "200")


def test_every_reason_is_counted() -> None:
    assert {*map(str, Reason), "downstream_closed"} == set(FAILURES.values[0])


def test_methods_and_statuses_are_those_that_are_registered() -> None:
    assert {method.encode() for method in METHODS[:-1]} == set(COMMON_METHODS)
    final = {str(status) for status in range(200, 600) if phrase_for(status)} | {"101"}
    assert final == {code for code in CODES if code.isdigit()} - {"499"}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (200, "200"),
        (299, "2xx"),
        (599, "5xx"),
        (418, "4xx"),
        (499, "499"),
        (600, "other"),
        (999, "other"),
        (101, "101"),
    ],
)
def test_the_short_way_leads_to_the_same_cell(status: int, code: str) -> None:
    for protocol in PROTOCOLS:
        for method in (*METHODS[:-1], "BREW"):
            cell = BY_PROTOCOL[protocol] + BY_METHOD.get(method, OTHER_METHOD) + BY_CODE[status]
            assert cell == REQUESTS.at(protocol, method if method in METHODS else "other", code)


def test_a_duration_falls_into_one_bucket() -> None:
    cells = private()
    for seconds in (0.0, DIAL.bounds[0], DIAL.bounds[0] + 1e-6, DIAL.bounds[-1] + 1):
        DIAL.observe(cells, seconds)
    first = DIAL.at()
    buckets = list(cells[first : first + DIAL.width])
    assert buckets[:2] == [2, 1]  # a bucket's end belongs to it (Prometheus's le)
    assert buckets[-2] == 1
    assert sum(buckets[:-1]) == 4
    assert buckets[-1] == pytest.approx((2 * DIAL.bounds[0] + DIAL.bounds[-1] + 1) * 1e6, abs=4)
    assert sum(cells) == sum(buckets), "nothing else was touched"


def test_private_cells_are_nobody_elses() -> None:
    assert metrics.private() is not metrics.private()
