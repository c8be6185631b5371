"""A gateway without sockets that is looked at, and its inspector on one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from gateway.admin.app import Health, make_app
from gateway.diagnosis.explain import Context
from gateway.inspector.capture import Capture
from gateway.inspector.captured import Captured
from gateway.inspector.live import Live
from gateway.inspector.replay import Replays
from gateway.inspector.routes import Inspector
from gateway.inspector.store import Store
from gateway.tasks import Tasks
from tests.support.seam import Gateway, gateway

Client = TestClient[Request, Application]
MakeClient = Callable[..., Awaitable[Client]]


class Watched:
    """A gateway that is looked at."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.store = Store()
        telemetry, edge = gateway.edge.telemetry, gateway.edge
        telemetry.access_log = self.capture = Capture(self.store, telemetry.access_log, edge.loop.call_soon)
        edge.look_on = self.capture.look_on

    @property
    def last(self) -> Captured:
        return list(self.store)[-1]


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    async with gateway(capacity=10) as running:
        yield Watched(running)


@pytest.fixture
async def inspector_of(watched: Watched) -> AsyncIterator[MakeClient]:
    """`await inspector_of(token="…")`: a client for the inspector of `watched`."""
    clients: list[Client] = []
    tasks = Tasks()

    async def make(token: str = "") -> Client:
        edge, store, context = watched.gateway.edge, watched.store, cast("Context", None)
        home = Inspector(Live(store, tasks), store, Replays(edge, store), context, {"authority": "ca.pem"})
        app = make_app(Health(cast("Callable[[], Awaitable[list[None]]]", None)), context, lambda: token, home)
        client = TestClient(TestServer(app))
        await client.start_server()
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()
    await tasks.cancel()
