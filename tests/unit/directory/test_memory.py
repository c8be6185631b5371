"""The registry in memory: generations, conditions, pages, lifetimes, and who hears of a change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from ipaddress import IPv4Address, IPv6Address

import pytest

from gateway.directory.memory import MemoryRegistry
from gateway.directory.sandbox import Conflict, Registry, Sandbox
from gateway.tasks import Tasks

A, B = IPv6Address("fd00::a"), IPv6Address("fd00::b")


def box(address: IPv6Address = A, name: str = "box", host: str = "") -> Sandbox:
    return Sandbox(name, address, "ignored", host=host)


@pytest.fixture
async def registry() -> AsyncIterator[MemoryRegistry]:
    registry = MemoryRegistry({})
    yield registry
    await registry.close()


def test_it_is_a_registry() -> None:
    registry: Registry = MemoryRegistry({"box": box()})  # mypy's to check
    assert isinstance(registry, MemoryRegistry)


async def test_what_is_put_is_there(registry: MemoryRegistry) -> None:
    stored = await registry.put(Sandbox("box", A, "ignored", IPv4Address("10.0.0.5"), "localhost:{port}"))
    assert await registry.fetch("box") == stored
    assert (stored.id, stored.address, stored.ipv4, stored.host) == (
        "box",
        A,
        IPv4Address("10.0.0.5"),
        "localhost:{port}",
    )
    assert stored.generation not in ("", "ignored")
    assert stored.origin == (stored.generation, "fd00::a")


async def test_the_generation_stays_with_the_address(registry: MemoryRegistry) -> None:
    first = await registry.put(box())
    again = await registry.put(box(host="localhost"))
    assert (again.generation, again.host) == (first.generation, "localhost")


async def test_another_address_is_another_generation_and_none_comes_twice(registry: MemoryRegistry) -> None:
    generations = [(await registry.put(box(address))).generation for address in (A, B, A)]
    await registry.remove("box")
    generations.append((await registry.put(box())).generation)
    assert len(set(generations)) == 4


async def test_the_generation_it_began_with_stays() -> None:
    registry = MemoryRegistry({"box": Sandbox("box", A, "dev")})
    assert (await registry.put(box())).generation == "dev"


async def test_a_write_to_another_record_than_expected_is_a_conflict(registry: MemoryRegistry) -> None:
    first = await registry.put(box())
    second = await registry.put(box(B), expected=first.generation)
    with pytest.raises(Conflict) as raised:
        await registry.put(box(), expected=first.generation)
    assert raised.value.current == second.generation
    with pytest.raises(Conflict):
        await registry.remove("box", expected=first.generation)
    assert await registry.fetch("box") == second
    assert await registry.remove("box", expected=second.generation)
    with pytest.raises(Conflict) as raised:
        await registry.put(box(), expected=second.generation)
    assert raised.value.current is None


async def test_remove_says_whether_there_was_one(registry: MemoryRegistry) -> None:
    await registry.put(box())
    assert [await registry.remove("box"), await registry.remove("box")] == [True, False]
    assert await registry.fetch("box") is None


async def test_pages_are_in_the_order_of_the_ids(registry: MemoryRegistry) -> None:
    for name in ("c", "a", "b", "a-1"):
        await registry.put(box(name=name))
    pages = [await registry.page(after, limit) for after, limit in (("", 2), ("a-1", 2), ("c", 2), ("", 9))]
    assert [[each.id for each in page] for page in pages] == [["a", "a-1"], ["b", "c"], [], ["a", "a-1", "b", "c"]]


# --- lifetimes and changes ------------------------------------------------------------------------------------------


class Heard:
    """A watcher: what it was told, and a way to wait for it."""

    def __init__(self, registry: MemoryRegistry, tasks: Tasks) -> None:
        self.ids: list[str] = []
        self.told = asyncio.Event()
        self.task = tasks.spawn(registry.watch(self._changed), "watch")

    def _changed(self, ids: Iterable[str]) -> None:
        self.ids += ids
        self.told.set()


@pytest.fixture
async def heard(registry: MemoryRegistry) -> AsyncIterator[Heard]:
    tasks = Tasks()
    heard = Heard(registry, tasks)
    await asyncio.sleep(0)  # until it watches
    yield heard
    await tasks.cancel()


async def test_every_change_is_told_and_nothing_else(registry: MemoryRegistry, heard: Heard) -> None:
    await registry.put(box())
    await registry.put(box())
    assert heard.ids == ["box"]
    await registry.put(box(host="localhost"))
    await registry.put(box(B, "other"))
    await registry.remove("box")
    await registry.remove("box")
    assert heard.ids == ["box", "box", "other", "box"]


async def test_who_does_not_watch_any_more_is_not_told(registry: MemoryRegistry, heard: Heard) -> None:
    heard.task.cancel()
    await asyncio.wait([heard.task])
    await registry.put(box())
    assert heard.ids == []


async def test_a_record_is_gone_after_its_lifetime(registry: MemoryRegistry, heard: Heard) -> None:
    await registry.put(box(), lifetime=0.01)
    assert await registry.fetch("box") is not None
    heard.told.clear()
    async with asyncio.timeout(5):
        await heard.told.wait()
    assert heard.ids == ["box", "box"]
    assert await registry.fetch("box") is None


async def test_registering_again_begins_the_lifetime_anew(registry: MemoryRegistry, heard: Heard) -> None:
    await registry.put(box(name="kept"), lifetime=0.01)
    await registry.put(box(name="renewed"), lifetime=0.01)
    await registry.put(box(name="other"), lifetime=0.02)
    await registry.put(box(name="kept"))
    await registry.put(box(name="renewed"), lifetime=3600)
    async with asyncio.timeout(5):
        while await registry.fetch("other") is not None:  # whose time ends after theirs would have
            heard.told.clear()
            await heard.told.wait()
    assert [each.id for each in await registry.page("", 9)] == ["kept", "renewed"]


async def test_the_lifetime_of_a_removed_record_does_not_end_the_next_one(
    registry: MemoryRegistry, heard: Heard
) -> None:
    await registry.put(box(), lifetime=0.01)
    await registry.remove("box")
    await registry.put(box())
    await registry.put(box(name="other"), lifetime=0.02)
    async with asyncio.timeout(5):
        while await registry.fetch("other") is not None:
            heard.told.clear()
            await heard.told.wait()
    assert await registry.fetch("box") is not None


async def test_closing_stops_every_clock() -> None:
    loop = asyncio.get_running_loop()
    registry = MemoryRegistry({})
    await registry.put(box(), lifetime=3600)
    await registry.close()
    timers = [timer for timer in getattr(loop, "_scheduled", ()) if not timer.cancelled() and "_drop" in repr(timer)]
    assert timers == []
    assert await registry.fetch("box") is not None
