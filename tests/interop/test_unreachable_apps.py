"""Apps nobody can connect to: stuck, behind a firewall, on localhost. All who are asked say the same, and it is so.

Real firewalls and full queues, in network namespaces of their own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.components import namespaces, require
from tests.support.unreachable_apps import LOCALHOST, OFF, OUR_REJECT, OURS, REJECTS, STUCK, THEIRS

WORDS = {
    "no-route": "no route to destination",
    "admin-prohibited": "communication with destination administratively prohibited",
    "addr-unreachable": "address unreachable",
    "port-unreachable": "port unreachable",
    "policy-fail": "source address failed ingress/egress policy",
    "reject-route": "reject route to destination",
}
"""RFC 4443 section 3.1, by nftables' names."""
VERDICTS = {
    **dict.fromkeys(WORDS, ("destination_ip_unroutable", "rejected")),
    "port-unreachable": ("connection_refused", "rejected"),
    "tcp reset": ("connection_refused", "refused"),  # is no other than a closed port's
    "our own firewall": ("destination_ip_unroutable", "rejected"),
    "our own firewall drops": ("connection_timeout", "timeout"),
    "a firewall that drops": ("connection_timeout", "timeout"),
    "a firewall that drops one and rejects the rest": ("connection_timeout", "timeout"),
    "a machine that is off": ("connection_timeout", "timeout"),
    "localhost, elsewhere": ("connection_refused", "refused"),
    "localhost, here": ("connection_refused", "loopback_only"),
    "stuck, elsewhere": ("connection_timeout", "stuck"),
    "stuck, here": ("connection_timeout", "stuck"),
}
Told = dict[str, Any]


@pytest.fixture(scope="module")
def told() -> dict[str, Told]:
    require("ip", "nft", "namespaces")
    command = [*namespaces(), sys.executable, "-m", "tests.support.unreachable_apps"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=58, check=False)
    assert done.returncode == 0, done.stderr
    answers: dict[str, Told] = json.loads(done.stdout)
    return answers


def test_every_scene_is_judged(told: dict[str, Told]) -> None:
    assert set(told) == set(VERDICTS)


@pytest.mark.parametrize("scene", VERDICTS)
def test_all_who_are_asked_say_the_same(told: dict[str, Told], scene: str) -> None:
    reason, state = VERDICTS[scene]
    answer = told[scene]
    assert answer["problem"]["reason"] == reason, answer["problem"]
    assert answer["report"]["reason"] == reason
    assert answer["state"][0] == state
    title, first = answer["problem"]["title"], answer["problem"]["fix"][0]
    assert answer["report"]["conclusion"].startswith(f"{title}. {first}"[:60])


def observed(told: dict[str, Told], scene: str) -> str:
    return "\n".join(told[scene]["problem"]["observed"])


@pytest.mark.parametrize("how", WORDS)
def test_a_firewall_in_the_sandbox_is_called_one(told: dict[str, Told], how: str) -> None:
    problem = told[how]["problem"]
    assert problem["title"] == f"A firewall or a route rejects connections to port {REJECTS[how]}"
    assert f"[{THEIRS}] itself answered “{WORDS[how]}” (ICMPv6)" in problem["observed"][0]
    assert f"[{THEIRS}] itself answered" in told[how]["state"][1]
    assert f"`ufw allow {REJECTS[how]}/tcp`" in problem["fix"][0]


def test_a_firewall_of_ours_is_not_the_sandboxs(told: dict[str, Told]) -> None:
    seen = told["our own firewall"]["problem"]["observed"][0]
    assert seen.startswith(f"connect to [{THEIRS}]:{OUR_REJECT}: ")
    assert f"the gateway's own machine ([{OURS}]) answered" in seen


def test_a_sandbox_that_is_up_is_not_asked_after(told: dict[str, Told]) -> None:
    for scene in ("our own firewall drops", "a firewall that drops", "a firewall that drops one and rejects the rest"):
        assert told[scene]["problem"]["title"].startswith("Port ")
        assert "the sandbox is up: it refuses connections to ports 3000, " in observed(told, scene)
        assert "Is the sandbox running" not in str(told[scene])


def test_a_machine_that_is_off(told: dict[str, Told]) -> None:
    problem = told["a machine that is off"]["problem"]
    assert problem["observed"] == [f"connect to [{OFF}]:{STUCK}: no answer within 0.5 s"]
    assert problem["fix"][0] == "Is the sandbox running, or paused?"


def test_an_app_that_is_stuck_elsewhere(told: dict[str, Told]) -> None:
    seen = observed(told, "stuck, elsewhere")
    waits = f"the gateway's machine has 1 connection to [{THEIRS}]:{STUCK}; 1 of them without an answer, for "
    assert waits in seen
    assert "the sandbox is up: it refuses connections to ports 3000, " in seen
    assert told["stuck, elsewhere"]["state"][1].startswith(waits)
    assert "Is the sandbox running" not in str(told["stuck, elsewhere"])


def test_an_app_that_is_stuck_here(told: dict[str, Told]) -> None:
    first = told["stuck, here"]["problem"]["observed"][0]
    assert first.startswith("python")
    assert first.endswith(": 2 connections in its queue, which is full")
    assert told["stuck, here"]["state"][1] == first
    assert "2 of them without an answer, the longest for " in observed(told, "stuck, here")
    assert any(first in step["detail"] for step in told["stuck, here"]["report"]["steps"] if step["name"] == "dial")


def test_localhost_is_named(told: dict[str, Told]) -> None:
    first = told["localhost, here"]["problem"]["observed"][0]
    assert first == f"something listens on [::1]:{LOCALHOST} but not on [{OURS}]:{LOCALHOST}"
    assert f"Vite: npx vite --host :: --port {LOCALHOST}" in told["localhost, here"]["problem"]["fix"]
    assert "localhost (::1)" in told["localhost, elsewhere"]["problem"]["fix"][0]
