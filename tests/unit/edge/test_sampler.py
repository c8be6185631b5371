"""What is looked at and not counted: each number in its cell."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.edge import sampler as module
from gateway.edge.edge import Edge
from gateway.edge.sampler import Sampler
from gateway.metrics import (
    CONNECTIONS_OPEN,
    CPU,
    IN_FLIGHT,
    LOG_DROPPED,
    LOOP_LAG,
    TUNNELS_OPEN,
    UPSTREAM_CONNECTIONS,
    Cells,
    private,
)
from gateway.observe.totals import Totals


def worker(**known: Any) -> Any:
    """As much of an edge as is looked at."""
    published: list[Cells] = []
    telemetry = SimpleNamespace(
        access_log=SimpleNamespace(dropped=4),
        spans=None,
        flush=lambda: None,
        publish=lambda cells: published.append(list(cells)),
    )
    pool = SimpleNamespace(connections=range(7), idle=range(5))
    return SimpleNamespace(
        loop=asyncio.get_running_loop(),
        cells=private(),
        connections=11,
        exchanges={"a": 3, "b": 2},
        pool=pool,
        telemetry=telemetry,
        published=published,
        **known,
    )


async def test_each_number_is_in_its_cell() -> None:
    edge = worker()
    edge.cells[TUNNELS_OPEN.at("websocket")] = 1
    edge.cells[TUNNELS_OPEN.at("other")] = 1
    sampler = Sampler(cast(Edge, edge))
    sampler.sample()
    seen = Totals.of(edge.published[-1:])
    assert seen.value(IN_FLIGHT) == 3, "tunnels are no requests in flight"
    assert seen.value(CONNECTIONS_OPEN, "downstream") == 11
    assert seen.value(CONNECTIONS_OPEN, "upstream") == 7
    assert (seen.value(UPSTREAM_CONNECTIONS, "idle"), seen.value(UPSTREAM_CONNECTIONS, "active")) == (5, 2)
    assert seen.value(LOG_DROPPED) == 4
    assert seen.value(CPU) > 0
    edge.telemetry.access_log.dropped = 9
    sampler.close()
    assert Totals.of(edge.published[-1:]).value(LOG_DROPPED) == 9, "the last look is the end's"


async def test_it_looks_again_and_again_and_says_how_late_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.01)
    edge = worker()
    sampler = Sampler(cast(Edge, edge))
    async with asyncio.timeout(20):
        while len(edge.published) < 3:
            await asyncio.sleep(0.01)
    sampler.close()
    assert Totals.of(edge.published[-1:]).sum(LOOP_LAG) >= 3
