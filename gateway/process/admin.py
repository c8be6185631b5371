"""The admin process: runs `admin.app` on the admin socket and carries its questions to the workers."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count

import msgspec
import uvloop

from gateway.admin.app import Answer, Health, make_app, start
from gateway.config import Settings
from gateway.directory.backends import as_registry
from gateway.directory.sandbox import DirectoryError, Registry
from gateway.directory.shared import Shared
from gateway.directory.watching import tend, watch
from gateway.errors import UserError
from gateway.observe import logs
from gateway.process.explain import Own, make_context
from gateway.process.pulse import Pulse, Stage, start_beating, take_orders
from gateway.process.worker import Question, Status
from gateway.tasks import Tasks

log = logging.getLogger("gateway.process")

ANSWER_TIMEOUT = 0.8
"""Seconds the workers have to answer, together: who asks (Kubernetes, by default) waits for 1 s."""


class Workers:
    """Asks over one datagram socket pair per worker slot; `tasks` owns the asking.

    There is one round of questions at a time, and whoever asks meanwhile is told what comes of that: however many ask,
    and whoever stands still, nobody waits for more than one round.
    """

    def __init__(self, channels: Sequence[socket.socket], tasks: Tasks) -> None:
        self._channels = channels
        self._tasks = tasks
        self._numbers = count(1)
        self._asking: asyncio.Task[list[Answer]] | None = None  # the round under way

    async def ask(self) -> list[Answer]:
        """Every worker's status, None where none came in time."""
        if self._asking is None:
            self._asking = self._tasks.spawn(self._ask(), "how are the workers?")
            self._asking.add_done_callback(self._asked)
        # shield: one asker going away must not take the answer from the others.
        return await asyncio.shield(self._asking)

    def _asked(self, _: object) -> None:
        self._asking = None

    async def _ask(self) -> list[Answer]:
        loop, question = asyncio.get_running_loop(), Question(next(self._numbers))
        answers: list[Answer] = [None] * len(self._channels)
        complete = asyncio.Event()

        def listen(slot: int) -> None:
            if answers[slot] is None:
                answers[slot] = _answer(self._channels[slot], question)
            if None not in answers:
                complete.set()

        try:
            for slot, channel in enumerate(self._channels):
                loop.add_reader(channel, listen, slot)
                with suppress(BlockingIOError):  # its questions pile up unanswered, and this one will be
                    channel.send(msgspec.json.encode(question))
            with suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_TIMEOUT):
                    await complete.wait()
        finally:
            for channel in self._channels:
                loop.remove_reader(channel)
        return answers


def _answer(channel: socket.socket, question: Question) -> Answer:
    """What the worker has answered to `question`, None if it has not; late answers to others are thrown away."""
    while True:
        try:
            status = msgspec.json.decode(channel.recv(4096), type=Status)
        except BlockingIOError:
            return None
        if status.question == question.number:
            return {key: value for key, value in msgspec.to_builtins(status).items() if key != "question"}


@dataclass(frozen=True, slots=True)
class Post:
    """What the admin process is given."""

    settings: Settings
    own: Own
    """The public listeners, which no URL leads back to."""
    token: str
    """What the API asks for; empty: nothing."""
    door: socket.socket
    """The listening socket."""
    channels: Sequence[socket.socket]
    """The admin's ends of the workers' channels."""
    lifeline: int
    """Read end of a pipe; end of file means that the supervisor is gone."""
    shared: Shared
    """What all workers know of the directory."""


def run(post: Post, pulse: Pulse) -> int:
    """Serves until SIGTERM, or until the supervisor is gone. SIGUSR1 makes readiness fail."""
    try:
        uvloop.run(_serve(post, pulse))
    except UserError as error:  # what was in order at the start is not so any more, e.g. the file of sandboxes
        log.error("the admin process cannot start: %s", error)
        return 1
    return 0


async def _serve(post: Post, pulse: Pulse) -> None:
    loop, tasks, shared = asyncio.get_running_loop(), Tasks(), post.shared
    start_beating(pulse, post.settings.process.stuck_timeout)
    logs.open_in(loop)
    health = Health(Workers(post.channels, tasks).ask, tasks)
    health.draining = pulse.closing  # its predecessor died after the gateway had been told to stop
    directory = shared.open(post.settings.directory)
    context = make_context(post.settings, directory, post.own, tasks)
    runner = await start(make_app(health, context, post.token), post.door)
    # Whoever asks here asks the backend itself: only what the workers know together is to be told of changes.
    tasks.keep(partial(watch, directory, shared.changed, shared.availability(directory)), "directory watch")
    registry = as_registry(post.settings.directory, directory)
    if registry is not None:
        tasks.spawn(_look_for_obstacle(registry), "can records be written?")
        tasks.keep(partial(tend, registry), "what has ended leaves the registry")
    if shared.keeper is not None:
        tasks.keep(shared.keeper.run, "keeping what is known")
    finish = asyncio.Event()

    def drain() -> None:
        health.draining = True

    loop.add_signal_handler(signal.SIGTERM, finish.set)
    loop.add_signal_handler(signal.SIGUSR1, drain)
    loop.add_reader(post.lifeline, finish.set)
    pulse.stage = Stage.SERVING
    take_orders()
    await finish.wait()
    loop.remove_reader(post.lifeline)
    await runner.cleanup()
    await tasks.cancel()
    if shared.keeper is not None:
        await loop.run_in_executor(None, partial(shared.keeper.look, last=True))  # the workers have ended
    await directory.close()


async def _look_for_obstacle(registry: Registry) -> None:
    """Says at the start what the first registration would find out."""
    try:
        why = await registry.obstacle()
    except DirectoryError:
        return  # it is away: the watch says so
    if why:
        log.warning("%s: sandboxes are served, and changes through the API are refused", why)
