"""What is open ends with its sandbox, whichever backend has its record: file, SQLite, a real Redis, a real name server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from gateway.directory.sandbox import Directory, Registry
from gateway.directory.watching import watch
from gateway.tasks import Tasks
from tests.behaviour.harness import LOOPBACK, SANDBOX, App, Gateway, OpenGateway, Wire, get
from tests.unit.directory.test_conformance import BACKENDS, Store, record

ELSEWHERE = "fd00::5"
REGISTRIES = [name for name, backend in BACKENDS.items() if backend.writes]


@dataclass(frozen=True, slots=True)
class Opened:
    """A gateway's view of a store, and the browsers at the ends of an event stream and of a tunnel."""

    store: Store
    directory: Directory
    browsers: tuple[Wire, Wire]

    async def ended(self) -> None:
        for browser in self.browsers:
            await browser.ended()


@pytest.fixture
async def opened(
    request: pytest.FixtureRequest, open_gateway: OpenGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Opened]:
    async with BACKENDS[request.param].store(tmp_path, monkeypatch) as store:
        await store.place({SANDBOX: LOOPBACK})
        directory, tasks = store.open(), Tasks()
        gateway = await open_gateway(backend=directory, upstream={"tunnel_grace": 0.2}, directory={"ttl": 0.5})
        edge = gateway.edge
        tasks.keep(partial(watch, directory, edge.records_changed, edge.directory.availability), "directory watch")
        app = await gateway.app()
        yield Opened(store, directory, (await stream(gateway, app), await tunnel(gateway, app)))
        await tasks.cancel()
        await directory.close()


async def stream(gateway: Gateway, app: App) -> Wire:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    await browser.head()
    return browser


async def tunnel(gateway: Gateway, app: App) -> Wire:
    browser = await gateway.connect()
    browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
    await browser.head()
    return browser


@pytest.mark.parametrize("opened", BACKENDS, indirect=True)
async def test_it_is_removed(opened: Opened) -> None:
    await opened.store.place({})
    await opened.ended()


@pytest.mark.parametrize("opened", BACKENDS, indirect=True)
async def test_it_moves(opened: Opened) -> None:
    await opened.store.place({SANDBOX: ELSEWHERE})
    await opened.ended()


@pytest.mark.parametrize("opened", REGISTRIES, indirect=True)
async def test_its_lifetime_ends(opened: Opened) -> None:
    """A lifetime that it was given while they are open; nobody writes anything when it is over."""
    assert isinstance(opened.directory, Registry)
    await opened.directory.put(record(SANDBOX, LOOPBACK), lifetime=1.0)
    await opened.ended()
