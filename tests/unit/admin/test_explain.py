"""`GET /v1/explain?url=`: a report, or a problem document that says why not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.admin import explain as room
from gateway.diagnosis.report import Report, Step
from gateway.diagnosis.url import InvalidUrl
from gateway.tasks import Tasks
from tests.unit.admin.conftest import Client, MakeClient

URL = "https://5000-box.example.dev/?a=1&b=2"


class Engine:
    """In the engine's place: answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.all_asked = asyncio.Semaphore(0)
        self.go = asyncio.Event()

    async def explain(self, url: str, context: Any) -> Report:
        self.asked.append(url)
        self.all_asked.release()
        await self.go.wait()
        return Report(url, False, "Because.", "connection_refused", [Step("dial", "failed", "no", 0.4)], ["Fix it."])


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine()
    monkeypatch.setattr(room, "explain", engine.explain)
    return engine


async def ask(client: Client, **query: str) -> tuple[int, str, Any]:
    async with client.get("/v1/explain", params=query) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        return answer.status, answer.content_type, await answer.json()


async def test_a_report_is_200_reachable_or_not(client_of: MakeClient, engine: Engine) -> None:
    engine.go.set()
    status, kind, report = await ask(await client_of(), url=URL)
    assert (status, kind) == (200, "application/json")
    assert report == {
        "url": URL,
        "ok": False,
        "conclusion": "Because.",
        "reason": "connection_refused",
        "steps": [{"name": "dial", "verdict": "failed", "detail": "no", "milliseconds": 0.4}],
        "fix": ["Fix it."],
        "negotiated": {"downstream": None, "upstream": None},
    }


@pytest.mark.parametrize("target", ["/v1/explain", "/v1/explain?uri=a", "/v1/explain?url=a&url=b"])
async def test_exactly_one_url(client_of: MakeClient, engine: Engine, target: str) -> None:
    client = await client_of()
    async with client.get(target) as answer:
        assert answer.status == 400
        assert answer.content_type == "application/problem+json"
        assert (await answer.json())["detail"] == "exactly one url is expected: /v1/explain?url=https://…"
    assert engine.asked == []


async def test_no_url_in_it(client_of: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(url: str, context: Any) -> Report:
        raise InvalidUrl(f"{url} is none")

    monkeypatch.setattr(room, "explain", refuse)
    status, kind, problem = await ask(await client_of(), url="ftp://a")
    assert (status, kind) == (400, "application/problem+json")
    assert problem == {"type": "about:blank", "title": "Bad Request", "status": 400, "detail": "ftp://a is none"}


async def test_the_fifth_at_once_is_429(client_of: MakeClient, engine: Engine) -> None:
    client, tasks = await client_of(), Tasks()
    running = [tasks.spawn(ask(client, url=f"{URL}&n={number}"), "ask") for number in range(room.AT_ONCE)]
    for _ in running:
        await engine.all_asked.acquire()
    async with client.get("/v1/explain", params={"url": URL}) as answer:
        assert answer.status == 429
        assert answer.headers["Retry-After"] == "1"
        assert (await answer.json())["detail"] == "4 URLs are being examined at this moment"
    engine.go.set()
    assert [(await task)[0] for task in running] == [200] * room.AT_ONCE
    assert (await ask(client, url=URL))[0] == 200


async def test_a_failed_one_gives_its_place_back(client_of: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(url: str, context: Any) -> Report:
        raise InvalidUrl("no")

    monkeypatch.setattr(room, "explain", refuse)
    client = await client_of()
    assert [(await ask(client, url="x"))[0] for _ in range(room.AT_ONCE + 1)] == [400] * (room.AT_ONCE + 1)
