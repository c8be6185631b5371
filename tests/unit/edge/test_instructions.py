"""The compiled hot path stays as short as it is: a request's instructions are the same at any speed of a machine.

They are told as a multiple of a fixed piece of work: another build of Python or OpenSSL has other counts for both.
"""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.components import require
from tests.support.process import ROOT, clean_environment

FEW, MANY = 96, 296
"""As many as `replay` can, and multiples of what comes at once by HTTP/2."""
COSTS = {"road": 1.09, "http2": 1.0}
"""A small GET over TLS, all heads different, by HTTP/1.1 and by HTTP/2: so many times `replay.measure`. Raise it only
with a reason in docs/performance.md; the test allows a twentieth more."""


def run(what: str, count: int, *under: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*under, sys.executable, "-m", "tests.support.replay", what, str(count)],
        cwd=ROOT,
        env=clean_environment({"PYTHONHASHSEED": "0"}),
        capture_output=True,
        text=True,
        check=False,
    )


def instructions(what: str, count: int) -> int:
    """Of a whole run."""
    done = run(what, count, "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert done.returncode == 0 and found, done.stderr
    return int(found[1])


@pytest.mark.compiled
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_request_costs_no_more_instructions_than_it_did() -> None:
    require("valgrind")
    runs = [(what, count) for what in ("measure", *COSTS) for count in (FEW, MANY)]
    for what, count in runs:  # modules that Python has not compiled before would count in the first
        assert run(what, count).returncode == 0
    with ThreadPoolExecutor(2) as both:
        counted = dict(zip(runs, both.map(lambda run: instructions(*run), runs), strict=True))
    each = {what: (counted[what, MANY] - counted[what, FEW]) / (MANY - FEW) for what in ("measure", *COSTS)}
    for what, allowed in COSTS.items():
        cost = each[what] / each["measure"]
        told = (
            f"{what}: {each[what]:,.0f} instructions a request, {cost:.3f} times the measure's {each['measure']:,.0f}"
        )
        assert cost <= allowed * 1.05, told
        # The other way round, a road that became much shorter wants its gain protected.
        assert cost >= allowed * 0.9, f"{told}: lower COSTS"
