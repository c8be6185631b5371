"""A gateway in a small world, for asking one thing: does an octet reach an address that is not that sandbox's?

    browsers  ──>  an Edge with its watch, as a worker has it  ──>  machines, one at each address
                          │
                       backend  <──  the platform, which writes at any time

The real code from the listener to the dial, in front of a real backend. What the world decides: when a dial comes
through, whether the gateway reaches its backend, and what time it is. Time stands still unless `pass_time` moves it, on
every clock that the gateway reads, so that an hour takes a moment and the same steps have the same outcome. Each octet
that a machine receives is held against the `Ledger` of who had which address when.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol, cast

import msgspec
import pytest

from gateway.config import Settings
from gateway.directory import cache as cache_module
from gateway.directory import shared_cache as shared_cache_module
from gateway.directory import sqlite as sqlite_module
from gateway.directory.availability import OutageReporter
from gateway.directory.sandbox import Directory, Registry, Sandbox
from gateway.directory.shared import Shared
from gateway.directory.shared_cache import SharedCache
from gateway.directory.snapshot import load, save
from gateway.directory.watching import watch
from gateway.edge.edge import Edge
from gateway.edge.listener import Listener
from gateway.errors import GatewayError, Reason
from gateway.observe.access_log import NoLog
from gateway.observe.telemetry import Telemetry
from gateway.tasks import Tasks
from gateway.upstream import pool as pool_module

NAMES = ("ann", "ben")
ADDRESSES = ("fd00::a", "fd00::b", "fd00::c")
TTL, STALE, GRACE, CONNECT_TIMEOUT = 5.0, 20.0, 3.0, 8.0
SWEEP = 1.0
"""Seconds between two looks at deadlines."""
PROBED = 1.0
"""Seconds in which it is noticed that a backend is back."""
TURNS = 40
"""Turns of the event loop in which an exchange on the loopback interface is over."""
DOMAIN = "sandbox.localhost"
SURE = 30.0
"""Seconds that a record must have left to be counted on: Redis' own clock goes on while this test runs."""
PATIENCE = 20.0
"""Seconds, real ones, in which a request must have its answer where nothing stands in the way."""


# --- time ---------------------------------------------------------------------------------------------------------


class StillLoop(asyncio.SelectorEventLoop):
    """An event loop whose time moves when it is told to; what would run in a thread runs at once."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__()

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done


# --- who has which address ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Tenure:
    """An address is a sandbox's: until `end`, of which the backend has been told at `told`.

    `number` says which came first, tenures and connections alike: it may all be in one moment.
    """

    address: str
    number: int
    end: float = math.inf
    told: float = math.inf


@dataclass(slots=True)
class Outage:
    """The gateway does not reach its backend."""

    begin: float
    end: float = math.inf


class Ledger:
    """The truth, and what docs/directory.md says about how long the gateway may not know it."""

    def __init__(self, clock: Callable[[], float], bound: float, *, generations: bool) -> None:
        self._clock = clock
        self._bound = bound
        self._generations = generations  # whether the backend tells two machines of one name and address apart
        self._numbers = itertools.count()
        self._changed = dict.fromkeys(NAMES, -math.inf)
        self.outages: list[Outage] = []
        self.tenures: dict[str, list[Tenure]] = {name: [] for name in NAMES}

    def current(self, name: str) -> Tenure | None:
        """The tenure in force."""
        tenures = self.tenures[name]
        return tenures[-1] if tenures and self._clock() < tenures[-1].end else None

    def begin(self, name: str, address: str, lifetime: float | None) -> None:
        """The record is written; the tenure before ends, unless it is of the same address."""
        now, tenure = self._clock(), self.current(name)
        self._changed[name] = now
        if tenure is None or tenure.address != address:
            self.end(name)
            tenure = Tenure(address, self.number())
            self.tenures[name].append(tenure)
        end = math.inf if lifetime is None else now + lifetime
        tenure.end, tenure.told = end, math.inf if lifetime is None else now

    def end(self, name: str) -> None:
        """The record is removed."""
        tenure = self.current(name)
        if tenure is not None:
            self._changed[name] = tenure.end = tenure.told = self._clock()

    def number(self) -> int:
        """One more than the last."""
        return next(self._numbers)

    def free(self) -> list[str]:
        """The addresses that are nobody's."""
        taken = {tenure.address for name in NAMES if (tenure := self.current(name)) is not None}
        return [address for address in ADDRESSES if address not in taken]

    def entitled(self, name: str, address: str, opened: int, grace: float = 0.0) -> bool:
        """Whether an octet for `name` may reach `address` now on a connection that is `opened`, a `number`.

        One from before the tenure leads to the machine before. `grace` is what an open tunnel has besides.
        """
        tenures = [tenure for tenure in self.tenures[name] if tenure.address == address]
        first = tenures[0].number if tenures else 0
        return any(
            self._clock() <= max(tenure.end, self._known_by(tenure.told)) + grace
            for tenure in tenures
            if opened > (tenure.number if self._generations else first)
        )

    def certain(self, name: str) -> str | None:
        """The address where `name` must be found by now, because nothing has happened to it lately."""
        tenure, now = self.current(name), self._clock()
        settled = now - self._bound - PROBED
        calm = self._changed[name] < settled and all(outage.end < settled for outage in self.outages)
        return tenure.address if calm and tenure is not None and tenure.end > now + SURE else None

    def _known_by(self, told: float) -> float:
        known = told + self._bound
        for outage in self.outages:
            if outage.begin <= known and outage.end >= told - self._bound:
                served = outage.begin + TTL + STALE
                known = max(known, min(outage.end + PROBED + self._bound, served))
        return known


# --- machines, browsers, backends -----------------------------------------------------------------------------------


class Machine:
    """What listens at one address, whoever has it."""

    def __init__(self, address: str, ledger: Ledger) -> None:
        self.address = address
        self.ledger = ledger
        self.road = "open"  # "closed": the packets of a dial are dropped; "none": no route leads there
        self.opened = asyncio.Event()
        self.opened.set()
        self.visits: set[Visit] = set()
        self.arrived = 0
        self.violations: list[str] = []
        self.socket = socket.create_server(("::1", 0), family=socket.AF_INET6)
        self.server: asyncio.Server  # from `start` on

    async def start(self) -> None:
        self.server = await asyncio.get_running_loop().create_server(lambda: Visit(self), sock=self.socket)

    def set(self, road: str) -> None:
        self.road = road
        if road == "closed":
            self.opened.clear()
        else:
            self.opened.set()

    def reboot(self) -> None:
        """Whatever was connected to it is gone, and dials wait."""
        self.set("closed")
        for visit in list(self.visits):
            visit.end()

    async def dialed(self, patience: float) -> socket.socket:
        """As `dial.connected_socket`."""
        if self.road == "closed":
            try:
                async with asyncio.timeout(patience):
                    await self.opened.wait()
            except TimeoutError:
                raise GatewayError(Reason.CONNECTION_TIMEOUT, f"connect to {self.address}: no answer") from None
        if self.road == "none":
            raise GatewayError(Reason.DESTINATION_IP_UNROUTABLE, f"connect to {self.address}: no route")
        sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, self.socket.getsockname())
        except BaseException:
            sock.close()
            raise
        return sock


class Visit(asyncio.Protocol):
    """A connection that a machine was sent: every octet of it is held against the ledger."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._opened = machine.ledger.number()
        self._head = b""
        self._tunnel_of = ""
        self._transport: asyncio.Transport  # from `connection_made` on

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._machine.visits.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._machine.visits.discard(self)

    def end(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._tunnel_of:
            self._check(self._tunnel_of, "octets of a tunnel", GRACE + SWEEP)
            self._transport.write(data)
            return
        self._head += data
        while b"\r\n\r\n" in self._head:
            head, _, self._head = self._head.partition(b"\r\n\r\n")
            name = head.split(b" ")[1].removeprefix(b"/").decode()
            self._check(name, "a request")
            if b"upgrade: x" in head.lower():
                self._tunnel_of = name
                self._transport.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
            else:
                at = self._machine.address.encode()
                self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(at), at))

    def _check(self, name: str, what: str, grace: float = 0.0) -> None:
        machine = self._machine
        machine.arrived += 1
        if not machine.ledger.entitled(name, machine.address, self._opened, grace):
            tenures = machine.ledger.tenures[name]
            now = asyncio.get_running_loop().time()
            machine.violations.append(f"{what} for {name} came to {machine.address} at {now:g}; {tenures}")


class Browser(asyncio.Protocol):
    """A visitor's connection."""

    def __init__(self) -> None:
        self.received = b""
        self.closed = False
        self.transport: asyncio.Transport  # from `connection_made` on

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True

    def send(self, octets: bytes) -> None:
        if not self.closed:
            self.transport.write(octets)


class Stage(Protocol):
    """One kind of backend: the gateway's view of it, and the platform that writes to it."""

    bound: float
    """Seconds in which a change is noticed, by docs/directory.md."""
    step: float
    """Seconds by which time moves at once."""
    writes_lifetimes: bool
    """As those that count generations do."""
    can_be_cut: bool

    def open(self) -> Directory: ...

    def cut(self, *, away: bool) -> None:
        """The gateway does not reach the backend, or does again; the platform always does."""
        ...

    async def put(self, name: str, address: str, lifetime: float | None) -> None: ...

    async def remove(self, name: str) -> None: ...

    async def aged(self, seconds: float) -> None:
        """So much time has passed."""
        ...

    async def settle(self, rounds: Callable[[], int]) -> None:
        """Waits for what does not happen in this event loop; `rounds` counts how often the watch has come round."""
        ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class Worker:
    """One worker's life."""

    edge: Edge
    backend: Directory
    listener: Listener
    socket: socket.socket
    watch: Tasks
    rounds: int = 0

    async def end(self) -> None:
        self.edge.pool.close()
        self.listener.close()
        self.socket.close()
        await self.watch.cancel()
        await self.edge.close()
        await self.backend.close()


@dataclass(slots=True)
class World:
    """See above. Everything but `pass_time` takes no time."""

    loop: StillLoop
    stage: Stage
    folder: Path
    ledger: Ledger
    machines: dict[str, Machine]
    known: SharedCache
    worker: Worker = field(init=False)
    browsers: list[Browser] = field(default_factory=list)
    tunnels: list[Browser] = field(default_factory=list)
    faults: list[dict[str, Any]] = field(default_factory=list)
    unserved: list[str] = field(default_factory=list)
    served: int = 0
    """Requests that had to be served, and `unserved` those that were not."""

    # --- the platform ----------------------------------------------------------------------------------------------

    async def put(self, name: str, address: str, lifetime: float | None = None) -> None:
        await self.stage.put(name, address, lifetime)
        self.ledger.begin(name, address, lifetime)

    async def remove(self, name: str) -> None:
        await self.stage.remove(name)
        self.ledger.end(name)

    # --- what befalls the gateway ------------------------------------------------------------------------------------

    def cut(self, *, away: bool) -> None:
        self.stage.cut(away=away)
        if away:
            self.ledger.outages.append(Outage(self.loop.now))
        else:
            self.ledger.outages[-1].end = self.loop.now

    async def pass_time(self, seconds: float) -> None:
        end = self.loop.now + seconds
        while self.loop.now < end - 1e-9:
            step = min(self.stage.step, end - self.loop.now)
            self.loop.now += step
            await self.stage.aged(step)
            await self.quiet()

    async def quiet(self) -> None:
        """Until nothing happens any more."""
        await self.stage.settle(lambda: self.worker.rounds)
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def start_worker(self) -> None:
        """As `process/worker.py` does."""
        base, replace = Settings(), msgspec.structs.replace
        settings = replace(
            base,
            edge=replace(base.edge, domains=(DOMAIN,)),
            directory=replace(base.directory, ttl=TTL, stale=STALE),
            upstream=replace(
                base.upstream,
                allow=(IPv6Network("fd00::/8"),),
                connect_timeout=CONNECT_TIMEOUT,
                tunnel_grace=GRACE,
            ),
        )
        backend = self.stage.open()
        edge = Edge(settings, backend, Telemetry(NoLog()), shared=Shared(OutageReporter(), self.known))
        sock = socket.create_server(("::1", 0), family=socket.AF_INET6)
        self.worker = worker = Worker(edge, backend, Listener(edge, sock, None), sock, Tasks())
        availability = edge.directory.availability
        answered, failed = availability.answered, availability.failed

        def count(outcome: Callable[..., None]) -> Callable[..., None]:
            def counted(*what: Any) -> None:
                worker.rounds += 1
                outcome(*what)

            return counted

        availability.answered = count(answered)  # type: ignore[method-assign]
        availability.failed = count(failed)  # type: ignore[method-assign]
        worker.watch.keep(partial(watch, backend, edge.records_changed, availability), "directory watch")
        await self.quiet()

    async def kill_worker(self) -> None:
        """It dies and is replaced."""
        await self.end_worker()
        await self.start_worker()

    async def restart_gateway(self) -> None:
        """All of it ends and begins: what is known goes through the snapshot."""
        await self.end_worker()
        save(self.folder / "known", "test", self.known, TTL + STALE)
        self.known = SharedCache.make("test")
        load(self.folder / "known", "test", self.known)
        await self.start_worker()

    async def end_worker(self) -> None:
        for browser in self.browsers:
            browser.transport.abort()
        self.browsers.clear()
        self.tunnels.clear()
        await self.worker.end()
        await asyncio.sleep(0)

    # --- visitors ----------------------------------------------------------------------------------------------------

    async def ask(self, name: str, *, upgrade: bool = False) -> Browser:
        """A request, and as much of its answer as there is without waiting."""
        _, browser = await self.loop.create_connection(Browser, "::1", self.worker.listener.port)
        self.browsers.append(browser)
        sure = self.ledger.certain(name) if name in NAMES else None
        more = b"Connection: Upgrade\r\nUpgrade: x\r\n" if upgrade else b""
        browser.send(b"GET /%b HTTP/1.1\r\nHost: 5000-%b.%b\r\n%b\r\n" % (*[name.encode()] * 2, DOMAIN.encode(), more))
        await self.quiet()
        if sure is not None and self.machines[sure].road == "open":
            await self._answered(browser, b"HTTP/1.1 101 " if upgrade else b"HTTP/1.1 200 ", name, sure)
        if upgrade:
            self.tunnels.append(browser)
        return browser

    async def _answered(self, browser: Browser, status: bytes, name: str, address: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not browser.received and not browser.closed and time.monotonic() < deadline:
            await asyncio.sleep(0)
        self.served += 1
        if not (
            browser.received.startswith(status) and (b" 101 " in status or browser.received.endswith(address.encode()))
        ):
            self.unserved.append(f"{name}, which is at {address}, at {self.loop.now:g}: {browser.received!r}")

    async def speak(self) -> None:
        """Every visitor with a tunnel says something."""
        self.tunnels = [tunnel for tunnel in self.tunnels if not tunnel.closed]
        for tunnel in self.tunnels:
            if b" 101 " in tunnel.received:
                tunnel.send(b"words")
        await self.quiet()

    # --- what must hold ----------------------------------------------------------------------------------------------

    def check(self) -> None:
        violations = [each for machine in self.machines.values() for each in machine.violations]
        assert not violations, "\n".join(violations)
        assert not self.unserved, "\n".join(self.unserved)
        assert not self.faults, self.faults

    async def close(self) -> None:
        await self.end_worker()
        await self.stage.close()
        for machine in self.machines.values():
            machine.server.close()


@asynccontextmanager
async def world(
    loop: StillLoop, make: Callable[[Path], Stage], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    """A world that has just begun."""
    began = time.time()
    monkeypatch.setattr(SharedCache, "now", staticmethod(lambda: int(loop.now * 1e9)))
    monkeypatch.setattr(sqlite_module, "time", SimpleNamespace(time=lambda: began + loop.now))
    # Few enough that some names nobody has push out all that is known.
    monkeypatch.setattr(cache_module, "MAX_ENTRIES", 3)
    monkeypatch.setattr(shared_cache_module, "PAGES", 4)
    stage = make(folder)
    ledger = Ledger(loop.time, stage.bound, generations=stage.writes_lifetimes)
    machines = {address: Machine(address, ledger) for address in ADDRESSES}

    async def dial(address: str, port: int, patience: float, give_up: object) -> socket.socket:
        return await machines[address].dialed(patience)

    monkeypatch.setattr(pool_module, "connected_socket", dial)
    async with AsyncExitStack() as opened:
        for machine in machines.values():
            await machine.start()
        made = World(loop, stage, folder, ledger, machines, SharedCache.make("test"))
        loop.set_exception_handler(lambda _, context: made.faults.append(context))
        await made.start_worker()
        opened.push_async_callback(made.close)
        yield made


def record(name: str, address: str) -> Sandbox:
    """What the platform writes."""
    return Sandbox(name, IPv6Address(address), "")


async def put(registry: Registry, name: str, address: str, lifetime: float | None) -> None:
    await registry.put(record(name, address), lifetime=lifetime)
