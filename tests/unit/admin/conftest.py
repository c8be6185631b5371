"""An admin application on a socket, and a client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from gateway.admin.app import Answer, Health, make_app
from gateway.diagnosis.explain import Context

Client = TestClient[Request, Application]
MakeClient = Callable[..., Awaitable[Client]]


async def one_ready_worker() -> list[Answer]:
    return [{"worker": 0, "state": "ready"}]


@pytest.fixture
async def client_of() -> AsyncIterator[MakeClient]:
    """`await client_of(token="…")`. Its context is nothing: tests of examinations put their own engine in its place."""
    clients: list[Client] = []

    async def make(token: str = "", health: Health | None = None) -> Client:
        app = make_app(health or Health(one_ready_worker), cast("Context", None), lambda: token)
        client = TestClient(TestServer(app))
        await client.start_server()
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()
