"""What Linux says of a way that leads nowhere is told as that, whatever number it says it with; it is no fault of ours.

Real routes, and routers that answer with real ICMPv6, in a network namespace of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.components import namespaces, require
from tests.support.kernel_says import ICMPV6_ERRORS, ROUTES

UNROUTABLE = "destination_ip_unroutable"
REASONS = {
    **{f"{kind} route": UNROUTABLE for kind in ROUTES},
    **dict.fromkeys(ICMPV6_ERRORS, UNROUTABLE),
    "port unreachable": "connection_refused",  # a firewall's REJECT by default
    "reset": "connection_refused",
    "no port left": "overloaded",
    "no address of ours": UNROUTABLE,
    "nothing leads there": UNROUTABLE,
}
WORDS = {
    "blackhole route": "a blackhole route takes what is sent there",
    "prohibit route": "a firewall, a prohibit route or a policy forbids it",
    "no port left": "every local port is taken by connections to this target",
    "no address of ours": "no address of the gateway's machine leads there",
}


@pytest.fixture(scope="module")
def says() -> dict[str, tuple[str, str]]:
    require("ip", "namespaces", "tun")
    command = [*namespaces(), sys.executable, "-m", "tests.support.kernel_says"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    answers: dict[str, tuple[str, str]] = json.loads(done.stdout)
    return answers


def test_every_case_is_asked(says: dict[str, tuple[str, str]]) -> None:
    assert set(says) == set(REASONS)


@pytest.mark.parametrize("case", REASONS)
def test_what_it_means(says: dict[str, tuple[str, str]], case: str) -> None:
    reason, detail = says[case]
    assert reason == REASONS[case], detail
    assert WORDS.get(case, "") in detail
    assert detail.startswith("connect to [")
