"""Which tests need IPv6, and what becomes of them on a machine that has none and makes no network namespaces.

All of `tests/behaviour` and `tests/interop` do, for sandboxes are reached over IPv6; elsewhere the mark `ipv6` says so.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from gateway.addresses import IN_A_CONTAINER, SWITCH_ON
from tests.support.network import has_ipv6

_ALL_OF = tuple(Path(__file__).parent / room for room in ("applications", "behaviour", "interop"))
_HOW = f"{SWITCH_ON}; in a container: {IN_A_CONTAINER} …; or run `make test` as root, which makes a network of its own"
_LEFT_OUT = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if has_ipv6():
        return
    needy = [item for item in items if item.get_closest_marker("ipv6") or any(map(item.path.is_relative_to, _ALL_OF))]
    if needy and os.environ.get("CI") == "true":
        raise pytest.UsageError(f"no IPv6, and CI runs every test: {_HOW}")
    for item in needy:
        item.add_marker(pytest.mark.skip(reason="needs IPv6"))
    config.stash[_LEFT_OUT] = len(needy)


def pytest_collection_finish() -> None:
    """Fifteen thousand tests are objects that live to the end: looked at once, not in every collection of garbage."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left_out := config.stash.get(_LEFT_OUT, 0):
        terminalreporter.write_line(f"{left_out} tests need IPv6, which this machine does not have, and did not run.")
        terminalreporter.write_line(f"To run them: {_HOW}")
