"""A worker: one event loop that serves its slot's sockets until told to finish.

SIGTERM drains: what is under way is finished, then the worker exits 0. If no other process succeeds it, it also accepts
what is queued. A second SIGTERM cuts off what has not finished. A worker also drains when its supervisor has died,
which closes a pipe. SIGUSR1 says to look what the heartbeat's page says: that the gateway is about to end, so that
answers say `Connection: close`; that log files are to be opened anew.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import uvloop

from gateway.addresses import Bound
from gateway.config import Settings
from gateway.directory.shared import Shared
from gateway.directory.watching import watch
from gateway.edge.drain import Drain
from gateway.edge.edge import Edge
from gateway.edge.listener import Listener
from gateway.edge.local_reply import LocalReply
from gateway.edge.sampler import Sampler
from gateway.errors import UserError
from gateway.observe import logs
from gateway.observe.access_log import AccessLog, LineLog, NoLog, json_lines, text_lines
from gateway.observe.heavy_hitters import Hitter
from gateway.observe.log_file import LogFile
from gateway.observe.recent_failures import RecentFailure
from gateway.observe.sink import LogSink
from gateway.observe.spans import Spans
from gateway.observe.telemetry import Telemetry
from gateway.process import memory
from gateway.process.drain import Shutdown, drain
from gateway.process.heartbeat import (
    Heartbeat,
    Stage,
    block_signals,
    notify_supervisor,
    start_heartbeat,
    unblock_signals,
)
from gateway.tls.store import CertificateStore
from gateway.upstream.claims import Claims

log = logging.getLogger("gateway.process")

BUSIEST = 32
"""Sandboxes that a worker tells of."""


@dataclass(frozen=True, slots=True)
class ListenSocket:
    """A listening socket of a slot, and how it answers: see `Listener`."""

    socket: socket.socket
    tls: ssl.SSLContext | None
    local_reply: LocalReply | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """What a worker, and each that replaces it, is given."""

    number: int
    listen_sockets: tuple[ListenSocket, ...]
    own: Sequence[Bound]
    """Every listener of this gateway, the admin's too: none is ever dialed."""
    channel: socket.socket
    """The worker's end of its channel to the admin process: datagrams of JSON."""
    lifeline: int
    """Read end of a pipe; end of file: the supervisor has ended."""
    shared: Shared
    """What all workers know of the directory."""
    claims: Claims
    """What all workers claim of each other's idle connections."""
    certificates: CertificateStore | None = None
    """What TLS listeners serve, as far as the supervisor had loaded it; None: there are none."""
    generation: int = 1
    """Of the settings."""


class Status(msgspec.Struct):
    """A worker's answer to a `StatusRequest`."""

    request: int
    """Its number."""
    worker: int
    pid: int
    state: str
    """`ready` or `draining`."""
    connections: int
    exchanges: int
    upstream: int
    """Upstream connections, idle ones included."""
    failing: list[str]
    """See `Tasks.failing`."""
    generation: int = 1
    """Of its settings."""
    directory: str = ""
    """Why the directory cannot be asked; empty: it can."""
    records: int = 0
    """Records of the directory that it remembers."""
    busiest: list[Hitter] = []
    """Sandboxes, of the last one to two minutes."""
    failures: list[RecentFailure] = []
    """The latest of each reason."""


class StatusRequest(msgspec.Struct):
    """From the admin process; `number` comes back in the answer, which may be late."""

    number: int


def run(settings: Settings, slot: Slot, heartbeat: Heartbeat) -> int:
    """Serves until drained; returns the exit status."""
    try:
        uvloop.run(_serve(settings, slot, heartbeat))
    except UserError as error:  # something has changed since the start, e.g. the file of sandboxes
        log.error("worker %d cannot start: %s", slot.number, error)
        return 1
    return 0


async def _serve(settings: Settings, slot: Slot, heartbeat: Heartbeat) -> None:
    loop, process = asyncio.get_running_loop(), settings.process
    start_heartbeat(heartbeat, process.stuck_timeout)
    directory = slot.shared.open(settings.directory)
    logs.open_in(loop)
    access_log = make_access_log(settings, loop)
    telemetry = Telemetry(access_log, publish=heartbeat.block.publish, worker=slot.number)
    if settings.otel.endpoint:
        telemetry.spans = make_spans(settings)
    edge = Edge(settings, directory, telemetry, slot.own, slot.shared, slot.claims)
    sampler = Sampler(edge)
    shutdown = Shutdown()
    orphaned = asyncio.Event()

    def orphan() -> None:
        loop.remove_reader(slot.lifeline)
        edge.health.stopping = True
        orphaned.set()
        shutdown.begun.set()

    def listeners_closed() -> None:
        heartbeat.stage = Stage.LISTENERS_CLOSED
        notify_supervisor()

    def told_to_end() -> None:
        shutdown.signal()
        if heartbeat.hurried:
            shutdown.hurried.set()

    reopenings = heartbeat.reopenings

    def flags_changed() -> None:
        nonlocal reopenings
        if heartbeat.reopenings != reopenings:
            reopenings = heartbeat.reopenings
            telemetry.flush()  # what is written is counted
            access_log.reopen()
        if heartbeat.stopping:
            edge.health.stopping = True
            edge.announce_drain()

    loop.add_signal_handler(signal.SIGTERM, told_to_end)
    loop.add_signal_handler(signal.SIGUSR1, flags_changed)
    flags_changed()  # it may take the place of one that died meanwhile
    loop.add_reader(slot.lifeline, orphan)
    loop.add_reader(slot.channel, _answer, slot, edge, sampler)
    collector = memory.Collector(loop, lambda: edge.under_way)
    edge.tasks.keep(partial(watch, directory, edge.records_changed, edge.directory.availability), "directory watch")
    if slot.certificates is not None:
        slot.certificates.listen_only()  # the supervisor tells what becomes of the files
        edge.tasks.keep(slot.certificates.watch, "certificate watch")
        edge.health.unserved = partial(slot.certificates.unserved, settings.edge.domains)
    listeners = [Listener(edge, each.socket, each.tls, each.local_reply) for each in slot.listen_sockets]
    heartbeat.stage = Stage.SERVING
    notify_supervisor()
    unblock_signals()
    log.debug("worker %d ready", slot.number)
    await shutdown.begun.wait()
    if not (heartbeat.is_last or orphaned.is_set()):
        loop.remove_reader(slot.channel)  # the successor answers for this slot
        for listener in listeners:
            listener.close()  # what is queued is for the successor
        listeners = []
    plan = Drain(edge, process.drain_timeout, process.drain_spread, f"worker {slot.number}")
    await drain(plan, listeners, shutdown, listeners_closed)
    collector.close()
    if telemetry.spans is not None:
        await loop.run_in_executor(None, telemetry.spans.log.close)
    await directory.close()
    telemetry.flush()
    access_log.close()
    sampler.close()  # last, because what nobody took of the log is counted, too
    block_signals()


def make_access_log(settings: Settings, loop: asyncio.AbstractEventLoop) -> AccessLog:
    """The access log that `[log]` asks for."""
    if not settings.log.access:
        return NoLog()
    sink = LogFile(settings.log.path) if settings.log.path is not None else LogSink(1)
    sink.attach(loop, sink.pump)
    return LineLog(json_lines if settings.log.format == "json" else text_lines, loop.call_later, sink)


def status_of(edge: Edge, worker: int, generation: int = 1, request: int = 0) -> Status:
    """How this worker is."""
    return Status(
        request=request,
        worker=worker,
        pid=os.getpid(),
        generation=generation,
        state="draining" if edge.draining else "ready",
        connections=edge.connections,
        exchanges=sum(edge.exchanges.values()),
        upstream=len(edge.pool.connections),
        failing=edge.failing,
        directory=edge.directory.availability.away,
        records=len(edge.directory),
        busiest=edge.telemetry.busiest.top(BUSIEST, time.monotonic()),
        failures=edge.telemetry.failures.all(),
    )


def told(status: Status) -> dict[str, Any]:
    """As the admin listener tells it on."""
    return {key: value for key, value in msgspec.to_builtins(status).items() if key != "request"}


def make_spans(settings: Settings) -> Spans:
    """The spans that `[otel]` asks for."""
    from gateway.observe.otel import OtlpSpanLog  # the extra, only if it is asked for

    return Spans(settings.otel.sample_ratio, OtlpSpanLog(settings.otel.endpoint))


def _answer(slot: Slot, edge: Edge, sampler: Sampler) -> None:
    try:
        sampler.sample()
        request = msgspec.json.decode(slot.channel.recv(4096), type=StatusRequest)
        status = status_of(edge, slot.number, slot.generation, request.number)
        slot.channel.send(msgspec.json.encode(status))
    except BlockingIOError:
        return  # another process of this slot was quicker, or nobody reads the answers
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("the admin's question could not be answered: %s", error)
