"""Who is gone without a word is noticed, on either side and whether or not something is being sent; who is slow is not.

Real kernels at both ends of a cable, in network namespaces of their own. The setting is 1 s instead of 45.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.components import namespaces, require


@pytest.fixture(scope="module")
def seen() -> dict[str, object]:
    require("ip", "namespaces")
    command = [*namespaces(), sys.executable, "-m", "tests.support.vanishing"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=58, check=False)
    assert done.returncode == 0, done.stderr
    results: dict[str, object] = json.loads(done.stdout)
    return results


@pytest.mark.parametrize(
    "who",
    [
        "a silent visitor",
        "a visitor who is written to",
        "a visitor who takes nothing",
        "a silent app",
        "an app that is written to",
    ],
)
def test_who_has_vanished_is_gone(seen: dict[str, object], who: str) -> None:
    seconds = seen[who]
    assert isinstance(seconds, float), "nobody noticed"
    assert seconds > 0.5, "one segment that is lost is no silence"


def test_who_reads_nothing_for_a_while_is_not(seen: dict[str, object]) -> None:
    assert seen["a slow reader lives"] is True


def test_the_log_says_how_it_ended(seen: dict[str, object]) -> None:
    assert "the app fell silent (nothing is acknowledged any more)" in str(seen["details"])
