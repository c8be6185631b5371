"""Fixtures of the interop tests: apps and gateways as processes, started once per test run or per module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop import harness
from tests.support.raw_app import RawApp


@pytest.fixture(scope="session")
def flask_app() -> Iterator[harness.AppProcess]:
    with harness.flask_app() as app:
        yield app


@pytest.fixture(scope="session")
def express_app() -> Iterator[harness.AppProcess]:
    with harness.express_app() as app:
        yield app


@pytest.fixture(scope="session")
def fastapi_app() -> Iterator[harness.AppProcess]:
    with harness.fastapi_app() as app:
        yield app


@pytest.fixture(scope="session")
def go_app() -> Iterator[harness.AppProcess]:
    with harness.go_app() as app:
        yield app


@pytest.fixture
def raw_app() -> Iterator[RawApp]:
    with RawApp() as app:
        yield app
