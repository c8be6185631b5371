"""The admin API against its own OpenAPI document: schemathesis makes requests, valid ones and others, from the document
and holds every reply against it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import Any

import pytest
import schemathesis
from aiohttp import web
from hypothesis import HealthCheck, given, settings, strategies
from schemathesis import GenerationMode, checks

from gateway.admin.app import Health, make_app
from gateway.directory.memory import MemoryRegistry
from gateway.directory.sandbox import Sandbox
from tests.unit.admin.conftest import one_ready_worker
from tests.unit.admin.test_sandboxes import DOCUMENT
from tests.unit.diagnosis.harness import Looking, make_context

CHECKS = (
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
)
"""Not the ones that expect every well-formed registration to be taken: addresses have a policy."""


class Api:
    """The admin application on a loopback port, in a thread with an event loop of its own."""

    def __init__(self) -> None:
        self.url = ""
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        self._loop, self._finish = asyncio.get_running_loop(), asyncio.Event()
        store = MemoryRegistry({name: Sandbox(name, IPv6Address("::1"), "7") for name in ("0", "a", "box")})
        context = make_context(Looking(), directory=store)  # ::1 is all that it may dial
        runner = web.AppRunner(make_app(Health(one_ready_worker), context))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._listening.set()
        await self._finish.wait()
        await runner.cleanup()
        await context.tasks.cancel()
        await store.close()

    def start(self) -> None:
        self._thread.start()
        assert self._listening.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._finish.set)
        self._thread.join(10)


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    api.start()
    yield api
    api.stop()


# Not schemathesis' own parametrize: its plugin knows neither this pytest nor its markers.
OPERATIONS = [found.ok() for found in schemathesis.openapi.from_dict(DOCUMENT.document).get_all_operations()]


@pytest.mark.ipv6
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_every_reply_is_as_documented(operation: Any, api: Api) -> None:
    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE),
        strategies.booleans(),
    )
    def hold(case: schemathesis.Case, known: bool) -> None:
        if known:  # else few requests come further than "no such sandbox" and "not an address of ours"
            if "id" in case.path_parameters:
                case.path_parameters["id"] = "box"
            if isinstance(case.body, dict) and "address" in case.body:
                case.body["address"] = "::1"
        case.call_and_validate(base_url=api.url, checks=CHECKS)

    hold()
