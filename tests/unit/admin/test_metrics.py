"""`/metrics`: what was counted, in the text that Prometheus reads."""

from __future__ import annotations

import asyncio
import os
import re
from typing import Any

from prometheus_client.parser import text_string_to_metric_families as parse

from gateway import __version__
from gateway.admin.app import Health
from gateway.admin.metrics import Sources
from gateway.admin.overview import Answer
from gateway.build import BUILD
from gateway.metrics import CONNECTIONS_OPEN, CPU, FAILURES, METRICS, REQUEST_DURATION, REQUESTS, Kind, private
from gateway.observe.totals import Totals
from gateway.tls.pair import CertificateFile
from tests.unit.admin.conftest import MakeClient, one_ready_worker


async def text_of(client_of: MakeClient, sources: Sources, accept: str = "") -> str:
    client = await client_of(health=Health(one_ready_worker, sources=sources))
    async with client.get("/metrics", headers={"Accept": accept}) as answer:
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-store"
        expected = "application/openmetrics-text" if accept else "text/plain"
        assert answer.headers["Content-Type"].startswith(expected)
        return await answer.text()


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Values by name and label values, which stand in the order of the labels' names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def sources(**known: Any) -> Sources:
    cells = private()
    cells[REQUESTS.at("HTTP/1.1", "GET", "200")] += 3
    cells[FAILURES.at("connection_refused")] += 1
    cells[CONNECTIONS_OPEN.at("downstream")] = 5
    cells[CPU.at()] += 1_500_000
    for seconds in (0.003, 0.02, 700.0):
        REQUEST_DURATION.observe(cells, seconds, "HTTP/1.1", "response")
    return Sources(lambda: Totals.of([cells]), **known)


async def test_what_was_counted_is_told(client_of: MakeClient) -> None:
    told = samples(await text_of(client_of, sources()))
    assert told["gateway_requests_total", "200", "GET", "HTTP/1.1"] == 3
    assert told["gateway_failures_total", "connection_refused"] == 1
    assert told["gateway_failures_total", "unknown_domain"] == 0, "a rate needs a zero to begin at"
    assert told["gateway_connections_open", "downstream"] == 5
    assert told["process_cpu_seconds_total",] == 1.5
    bucket = "gateway_request_duration_seconds_bucket"
    assert told[bucket, "response", "0.005", "HTTP/1.1"] == 1
    assert told[bucket, "response", "0.025", "HTTP/1.1"] == 2
    assert told[bucket, "response", "60.0", "HTTP/1.1"] == 2
    assert told[bucket, "response", "+Inf", "HTTP/1.1"] == 3
    assert told["gateway_request_duration_seconds_count", "response", "HTTP/1.1"] == 3
    assert told["gateway_request_duration_seconds_sum", "response", "HTTP/1.1"] == 700.023
    assert len([name for name in told if name[0] == "gateway_requests_total"]) == 1, "no thousands of zeros"


async def test_every_metric_of_the_table_is_there(client_of: MakeClient) -> None:
    text = await text_of(client_of, Sources())
    for metric in METRICS:
        name = "process_cpu_seconds_total" if metric is CPU else f"gateway_{metric.name}"
        kind = "histogram" if metric.kind is Kind.HISTOGRAM else metric.kind.value
        assert f"# TYPE {name} {kind}\n" in text


async def test_what_only_the_admin_process_knows(client_of: MakeClient) -> None:
    known = sources(
        processes=lambda: [("worker 0", os.getpid()), ("worker 0", os.getppid()), ("worker 1", 2**22 + 1)],
        certificates=lambda: [CertificateFile("a.pem", 5.0, "AB:CD")],
    )
    told = samples(await text_of(client_of, known))
    assert told["gateway_certificate_not_after_timestamp_seconds", "a.pem"] == 5
    assert told["gateway_ready",] == 1
    assert told["process_resident_memory_bytes", "worker 0"] > 1_000_000
    assert told["process_open_fds", "worker 0"] > 3
    assert ("process_open_fds", "worker 1") not in told, "it has just ended"
    [build] = [name for name in told if name[0] == "gateway_build_info"]
    assert __version__ in build
    assert BUILD in build


async def test_not_ready_is_told(client_of: MakeClient) -> None:
    async def ask() -> list[Answer]:
        return [None]

    client = await client_of(health=Health(ask))
    async with client.get("/metrics") as answer:
        assert samples(await answer.text())["gateway_ready",] == 0


async def test_a_scraper_may_prefer_openmetrics(client_of: MakeClient) -> None:
    text = await text_of(client_of, sources(), "application/openmetrics-text; version=1.0.0")
    assert text.endswith("# EOF\n")
    assert re.search(r'^gateway_requests_total\{.*code="200".*\} 3\.0$', text, re.MULTILINE)


async def test_a_preference_that_cannot_be_read_is_none(client_of: MakeClient) -> None:
    client = await client_of(health=Health(one_ready_worker, sources=sources()))
    async with client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=abc"}) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain")


async def test_however_many_scrape_one_text_serves_them(client_of: MakeClient) -> None:
    asked = 0
    go = asyncio.Event()

    async def ask() -> list[Answer]:
        nonlocal asked
        asked += 1
        await go.wait()
        return await one_ready_worker()

    client = await client_of(health=Health(ask, sources=sources()))
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        scrapes = [group.create_task(client.get("/metrics")) for _ in range(20)]
        while not asked:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # nothing shows that all have come
        go.set()
    for scrape in scrapes:
        async with scrape.result() as answer:
            assert answer.status == 200
    assert asked < 5
