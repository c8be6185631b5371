"""Two runs agree when every ratio that both have does."""

from __future__ import annotations

import pytest

from bench.compare import pairs, table
from bench.samples import Sample, Summary, summarize


def run(nginx: float, **errors: int) -> list[Summary]:
    return summarize(
        [
            Sample(peer="gateway", workload="get_tls", round=0, cpu_us=60.0),
            Sample(peer="nginx", workload="get_tls", round=0, cpu_us=nginx, errors=errors),
            Sample(peer="gateway", workload="ws_32", round=0, cpu_us=30.0),
        ]
    )


@pytest.mark.parametrize(("nginx", "agrees"), [(30.0, True), (28.0, True), (26.0, False), (40.0, False)])
def test_ratios_agree_within_a_tenth(nginx: float, agrees: bool) -> None:
    [pair] = pairs(run(30.0), run(nginx))
    assert (pair.workload, pair.peer) == ("get_tls", "nginx")
    assert pair.before == pytest.approx(2.0)
    assert pair.after == pytest.approx(60 / nginx)
    assert pair.agrees is agrees
    first, last = table([pair])
    assert first.endswith("differs") is not agrees
    assert last == f"{int(agrees)} of 1 ratios within 10%"


def test_what_failed_in_either_run_is_not_compared() -> None:
    assert pairs(run(30.0, timeout=1), run(30.0)) == []
    assert pairs(run(30.0), run(30.0, timeout=1)) == []
