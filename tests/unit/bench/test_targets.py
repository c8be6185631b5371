"""Targets are judged by ratios within one run, and never on figures that came with errors."""

from __future__ import annotations

import pytest

from bench.peers import PEERS
from bench.samples import COMPILED, Sample, Summary, summarize
from bench.targets import CAPACITY, TARGETS, Target, judge
from bench.workloads import WORKLOADS

CPU = Target("CPU", "get_tls", "ratio", 2.0, peer="nginx")
OF_COMPILED = Target("CPU", "get_tls", "ratio", 1.0, peer="nginx", build=COMPILED)
RATE = Target("rate", "get_tls", CAPACITY, 0.9, peer="nginx")
REFUSED = Target("refused", "refused", "cpu_us", 1.5, peer="gateway", base="get_tls")
IDLE = Target("idle", "idle_tls", "held_kib", 32.0, unit="KiB")


def measured(**errors: int) -> list[Summary]:
    return summarize(
        [
            Sample(peer="gateway", workload="get_tls", round=0, cpu_us=30.0, errors=errors),
            Sample(peer=COMPILED, workload="get_tls", round=0, cpu_us=22.0, errors=errors),
            Sample(peer="nginx", workload="get_tls", round=0, cpu_us=20.0),
            Sample(peer="gateway", workload="refused", round=0, cpu_us=60.0),
            Sample(peer="gateway", workload="idle_tls", round=0, held_kib=24.0),
        ]
    )


@pytest.mark.parametrize(
    ("target", "value", "reached"),
    [(CPU, 1.5, True), (OF_COMPILED, 1.1, False), (RATE, 2 / 3, False), (REFUSED, 2.0, False), (IDLE, 24.0, True)],
)
def test_a_value_is_compared_with_its_limit(target: Target, value: float, reached: bool) -> None:
    [verdict] = judge(measured(), [target])
    assert verdict.value == pytest.approx(value)
    assert verdict.reached is reached


@pytest.mark.parametrize("target", [CPU, OF_COMPILED, RATE, REFUSED])
def test_a_figure_with_errors_is_not_judged(target: Target) -> None:
    [verdict] = judge(measured(timeout=1), [target])
    assert verdict.value is None
    assert verdict.reached is None


def test_what_was_not_measured_is_not_judged() -> None:
    assert {verdict.reached for verdict in judge([])} == {None}


def test_every_target_names_a_workload_and_a_figure_that_exist() -> None:
    for target in TARGETS:
        assert target.workload in WORKLOADS
        assert not target.base or target.base in WORKLOADS
        assert target.metric == CAPACITY or target.metric in Summary.__struct_fields__
        assert target.peer in ("", *PEERS)
