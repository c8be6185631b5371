"""A worker: one event loop that serves its slot's sockets until told to finish.

SIGTERM drains: what is under way is finished, then the worker exits 0. If nobody follows it, because the gateway ends,
it also accepts what is queued. A second SIGTERM cuts off what has not finished. The worker also ends when its
supervisor has died, which it learns from a pipe that only the supervisor holds open.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import msgspec
import uvloop

from gateway.addresses import Bound
from gateway.config import Settings
from gateway.directory.shared import Shared
from gateway.directory.watching import watch
from gateway.edge.edge import Edge
from gateway.edge.listener import Listener
from gateway.edge.local_reply import LocalReply
from gateway.errors import UserError
from gateway.observe import logs
from gateway.observe.access_log import AccessLog, LineLog, NoLog, json_lines, text_lines
from gateway.observe.outlet import Outlet
from gateway.process import memory
from gateway.process.drain import Ending, drain
from gateway.process.pulse import Pulse, Stage, start_beating, take_orders, tell_parent
from gateway.upstream.claims import Claims

log = logging.getLogger("gateway.process")


@dataclass(frozen=True, slots=True)
class Door:
    """One listening socket of a slot and how it answers."""

    socket: socket.socket
    tls: ssl.SSLContext | None
    local_reply: LocalReply | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """What a worker is given, and inherits from its predecessor when it has to be replaced."""

    number: int
    doors: tuple[Door, ...]
    own: Sequence[Bound]
    """Every listener of this gateway, the admin's too: none of them is ever dialed."""
    channel: socket.socket
    """The worker's end of the admin's questions: datagrams of JSON."""
    lifeline: int
    """Read end of a pipe; end of file means that the supervisor is gone."""
    shared: Shared
    """What all workers know of the directory."""
    claims: Claims
    """What waits in any of them for connections that lie idle in the others."""


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
    failing: list[str]
    """What must live as long as the worker and has failed lately; see `Tasks.keep`."""


class Question(msgspec.Struct):
    """What the admin asks; `number` comes back in the answer, so that a late one is not taken for another's."""

    number: int


def run(settings: Settings, slot: Slot, pulse: Pulse) -> int:
    """Serves until drained; returns the exit status."""
    try:
        uvloop.run(_serve(settings, slot, pulse))
    except UserError as error:  # what was in order at the start is not so any more, e.g. the file of sandboxes
        log.error("worker %d cannot start: %s", slot.number, error)
        return 1
    return 0


async def _serve(settings: Settings, slot: Slot, pulse: Pulse) -> None:
    loop, process = asyncio.get_running_loop(), settings.process
    start_beating(pulse, process.stuck_timeout)
    directory = slot.shared.open(settings.directory)
    logs.open_in(loop)
    access_log = make_access_log(settings, loop)
    edge = Edge(settings, directory, access_log, slot.own, slot.shared, slot.claims)
    ending = Ending()
    orphaned = asyncio.Event()

    def orphan() -> None:
        loop.remove_reader(slot.lifeline)
        orphaned.set()
        ending.begun.set()

    def left() -> None:
        pulse.stage = Stage.LEFT
        tell_parent()

    loop.add_signal_handler(signal.SIGTERM, ending.tell)
    loop.add_reader(slot.lifeline, orphan)
    loop.add_reader(slot.channel, _answer, slot, edge)
    collector = memory.Collector(loop, lambda: edge.connections)
    edge.tasks.keep(partial(watch, directory, edge.records_changed, edge.directory.availability), "directory watch")
    listeners = [Listener(edge, door.socket, door.tls, door.local_reply) for door in slot.doors]
    pulse.stage = Stage.SERVING
    take_orders()
    log.debug("worker %d ready", slot.number)
    await ending.begun.wait()
    if not (pulse.closing or orphaned.is_set()):
        for listener in listeners:
            listener.close()  # what is queued is the successor's
        listeners = []
    await drain(edge, listeners, process.drain_timeout, ending, left)
    collector.close()
    await directory.close()
    access_log.close()


def make_access_log(settings: Settings, loop: asyncio.AbstractEventLoop) -> AccessLog:
    """The access log that `[log]` asks for, on stdout."""
    if not settings.log.access:
        return NoLog()
    outlet = Outlet(1)
    outlet.attach(loop, outlet.pump)
    return LineLog(json_lines if settings.log.format == "json" else text_lines, loop.call_later, outlet)


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
            failing=edge.failing,
        )
        slot.channel.send(msgspec.json.encode(status))
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("the admin's question could not be answered: %s", error)
