"""After a dial that failed: what IS listening there?

Most refusals have one cause, an app bound to 127.0.0.1 or 0.0.0.0 while sandboxes are reached over IPv6, and most of
the rest are another port than asked. What happened is told by the kernel where the sandbox is this machine, and by
dialing where it is another. What that means for the failure is decided in `findings`; nothing is ever forwarded to what
was found. A probe costs dials, so there are few at once and few per second, and asking the same again within a second
repeats the answer.

Runs after a connection that failed and must not be asked before one. Knows no HTTP, no directory and no pool: address
and port come as values, and the policy for the IPv6 address has been applied by whoever was turned away there.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from gateway import icmp
from gateway.addresses import LOOPBACK, LOOPBACK4, Address, Bound, authority, family, is_own, leads_to
from gateway.diagnosis import own_sockets
from gateway.diagnosis.findings import AppSocket, Findings, RefusalFindings, TimeoutFindings, awaiting
from gateway.diagnosis.rate_limit import RateLimit
from gateway.errors import Failure, Reason
from gateway.problems.frameworks import PLAUSIBLE_PORTS
from gateway.tasks import SingleFlight, Tasks
from gateway.upstream.policy import AddressPolicy
from gateway.wordings import REJECTED

IPV4_TIMEOUT = 0.5
"""Seconds a dial to a sandbox's IPv4 address may take."""
PORT_TIMEOUT = 0.3
"""Seconds the dials to the plausible ports may take, all at once."""
PROBES_PER_SECOND = 20
PROBES_AT_ONCE = 8
"""Of refusals as of timeouts, each: machines that are switched off keep nobody from being told of a port."""
PER_SANDBOX_PER_SECOND = 8
PER_SANDBOX_AT_ONCE = 4
"""The same on behalf of one sandbox, whatever its ports: who asks for a thousand of them leaves others theirs."""
REMEMBERED = 1.0
"""Seconds an answer is given again. With the rate above this also bounds how many are kept."""

EVERYWHERE = IPv6Address("::")
EVERYWHERE4 = IPv4Address("0.0.0.0")

_Key = tuple[bool, object, Address, int, IPv4Address | None]
"""Whether the dial timed out, and what was asked."""


def is_probed(failure: Failure) -> bool:
    """Whether a probe tells more: not of what a firewall rejects, whatever listens there."""
    probed = failure.reason in (Reason.CONNECTION_REFUSED, Reason.CONNECTION_TIMEOUT)
    return probed and failure.wording is not REJECTED


class PortProbe:
    """Probes, for one worker.

    `clock` is the event loop's time. `allow_ipv4` is `upstream.allow_ipv4`. `denied_ports` are closed for every sandbox
    and never offered. `own` are the gateway's own listeners: on this machine nobody's app; a sandbox elsewhere may well
    have something at the same port.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        tasks: Tasks,
        *,
        allow_ipv4: Sequence[IPv4Network] = (),
        denied_ports: Collection[int] = (),
        own: Sequence[Bound] = (),
    ) -> None:
        self._clock = clock
        self._tasks = tasks
        self._ipv4_policy = AddressPolicy(allow_ipv4)
        self._denied_ports = frozenset(denied_ports)
        self._own = tuple(own)
        # Of refusals and of silence, each.
        self._rates = {kind: RateLimit(PROBES_PER_SECOND, PER_SANDBOX_PER_SECOND) for kind in (False, True)}
        self._running: SingleFlight[_Key, Findings] = SingleFlight(tasks)
        self._known: dict[_Key, tuple[float, Findings]] = {}  # until when, what; oldest first

    async def explain(
        self, failure: Failure, address: Address, port: int, ipv4: IPv4Address | None = None, *, whose: object = None
    ) -> Failure:
        """`failure` of a dial with what a probe has found, or what it turns out to be; see `find`."""
        if not is_probed(failure):
            return failure
        found = await self.find(address, port, ipv4, whose=whose, timed_out=failure.reason is Reason.CONNECTION_TIMEOUT)
        return found.explain(failure, str(address), port)

    async def find(
        self,
        address: Address,
        port: int,
        ipv4: IPv4Address | None = None,
        *,
        whose: object = None,
        timed_out: bool = False,
    ) -> Findings:
        """What listens around `address`, where `port` refused, or `timed_out`; `ipv4` is the sandbox's other address.

        What was found is given again for `whose` alone: the address may be another's a moment later.

        Takes half a second at most. Empty when too many probes, or too many on behalf of `whose`, are under way or were
        started within a second.
        """
        key = (timed_out, whose, address, port, ipv4)
        now = self._clock()
        known = self._known.get(key)
        if known is not None and now < known[0]:
            return known[1]
        task = self._running.get(key)
        if task is None:
            under_way = [each[1] for each in self._running if each[0] is timed_out]
            may_begin = len(under_way) < PROBES_AT_ONCE and under_way.count(whose) < PER_SANDBOX_AT_ONCE
            if not may_begin or not self._rates[timed_out].take(now, whose):
                return TimeoutFindings() if timed_out else RefusalFindings()
            task = self._running.start(key, self._probe(key), f"probe {authority(address, port)}")
        # shield: one asker going away must not take the answer from the others.
        return await asyncio.shield(task)

    async def _probe(self, key: _Key) -> Findings:
        timed_out, _, address, port, ipv4 = key
        try:
            found = await (
                self._after_timeout(address, port) if timed_out else self._after_refusal(address, port, ipv4)
            )
        except OSError:  # no descriptor is left to find out whose the address is
            found = TimeoutFindings() if timed_out else RefusalFindings()
        now = self._clock()
        for old in [old for old, (until, _) in self._known.items() if until <= now]:
            del self._known[old]
        self._known[key] = (now + REMEMBERED, found)
        return found

    # --- after a refusal -----------------------------------------------------------------------------------------

    async def _after_refusal(self, address: Address, port: int, ipv4: IPv4Address | None) -> RefusalFindings:
        others = self._others(port)
        if isinstance(address, IPv4Address):
            ipv4 = None  # dialed just now: there is nothing else to tell apart
        elif is_own(address):
            try:
                return await asyncio.to_thread(_read, address, port, others, self._own)
            except OSError:  # a machine that does not tell (macOS): dialing needs no permission
                ipv4 = None if leads_to(self._own, LOOPBACK4, port, is_own) else LOOPBACK4
        elif ipv4 is not None and not self._may_dial(ipv4, port):
            ipv4 = None
        others = tuple(other for other in others if not leads_to(self._own, address, other, is_own))
        dials = self._dial(address, others)
        try:
            found = ipv4 is not None and await _answer(ipv4, port, IPV4_TIMEOUT)
            open_ports = tuple([other for other, dial in dials.items() if await dial])
        finally:
            for dial in dials.values():
                dial.cancel()
        return RefusalFindings(AppSocket(str(ipv4), port) if found else None, open_ports)

    def _others(self, port: int) -> tuple[int, ...]:
        return tuple(other for other in PLAUSIBLE_PORTS if other != port and other not in self._denied_ports)

    def _may_dial(self, ipv4: IPv4Address, port: int) -> bool:
        if leads_to(self._own, ipv4, port, is_own):
            return False  # a record that leads to the gateway's own listener
        return self._ipv4_policy.why_prohibited(ipv4) is None

    def _dial(self, address: Address, ports: tuple[int, ...]) -> dict[int, asyncio.Task[bool | None]]:
        """To be cancelled by whoever has them."""
        return {
            port: self._tasks.spawn(_answer(address, port, PORT_TIMEOUT), f"probe {authority(address, port)}")
            for port in ports
        }

    # --- after a timeout -----------------------------------------------------------------------------------------

    async def _after_timeout(self, address: Address, port: int) -> TimeoutFindings:
        others = self._others(port)
        findings, here = TimeoutFindings(), is_own(address)
        if here:
            findings = TimeoutFindings(is_here=True)
            try:
                findings = await asyncio.to_thread(_read_queue, address, port, others, self._own)
                others = ()  # told
            except OSError:  # as in `_after_refusal`
                others = tuple(other for other in others if not leads_to(self._own, address, other, is_own))
        dials = self._dial(address, others)
        try:
            findings = await asyncio.to_thread(_read_connections, findings, address, port)
            answers = {other: await dial for other, dial in dials.items()}
        finally:
            for dial in dials.values():
                dial.cancel()
        return replace(
            findings,
            open_ports=findings.open_ports or tuple(other for other, answer in answers.items() if answer),
            refusing_ports=tuple(other for other, answer in answers.items() if answer is False),
        )


async def _answer(address: Address, port: int, seconds: float) -> bool | None:
    """Whether a connection is accepted, which is closed at once, or refused by `address` itself; None: neither."""
    try:
        with socket.socket(family(address), socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            icmp.queue_errors(sock)
            try:
                async with asyncio.timeout(seconds):
                    await asyncio.get_running_loop().sock_connect(sock, (str(address), port))
            except OSError as error:
                answer = icmp.queued_error(sock)
                # What a router says of it is no sign that the machine runs.
                by_itself = isinstance(error, ConnectionRefusedError) if answer is None else answer.sender == address
                return False if by_itself else None
            # Equal when the kernel, choosing the local port, hit the very one: TCP then connects a socket to itself.
            return bool(sock.getsockname() != sock.getpeername())
    except OSError:  # no route, no time, no descriptor left: nothing to tell
        return None


def _read(address: IPv6Address, port: int, others: tuple[int, ...], own: Sequence[Bound]) -> RefusalFindings:
    """The findings as this machine tells them. Raises OSError where it does not."""
    listening = _listening(port, others, own)
    reachable = {each.port for each in listening if each.address in (address, EVERYWHERE)}
    at_port = [each for each in listening if each.port == port]
    open_ports = tuple(other for other in others if other in reachable)
    if port in reachable:
        by_now = next(_app_socket(each) for each in at_port if each.address in (address, EVERYWHERE))
        return RefusalFindings(open_ports=open_ports, by_now=by_now)
    anywhere = {LOOPBACK, *(each.address for each in at_port if each.address.version == 4)}
    return RefusalFindings(
        ipv4=next((_app_socket(each) for each in at_port if each.address.version == 4), None),
        open_ports=open_ports,
        loopback=next((_app_socket(each) for each in at_port if each.address == LOOPBACK), None),
        elsewhere=next((_app_socket(each) for each in at_port if each.address not in anywhere), None),
    )


def _listening(port: int, others: tuple[int, ...], own: Sequence[Bound]) -> list[own_sockets.Listening]:
    """But our own."""
    ours = {(bound or EVERYWHERE, bound_port) for bound, bound_port in own}
    return [each for each in own_sockets.listening({port, *others}) if (each.address, each.port) not in ours]


def _app_socket(found: own_sockets.Listening) -> AppSocket | None:
    """None: another gateway's."""
    pid = own_sockets.holder(found.inode)
    if own_sockets.is_another_gateway(pid):
        return None
    process = own_sockets.program(pid) if pid else ""
    return AppSocket(str(found.address), found.port, process, pid, found.waiting, found.is_full)


def _read_queue(address: Address, port: int, others: tuple[int, ...], own: Sequence[Bound]) -> TimeoutFindings:
    """What this machine's kernel tells of who listens. Raises OSError where it does not."""
    listening = _listening(port, others, own)
    addresses = (address, EVERYWHERE, EVERYWHERE4) if address.version == 4 else (address, EVERYWHERE)
    reachable = [each for each in listening if each.address in addresses]
    # Of several processes that share a port one may be stuck, and keeps whom the kernel has assigned to it.
    at_port = sorted((each for each in reachable if each.port == port), key=lambda each: (each.is_full, each.waiting))
    queue = None
    if at_port:
        longest = at_port[-1]
        unnamed = AppSocket(str(longest.address), longest.port, waiting=longest.waiting, is_full=longest.is_full)
        queue = _app_socket(longest) or unnamed
    open_ports = {each.port for each in reachable if not each.is_full}
    return TimeoutFindings(True, True, queue, open_ports=tuple(other for other in others if other in open_ports))


def _read_connections(findings: TimeoutFindings, address: Address, port: int) -> TimeoutFindings:
    try:
        connections, awaited, is_acknowledged = awaiting(own_sockets.connections(address), port)
    except OSError:  # a machine that does not tell
        return findings
    return replace(findings, connections=connections, awaited=awaited, is_acknowledged=is_acknowledged)
