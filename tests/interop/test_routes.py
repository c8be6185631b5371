"""What Linux says of a way that leads nowhere is told as that, whatever number it says it with; it is no fault of ours.

Real routes, and routers that answer with real ICMPv6, in a network namespace of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from gateway.wordings import REJECTED
from tests.support.components import namespaces, require
from tests.support.kernel_says import ICMPV6_ERRORS

UNROUTABLE, REFUSED = "destination_ip_unroutable", "connection_refused"
BY_A_RULE = {
    "administratively prohibited": "communication with destination administratively prohibited",
    "port unreachable": "port unreachable",  # the default of iptables and nftables; a TCP stack sends a reset
    "source failed policy": "source address failed ingress/egress policy",
    "reject route": "reject route to destination",
}
"""What no app and no lack of a route makes anybody say."""
OF_THE_WAY = {
    "no route": "no route to destination",
    "beyond scope of source": "beyond scope of source address",
    "address unreachable": "address unreachable",
}
"""Said by a router. Who says it of itself has been reached."""
REASONS = {
    **dict.fromkeys(("blackhole route", "unreachable route", "throw route", "prohibit route"), UNROUTABLE),
    **{name: REFUSED if name == "port unreachable" else UNROUTABLE for name in ICMPV6_ERRORS},
    **{f"{name} of itself": REFUSED if name == "port unreachable" else UNROUTABLE for name in ICMPV6_ERRORS},
    "reset": REFUSED,
    "no port left": "overloaded",
    "no address of ours": UNROUTABLE,
    "nothing leads there": UNROUTABLE,
}
REJECTIONS = {"prohibit route", *BY_A_RULE, *(f"{name} of itself" for name in BY_A_RULE | OF_THE_WAY)}
"""What is worded as a rejection."""
BY_ROUTER = "[fd00:9::aaaa], on the way there, answered “{}” (ICMPv6)"
WORDS = {
    "blackhole route": "a blackhole route takes what is sent there",
    "prohibit route": "a firewall, a prohibit route or a policy forbids it",
    "no port left": "every local port is taken by connections to this target",
    "no address of ours": "no address of the gateway's machine leads there",
    **{name: BY_ROUTER.format(words) for name, words in (BY_A_RULE | OF_THE_WAY).items()},
    **{f"{name} of itself": f" itself answered “{words}”" for name, words in (BY_A_RULE | OF_THE_WAY).items()},
    "hop limit exceeded": BY_ROUTER.format("hop limit exceeded in transit"),
    "erroneous header": BY_ROUTER.format("parameter problem, code 0"),
    "error in source routing header": BY_ROUTER.format("destination unreachable, code 7"),  # RFC 6554
    "headers too long": BY_ROUTER.format("destination unreachable, code 8"),  # RFC 8883
}


@pytest.fixture(scope="module")
def says() -> dict[str, tuple[str, str, str]]:
    require("ip", "namespaces", "tun")
    command = [*namespaces(), sys.executable, "-m", "tests.support.kernel_says"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    answers: dict[str, tuple[str, str, str]] = json.loads(done.stdout)
    return answers


def test_every_case_is_asked(says: dict[str, tuple[str, str, str]]) -> None:
    assert set(says) == set(REASONS)


@pytest.mark.parametrize("case", REASONS)
def test_what_it_means(says: dict[str, tuple[str, str, str]], case: str) -> None:
    reason, detail, title = says[case]
    assert reason == REASONS[case], detail
    assert title == (REJECTED.title if case in REJECTIONS else "")
    assert WORDS.get(case, "") in detail
    assert detail.startswith("connect to [")
