"""The status page's events: one look for all viewers, none for nobody, and nothing that piles up."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from gateway.admin import live as module
from gateway.admin.app import Health
from gateway.admin.metrics import Sources
from gateway.admin.overview import Answer
from gateway.metrics import BYTES, FAILURES, REQUEST_DURATION, REQUESTS, private
from gateway.observe.totals import Totals
from gateway.tasks import Tasks
from tests.unit.admin.conftest import Client, MakeClient

PATIENCE = 20.0


class Gateway:
    """What the page is about."""

    def __init__(self) -> None:
        self.cells = private()
        self.asked = 0
        self.tasks = Tasks()
        self.health = Health(self.ask, self.tasks, sources=Sources(lambda: Totals.of([self.cells])))

    async def ask(self) -> list[Answer]:
        self.asked += 1
        return [{"worker": 0, "state": "ready"}, None]


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    monkeypatch.setattr(module, "INTERVAL", 0.05)
    return Gateway()


async def event(answer: Any) -> dict[str, Any]:
    """The next one."""
    async with asyncio.timeout(PATIENCE):
        while not (line := await answer.content.readline()).startswith(b"data: "):
            assert line, "the stream has ended"
    told: dict[str, Any] = msgspec.json.decode(line[6:])
    return told


async def until_nobody_looks(gateway: Gateway) -> None:
    async with asyncio.timeout(PATIENCE):
        while gateway.health.live_status._looking is not None:
            await asyncio.sleep(0.01)


async def test_rates_are_of_the_last_second(client_of: MakeClient, gateway: Gateway) -> None:
    client = await client_of(health=gateway.health)
    async with client.get("/events") as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        first = await event(answer)
        assert first["status"]["status"] == "not ready"
        assert first["status"]["workers"] == [{"worker": 0, "state": "ready"}, None]
        assert "rates" not in first, "there is nothing to compare with"
        gateway.cells[REQUESTS.at("HTTP/1.1", "GET", "200")] += 5
        gateway.cells[FAILURES.at("connection_refused")] += 2
        gateway.cells[BYTES.at("downstream", "sent")] += 1000
        for _ in range(5):
            REQUEST_DURATION.observe(gateway.cells, 0.07, "HTTP/1.1", "response")
        told = await event(answer)
        while not told["rates"]["requests"]:
            told = await event(answer)
        requests = told["rates"]["requests"]
        assert 0 < requests <= 5 / module.INTERVAL, "a look takes as long as it takes"
        assert told["rates"]["failures"] == pytest.approx(requests * 2 / 5)
        assert told["rates"]["sent"] == pytest.approx(requests * 200)
        assert 0.05 < told["latency"]["duration"]["p50"] <= 0.075
        assert (await event(answer))["rates"]["requests"] == 0


async def test_one_look_serves_all_and_none_is_made_for_nobody(client_of: MakeClient, gateway: Gateway) -> None:
    client = await client_of(health=gateway.health)
    assert gateway.asked == 0
    answers = [await client.get("/events") for _ in range(5)]
    for answer in answers:
        await event(answer)
    assert len([task for task in asyncio.all_tasks() if task.get_name() == "status page"]) == 1
    for answer in answers:
        answer.close()
    await until_nobody_looks(gateway)
    asked = gateway.asked
    await asyncio.sleep(4 * module.INTERVAL)  # nothing shows that nothing happens
    assert gateway.asked == asked
    assert gateway.health.live_status.viewers == 0


async def test_viewers_are_few(client_of: MakeClient, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_VIEWERS", 2)
    client = await client_of(health=gateway.health)
    answers = [await client.get("/events") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 503]
    for answer in answers:
        answer.close()
    await until_nobody_looks(gateway)


async def test_who_takes_nothing_is_let_go(
    client_of: MakeClient, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    client = await client_of(health=gateway.health)
    # Large enough that the kernel does not take it all.
    gateway.health.sources.directory = "x" * 4_000_000
    answer = await client.get("/events")
    await until_nobody_looks(gateway)
    answer.close()


async def test_a_stream_ends_by_itself(
    client_of: MakeClient, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST", 0.2)
    client = await client_of(health=gateway.health)
    async with asyncio.timeout(PATIENCE), client.get("/events") as answer:
        assert (await answer.read()).startswith(b"retry: ")


async def test_a_stream_ends_with_the_listener(client_of: MakeClient, gateway: Gateway) -> None:
    client: Client = await client_of(health=gateway.health)
    answer = await client.get("/events")
    await event(answer)
    async with asyncio.timeout(PATIENCE):
        await client.server.close()
        await answer.read()
    assert gateway.health.live_status.viewers == 0
