"""Many records change at once, or nobody can tell which: everything is asked about, and little at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from ipaddress import IPv6Address

import pytest
import redis.asyncio

from gateway import tasks as tasks_module
from gateway.directory.cache import REFRESHED_AT_ONCE
from gateway.directory.redis import RedisRegistry
from gateway.directory.sandbox import Sandbox
from gateway.directory.watching import watch
from gateway.tasks import Tasks
from tests.behaviour.harness import LOOPBACK, OK, Gateway, OpenGateway, Wire, get, until
from tests.support.redis_server import RedisServer

BOXES = 40


WRITE = """
for number = 0, ARGV[1] - 1 do
  redis.call('HSET', 'gateway:sandbox:box' .. number, 'address', '::1', 'generation', ARGV[2])
  redis.call('XADD', 'gateway:changes', 'MAXLEN', '~', 10000, '*', 'id', 'box' .. number)
end
"""
"""What a platform does in one transaction. ARGV: how many, their generation."""


async def serve(upstream: Wire) -> None:
    while await upstream.another():
        await upstream.request()
        upstream.send(OK)


def fleet(generation: str) -> dict[str, Sandbox]:
    names = [f"box{number}" for number in range(BOXES)]
    return {name: Sandbox(name, IPv6Address(LOOPBACK), f"{generation}-{name}") for name in names}


async def served(gateway: Gateway) -> None:
    """Every sandbox of the fleet has an idle connection."""
    gateway.table.table.update(fleet("1"))
    await open_one_to_each(gateway)


async def open_one_to_each(gateway: Gateway) -> Callable[[str], Awaitable[None]]:
    """Returns what asks for a sandbox of that name."""
    app = await gateway.app(serve)
    browser = await gateway.connect()

    async def visit(name: str) -> None:
        browser.send(get(app).replace(app.host, b"%d-%b.sandbox.localhost" % (app.port, name.encode())))
        assert (await browser.answer()).status == 200

    for name in fleet("1"):
        await visit(name)
    assert len(gateway.edge.pool.idle) == BOXES
    return visit


async def test_changes_that_were_missed_may_be_any(gateway: Gateway) -> None:
    await served(gateway)
    gateway.table.table.update({**fleet("1"), "box3": fleet("2")["box3"]})
    del gateway.table.table["box4"]
    gateway.edge.directory.availability.missed()
    await until(lambda: len(gateway.edge.pool.idle) == BOXES - 2, "what has moved and what has gone lose theirs")
    assert not gateway.edge.pool.serves("box3")
    assert not gateway.edge.pool.serves("box4")


async def test_a_fleet_that_is_written_anew_is_asked_about_a_few_at_a_time(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served(gateway)
    fetch, asking, most = gateway.table.fetch, 0, 0

    async def slow(sandbox_id: str) -> Sandbox | None:
        nonlocal asking, most
        asking += 1
        most = max(most, asking)
        await asyncio.sleep(0)
        asking -= 1
        return await fetch(sandbox_id)

    monkeypatch.setattr(gateway.table, "fetch", slow)
    gateway.table.table.update(fleet("2"))
    gateway.edge.records_changed(list(fleet("2")))
    await until(lambda: not len(gateway.edge.pool.idle), "all have lost their connections")
    assert most == REFRESHED_AT_ONCE


@pytest.mark.pure
async def test_what_fails_while_asking_is_asked_again(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """And named meanwhile; no doubt is lost."""
    monkeypatch.setattr(tasks_module, "PAUSE", 0.01)
    await served(gateway)
    edge, ask_again, faults = gateway.edge, gateway.edge.directory.ask_again, [RuntimeError("a fault of ours")] * 3

    async def fail(sandbox_ids: Sequence[str]) -> None:
        if faults:
            raise faults.pop()
        await ask_again(sandbox_ids)

    monkeypatch.setattr(edge.directory, "ask_again", fail)
    gateway.table.table.update(fleet("2"))
    edge.records_changed(list(fleet("2")))
    await until(lambda: edge.failing, "it is named")
    await until(lambda: not len(edge.pool.idle), "all have lost their connections")
    await until(lambda: not edge.failing, "it is over")
    gateway.expect_complaint("whose is what is open? failed")


async def test_thousands_of_records_in_one_transaction_of_redis_stall_no_neighbour(open_gateway: OpenGateway) -> None:
    """More than the stream keeps, so that all are asked about. docs/directory.md tells of 100,000."""
    with RedisServer() as server:
        store, tasks = RedisRegistry(server.url), Tasks()
        gateway = await open_gateway(backend=store)
        edge = gateway.edge
        tasks.keep(partial(watch, store, edge.records_changed, edge.directory.availability), "directory watch")
        async with redis.asyncio.Redis.from_url(server.url) as platform:
            await platform.hset("gateway:sandbox:neighbour", "address", LOOPBACK)
            await platform.eval(WRITE, 0, BOXES, 1)
            visit = await open_one_to_each(gateway)
            writing = tasks.spawn(platform.eval(WRITE, 0, 20_000, 2), "writer")
            async with asyncio.timeout(20.0):
                while not writing.done() or any(map(edge.pool.serves, fleet("2"))):
                    asked = time.thread_time()
                    await visit("neighbour")
                    assert time.thread_time() - asked < 1.0
        gateway.expect_complaint("does not reach back far enough")
        await tasks.cancel()
        await store.close()
