"""What rounds say together, and how far they lie apart."""

from __future__ import annotations

import math
from typing import Any

import pytest

from bench.load.result import Flow, percentile
from bench.samples import Sample, middle, spread, standard_error, summarize


def sample(cpu_us: float, *, peer: str = "gateway", workload: str = "get_tls", **rest: Any) -> Sample:
    return Sample(peer=peer, workload=workload, round=0, cpu_us=cpu_us, **rest)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.99, 0.0),
        ([7.0], 0.50, 7.0),
        ([7.0], 0.99, 7.0),
        ([1.0, 2.0, 3.0, 4.0], 0.50, 2.0),
        ([1.0, 2.0, 3.0, 4.0], 0.75, 3.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
        ([float(n) for n in range(1, 101)], 1.0, 100.0),
    ],
)
def test_percentile_is_a_value_that_so_many_do_not_exceed(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_spread_is_relative_to_the_median() -> None:
    assert spread([9.0, 10.0, 11.0]) == pytest.approx(0.2)
    assert spread([]) == 0.0
    assert spread([0.0, 0.0]) == 0.0


def test_rounds_become_medians_per_workload_and_peer_in_order_of_appearance() -> None:
    summaries = summarize(
        [
            sample(30.0, busy=1.0),
            sample(15.0, peer="nginx"),
            sample(20.0, busy=0.5),
            sample(80.0, busy=0.9),
            sample(5.0, workload="ws_32"),
        ]
    )
    assert [(summary.workload, summary.peer, summary.rounds) for summary in summaries] == [
        ("get_tls", "gateway", 3),
        ("get_tls", "nginx", 1),
        ("ws_32", "gateway", 1),
    ]
    assert summaries[0].cpu_us == 30.0
    assert summaries[0].busy == 0.9
    assert summaries[0].margin == pytest.approx(1.0)


def test_turns_without_progress_are_in_no_ratio() -> None:
    ours = Sample(peer="gateway", workload="get_tls", round=0, cpu_us=60.0, turns=[60.0, 0.0, 60.0, 60.0])
    theirs = Sample(peer="nginx", workload="get_tls", round=0, cpu_us=20.0, turns=[20.0, 20.0, 0.0, 30.0])
    gateway, nginx = summarize([ours, theirs])
    assert nginx.ratio == pytest.approx(math.sqrt(3.0 * 2.0))
    assert gateway.ratio == 1.0
    theirs.turns = [0.0] * 4
    assert summarize([ours, theirs])[1].ratio == pytest.approx(3.0)  # of the medians


def test_who_is_left_out_in_one_round_has_no_figures() -> None:
    kept_up, saturated = sample(40.0, peer="caddy", p99_us=9.0), sample(0.0, peer="caddy", p99_us=900_000.0)
    saturated.left_out = "6,000 per second are more than it can do"
    _, caddy = summarize([sample(30.0), kept_up, saturated])
    assert caddy.left_out == saturated.left_out
    assert (caddy.figure, caddy.ratio, caddy.p99_us, caddy.errors) == (0.0, 0.0, 0.0, {})


def test_errors_of_all_rounds_are_added_up() -> None:
    first, second = sample(1.0), sample(2.0)
    first.errors, second.errors = {"timeout": 1}, {"timeout": 2, "read": 3}
    assert summarize([first, second])[0].errors == {"timeout": 3, "read": 3}


def test_the_figure_is_memory_where_there_is_no_flow() -> None:
    idle, flow = summarize([sample(0.0, workload="idle_tls", held_kib=24.0), sample(33.0)])
    assert idle.figure == 24.0
    assert idle.capacity == 0.0
    assert flow.figure == 33.0
    assert flow.capacity == pytest.approx(1e6 / 33.0)


def test_of_turns_the_ratio_is_the_mean_of_the_ratios_cycle_by_cycle() -> None:
    # The machine was twice as slow for everybody in most of the cycles: medians alone would not show it.
    ours = Sample(peer="gateway", workload="get_tls", round=0, cpu_us=60.0, turns=[30.0, 60.0, 60.0])
    theirs = Sample(peer="nginx", workload="get_tls", round=0, cpu_us=20.0, turns=[15.0, 20.0, 40.0])
    gateway, nginx = summarize([ours, theirs])
    assert nginx.ratio == pytest.approx((2.0 * 3.0 * 1.5) ** (1 / 3))
    assert gateway.ratio == 1.0


def turns(peer: str, number: int, *figures: float) -> Sample:
    return Sample(peer=peer, workload="get_tls", round=number, cpu_us=1.0, turns=list(figures))


def test_turns_of_one_round_are_compared_and_rounds_are_not() -> None:
    gateway, nginx = summarize(
        [
            turns("gateway", 0, 2.0, 2.0, 2.0),
            turns("nginx", 0, 1.0, 1.0, 1.0),
            turns("nginx", 1),  # it did not start
            turns("gateway", 1, 50.0, 50.0),
            turns("nginx", 2, 10.0, 10.0, 10.0),
            turns("gateway", 2, 22.0, 22.0, 22.0),
        ]
    )
    assert nginx.ratio == pytest.approx(math.sqrt(2.0 * 2.2))
    assert nginx.margin == pytest.approx(math.log(1.1)), "two rounds that lie a tenth apart"
    assert gateway.ratio == 1.0


def test_the_gateway_without_turns_has_no_ratio_to_those_that_have() -> None:
    ours = Sample(peer="gateway", workload="get_tls", round=0, errors={"it did not start": 1})
    theirs = Sample(peer="nginx", workload="get_tls", round=0, cpu_us=20.0, turns=[15.0, 20.0, 31.0])
    assert [summary.ratio for summary in summarize([ours, theirs])] == [0.0, 0.0]


def test_outliers_at_either_end_are_not_in_the_middle() -> None:
    assert middle([1000.0, *([4.0, 6.0] * 4), 0.0]) == pytest.approx(5.0)
    assert middle([3.0]) == 3.0


def test_the_margin_of_a_single_round_is_twice_the_standard_error_of_its_turns() -> None:
    assert standard_error([7.0]) == 0.0
    assert standard_error([1.0, 3.0, 1.0, 3.0]) == pytest.approx(math.sqrt(4 / 3) / 2)
    _, nginx = summarize([turns("gateway", 0, *([2.0, 3.0] * 50)), turns("nginx", 0, *([1.0] * 100))])
    assert nginx.margin == pytest.approx(2 * math.log(1.5) / 2 / math.sqrt(99))


@pytest.mark.parametrize(
    ("failing", "errors", "noted"),
    [
        (False, {"timeout": 2}, {"timeout": 2}),
        (True, {"status": 10}, {}),
        (True, {"status": 7, "read": 1}, {"read": 1, "unexpected success": 3}),
    ],
)
def test_where_every_answer_has_to_fail_a_success_is_an_error(
    failing: bool, errors: dict[str, int], noted: dict[str, int]
) -> None:
    one = sample(1.0)
    one.note_errors(Flow(count=10, seconds=1.0, p50_us=1.0, p99_us=1.0, errors=errors), failing=failing)
    assert one.errors == noted
