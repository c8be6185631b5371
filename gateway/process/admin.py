"""The admin process: runs `admin.app` on the admin socket and carries its questions to the workers."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Sequence
from itertools import count

import msgspec
import uvloop
from aiohttp import web

from gateway.admin.app import Health, make_app
from gateway.process.worker import Question, Status

ANSWER_TIMEOUT = 1.0
"""Seconds a worker has to answer; one that cannot in that time is not ready."""


class Workers:
    """Asks over one datagram socket pair per worker slot."""

    def __init__(self, channels: Sequence[socket.socket]) -> None:
        self._channels = channels
        self._numbers = count(1)
        self._asking = asyncio.Lock()  # answers carry no asker: one round at a time

    async def ask(self) -> list[dict[str, object] | None]:
        """Every worker's status, None where none came in time."""
        async with self._asking:
            number = next(self._numbers)
            for channel in self._channels:
                try:
                    channel.send(msgspec.json.encode(Question(number)))
                except BlockingIOError:
                    continue  # its questions pile up unanswered; it is not ready, and will be reported so
            return [await self._answer(channel, number) for channel in self._channels]

    async def _answer(self, channel: socket.socket, number: int) -> dict[str, object] | None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                while True:
                    status = msgspec.json.decode(await loop.sock_recv(channel, 4096), type=Status)
                    if status.question == number:
                        return {key: value for key, value in msgspec.to_builtins(status).items() if key != "question"}
        except TimeoutError:
            return None


def run(sock: socket.socket, channels: Sequence[socket.socket], lifeline: int) -> int:
    """Serves until SIGTERM, or until the supervisor is gone. SIGUSR1 makes readiness fail."""
    uvloop.run(_serve(sock, channels, lifeline))
    return 0


async def _serve(sock: socket.socket, channels: Sequence[socket.socket], lifeline: int) -> None:
    loop = asyncio.get_running_loop()
    health = Health(Workers(channels).ask)
    runner = web.AppRunner(make_app(health), access_log=None)
    await runner.setup()
    await web.SockSite(runner, sock).start()
    finish = asyncio.Event()

    def drain() -> None:
        health.draining = True

    loop.add_signal_handler(signal.SIGTERM, finish.set)
    loop.add_signal_handler(signal.SIGUSR1, drain)
    loop.add_reader(lifeline, finish.set)
    await finish.wait()
    loop.remove_reader(lifeline)
    await runner.cleanup()
