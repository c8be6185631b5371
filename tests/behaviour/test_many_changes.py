"""Many records change at once, or nobody can tell which: everything is asked about, and little at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import IPv6Address

import pytest

from gateway import tasks as tasks_module
from gateway.directory.cache import REFRESHED_AT_ONCE
from gateway.directory.sandbox import Sandbox
from tests.behaviour.harness import LOOPBACK, OK, Gateway, Wire, get, until

BOXES = 40


async def serve(upstream: Wire) -> None:
    await upstream.request()
    upstream.send(OK)


def fleet(generation: str) -> dict[str, Sandbox]:
    names = [f"box{number}" for number in range(BOXES)]
    return {name: Sandbox(name, IPv6Address(LOOPBACK), f"{generation}-{name}") for name in names}


async def served(gateway: Gateway) -> None:
    """Every sandbox of the fleet has an idle connection."""
    gateway.table.table.update(fleet("1"))
    app = await gateway.app(serve)
    browser = await gateway.connect()
    for name in fleet("1"):
        browser.send(get(app).replace(app.host, b"%d-%b.sandbox.localhost" % (app.port, name.encode())))
        assert (await browser.answer()).status == 200
    assert gateway.edge.pool.idle_count == BOXES


async def test_changes_that_were_missed_may_be_any(gateway: Gateway) -> None:
    await served(gateway)
    gateway.table.table.update({**fleet("1"), "box3": fleet("2")["box3"]})
    del gateway.table.table["box4"]
    gateway.edge.directory.availability.missed()
    await until(lambda: gateway.edge.pool.idle_count == BOXES - 2, "what has moved and what has gone lose theirs")
    assert not gateway.edge.pool.serves("box3")
    assert not gateway.edge.pool.serves("box4")


async def test_a_fleet_that_is_written_anew_is_asked_about_a_few_at_a_time(gateway: Gateway) -> None:
    await served(gateway)
    fetch, asking, most = gateway.table.fetch, 0, 0

    async def slow(sandbox_id: str) -> Sandbox | None:
        nonlocal asking, most
        asking += 1
        most = max(most, asking)
        await asyncio.sleep(0)
        asking -= 1
        return await fetch(sandbox_id)

    gateway.table.fetch = slow  # type: ignore[method-assign]
    gateway.table.table.update(fleet("2"))
    gateway.edge.records_changed(list(fleet("2")))
    await until(lambda: not gateway.edge.pool.idle_count, "all have lost their connections")
    assert most == REFRESHED_AT_ONCE


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
    await until(lambda: not edge.pool.idle_count, "all have lost their connections")
    await until(lambda: not edge.failing, "it is over")
    gateway.expect_complaint("whose is what is open? failed")
