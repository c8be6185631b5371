"""How many rounds a workload gets."""

from __future__ import annotations

import pytest

from bench.runner import IDLE_ROUNDS, Plan
from bench.samples import Sample
from bench.workloads import WORKLOADS

PLAN = Plan(["gateway", "nginx"], [], least_rounds=3, most_rounds=5, seconds=0.5)


def rounds(*ratios: float) -> list[Sample]:
    """Of get_tls; a neighbour doubles everybody's cost now and then, which is no reason for another round."""
    samples = []
    for number, ratio in enumerate(ratios):
        cost = 10.0 * (1 + number % 2)
        for peer, factor in (("gateway", ratio), ("nginx", 1.0)):
            samples.append(Sample(peer=peer, workload="get_tls", round=number, cpu_us=1.0, turns=[cost * factor] * 10))
    return samples


@pytest.mark.parametrize(
    ("ratios", "goes_on"),
    [
        ((), True),
        ((1.5, 1.5), True),
        ((1.5, 1.5, 1.5), False),
        ((1.5, 1.6, 1.7), True),
        ((1.5, 1.6, 1.7, 1.6), True),
        ((1.5, 1.6, 1.7, 1.6, 1.6), False),
        ((1.5, 2.6, 1.7, 2.6, 3.6), False),
    ],
)
def test_rounds_go_on_until_ratios_are_certain_or_there_were_enough(ratios: tuple[float, ...], goes_on: bool) -> None:
    assert PLAN.has_round(len(ratios), WORKLOADS["get_tls"], rounds(*ratios)) is goes_on


def test_other_workloads_do_not_matter() -> None:
    assert not PLAN.has_round(3, WORKLOADS["get_tls"], [*rounds(1.5, 1.5, 1.5), Sample(peer="nginx", workload="ws_32")])


def test_a_proxy_that_failed_does_not_matter() -> None:
    samples = rounds(1.5, 2.0, 1.5)
    samples[-1].errors = {"it did not start": 1}
    assert not PLAN.has_round(3, WORKLOADS["get_tls"], samples)


def test_memory_needs_few_rounds() -> None:
    assert [PLAN.has_round(number, WORKLOADS["idle_tls"], []) for number in range(3)] == [True, True, False]
    assert IDLE_ROUNDS == 2
