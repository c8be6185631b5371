"""How many descriptors there are, what is made of them, and what is said when they are too few."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gateway import descriptors


@pytest.mark.parametrize("hard", [8, 100, 1024, 20_000])
def test_every_connection_has_one_for_its_app_and_some_are_left(hard: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "limit", lambda: hard)
    assert descriptors.for_downstream() * descriptors.PER_CONNECTION <= descriptors.for_connections() < hard
    assert hard - descriptors.for_connections() <= descriptors.SPARE


def test_even_the_smallest_limit_lets_one_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "limit", lambda: 1)
    assert descriptors.for_downstream() == 1


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    program = """
import resource
from gateway.descriptors import limit, raise_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 120))
assert limit() == 64
assert raise_limit() == limit() == 120
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("hard", [100, 1024, 20_000])
def test_what_does_not_fit_is_said(hard: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "limit", lambda: hard)
    fits = descriptors.for_connections() // 2
    assert descriptors.shortage(fits) is None
    said = descriptors.shortage(hard)
    assert said is not None
    assert f"limits.connections = {hard} may need {2 * hard + 128} file descriptors" in said
    assert f"there are {hard}: raise the limit" in said
    assert said.endswith(f"set limits.connections = {fits}; more than these wait to be let in")
