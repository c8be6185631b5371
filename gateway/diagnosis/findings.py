"""What a probe has found, as values, and what a failed dial turns out to be because of it.

A refusal is told by what does listen, where nobody can reach it. A timeout has three causes: nobody is there, a
firewall drops what is sent, or an app is stuck and its queue is full: Linux does not refuse a connection for which a
listening socket has no room; it drops the SYN, and from outside that looks like a machine that is switched off. What
tells is the queue, where the sandbox is this machine; elsewhere, whether the sandbox answers on other ports, and what
this machine has open to the silent one. Asks nobody; the probe does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.addresses import authority
from gateway.counting import counted
from gateway.diagnosis.own_sockets import Connection
from gateway.errors import Failure, Reason
from gateway.problems.frameworks import is_forwarder
from gateway.wordings import (
    ACCEPT_QUEUE_FULL,
    FORWARDED_ON_IPV4,
    FORWARDED_ON_LOOPBACK,
    LOOPBACK_ONLY,
    PORT_NOT_ANSWERING,
    QUEUE_SEEMS_FULL,
)

RECENT = 1.0
"""Seconds: who has acknowledged something meanwhile is alive."""


@dataclass(frozen=True, slots=True)
class AppSocket:
    """A socket of an app's that listens, as far as it is visible from here."""

    address: str
    """As bound ("0.0.0.0", "127.0.0.1") or as dialed."""
    port: int
    process: str = ""
    """"python3", "node"; empty: not visible."""
    pid: int = 0
    waiting: int = 0
    """Connections in its queue, which wait to be accepted."""
    is_full: bool = False
    """That queue has no room."""


@dataclass(frozen=True, slots=True)
class RefusalFindings:
    """What a probe has found after a refusal; nothing, when there was nothing or no time."""

    ipv4: AppSocket | None = None
    """What accepts on the same port over IPv4."""
    open_ports: tuple[int, ...] = ()
    """Other plausible ports where the sandbox's IPv6 address accepts connections, ascending."""
    loopback: AppSocket | None = None
    """What accepts on the same port of `::1`, where the sandbox has another address."""
    elsewhere: AppSocket | None = None
    """What accepts on the same port of another IPv6 address of this machine's."""
    by_now: AppSocket | None = None
    """What accepts where the connection was refused: it is new, or a firewall refused in its place."""

    def explain(self, refused: Failure, ipv6: str, port: int) -> Failure:
        """`refused` with the open ports added, or the failure that says what listens where nobody can reach it."""
        listener = self.loopback or self.ipv4
        if listener is None or self.elsewhere is not None:
            return self._aside(refused, authority(ipv6, port))
        where = [authority(each.address, each.port) for each in (self.loopback, self.ipv4) if each is not None]
        facts = [refused.detail, *refused.observed]
        if listener.process:
            facts.append(f"the process is {listener.process} (pid {listener.pid})")
        forwards = is_forwarder(listener.process)
        if self.loopback is None:
            reason, wording = Reason.IPV4_ONLY_LISTENER, FORWARDED_ON_IPV4 if forwards else None
        else:
            reason, wording = refused.reason, FORWARDED_ON_LOOPBACK if forwards else LOOPBACK_ONLY
        return Failure(
            reason,
            f"something listens on {' and '.join(where)} but not on {authority(ipv6, port)}",
            observed=tuple(fact for fact in facts if fact),
            process=listener.process,
            open_ports=self.open_ports,
            wording=wording,
        )

    def _aside(self, refused: Failure, where: str) -> Failure:
        """`refused` with what has been seen beside: it neither listens on localhost alone nor on IPv4 alone."""
        listener = self.by_now or self.elsewhere
        if listener is None:
            return replace(refused, open_ports=self.open_ports)
        if self.by_now is None:
            at = [each for each in (self.loopback, self.elsewhere, self.ipv4) if each is not None]
            named = " and ".join(authority(each.address, each.port) for each in at)
            facts = [f"something listens on {named} but not on {where}"]
        else:
            facts = [f"something listens on {where} by now: it has just begun to, or a firewall refuses in its place"]
        if listener.process:
            facts.append(f"the process is {listener.process} (pid {listener.pid})")
        return replace(
            refused,
            observed=(*refused.observed, *facts),
            process=listener.process,
            open_ports=self.open_ports,
        )


@dataclass(frozen=True, slots=True)
class TimeoutFindings:
    """What a probe has found after a dial that nobody answered."""

    is_here: bool = False
    """The address is this machine's, which is therefore up."""
    is_listed: bool = False
    """Its kernel says what listens there, if anything does."""
    queue: AppSocket | None = None
    """What listens there, if it is listed, and who waits."""
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
        if self.is_listed:
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
            stuck = ACCEPT_QUEUE_FULL if self.is_listed else QUEUE_SEEMS_FULL
            return Failure(unanswered.reason, first, tuple(facts), process, self.open_ports, stuck)
        if self.is_listed:
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
            return f"{listens}: {counted(queue.waiting, 'connection')} in its queue, which is full"
        return f"{listens}, with {counted(queue.waiting, 'connection')} in its queue"

    def _held(self, where: str) -> list[str]:
        if not self.connections:
            return []
        has = f"the gateway's machine has {counted(self.connections, 'connection')} to {where}"
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


Findings = RefusalFindings | TimeoutFindings


def awaiting(found: Sequence[Connection], port: int) -> tuple[int, tuple[float, ...], bool]:
    """Of connections to one address: how many lead to `port`, since when each waits, and whether anybody answers."""
    there = [each for each in found if each.port == port]
    awaited = sorted((each.awaited for each in there if each.awaited), reverse=True)
    return len(there), tuple(awaited), any(each.acknowledged < RECENT for each in found)
