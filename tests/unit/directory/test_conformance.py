"""What every backend promises, asked of every backend.

A backend takes part by one entry in BACKENDS: how to make a store for one test, and what the backend can do. A test
names the ability it is about (`@backends(writes=True)`), so nothing is skipped because something else is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Protocol

import pytest

from gateway.directory import file as file_module
from gateway.directory.availability import Availability
from gateway.directory.dns import DnsDirectory
from gateway.directory.file import FileDirectory
from gateway.directory.redis import RedisRegistry
from gateway.directory.sandbox import Conflict, Directory, Presence, Registry, Sandbox
from gateway.directory.sqlite import SqliteRegistry
from gateway.tasks import Tasks
from tests.support.dns_server import ZONE, DnsServer
from tests.support.redis_server import RedisServer

DEADLINE = 10.0
"""Seconds until a test that waits for something gives up."""
LIFETIME = 1.0
"""Seconds: long enough for another write to come before its end on a busy machine, short enough to be waited for."""


# --- the backends -------------------------------------------------------------------------------------------------


class Store(Protocol):
    """Where the records of one test are."""

    def open(self) -> Directory:
        """One more process's view of the records; whoever opens it closes it."""
        ...

    async def place(self, addresses: Mapping[str, str]) -> None:
        """Makes these the records there are (id to address), and no others, as an operator would."""
        ...


@dataclass(frozen=True, slots=True)
class Backend:
    """`store(folder, monkeypatch)` may skip the test when a server it needs is not installed."""

    store: Callable[[Path, pytest.MonkeyPatch], AbstractAsyncContextManager[Store]]
    writes: bool
    """It is a `Registry`."""
    reports_changes: bool
    """`watch` tells which ids changed; without, a change is seen by asking again."""


class FileStore:
    def __init__(self, folder: Path) -> None:
        self._path = folder / "sandboxes.toml"
        self._path.write_text("")

    def open(self) -> Directory:
        return FileDirectory(self._path)

    async def place(self, addresses: Mapping[str, str]) -> None:
        new = self._path.with_suffix(".new")
        new.write_text("".join(f'[sandboxes.{name}]\naddress = "{at}"\n' for name, at in addresses.items()))
        new.replace(self._path)


@asynccontextmanager
async def file_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    monkeypatch.setattr(file_module, "POLL_INTERVAL", 0.01)
    yield FileStore(folder)


class RegistryStore:
    """A store behind any registry: `make()` opens it once more."""

    def __init__(self, make: Callable[[], Registry]) -> None:
        self._make = make
        self._operator = make()

    def open(self) -> Directory:
        return self._make()

    async def place(self, addresses: Mapping[str, str]) -> None:
        for sandbox in await self._operator.page("", 1000):
            if sandbox.id not in addresses:
                await self._operator.remove(sandbox.id)
        for name, at in addresses.items():
            await self._operator.put(record(name, at))

    async def close(self) -> None:
        await self._operator.close()


@asynccontextmanager
async def sqlite_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    store = RegistryStore(lambda: SqliteRegistry(folder / "var" / "sandboxes.db"))
    yield store
    await store.close()


@asynccontextmanager
async def redis_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    with RedisServer() as server:
        store = RegistryStore(lambda: RedisRegistry(server.url))
        yield store
        await store.close()


class DnsStore:
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def open(self) -> Directory:
        return DnsDirectory(ZONE, [self._server.address])

    async def place(self, addresses: Mapping[str, str]) -> None:
        self._server.replace(*(f"{name} 30 AAAA {at}" for name, at in addresses.items()))


@asynccontextmanager
async def dns_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    with DnsServer() as server:
        yield DnsStore(server)


BACKENDS = {
    "file": Backend(file_store, writes=False, reports_changes=True),
    "sqlite": Backend(sqlite_store, writes=True, reports_changes=True),
    "redis": Backend(redis_store, writes=True, reports_changes=True),
    "dns": Backend(dns_store, writes=False, reports_changes=False),
}


def backends(**able: bool) -> pytest.MarkDecorator:
    """Runs a test on every backend that has these abilities."""
    names = [
        name
        for name, backend in BACKENDS.items()
        if all(getattr(backend, ability) == wanted for ability, wanted in able.items())
    ]
    return pytest.mark.parametrize("stage", names, indirect=True)


class Stage:
    """A store, and what a test has opened on it: all of it is closed at the end."""

    def __init__(self, store: Store) -> None:
        self.place = store.place
        self._store = store
        self._tasks = Tasks()
        self._opened: list[Directory] = []
        self._watching = 0

    def open(self) -> Directory:
        directory = self._store.open()
        self._opened.append(directory)
        return directory

    def registry(self) -> Registry:
        directory = self.open()
        assert isinstance(directory, Registry)
        return directory

    def watch(self, directory: Directory) -> asyncio.Queue[str]:
        """Lets `directory` watch; the queue gets every id that it reports."""
        changes: asyncio.Queue[str] = asyncio.Queue()

        def changed(names: Iterable[str]) -> None:
            for name in names:
                changes.put_nowait(name)

        self._tasks.spawn(directory.watch(changed, Availability(directory.where)), "watch")
        self._watching += 1
        return changes

    async def close(self) -> None:
        ended = self._watching - len(self._tasks)
        await self._tasks.cancel()
        for directory in self._opened:
            await directory.close()
        assert not ended, "watching never ends by itself"


@pytest.fixture
async def stage(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    async with BACKENDS[request.param].store(tmp_path, monkeypatch) as store:
        stage = Stage(store)
        yield stage
        await stage.close()


def record(name: str, address: str, **more: Any) -> Sandbox:
    return Sandbox(name, IPv6Address(address), "ignored", **more)


def shown(sandbox: Sandbox | None) -> tuple[object, ...] | None:
    """What of a record must agree everywhere; its `ttl` runs down while it is looked at."""
    return sandbox and (*sandbox.origin, sandbox.ipv4, sandbox.host, sandbox.protocol)


async def found(directory: Directory, name: str) -> Sandbox:
    sandbox = await directory.fetch(name)
    assert sandbox is not None, f"there is no {name}"
    return sandbox


async def eventually(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not await look():
            await asyncio.sleep(0.01)


async def reported(changes: asyncio.Queue[str], *names: str) -> set[str]:
    """Waits until all `names` were reported; returns everything that was."""
    heard: set[str] = set()
    async with asyncio.timeout(DEADLINE):
        while not heard >= set(names):
            heard.add(await changes.get())
    return heard


# --- looking up ---------------------------------------------------------------------------------------------------


@backends()
async def test_what_is_not_there_is_none(stage: Stage) -> None:
    directory = stage.open()
    assert await directory.fetch("nobody") is None
    await stage.place({"somebody": "fd00::1"})
    assert await stage.open().fetch("nobody") is None


@backends()
async def test_a_record_is_found(stage: Stage) -> None:
    await stage.place({"demo": "fd00::5", "0": "fd00::6", "my-app-7": "::1", "a" * 57: "fd00:0:0:1::"})
    directory = stage.open()
    for name, address in {"demo": "fd00::5", "0": "fd00::6", "my-app-7": "::1", "a" * 57: "fd00:0:0:1::"}.items():
        sandbox = await found(directory, name)
        assert (sandbox.id, sandbox.address) == (name, IPv6Address(address))
        assert sandbox.generation


@backends()
async def test_everybody_sees_the_same_record(stage: Stage) -> None:
    """Workers pool connections by the generation: two of them must never disagree on it."""
    await stage.place({"demo": "fd00::5"})
    directory = stage.open()
    first = shown(await found(directory, "demo"))
    assert shown(await found(directory, "demo")) == first
    assert shown(await found(stage.open(), "demo")) == first


@backends()
async def test_many_ask_at_once(stage: Stage) -> None:
    addresses = {f"s{number}": f"fd00::{number + 1:x}" for number in range(50)}
    await stage.place(addresses)
    directory, tasks = stage.open(), Tasks()
    asking = {name: tasks.spawn(directory.fetch(name), name) for name in [*addresses, "nobody"]}
    answers = {name: await task for name, task in asking.items()}
    assert answers.pop("nobody") is None
    assert {name: str(answer.address) for name, answer in answers.items() if answer} == addresses


@backends()
async def test_a_backend_that_was_never_asked_can_be_closed(stage: Stage) -> None:
    stage.open()


# --- changes ------------------------------------------------------------------------------------------------------


@backends()
async def test_a_sandbox_that_moved_is_another_generation(stage: Stage) -> None:
    await stage.place({"demo": "fd00::5", "other": "fd00::6"})
    directory = stage.open()
    before, other = await found(directory, "demo"), await found(directory, "other")
    stage.watch(directory)
    await stage.place({"demo": "fd00::7", "other": "fd00::6"})

    async def moved() -> bool:
        return (await found(directory, "demo")).address == IPv6Address("fd00::7")

    await eventually(moved)
    assert (await found(directory, "demo")).generation != before.generation
    assert shown(await found(directory, "other")) == shown(other)


@backends()
async def test_a_removed_sandbox_is_gone(stage: Stage) -> None:
    await stage.place({"demo": "fd00::5", "other": "fd00::6"})
    directory = stage.open()
    await found(directory, "demo")
    stage.watch(directory)
    await stage.place({"other": "fd00::6"})

    async def gone() -> bool:
        return await directory.fetch("demo") is None

    await eventually(gone)
    await found(directory, "other")


@backends(reports_changes=True)
async def test_the_ids_that_changed_are_reported_and_no_others(stage: Stage) -> None:
    await stage.place({"stays": "fd00::1", "moves": "fd00::2", "goes": "fd00::3"})
    directory = stage.open()
    await found(directory, "stays")
    changes = stage.watch(directory)
    await stage.place({"stays": "fd00::1", "moves": "fd00::22", "comes": "fd00::4"})
    assert await reported(changes, "moves", "goes", "comes") == {"moves", "goes", "comes"}


@backends(reports_changes=True)
async def test_what_is_reported_can_be_read(stage: Stage) -> None:
    """The cache forgets a record when it is reported; asked again at once, the backend must not know the old one."""
    await stage.place({"demo": "fd00::1"})
    directory = stage.open()
    await found(directory, "demo")
    changes = stage.watch(directory)
    for number in range(2, 6):
        address = f"fd00::{number}"
        await stage.place({"demo": address})
        await reported(changes, "demo")
        assert (await found(directory, "demo")).address == IPv6Address(address)


@backends(reports_changes=True)
async def test_every_watcher_is_told(stage: Stage) -> None:
    await stage.place({"demo": "fd00::1"})
    watchers = [stage.open() for _ in range(3)]
    for watcher in watchers:
        await found(watcher, "demo")
    heard = [stage.watch(watcher) for watcher in watchers]
    await stage.place({"demo": "fd00::2"})
    for changes in heard:
        await reported(changes, "demo")


# --- writing ------------------------------------------------------------------------------------------------------


@backends(writes=True)
async def test_what_is_put_is_found(stage: Stage) -> None:
    store = stage.registry()
    protocol = "auto 50051=h2c"
    wanted = record("demo", "fd00::5", ipv4=IPv4Address("10.0.0.5"), host="localhost:{port}", protocol=protocol)
    stored = await store.put(wanted)
    assert stored.generation not in ("", wanted.generation)
    assert shown(replace(stored, generation=wanted.generation)) == shown(wanted)
    assert shown(await store.fetch("demo")) == shown(stored)
    assert shown(await stage.open().fetch("demo")) == shown(stored)


@backends(writes=True)
async def test_putting_replaces_the_whole_record(stage: Stage) -> None:
    store = stage.registry()
    await store.put(record("demo", "fd00::5", ipv4=IPv4Address("10.0.0.5"), host="localhost:{port}", protocol="h2c"))
    await store.put(record("demo", "fd00::5"))
    sandbox = await found(store, "demo")
    assert (sandbox.ipv4, sandbox.host, sandbox.protocol) == (None, "", "")


@backends(writes=True)
async def test_the_generation_stays_while_the_address_stays(stage: Stage) -> None:
    store = stage.registry()
    first = await store.put(record("demo", "fd00::5"))
    again = await store.put(record("demo", "fd00::5", host="localhost"))
    assert again.generation == first.generation
    assert (await found(store, "demo")).host == "localhost"


@backends(writes=True)
async def test_a_generation_is_never_used_again(stage: Stage) -> None:
    store, other = stage.registry(), stage.registry()
    seen: list[str] = []
    for address in ("fd00::5", "fd00::6", "fd00::5"):
        seen.append((await store.put(record("demo", address))).generation)
    for writer in (store, other):
        assert await writer.remove("demo")
        seen.append((await writer.put(record("demo", "fd00::5"))).generation)
    assert len(set(seen)) == len(seen), seen


@backends(writes=True)
async def test_removing_says_whether_there_was_one(stage: Stage) -> None:
    store = stage.registry()
    await store.put(record("demo", "fd00::5"))
    assert await store.remove("demo") is True
    assert await store.fetch("demo") is None
    assert await store.remove("demo") is False


@backends(writes=True)
async def test_a_writer_who_expects_the_right_generation_succeeds(stage: Stage) -> None:
    store = stage.registry()
    first = await store.put(record("demo", "fd00::5"))
    second = await store.put(record("demo", "fd00::6"), expected=first.generation)
    assert (await found(store, "demo")).address == IPv6Address("fd00::6")
    assert await store.remove("demo", expected=second.generation)


@backends(writes=True)
async def test_a_writer_who_expects_another_generation_changes_nothing(stage: Stage) -> None:
    store = stage.registry()
    first = await store.put(record("demo", "fd00::5"))
    second = await store.put(record("demo", "fd00::6"))
    for attempt in (
        store.put(record("demo", "fd00::7"), expected=first.generation),
        store.remove("demo", expected=first.generation),
    ):
        with pytest.raises(Conflict) as conflict:
            await attempt
        assert conflict.value.current == second.generation
    assert shown(await store.fetch("demo")) == shown(second)


@backends(writes=True)
async def test_a_writer_who_expects_a_record_where_there_is_none_is_told(stage: Stage) -> None:
    store = stage.registry()
    gone = await store.put(record("demo", "fd00::5"))
    await store.remove("demo")
    for attempt in (
        store.put(record("demo", "fd00::5"), expected=gone.generation),
        store.remove("demo", expected=gone.generation),
    ):
        with pytest.raises(Conflict) as conflict:
            await attempt
        assert conflict.value.current is None
    assert await store.fetch("demo") is None


@backends(writes=True)
async def test_a_writer_may_expect_that_there_is_none(stage: Stage) -> None:
    store = stage.registry()
    first = await store.put(record("demo", "fd00::5"), expected=Presence.ABSENT)
    for attempt in (
        store.put(record("demo", "fd00::6"), expected=Presence.ABSENT),
        store.remove("demo", expected=Presence.ABSENT),
    ):
        with pytest.raises(Conflict) as conflict:
            await attempt
        assert conflict.value.current == first.generation
    assert shown(await store.fetch("demo")) == shown(first)
    await store.remove("demo")
    assert await store.remove("demo", expected=Presence.ABSENT) is False
    again = await store.put(record("demo", "fd00::5"), expected=Presence.ABSENT, lifetime=LIFETIME)
    assert again.generation != first.generation

    async def gone() -> bool:
        return await store.fetch("demo") is None

    await eventually(gone)
    await store.put(record("demo", "fd00::5"), expected=Presence.ABSENT)


@backends(writes=True)
async def test_a_writer_may_expect_that_there_is_one(stage: Stage) -> None:
    store = stage.registry()
    for attempt in (
        store.put(record("demo", "fd00::5"), expected=Presence.PRESENT),
        store.remove("demo", expected=Presence.PRESENT),
    ):
        with pytest.raises(Conflict) as conflict:
            await attempt
        assert conflict.value.current is None
    assert await store.fetch("demo") is None
    await store.put(record("demo", "fd00::5"))
    after = await store.put(record("demo", "fd00::6"), expected=Presence.PRESENT)
    assert shown(await store.fetch("demo")) == shown(after)
    assert await store.remove("demo", expected=Presence.PRESENT) is True


@backends(writes=True)
async def test_of_many_who_create_at_once_one_succeeds(stage: Stage) -> None:
    writers = [stage.registry() for _ in range(4)]

    async def attempt(writer: Registry, name: str, address: str) -> Sandbox | None:
        try:
            return await writer.put(record(name, address), expected=Presence.ABSENT)
        except Conflict:
            return None

    tasks = Tasks()
    for name in (f"s{number}" for number in range(10)):
        running = [tasks.spawn(attempt(writer, name, f"fd00::{n}"), name) for n, writer in enumerate(writers)]
        [created] = [stored for task in running if (stored := await task) is not None]
        assert shown(await writers[0].fetch(name)) == shown(created)


@backends(writes=True)
async def test_of_two_writers_who_expect_the_same_one_succeeds(stage: Stage) -> None:
    writers = [stage.registry() for _ in range(4)]
    first = await writers[0].put(record("demo", "fd00::5"))

    async def attempt(number: int) -> bool:
        try:
            await writers[number].put(record("demo", f"fd00::1{number}"), expected=first.generation)
        except Conflict:
            return False
        return True

    tasks = Tasks()
    running = [tasks.spawn(attempt(number), f"writer {number}") for number in range(len(writers))]
    outcomes = [await task for task in running]
    assert outcomes.count(True) == 1
    assert (await found(writers[0], "demo")).address == IPv6Address(f"fd00::1{outcomes.index(True)}")


@backends(writes=True)
async def test_pages_are_in_the_order_of_ids(stage: Stage) -> None:
    store = stage.registry()
    assert await store.page("", 10) == []
    names = ["0", "a", "a-b", "a0", "ab", "b", "z" * 57]
    for name in reversed(names):
        await store.put(record(name, "fd00::5"))
    await store.put(record("removed", "fd00::5"))
    await store.remove("removed")
    assert [sandbox.id for sandbox in await store.page("", 100)] == names
    collected: list[str] = []
    while page := await store.page(collected[-1] if collected else "", 3):
        assert len(page) <= 3
        collected += [sandbox.id for sandbox in page]
    assert collected == names
    assert [sandbox.id for sandbox in await store.page("aa", 2)] == ["ab", "b"]
    assert shown((await store.page("a-b", 1))[0]) == shown(await store.fetch("a0"))


# --- lifetimes ----------------------------------------------------------------------------------------------------


@backends(writes=True)
async def test_a_record_is_gone_after_its_lifetime(stage: Stage) -> None:
    store = stage.registry()
    stored = await store.put(record("demo", "fd00::5"), lifetime=LIFETIME)
    await store.put(record("other", "fd00::6"), lifetime=3600.0)

    async def gone() -> bool:
        return await store.fetch("demo") is None

    await eventually(gone)
    assert [sandbox.id for sandbox in await store.page("", 10)] == ["other"]
    assert await store.remove("demo") is False
    with pytest.raises(Conflict) as conflict:
        await store.put(record("demo", "fd00::5"), expected=stored.generation)
    assert conflict.value.current is None
    assert (await store.put(record("demo", "fd00::5"))).generation != stored.generation


@backends(writes=True)
async def test_a_record_says_what_is_left_of_its_lifetime(stage: Stage) -> None:
    """The cache in front never serves it beyond that, so nobody may say more than there is."""
    store = stage.registry()
    assert (await store.put(record("demo", "fd00::5"), lifetime=3600.0)).lifetime == 3600.0
    for sandbox in (await store.fetch("demo"), await stage.open().fetch("demo"), *await store.page("", 10)):
        assert sandbox is not None and sandbox.lifetime is not None
        assert 3500 < sandbox.lifetime <= 3600
    assert (await store.put(record("demo", "fd00::5"))).lifetime is None
    assert (await found(store, "demo")).lifetime is None


@backends(writes=True)
@pytest.mark.parametrize(("before", "after"), [(None, 3600.0), (3600.0, 60.0), (3600.0, LIFETIME / 100)])
async def test_an_end_that_comes_earlier_is_reported(stage: Stage, before: float | None, after: float) -> None:
    """Else it is served for as long as was known before."""
    store, directory = stage.registry(), stage.open()
    first = await store.put(record("demo", "fd00::5"), lifetime=before)
    await found(directory, "demo")
    changes = stage.watch(directory)
    again = await store.put(record("demo", "fd00::5"), lifetime=after)
    assert again.generation == first.generation
    await reported(changes, "demo")


@backends(writes=True)
@pytest.mark.parametrize(("before", "after"), [(60.0, 60.0), (60.0, 3600.0), (60.0, None), (None, None)])
async def test_an_end_that_comes_later_is_not(stage: Stage, before: float | None, after: float | None) -> None:
    """A platform that prolongs every lifetime every few seconds makes nobody look anything up."""
    store, directory = stage.registry(), stage.open()
    await store.put(record("demo", "fd00::5"), lifetime=before)
    await found(directory, "demo")
    changes = stage.watch(directory)
    await store.put(record("demo", "fd00::5"), lifetime=after)
    await store.put(record("other", "fd00::6"))
    assert await reported(changes, "other") == {"other"}


@backends(writes=True)
async def test_putting_again_without_a_lifetime_keeps_the_record(stage: Stage) -> None:
    store = stage.registry()
    await store.put(record("demo", "fd00::5"), lifetime=LIFETIME)
    await store.put(record("clock", "fd00::6"), lifetime=LIFETIME)
    await store.put(record("demo", "fd00::5"))

    async def gone() -> bool:
        return await store.fetch("clock") is None

    await eventually(gone)
    await found(store, "demo")


@backends(writes=True)
async def test_a_lifetime_can_be_prolonged(stage: Stage) -> None:
    store = stage.registry()
    first = await store.put(record("demo", "fd00::5"), lifetime=LIFETIME)
    await store.put(record("clock", "fd00::6"), lifetime=LIFETIME)
    again = await store.put(record("demo", "fd00::5"), lifetime=3600.0)
    assert again.generation == first.generation

    async def gone() -> bool:
        return await store.fetch("clock") is None

    await eventually(gone)
    await found(store, "demo")
