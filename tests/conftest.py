"""Which tests run here: on a machine without IPv6 and without network namespaces, and on a compiled gateway.

All of `tests/behaviour` and `tests/interop` need IPv6, for sandboxes are reached over it; elsewhere the mark `ipv6`
says so. Tests with the mark `pure` need sources, and those with `compiled` a compiled gateway (`tests/run.py`).
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from gateway.addresses import IN_A_CONTAINER, SWITCH_ON
from gateway.build import COMPILED
from tests.support.network import has_ipv6

_ALL_OF = tuple(Path(__file__).parent / room for room in ("applications", "behaviour", "interop"))
_HOW = f"{SWITCH_ON}; in a container: {IN_A_CONTAINER} …; or run `make test` as root, which makes a network of its own"
_LEFT_OUT = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    _choose_for_the_build(config, items)
    if has_ipv6():
        return
    needy = [item for item in items if item.get_closest_marker("ipv6") or any(map(item.path.is_relative_to, _ALL_OF))]
    if needy and os.environ.get("CI") == "true":
        raise pytest.UsageError(f"no IPv6, and CI runs every test: {_HOW}")
    for item in needy:
        item.add_marker(pytest.mark.skip(reason="needs IPv6"))
    config.stash[_LEFT_OUT] = len(needy)


def _choose_for_the_build(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("TESTS_OF_SOURCES"):
        kept = [item for item in items if item.get_closest_marker("pure")]
    else:
        kept = [item for item in items if not item.get_closest_marker("pure" if COMPILED else "compiled")]
    left = set(items) - set(kept)
    if left:
        config.hook.pytest_deselected(items=[item for item in items if item in left])
        items[:] = kept


def pytest_collection_finish() -> None:
    """Fifteen thousand tests are objects that live to the end: looked at once, not in every collection of garbage."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left_out := config.stash.get(_LEFT_OUT, 0):
        terminalreporter.write_line(f"{left_out} tests need IPv6, which this machine does not have, and did not run.")
        terminalreporter.write_line(f"To run them: {_HOW}")
