"""What silence means: nobody is there, a firewall drops what is sent, or an app is stuck and its queue is full.

Linux does not refuse a connection for which a listening socket has no room; it drops the SYN, and from outside that
looks like a machine that is switched off. What tells is told here as values: the queue, where the sandbox is this
machine; elsewhere, whether the sandbox answers on other ports, and what this machine has open to the silent one. Asks
nobody; the probe does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.addresses import authority
from gateway.diagnosis.own_sockets import Connection
from gateway.errors import Failure
from gateway.wordings import ACCEPT_QUEUE_FULL, PORT_NOT_ANSWERING, QUEUE_SEEMS_FULL

RECENT = 1.0
"""Seconds: who has acknowledged something meanwhile is alive."""


@dataclass(frozen=True, slots=True)
class Queue:
    """Who waits at the silent port, where the books of its machine can be read."""

    address: str
    """As bound."""
    waiting: int
    is_full: bool
    process: str = ""
    pid: int = 0


@dataclass(frozen=True, slots=True)
class Silence:
    """What a look has found after a dial that nobody answered."""

    is_here: bool = False
    """The address is this machine's, which is therefore up."""
    is_told: bool = False
    """Its books say what listens, if anything does."""
    queue: Queue | None = None
    """Of what listens there, if it is told."""
    connections: int = 0
    """What this machine has established to the port."""
    awaited: tuple[float, ...] = ()
    """For how many seconds the app has not answered on each of them on which it should, the longest first."""
    is_acknowledged: bool = False
    """The sandbox's kernel has acknowledged something just now, on any port."""
    open_ports: tuple[int, ...] = ()
    """Other plausible ports that accept connections, ascending."""
    refusing_ports: tuple[int, ...] = ()
    """Those that refuse them, as only a machine that runs does."""

    @property
    def is_up(self) -> bool:
        """Whether the sandbox is known to run and to be reached."""
        return self.is_here or self.is_acknowledged or bool(self.open_ports or self.refusing_ports)

    @property
    def is_stuck(self) -> bool:
        """Whether the app's queue is known to be full, or, where nobody tells, seems to be."""
        if self.is_told:
            return self.queue is not None and self.queue.is_full
        return self.is_up and bool(self.awaited)

    def explain(self, unanswered: Failure, address: str, port: int) -> Failure:
        """`unanswered`, a dial that timed out, or the failure that it turns out to be."""
        where = authority(address, port)
        facts = [*self._held(where), *self._alive()]
        process = self.queue.process if self.queue else ""
        if self.is_stuck:
            full = self._queue(port)
            first, *others = [full, *facts] if full else facts
            facts = [fact for fact in (unanswered.detail, *unanswered.observed, *others) if fact]
            stuck = ACCEPT_QUEUE_FULL if self.is_told else QUEUE_SEEMS_FULL
            return Failure(unanswered.reason, first, tuple(facts), process, self.open_ports, stuck)
        if self.is_told:
            facts.insert(0, self._queue(port) or f"nothing listens on {where}")
        wording = PORT_NOT_ANSWERING if self.is_up else unanswered.wording
        observed = (*unanswered.observed, *facts)
        return replace(unanswered, wording=wording, observed=observed, process=process, open_ports=self.open_ports)

    def _queue(self, port: int) -> str:
        queue = self.queue
        if queue is None:
            return ""
        who = f"{queue.process} (pid {queue.pid})" if queue.process else "something"
        listens = f"{who} listens on {authority(queue.address, port)}"
        if queue.is_full:
            return f"{listens}: {_count(queue.waiting)} in its queue, which is full"
        return f"{listens}, with {_count(queue.waiting)} in its queue"

    def _held(self, where: str) -> list[str]:
        if not self.connections:
            return []
        has = f"the gateway's machine has {_count(self.connections)} to {where}"
        if not self.awaited:
            return [has]
        longest = f"{'the longest ' if len(self.awaited) > 1 else ''}for {self.awaited[0]:.0f} s"
        return [f"{has}; {len(self.awaited)} of them without an answer, {longest}"]

    def _alive(self) -> list[str]:
        refusing = self.refusing_ports
        if refusing and not self.is_here:
            ports = f"port {refusing[0]}" if len(refusing) == 1 else f"ports {', '.join(map(str, refusing))}"
            return [f"the sandbox is up: it refuses connections to {ports}"]
        return []


def awaiting(found: Sequence[Connection], port: int) -> tuple[int, tuple[float, ...], bool]:
    """Of connections to one address: how many lead to `port`, since when each waits, and whether anybody answers."""
    there = [each for each in found if each.port == port]
    awaited = sorted((each.awaited for each in there if each.awaited), reverse=True)
    return len(there), tuple(awaited), any(each.acknowledged < RECENT for each in found)


def _count(connections: int) -> str:
    return f"{connections} connection" if connections == 1 else f"{connections} connections"
