"""The look after a refusal: what IS listening there?

Most refusals have one cause, an app bound to 127.0.0.1 or 0.0.0.0 while sandboxes are reached over IPv6, and most of
the rest are another port than asked. A look tells: from the kernel's books where the sandbox is this machine, by
dialing where it is another. Only facts come out, as `Findings`; nothing is ever forwarded to what was found. A look
costs dials, so there are few at once and few per second, and asking the same again within a second repeats the answer.

Runs after a refused connection and must not be asked before one. Knows no HTTP, no directory and no pool: address and
port come as values, and the policy for the IPv6 address has been applied by whoever was refused there.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from gateway.addresses import LOOPBACK4, Address, Bound, authority, family, is_own, leads_to
from gateway.errors import Failure, Reason
from gateway.problems import own_sockets
from gateway.tasks import Tasks

PLAUSIBLE_PORTS = (3000, 3001, 4200, 5000, 5173, 8000, 8080, 8888)
"""What frameworks choose when nobody says: Express and Next, Angular, Flask, Vite, Django and uvicorn, Jupyter."""
IPV4_TIMEOUT = 0.5
"""Seconds a dial to a sandbox's IPv4 address may take."""
PORT_TIMEOUT = 0.3
"""Seconds the dials to the plausible ports may take, all at once."""
LOOKS_PER_SECOND = 20
LOOKS_AT_ONCE = 8
REMEMBERED = 1.0
"""Seconds an answer is given again. With the rate above this also bounds how many are kept."""

SPECIAL_RANGES = tuple(
    (IPv4Network(prefix), what)
    for prefix, what in (
        ("169.254.169.254/32", "a cloud metadata address"),  # AWS, Google Cloud, Azure and most others
        ("100.100.100.200/32", "a cloud metadata address"),  # Alibaba Cloud
        ("168.63.129.16/32", "a cloud service address"),  # Azure's host
        ("192.0.0.192/32", "a cloud metadata address"),  # Oracle Cloud
        ("255.255.255.255/32", "the broadcast address"),
        ("0.0.0.0/8", "the unspecified address or its network"),  # on Linux 0.0.0.0 is this machine
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "a link-local address"),
        ("224.0.0.0/4", "a multicast address"),
        ("240.0.0.0/4", "a reserved address"),
    )
)
"""Dialed only if a listed prefix lies wholly inside, as in `upstream.allow`; the narrower first (RFC 6890)."""


def special(ipv4: IPv4Address, allow: Sequence[IPv4Network]) -> str:
    """The special range of `ipv4` that no prefix of `allow` opens; empty: it is ordinary, or opened."""
    for network, what in SPECIAL_RANGES:
        if ipv4 in network:
            return "" if any(each.subnet_of(network) for each in allow if ipv4 in each) else what
    return ""


EVERYWHERE = IPv6Address("::")

_Key = tuple[object, Address, int, IPv4Address | None]


@dataclass(frozen=True, slots=True)
class Listener:
    """Something that accepts connections."""

    address: str
    """As bound ("0.0.0.0", "127.0.0.1") or as dialed."""
    port: int
    process: str = ""
    """"python3", "node"; empty: not visible from here."""
    pid: int = 0


@dataclass(frozen=True, slots=True)
class Findings:
    """What a look has found; nothing, when there was nothing or no time."""

    ipv4: Listener | None = None
    """What accepts on the same port over IPv4."""
    open_ports: tuple[int, ...] = ()
    """Other plausible ports where the sandbox's IPv6 address accepts connections, ascending."""

    def explain(self, refused: Failure, ipv6: str, port: int) -> Failure:
        """`refused` with the open ports added, or the failure that says what listens on IPv4 only."""
        if self.ipv4 is None:
            return replace(refused, open_ports=self.open_ports)
        listener = self.ipv4
        facts = [refused.detail, *refused.observed]
        if listener.process:
            facts.append(f"the process is {listener.process} (pid {listener.pid})")
        return Failure(
            Reason.IPV4_ONLY_LISTENER,
            f"something listens on {listener.address}:{listener.port} but not on [{ipv6}]:{port}",
            observed=tuple(fact for fact in facts if fact),
            process=listener.process,
            open_ports=self.open_ports,
        )


class Probe:
    """Looks, for one worker.

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
        self._allow_ipv4 = tuple(allow_ipv4)
        self._denied_ports = frozenset(denied_ports)
        self._own = tuple(own)
        self._started: deque[float] = deque(maxlen=LOOKS_PER_SECOND)  # when the latest looks began
        self._looking: dict[_Key, asyncio.Task[Findings]] = {}
        self._known: dict[_Key, tuple[float, Findings]] = {}  # until when, what; oldest first

    async def look(
        self, address: Address, port: int, ipv4: IPv4Address | None = None, *, whose: object = None
    ) -> Findings:
        """What listens around `address`, where `port` was refused; `ipv4` is the same sandbox's other address.

        What was found is given again for `whose` alone: the address may be another's a moment later.

        Takes half a second at most. Empty when too many looks are under way, or were started within a second.
        """
        key = (whose, address, port, ipv4)
        now = self._clock()
        known = self._known.get(key)
        if known is not None and now < known[0]:
            return known[1]
        looking = self._looking.get(key)
        if looking is None:
            if not self._may_start(now):
                return Findings()
            self._started.append(now)
            looking = self._tasks.spawn(self._look(address, port, ipv4), f"probe {authority(address, port)}")
            self._looking[key] = looking
            looking.add_done_callback(partial(self._looked, key))
        # shield: one asker going away must not take the answer from the others.
        return await asyncio.shield(looking)

    def _may_start(self, now: float) -> bool:
        if len(self._looking) >= LOOKS_AT_ONCE:
            return False
        return len(self._started) < LOOKS_PER_SECOND or now - self._started[0] >= 1.0

    def _looked(self, key: _Key, task: asyncio.Task[Findings]) -> None:
        # A callback of the task, because a task that is cancelled before its first step runs no `finally`.
        del self._looking[key]
        now = self._clock()
        for old in [old for old, (until, _) in self._known.items() if until <= now]:
            del self._known[old]
        if not task.cancelled() and task.exception() is None:
            self._known[key] = (now + REMEMBERED, task.result())

    async def _look(self, address: Address, port: int, ipv4: IPv4Address | None) -> Findings:
        others = tuple(other for other in PLAUSIBLE_PORTS if other != port and other not in self._denied_ports)
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
        return await self._dial(address, port, ipv4, others)

    def _may_dial(self, ipv4: IPv4Address, port: int) -> bool:
        if leads_to(self._own, ipv4, port, is_own):
            return False  # a record that leads to the gateway's own door
        return any(ipv4 in network for network in self._allow_ipv4) and not special(ipv4, self._allow_ipv4)

    async def _dial(self, address: Address, port: int, ipv4: IPv4Address | None, others: tuple[int, ...]) -> Findings:
        dials = {
            other: self._tasks.spawn(_accepts(address, other, PORT_TIMEOUT), f"probe {authority(address, other)}")
            for other in others
        }
        try:
            found = ipv4 is not None and await _accepts(ipv4, port, IPV4_TIMEOUT)
            open_ports = tuple([other for other, dial in dials.items() if await dial])
        finally:
            for dial in dials.values():
                dial.cancel()
        return Findings(Listener(str(ipv4), port) if found else None, open_ports)


async def _accepts(address: Address, port: int, seconds: float) -> bool:
    """Whether a connection is accepted within `seconds`; it is closed at once."""
    try:
        with socket.socket(family(address), socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            async with asyncio.timeout(seconds):
                await asyncio.get_running_loop().sock_connect(sock, (str(address), port))
            # Equal when the kernel, choosing the local port, hit the very one: TCP then connects a socket to itself.
            return bool(sock.getsockname() != sock.getpeername())
    except OSError:  # refused, no route, no time, no descriptor left: nothing to tell
        return False


def _read(address: IPv6Address, port: int, others: tuple[int, ...], own: Sequence[Bound]) -> Findings:
    """The findings as this machine tells them. Raises OSError where it does not."""
    ours = {(bound or EVERYWHERE, bound_port) for bound, bound_port in own}
    listening = [each for each in own_sockets.listening({port, *others}) if (each.address, each.port) not in ours]
    reachable = {each.port for each in listening if each.address in (address, EVERYWHERE)}
    ipv4 = [each for each in listening if each.port == port and each.address.version == 4]
    listener = None
    if ipv4 and port not in reachable:  # reachable by now: the app has just started
        pid = own_sockets.holder(ipv4[0].inode)
        if not own_sockets.is_another_gateway(pid):
            listener = Listener(str(ipv4[0].address), port, own_sockets.program(pid) if pid else "", pid)
    return Findings(listener, tuple(other for other in others if other in reachable))
