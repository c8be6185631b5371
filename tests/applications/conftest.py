"""One gateway and one browser for all applications."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.applications.harness import Applications
from tests.support.browser import trust
from tests.support.components import require
from tests.support.devtools import DevTools

TIMEOUT = 300
"""Seconds for one test, its application's start included, on a machine that is busy."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(TIMEOUT))


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applications]:
    with Applications(directory=tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applications]:
    """A gateway whose domain is like a platform's: development servers let in who comes by a name below .localhost."""
    with Applications(directory=tmp_path_factory.mktemp("elsewhere"), domain="sandbox.test") as running:
        yield running
        assert "proxy_internal_error" not in running.log, running.log


@pytest.fixture(scope="session")
def browser(gateway: Applications, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevTools]:
    require("chromium", "chromedriver", "certutil")
    home = tmp_path_factory.mktemp("browser") / "home"
    trust(home, gateway.ca)
    with DevTools(home) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_failed_inside(gateway: Applications, tmp_path: Path) -> Iterator[None]:
    """After every test, no answer of the gateway's own blames the gateway."""
    yield
    assert "proxy_internal_error" not in gateway.log, gateway.log
