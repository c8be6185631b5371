"""Fixtures of the examination's tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.diagnosis.explain import Context
from tests.unit.diagnosis.harness import App, Looking, make_context


@pytest.fixture
async def app() -> AsyncIterator[App]:
    """Nothing may be left open at the end."""
    app = App()
    server = await asyncio.start_server(app.serve, "::1", 0)
    app.port = server.sockets[0].getsockname()[1]
    yield app
    server.close()
    await app.all_closed()


@pytest.fixture
async def refusing_port() -> int:
    """A port where nothing listens, and nothing soon will: the kernel has many others to hand out."""
    server = await asyncio.start_server(App().serve, "::1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


@pytest.fixture
def looking() -> Looking:
    return Looking()


@pytest.fixture
def context(looking: Looking) -> Context:
    return make_context(looking)
