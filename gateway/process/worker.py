"""A worker: one event loop that serves its slot's sockets until told to finish.

SIGTERM drains: what is queued is accepted, what is under way is finished, then the worker exits 0. The worker also
ends when its supervisor has died, which it learns from a pipe that only the supervisor holds open.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import ssl
from dataclasses import dataclass

import msgspec
import uvloop

from gateway.config import Settings
from gateway.directory.backends import open_directory
from gateway.edge.edge import Edge
from gateway.edge.listener import Listener, OwnListeners
from gateway.edge.refusal import Refusal
from gateway.errors import UserError
from gateway.observe.access_log import AccessLog, LineLog, NoLog, json_lines, text_lines
from gateway.process import memory

log = logging.getLogger("gateway.process")


@dataclass(frozen=True, slots=True)
class Door:
    """One listening socket of a slot and how it answers."""

    socket: socket.socket
    tls: ssl.SSLContext | None
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """What a worker is given, and inherits from its predecessor when it has to be replaced."""

    number: int
    doors: tuple[Door, ...]
    own: OwnListeners
    """Every listener of this gateway, the admin's too: none of them is ever dialed."""
    channel: socket.socket
    """The worker's end of the admin's questions: datagrams of JSON."""
    lifeline: int
    """Read end of a pipe; end of file means that the supervisor is gone."""


class Status(msgspec.Struct):
    """A worker's answer to the admin."""

    question: int
    worker: int
    pid: int
    state: str
    """`ready` or `draining`."""
    connections: int
    exchanges: int
    upstream: int
    """Upstream connections, idle ones included."""


class Question(msgspec.Struct):
    """What the admin asks; `number` comes back in the answer, so that a late one is not taken for another's."""

    number: int


def run(settings: Settings, slot: Slot) -> int:
    """Serves until drained; returns the exit status."""
    try:
        uvloop.run(_serve(settings, slot))
    except UserError as error:  # what was in order at the start is not so any more, e.g. the file of sandboxes
        log.error("worker %d cannot start: %s", slot.number, error)
        return 1
    return 0


async def _serve(settings: Settings, slot: Slot) -> None:
    loop = asyncio.get_running_loop()
    directory = open_directory(settings.directory)
    edge = Edge(settings, directory, make_access_log(settings, loop), slot.own)
    finish = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, finish.set)
    loop.add_reader(slot.lifeline, finish.set)
    loop.add_reader(slot.channel, _answer, slot, edge)
    collector = memory.Collector(loop, lambda: edge.connections)
    edge.tasks.spawn(directory.watch(edge.records_changed), "directory watch")
    listeners = [Listener(edge, door.socket, door.tls, door.refusal) for door in slot.doors]
    log.debug("worker %d ready", slot.number)
    await finish.wait()
    loop.remove_reader(slot.lifeline)
    for listener in listeners:
        listener.close()
    await finish_up(edge, settings.process.drain_timeout)
    collector.close()
    await directory.close()


async def finish_up(edge: Edge, patience: float) -> None:
    """Drains and closes `edge`; what is not finished after `patience` seconds is cut off."""
    edge.drain()
    try:
        async with asyncio.timeout(patience):
            await edge.drained()
    except TimeoutError:
        log.warning("closing %d connections that did not finish within %g s", edge.connections, patience)
    await edge.close()


def make_access_log(settings: Settings, loop: asyncio.AbstractEventLoop) -> AccessLog:
    """The access log that `[log]` asks for, on stdout."""
    if not settings.log.access:
        return NoLog()
    return LineLog(json_lines if settings.log.format == "json" else text_lines, loop.call_later)


def _answer(slot: Slot, edge: Edge) -> None:
    try:
        question = msgspec.json.decode(slot.channel.recv(4096), type=Question)
        status = Status(
            question=question.number,
            worker=slot.number,
            pid=os.getpid(),
            state="draining" if edge.draining else "ready",
            connections=edge.connections,
            exchanges=sum(edge.exchanges.values()),
            upstream=len(edge.pool.connections),
        )
        slot.channel.send(msgspec.json.encode(status))
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("the admin's question could not be answered: %s", error)
