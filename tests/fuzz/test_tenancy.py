"""No octet reaches a sandbox that it was not meant for: a model of all that may happen meanwhile, on every backend.

Hypothesis writes the story (`Tenancy`'s rules), the world plays it (`tests/support/tenancy.py`), and the ledger knows
whose each address was. A story that fails is told again, shortened, as lines of Python.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from gateway.directory import dns as dns_module
from gateway.directory import redis as redis_module
from gateway.directory.dns import DnsDirectory
from gateway.directory.file import FileDirectory
from gateway.directory.redis import RedisRegistry
from gateway.directory.sandbox import Directory, DirectoryError
from gateway.directory.sqlite import SqliteRegistry
from tests.support.memory import in_memory
from tests.support.redis_server import RedisServer
from tests.support.tenancy import ADDRESSES, NAMES, TTL, Stage, StillLoop, World, put, world

pytestmark = pytest.mark.timeout(600)  # a failing story is shortened, and the machine may be busy

T = TypeVar("T")

Make = Callable[[Path], Stage]


# --- the backends ---------------------------------------------------------------------------------------------------


class Settled:
    """A backend of which everything happens in this event loop."""

    writes_lifetimes = False
    can_be_cut = False
    step = 0.25

    def cut(self, *, away: bool) -> None:
        raise NotImplementedError

    async def aged(self, seconds: float) -> None: ...

    async def settle(self, rounds: Callable[[], int]) -> None: ...

    async def close(self) -> None: ...


class FileStage(Settled):
    bound = 1.0 + Settled.step

    def __init__(self, folder: Path) -> None:
        self._path = folder / "sandboxes.toml"
        self._table: dict[str, str] = {}
        self._written = 0
        self._write()

    def open(self) -> Directory:
        return FileDirectory(self._path)

    async def put(self, name: str, address: str, lifetime: float | None) -> None:
        self._table[name] = address
        self._write()

    async def remove(self, name: str) -> None:
        self._table.pop(name, None)
        self._write()

    def _write(self) -> None:
        # Time stands still for the file system, too, as far as it looks: a comment makes each version another size.
        self._written += 1
        lines = [f'[sandboxes.{name}]\naddress = "{address}"' for name, address in self._table.items()]
        self._path.write_text("\n".join([*lines, "#" * self._written]))


class CutSqlite(SqliteRegistry):
    away = False

    @contextmanager
    def _reading(self) -> Any:
        if self.away:
            raise DirectoryError("cut off")
        with super()._reading() as db:
            yield db


class SqliteStage(Settled):
    bound = 1.0
    writes_lifetimes = can_be_cut = True

    def __init__(self, folder: Path) -> None:
        self._path = folder / "sandboxes.db"
        self._platform = SqliteRegistry(self._path)
        self._away = False
        self._gateways = CutSqlite(self._path)

    def open(self) -> Directory:
        self._gateways = CutSqlite(self._path)
        self._gateways.away = self._away
        return self._gateways

    def cut(self, *, away: bool) -> None:
        self._away = self._gateways.away = away

    async def put(self, name: str, address: str, lifetime: float | None) -> None:
        await put(self._platform, name, address, lifetime)

    async def remove(self, name: str) -> None:
        await self._platform.remove(name)

    async def close(self) -> None:
        await self._platform.close()


class CutRedis(RedisRegistry):
    away = False

    async def _ask(self, *command: object, repeat: bool = True, opened: float = 0.0) -> Any:
        if self.away:
            raise DirectoryError("cut off")
        return await super()._ask(*command, repeat=repeat, opened=opened)


class RedisStage:
    """Redis has a clock of its own: what is left of lifetimes is taken from them as time passes here."""

    bound = 1.0
    step = 0.5
    writes_lifetimes = can_be_cut = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._platform = RedisRegistry(url)
        self._gateways = CutRedis(url)
        self._away = False

    def open(self) -> Directory:
        self._gateways = CutRedis(self._url)
        self._gateways.away = self._away
        return self._gateways

    def cut(self, *, away: bool) -> None:
        self._away = self._gateways.away = away

    async def put(self, name: str, address: str, lifetime: float | None) -> None:
        await put(self._platform, name, address, lifetime)

    async def remove(self, name: str) -> None:
        await self._platform.remove(name)

    async def aged(self, seconds: float) -> None:
        for name in NAMES:
            left = await self._platform._ask("PTTL", f"gateway:sandbox:{name}")
            if left >= 0:
                await self._platform._ask("PEXPIRE", f"gateway:sandbox:{name}", left - int(seconds * 1000))

    async def settle(self, rounds: Callable[[], int]) -> None:
        # By the real clock: a watch that has just got its Redis back pauses until time passes here.
        seen, deadline = rounds(), time.monotonic() + 0.05
        while not self._away and rounds() < seen + 2 and time.monotonic() < deadline:
            await asyncio.sleep(0)

    async def close(self) -> None:
        await self._platform._ask("FLUSHALL")
        await self._platform.close()


class DnsStage(Settled):
    """A zone whose name server is a function; everything between it and a `Sandbox` is real."""

    bound = TTL + Settled.step
    can_be_cut = True

    def __init__(self, folder: Path) -> None:
        self.zone: dict[str, str] = {}
        self._away = False

    def open(self) -> Directory:
        return DnsDirectory("zone.test", ["127.0.0.1:53"])

    def cut(self, *, away: bool) -> None:
        self._away = away

    async def put(self, name: str, address: str, lifetime: float | None) -> None:
        self.zone[name] = address

    async def remove(self, name: str) -> None:
        self.zone.pop(name, None)

    async def ask(self, server: object, name: dns.name.Name, kind: Any = dns.rdatatype.AAAA) -> dns.message.Message:
        """As `dns._ask`."""
        answer = dns.message.make_response(dns.message.make_query(name, kind))
        answer.flags |= dns.flags.AA | dns.flags.RA
        address = self.zone.get(name.labels[0].decode())
        if self._away:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif address is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        else:
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", "AAAA", address))
        return dns.message.from_wire(answer.to_wire())  # what was only appended would not be found


# --- the story ------------------------------------------------------------------------------------------------------


class Tenancy(RuleBasedStateMachine):
    """What may happen, in any order."""

    def __init__(self, make: Make) -> None:
        super().__init__()
        self._loop = StillLoop()
        self._folder = tempfile.TemporaryDirectory(prefix="tenancy-", dir=in_memory())
        self._patched = pytest.MonkeyPatch()
        self._opened = world(self._loop, make, Path(self._folder.name), self._patched)
        self.world: World = self._run(self._opened.__aenter__())

    def _run(self, steps: Awaitable[T]) -> T:
        async def run() -> T:
            return await steps

        return self._loop.run_until_complete(run())

    def teardown(self) -> None:
        try:
            self._run(self._opened.__aexit__(None, None, None))
            self._run(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()
            self._patched.undo()
            self._folder.cleanup()

    # --- the platform ----------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES), which=st.integers(0, 2), lifetime=st.sampled_from([None, None, 1.0, 6.0, 60.0]))
    def register(self, name: str, which: int, lifetime: float | None) -> None:
        """Makes a record or moves it, to an address that is nobody's, perhaps since a moment ago."""
        free = self.world.ledger.free()
        if free:
            address = free[which % len(free)]
            self._run(self.world.put(name, address, lifetime if self.world.stage.writes_lifetimes else None))

    @precondition(lambda self: self.world.stage.writes_lifetimes)
    @rule(name=st.sampled_from(NAMES), lifetime=st.sampled_from([None, 0.5, 6.0, 60.0]))
    def give_lifetime(self, name: str, lifetime: float | None) -> None:
        """The same record with an end that comes earlier or later."""
        tenure = self.world.ledger.current(name)
        if tenure is not None:
            self._run(self.world.put(name, tenure.address, lifetime))

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        self._run(self.world.remove(name))

    @rule(name=st.sampled_from(NAMES), other=st.sampled_from(NAMES))
    def hand_over(self, name: str, other: str) -> None:
        """The machine is removed, and its address given to another at once."""
        tenure = self.world.ledger.current(name)
        if tenure is not None and name != other:
            self._run(self.world.remove(name))
            self._run(self.world.put(other, tenure.address))

    # --- what chance seldom puts together --------------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES), other=st.sampled_from(NAMES))
    def hand_over_what_was_visited(self, name: str, other: str) -> None:
        """The connection to the machine before is idle, and may live on as that machine may."""
        self.ask(name, booting=False)
        self.hand_over(name, other)
        self.ask(other, booting=False)

    @rule(
        name=st.sampled_from(NAMES),
        change=st.sampled_from(["removed", "moved", "handed over", "ended", "ends sooner"]),
        meanwhile=st.sampled_from(["nothing", "flood", "no route", "outage", "outage and flood"]),
    )
    def outlive(self, name: str, change: str, meanwhile: str) -> None:
        """A tunnel is open when its sandbox goes, whatever has become of the record: some time later it is closed."""
        if self.world.ledger.current(name) is None:
            self.register(name, 0, 6.0 if change == "ended" else None)
        self.pass_time(2.0, booted=True)
        self.open_tunnel(name)
        away = "outage" in meanwhile and self.world.stage.can_be_cut
        if "flood" in meanwhile:
            self.flood(5)
        if away:
            self.cut()
        tenure = self.world.ledger.current(name)
        if meanwhile == "no route" and tenure is not None:
            self.road(tenure.address, "none")
            self.ask(name, booting=False)
        match change:
            case "removed":
                self.remove(name)
            case "moved":
                self.register(name, 1, None)
            case "handed over":
                self.hand_over(name, next(other for other in NAMES if other != name))
            case "ends sooner" if self.world.stage.writes_lifetimes:
                self.give_lifetime(name, 0.5)
        if away:
            self.pass_time(6.0, booted=True)
            self.ask(name, booting=False)  # and is served what was last known
            self.pass_time(6.0, booted=True)
            self.speak()
            self.cut()
        self.pass_time(6.0, booted=True)
        self.speak()
        self.pass_time(6.0, booted=True)
        self.speak()

    @rule(name=st.sampled_from(NAMES))
    def visit_in_calm(self, name: str) -> None:
        """Nothing is in the way, so the answer has to be the machine's own."""
        if self.world.ledger.outages and self.world.ledger.outages[-1].end > self._loop.now:
            self.cut()
        self.pass_time(6.0, booted=True)
        self.pass_time(3.0, booted=True)
        self.ask(name, booting=False)

    @rule(name=st.sampled_from(NAMES), other=st.sampled_from(NAMES), seconds=st.sampled_from([0.25, 2.0, 7.0]))
    def hand_over_while_it_boots(self, name: str, other: str, seconds: float) -> None:
        """A request waits for a dial while the address becomes somebody else's."""
        if self.world.ledger.current(name) is None:
            self.register(name, 0, None)
            self.pass_time(2.0, booted=True)
        self.ask(name, booting=True)
        self.hand_over(name, other)
        self.pass_time(seconds, booted=True)

    @precondition(lambda self: self.world.stage.writes_lifetimes and self.world.ledger.free())
    @rule(name=st.sampled_from(NAMES))
    def end_while_away(self, name: str) -> None:
        """The end of a lifetime comes when nobody can be asked; it was known."""
        self.register(name, 0, 6.0)
        self.pass_time(2.0, booted=True)
        self.ask(name, booting=False)
        self.cut()
        self.pass_time(6.0, booted=True)
        self.ask(name, booting=False)

    # --- visitors --------------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES), booting=st.booleans())
    def ask(self, name: str, booting: bool) -> None:
        """Perhaps while the machine boots: then the request waits for the dial."""
        tenure = self.world.ledger.current(name)
        if booting and tenure is not None:
            self.world.machines[tenure.address].reboot()
        self._run(self.world.ask(name))

    @rule(name=st.sampled_from(NAMES))
    def open_tunnel(self, name: str) -> None:
        self._run(self.world.ask(name, upgrade=True))

    @precondition(lambda self: self.world.tunnels)
    @rule()
    def speak(self) -> None:
        self._run(self.world.speak())

    @rule(count=st.integers(1, 5))
    def flood(self, count: int) -> None:
        """Names that nobody has."""
        for number in range(count):
            self._run(self.world.ask(f"nobody-{number}"))

    # --- machines, the network, and time ---------------------------------------------------------------------------

    @rule(address=st.sampled_from(ADDRESSES), road=st.sampled_from(["open", "none"]))
    def road(self, address: str, road: str) -> None:
        """Dials come through, or find no route."""
        self.world.machines[address].set(road)
        self._run(self.world.quiet())

    @precondition(lambda self: self.world.stage.can_be_cut)
    @rule()
    def cut(self) -> None:
        """The gateway loses its backend, or gets it back."""
        outages = self.world.ledger.outages
        self.world.cut(away=not outages or outages[-1].end <= self._loop.now)
        self._run(self.world.quiet())

    @rule(seconds=st.sampled_from([0.25, 1.0, 2.0, 3.0, 6.0, 30.0]), booted=st.booleans())
    def pass_time(self, seconds: float, booted: bool) -> None:
        """Afterwards, perhaps, every machine has booted."""
        self._run(self.world.pass_time(seconds))
        if booted:
            for machine in self.world.machines.values():
                machine.set("open")
            self._run(self.world.quiet())

    @rule()
    def kill_worker(self) -> None:
        self._run(self.world.kill_worker())

    @rule()
    def restart_gateway(self) -> None:
        self._run(self.world.restart_gateway())

    @invariant()
    def no_octet_went_astray(self) -> None:
        self.world.check()


def told(make: Make, stories: int) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: Tenancy(make),
        settings=settings(
            max_examples=stories,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_file() -> None:
    told(FileStage, 25)


def test_sqlite() -> None:
    told(SqliteStage, 60)


def test_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(folder: Path) -> Stage:
        stage = DnsStage(folder)
        monkeypatch.setattr(dns_module, "_ask", stage.ask)
        return stage

    told(make, 25)


def test_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_module, "BLOCK", 0.001)
    with RedisServer() as server:
        told(lambda folder: RedisStage(server.url), 6)
