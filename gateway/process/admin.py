"""The admin process: runs `admin.app` on the admin socket and carries its questions to the workers."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count

import msgspec
import uvloop

from gateway.admin.app import Health, make_app, start
from gateway.config import Settings
from gateway.directory.backends import as_registry, open_directory
from gateway.directory.sandbox import DirectoryError, Registry
from gateway.directory.shared import Shared
from gateway.directory.watching import keep_watching
from gateway.errors import UserError
from gateway.observe import logs
from gateway.process.explain import Own, make_context
from gateway.process.pulse import Pulse, Stage, start_beating, take_orders
from gateway.process.worker import Question, Status
from gateway.tasks import Tasks

log = logging.getLogger("gateway.process")

ANSWER_TIMEOUT = 1.0
"""Seconds the workers have to answer, together; one that cannot in that time is not ready."""
READ_TIME = 0.05
"""Seconds to read an answer that is there, or to see that it is not."""


class Workers:
    """Asks over one datagram socket pair per worker slot."""

    def __init__(self, channels: Sequence[socket.socket]) -> None:
        self._channels = channels
        self._numbers = count(1)
        self._asking = asyncio.Lock()  # answers carry no asker: one round at a time

    async def ask(self) -> list[dict[str, object] | None]:
        """Every worker's status, None where none came in time."""
        async with self._asking:
            number, latest = next(self._numbers), asyncio.get_running_loop().time() + ANSWER_TIMEOUT
            for channel in self._channels:
                try:
                    channel.send(msgspec.json.encode(Question(number)))
                except BlockingIOError:
                    continue  # its questions pile up unanswered; it is not ready, and will be reported so
            return [await self._answer(channel, number, latest) for channel in self._channels]

    async def _answer(self, channel: socket.socket, number: int, latest: float) -> dict[str, object] | None:
        loop = asyncio.get_running_loop()
        try:
            # However long another one was waited for, what has come by then is read.
            async with asyncio.timeout_at(max(latest, loop.time() + READ_TIME)):
                while True:
                    status = msgspec.json.decode(await loop.sock_recv(channel, 4096), type=Status)
                    if status.question == number:
                        return {key: value for key, value in msgspec.to_builtins(status).items() if key != "question"}
        except TimeoutError:
            return None


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
    health = Health(Workers(post.channels).ask)
    health.draining = pulse.closing  # its predecessor died after the gateway had been told to stop
    directory = open_directory(post.settings.directory)
    context = make_context(post.settings, directory, post.own, tasks)
    runner = await start(make_app(health, context, post.token), post.door)
    # Whoever asks here asks the backend itself: only what the workers know together is to be told of changes.
    tasks.spawn(keep_watching(directory, shared.changed, shared.availability(directory)), "directory watch")
    registry = as_registry(post.settings.directory, directory)
    if registry is not None:
        tasks.spawn(_look_for_obstacle(registry), "can records be written?")
    if shared.keeper is not None:
        tasks.spawn(shared.keeper.run(), "keeping what is known")
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
