"""The admin process: runs `admin.app` on the admin socket and asks the workers for their status."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count

import msgspec
import uvloop

from gateway.admin.app import Health, make_app, start
from gateway.admin.auth import TokenFile
from gateway.admin.metrics import Sources
from gateway.admin.overview import Answer, refusing
from gateway.config import Settings
from gateway.directory.backends import as_registry
from gateway.directory.sandbox import DirectoryError, Registry
from gateway.directory.shared import Shared
from gateway.directory.watching import tend, watch
from gateway.edge.sampler import INTERVAL as SAMPLE_INTERVAL
from gateway.edge.sampler import sample_cpu
from gateway.errors import UserError
from gateway.metrics import private
from gateway.observe import logs
from gateway.process.explain import Own, make_context
from gateway.process.heartbeat import Heartbeat, Stage, notify_supervisor, start_heartbeat, unblock_signals
from gateway.process.reload_state import ReloadState
from gateway.process.shared_metrics import ADMIN, Block, SharedMetrics
from gateway.process.worker import Status, StatusRequest, told
from gateway.tasks import Tasks
from gateway.tls.store import CertificateStore

log = logging.getLogger("gateway.process")

LARGEST_ANSWER = 128 * 1024
"""Octets of a status."""
ANSWER_TIMEOUT = 0.8
"""Seconds that all workers together have to answer: Kubernetes' probes wait for 1 s by default."""
TRIES = 2
"""An answer is lost if, in a reload, the former admin process still asks and reads it; or its worker has ended."""


class Workers:
    """Asks over one datagram socket pair per worker slot; `tasks` owns the asking.

    One round of requests at a time, whose answers serve all callers: nobody waits for more than one round.
    """

    def __init__(self, channels: Sequence[socket.socket], tasks: Tasks) -> None:
        self._channels = channels
        self._tasks = tasks
        self._numbers = count(secrets.randbits(48))  # while two admin processes ask, none takes the other's answers
        self._asking: asyncio.Task[list[Answer]] | None = None  # the round under way

    async def ask(self) -> list[Answer]:
        """Every worker's status; None: not in time."""
        if self._asking is None:
            self._asking = self._tasks.spawn(self._ask(), "how are the workers?")
            self._asking.add_done_callback(self._asked)
        # shield: a caller that is cancelled must not cancel the round of the others.
        return await asyncio.shield(self._asking)

    def _asked(self, _: object) -> None:
        self._asking = None

    async def _ask(self) -> list[Answer]:
        loop, request = asyncio.get_running_loop(), StatusRequest(next(self._numbers))
        answers: list[Answer] = [None] * len(self._channels)
        complete = asyncio.Event()

        def listen(slot: int) -> None:
            answers[slot] = _answer(self._channels[slot], request)
            if answers[slot] is not None:
                loop.remove_reader(self._channels[slot])
            if None not in answers:
                complete.set()

        try:
            for slot, channel in enumerate(self._channels):
                loop.add_reader(channel, listen, slot)
            for _ in range(TRIES):
                for answer, channel in zip(answers, self._channels, strict=True):
                    with suppress(BlockingIOError):  # a stuck worker: its requests pile up
                        if answer is None:
                            channel.send(msgspec.json.encode(request))
                with suppress(TimeoutError):
                    async with asyncio.timeout(ANSWER_TIMEOUT / TRIES):
                        await complete.wait()
                        break
        finally:
            for channel in self._channels:
                loop.remove_reader(channel)
        return answers


def _answer(channel: socket.socket, request: StatusRequest) -> Answer:
    """What the worker has answered to `request`, None if nothing yet; skips late answers to earlier ones."""
    while True:
        try:
            status = msgspec.json.decode(channel.recv(LARGEST_ANSWER), type=Status)
        except BlockingIOError:
            return None
        if status.request == request.number:
            return told(status)


@dataclass(frozen=True, slots=True)
class AdminSlot:
    """What the admin process, and each that replaces it, is given."""

    settings: Settings
    own: Own
    """As `Slot.own`."""
    token: TokenFile
    """Required by the API."""
    listen_socket: socket.socket
    channels: Sequence[socket.socket]
    """The admin's ends of the workers' channels."""
    lifeline: int
    """As `Slot.lifeline`."""
    shared: Shared
    """As `Slot.shared`."""
    reload: ReloadState
    metrics: SharedMetrics
    certificates: CertificateStore | None = None
    """As `Slot.certificates`."""


def run(slot: AdminSlot, heartbeat: Heartbeat) -> int:
    """Serves until SIGTERM, or until the supervisor is gone. SIGUSR1 makes readiness fail."""
    try:
        uvloop.run(_serve(slot, heartbeat))
    except UserError as error:  # something has changed since the start, e.g. the file of sandboxes
        log.error("the admin process cannot start: %s", error)
        return 1
    return 0


async def _serve(slot: AdminSlot, heartbeat: Heartbeat) -> None:
    loop, tasks, shared = asyncio.get_running_loop(), Tasks(), slot.shared
    start_heartbeat(heartbeat, slot.settings.process.stuck_timeout)
    logs.open_in(loop)
    directory = shared.open(slot.settings.directory)
    sources = Sources(
        slot.metrics.read,
        partial(_processes, slot.metrics),
        started=slot.metrics.started,
        directory=directory.where,
        limits=refusing(slot.settings.limits),
    )
    health = Health(Workers(slot.channels, tasks).ask, tasks, slot.reload, sources)
    tasks.keep(partial(_sample, heartbeat.block), "what this process costs")
    health.draining = heartbeat.stopping  # it replaces one that died while the gateway stops
    context = make_context(slot.settings, directory, slot.own, tasks)
    runner = await start(make_app(health, context, lambda: slot.token.token), slot.listen_socket)
    # Whoever asks here asks the backend itself: only what the workers know together is to be told of changes.
    tasks.keep(partial(watch, directory, shared.changed, shared.availability(directory)), "directory watch")
    registry = as_registry(directory)
    if registry is not None:
        tasks.spawn(_look_for_obstacle(registry), "can records be written?")
        tasks.keep(partial(tend, registry), "what has ended leaves the registry")
    if shared.keeper is not None:
        tasks.keep(shared.keeper.run, "keeping what is known")
    slot.token.speaks = False  # the supervisor does
    tasks.keep(slot.token.watch, "token file watch")
    if slot.certificates is not None:
        slot.certificates.listen_only()
        health.unserved = partial(slot.certificates.unserved, slot.settings.edge.domains)
        sources.certificates = slot.certificates.files
        tasks.keep(slot.certificates.watch, "certificate watch")
    finish = asyncio.Event()
    orphaned = asyncio.Event()

    def orphan() -> None:
        orphaned.set()
        finish.set()

    def flags_changed() -> None:
        health.draining = heartbeat.stopping

    loop.add_signal_handler(signal.SIGTERM, finish.set)
    loop.add_signal_handler(signal.SIGUSR1, flags_changed)
    loop.add_reader(slot.lifeline, orphan)
    heartbeat.stage = Stage.SERVING
    notify_supervisor()
    unblock_signals()
    await finish.wait()
    loop.remove_reader(slot.lifeline)
    await runner.cleanup()
    await tasks.cancel()
    if shared.keeper is not None and (heartbeat.is_last or orphaned.is_set()):  # else its successor keeps what is known
        await loop.run_in_executor(None, partial(shared.keeper.look, last=True))  # the workers have ended
    await directory.close()


def _processes(shared_metrics: SharedMetrics) -> Iterator[tuple[str, int]]:
    yield "supervisor", os.getppid()
    for pid, number in shared_metrics.processes():
        yield "admin" if number == ADMIN else f"worker {number}", pid


async def _sample(block: Block) -> None:
    cells = private()
    while True:
        sample_cpu(cells)
        block.publish(cells)
        await asyncio.sleep(SAMPLE_INTERVAL)


async def _look_for_obstacle(registry: Registry) -> None:
    """Logs at the start why records cannot be written, if so."""
    try:
        why = await registry.obstacle()
    except DirectoryError:
        return  # the directory watch logs it
    if why:
        log.warning("%s: sandboxes are served, and changes through the API are refused", why)
