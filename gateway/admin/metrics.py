"""`/metrics`: what was counted, as Prometheus reads it.

prometheus-client knows the text and its escapes; what there is to count, `metrics` says, and the sums come from whoever
holds the cells. Besides, what only this process can say: certificates, the program, its processes.
"""

from __future__ import annotations

import asyncio
import os
import platform
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from gateway import __version__, descriptors
from gateway.admin.problem import NO_STORE
from gateway.build import BUILD
from gateway.metrics import CPU, METRICS, Kind, Metric
from gateway.observe.totals import Totals
from gateway.tasks import Tasks
from gateway.tls.pair import CertificateFile

PREFIX = "gateway_"
FEW = 64
"""Series of a counter that are shown before anything was counted in them: a rate needs a zero to begin at."""


def _nothing() -> Totals:
    return Totals.of([])


@dataclass(slots=True)
class Sources:
    """Where this process learns what `/metrics` and the status page tell. By default nothing is known."""

    totals: Callable[[], Totals] = _nothing
    processes: Callable[[], Iterable[tuple[str, int]]] = tuple
    """Names (`worker 0`, `admin`, `supervisor`) and pids."""
    certificates: Callable[[], Iterable[CertificateFile]] = tuple
    """Those that are loaded."""
    started: float = 0.0
    """When the gateway was: Unix time."""
    directory: str = ""
    """Names the backend."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Those of `[limits]` by which somebody may be refused, by name."""


class MetricsHandler:
    """`ready` asks the workers, which so bring their numbers up to date, and says whether the gateway is ready."""

    def __init__(self, sources: Sources, ready: Callable[[], Awaitable[bool]], tasks: Tasks) -> None:
        self._sources = sources
        self._ready = ready
        self._tasks = tasks
        self._rendering: dict[str, asyncio.Task[bytes]] = {}  # under way, by content type

    async def metrics(self, request: web.Request) -> web.Response:
        """GET /metrics, in the version of the text that the scraper prefers."""
        encode, content_type = _encoder(request.headers.get("Accept", ""))
        if content_type not in self._rendering:  # however many scrape at once, each text is made once
            task = self._tasks.spawn(self._render(encode), "metrics")
            self._rendering[content_type] = task
            task.add_done_callback(lambda _: self._rendering.pop(content_type))
        text = await asyncio.shield(self._rendering[content_type])
        return web.Response(body=text, headers={**NO_STORE, "Content-Type": content_type})

    async def _render(self, encode: Callable[[CollectorRegistry], bytes]) -> bytes:
        ready = await self._ready()

        def render() -> bytes:
            collected = CollectorRegistry(auto_describe=False)
            collected.register(_Collected(list(families(self._sources, ready))))
            return encode(collected)

        # In a thread: a process may have tens of thousands of descriptors to be counted.
        return await asyncio.get_running_loop().run_in_executor(None, render)


def _encoder(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    """The text that a scraper prefers; of one that says so in no way that can be read, the classic one."""
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):
        return choose_encoder("")


class _Collected(Collector):
    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> list[Family]:
        return self._families

    def describe(self) -> list[Family]:
        return []  # else it would be collected once more, to be looked at


def families(sources: Sources, ready: bool) -> Iterator[Family]:
    """Everything that is told."""
    totals = sources.totals()
    for metric in METRICS:
        if metric is CPU:
            cpu = CounterMetricFamily("process_cpu_seconds", "Processor time of all processes, former ones too.")
            cpu.add_metric([], totals.value(CPU) / 1e6)
            yield cpu
        elif metric.kind is Kind.HISTOGRAM:
            yield _histogram(metric, totals)
        else:
            yield _plain(metric, totals)
    yield GaugeMetricFamily(PREFIX + "ready", "1 if /readyz answers 200: what a balancer sees.", float(ready))
    expiry = GaugeMetricFamily(
        PREFIX + "certificate_not_after_timestamp_seconds", "When a certificate expires: Unix time.", labels=["name"]
    )
    for file in sources.certificates():
        expiry.add_metric([file.name], file.expires)
    yield expiry
    build = GaugeMetricFamily(
        PREFIX + "build_info", "Always 1; what runs is in its labels.", labels=["version", "python", "loop", "build"]
    )
    build.add_metric([__version__, platform.python_version(), "uvloop", BUILD], 1)
    yield build
    yield from _of_processes(sources)


def _plain(metric: Metric, totals: Totals) -> Family:
    name = PREFIX + metric.name
    family: CounterMetricFamily | GaugeMetricFamily
    if metric.kind is Kind.COUNTER:
        family = CounterMetricFamily(name, metric.help, labels=metric.labels)
    else:
        family = GaugeMetricFamily(name, metric.help, labels=metric.labels)
    for labels, cell in metric.series():
        if totals.cells[cell] or metric.size <= FEW:
            family.add_metric(labels, totals.cells[cell])
    return family


def _histogram(metric: Metric, totals: Totals) -> Family:
    family = HistogramMetricFamily(PREFIX + metric.name, metric.help, labels=metric.labels)
    bounds = [*map(str, metric.bounds), "+Inf"]
    for labels, cell in metric.series():
        *buckets, microseconds = totals.cells[cell : cell + metric.width]
        if any(buckets) or not labels:
            family.add_metric(labels, list(zip(bounds, accumulate(buckets), strict=True)), microseconds / 1e6)
    return family


def _of_processes(sources: Sources) -> Iterator[Family]:
    """By Prometheus's usual names. Former processes of a slot that still drain are counted with the present one."""
    memory = GaugeMetricFamily(
        "process_resident_memory_bytes",
        "Of each process, with former ones that drain; what they share is in each.",
        labels=["process"],
    )
    open_files = GaugeMetricFamily(
        "process_open_fds", "Open file descriptors of each process, with former ones that drain.", labels=["process"]
    )
    resident, opened = Counter[str](), Counter[str]()
    for name, pid in sources.processes():
        with suppress(OSError):  # it has just ended
            resident[name] += _resident(pid)
            opened[name] += sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    for name, octets in resident.items():
        memory.add_metric([name], octets)
        open_files.add_metric([name], opened[name])
    yield memory
    yield open_files
    yield GaugeMetricFamily("process_max_fds", "The limit of each process.", descriptors.limit())


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
