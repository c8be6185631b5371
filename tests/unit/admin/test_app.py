"""Health, and what the router itself says."""

from __future__ import annotations

import asyncio
import json
from functools import partial

import pytest

from gateway.admin.app import Answer, Health
from gateway.admin.metrics import Sources
from gateway.admin.sandboxes import OPENAPI
from gateway.metrics import private
from gateway.observe.counters import Counters
from gateway.observe.totals import Totals
from gateway.tasks import Tasks
from tests.unit.admin.conftest import MakeClient, one_ready_worker
from tests.unit.admin.openapi import Document

DOCUMENT = Document(json.loads(OPENAPI))
READY: dict[str, object] = {"worker": 0, "state": "ready"}
DRAINING: dict[str, object] = {"worker": 1, "state": "draining"}


@pytest.mark.parametrize(
    ("workers", "status", "told"),
    [
        ([READY], 200, {"status": "ready"}),
        ([READY, DRAINING], 503, {"status": "not ready"}),
        ([READY, None], 503, {"status": "not ready", "unanswered": ["worker 1"]}),
        ([None, READY, None], 503, {"status": "not ready", "unanswered": ["worker 0", "worker 2"]}),
        ([], 503, {"status": "not ready"}),
    ],
)
async def test_ready_when_every_worker_is(
    client_of: MakeClient, workers: list[Answer], status: int, told: dict[str, object]
) -> None:
    async def ask() -> list[Answer]:
        return workers

    client = await client_of(health=Health(ask))
    async with client.get("/readyz") as answer:
        assert answer.status == status
        said = await answer.json()
        assert said.pop("counters")["health_checks"] == 0
        assert said == {**told, "workers": workers}
        assert answer.headers["Cache-Control"] == "no-store"


async def test_what_all_workers_have_counted(client_of: MakeClient) -> None:
    cells = private()
    counters = Counters(cells)
    counters.connections_refused.connections += 5
    counters.health_checks += 1
    sources = Sources(lambda: Totals.of([cells]))
    client = await client_of(health=Health(one_ready_worker, sources=sources))
    async with client.get("/readyz") as answer:
        told = await answer.json()
    assert told["counters"]["connections_refused"]["connections"] == 5
    assert told["counters"]["health_checks"] == 1
    DOCUMENT.check_reply("GET", "/readyz", answer.status, answer.headers, told)


async def test_not_ready_while_a_domain_has_no_valid_certificate(client_of: MakeClient) -> None:
    async def ask() -> list[Answer]:
        return [READY]

    health = Health(ask)
    sentences = ["no valid certificate for *.a.example: cert.pem expired on 2026-01-01 at 00:00 UTC."]
    client = await client_of(health=health)
    for unserved, status, said in ((sentences, 503, "not ready"), ([], 200, "ready")):
        health.unserved = partial(list, unserved)
        async with client.get("/readyz") as answer:
            told = await answer.json()
            assert (answer.status, told["status"], told.get("certificates", [])) == (status, said, unserved)
            DOCUMENT.check_reply("GET", "/readyz", answer.status, answer.headers, told)


async def test_what_fails_is_named_and_visitors_stay(client_of: MakeClient) -> None:
    async def ask() -> list[Answer]:
        return [{**READY, "failing": []}, {**READY, "worker": 1, "failing": ["directory watch"]}]

    async def fail() -> None:
        raise RuntimeError("a fault")

    tasks = Tasks()
    tasks.keep(fail, "keeping what is known")
    await asyncio.sleep(0)
    client = await client_of(health=Health(ask, tasks))
    async with client.get("/readyz") as answer:
        told = await answer.json()
        assert (answer.status, told["status"]) == (200, "ready")
        assert told["failing"] == ["worker 1: directory watch", "admin: keeping what is known"]
        DOCUMENT.check_reply("GET", "/readyz", answer.status, answer.headers, told)
    await tasks.cancel()


async def test_not_ready_while_draining(client_of: MakeClient) -> None:
    health = Health(one_ready_worker)
    health.draining = True
    client = await client_of(health=health)
    async with client.get("/readyz") as answer:
        assert (answer.status, (await answer.json())["status"]) == (503, "draining")
    async with client.get("/livez") as answer:
        assert (answer.status, await answer.text()) == (200, "ok\n")


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [("GET", "/nothing", 404, None), ("GET", "/v1/nothing", 404, None), ("POST", "/v1/explain", 405, "GET,HEAD")],
)
async def test_what_is_not_offered_is_a_problem_document(
    client_of: MakeClient, method: str, path: str, status: int, allow: str | None
) -> None:
    client = await client_of()
    async with client.request(method, path) as answer:
        assert answer.status == status
        assert answer.headers.get("Allow") == allow
        assert answer.content_type == "application/problem+json"
        problem = await answer.json()
        assert problem["status"] == status
        assert problem["detail"] == f"{method} {path} is not offered here"
