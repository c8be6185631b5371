"""The registry in memory: generations, conditions, pages, lifetimes, and who hears of a change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from ipaddress import IPv4Address, IPv6Address

import pytest

from gateway.directory.availability import Availability
from gateway.directory.memory import MemoryRegistry
from gateway.directory.sandbox import Conflict, Sandbox
from gateway.tasks import Tasks

A, B = IPv6Address("fd00::a"), IPv6Address("fd00::b")


def box(address: IPv6Address = A, name: str = "box", host: str = "") -> Sandbox:
    return Sandbox(name, address, "ignored", host=host)


@pytest.fixture
async def store() -> AsyncIterator[MemoryRegistry]:
    store = MemoryRegistry({})
    yield store
    await store.close()


async def test_what_is_put_is_there(store: MemoryRegistry) -> None:
    stored = await store.put(Sandbox("box", A, "ignored", IPv4Address("10.0.0.5"), "localhost:{port}"))
    assert await store.fetch("box") == stored
    assert (stored.id, stored.address, stored.ipv4, stored.host) == (
        "box",
        A,
        IPv4Address("10.0.0.5"),
        "localhost:{port}",
    )
    assert stored.generation not in ("", "ignored")
    assert stored.origin == ("box", stored.generation, "fd00::a")


async def test_the_generation_stays_with_the_address(store: MemoryRegistry) -> None:
    first = await store.put(box())
    again = await store.put(box(host="localhost"))
    assert (again.generation, again.host) == (first.generation, "localhost")


async def test_another_address_is_another_generation_and_none_comes_twice(store: MemoryRegistry) -> None:
    generations = [(await store.put(box(address))).generation for address in (A, B, A)]
    await store.remove("box")
    generations.append((await store.put(box())).generation)
    assert len(set(generations)) == 4


async def test_the_generation_it_began_with_stays() -> None:
    store = MemoryRegistry({"box": Sandbox("box", A, "dev")})
    assert (await store.put(box())).generation == "dev"


async def test_a_write_to_another_record_than_expected_is_a_conflict(store: MemoryRegistry) -> None:
    first = await store.put(box())
    second = await store.put(box(B), expected=first.generation)
    with pytest.raises(Conflict) as raised:
        await store.put(box(), expected=first.generation)
    assert raised.value.current == second.generation
    with pytest.raises(Conflict):
        await store.remove("box", expected=first.generation)
    assert await store.fetch("box") == second
    assert await store.remove("box", expected=second.generation)
    with pytest.raises(Conflict) as raised:
        await store.put(box(), expected=second.generation)
    assert raised.value.current is None


async def test_remove_says_whether_there_was_one(store: MemoryRegistry) -> None:
    await store.put(box())
    assert [await store.remove("box"), await store.remove("box")] == [True, False]
    assert await store.fetch("box") is None


async def test_pages_are_in_the_order_of_the_ids(store: MemoryRegistry) -> None:
    for name in ("c", "a", "b", "a-1"):
        await store.put(box(name=name))
    pages = [await store.page(after, limit) for after, limit in (("", 2), ("a-1", 2), ("c", 2), ("", 9))]
    assert [[each.id for each in page] for page in pages] == [["a", "a-1"], ["b", "c"], [], ["a", "a-1", "b", "c"]]


# --- lifetimes and changes ------------------------------------------------------------------------------------------


class Heard:
    """A watcher: what it was told, and a way to wait for it."""

    def __init__(self, store: MemoryRegistry, tasks: Tasks) -> None:
        self.ids: list[str] = []
        self.told = asyncio.Event()
        self.task = tasks.spawn(store.watch(self._changed, Availability(store.where)), "watch")

    def _changed(self, ids: Iterable[str]) -> None:
        self.ids += ids
        self.told.set()


@pytest.fixture
async def heard(store: MemoryRegistry) -> AsyncIterator[Heard]:
    tasks = Tasks()
    heard = Heard(store, tasks)
    await asyncio.sleep(0)  # until it watches
    yield heard
    await tasks.cancel()


async def test_every_change_is_told_and_nothing_else(store: MemoryRegistry, heard: Heard) -> None:
    await store.put(box())
    await store.put(box())
    assert heard.ids == ["box"]
    await store.put(box(host="localhost"))
    await store.put(box(B, "other"))
    await store.remove("box")
    await store.remove("box")
    assert heard.ids == ["box", "box", "other", "box"]


async def test_an_end_that_comes_earlier_is_told_and_a_later_one_is_not(store: MemoryRegistry, heard: Heard) -> None:
    await store.put(box())
    assert (await store.put(box(), lifetime=3600)).lifetime == 3600
    found = await store.fetch("box")
    assert found is not None and found.lifetime is not None and 0 < found.lifetime <= 3600
    await store.put(box(), lifetime=60)
    assert heard.ids == ["box"] * 3
    await store.put(box(), lifetime=3600)
    await store.put(box())
    assert heard.ids == ["box"] * 3
    found = await store.fetch("box")
    assert found is not None and found.lifetime is None


async def test_who_does_not_watch_any_more_is_not_told(store: MemoryRegistry, heard: Heard) -> None:
    heard.task.cancel()
    await asyncio.wait([heard.task])
    await store.put(box())
    assert heard.ids == []


async def test_a_record_is_gone_after_its_lifetime(store: MemoryRegistry, heard: Heard) -> None:
    await store.put(box(), lifetime=0.01)
    assert await store.fetch("box") is not None
    heard.told.clear()
    async with asyncio.timeout(5):
        await heard.told.wait()
    assert heard.ids == ["box", "box"]
    assert await store.fetch("box") is None


async def test_registering_again_begins_the_lifetime_anew(store: MemoryRegistry, heard: Heard) -> None:
    await store.put(box(name="kept"), lifetime=0.01)
    await store.put(box(name="renewed"), lifetime=0.01)
    await store.put(box(name="other"), lifetime=0.02)
    await store.put(box(name="kept"))
    await store.put(box(name="renewed"), lifetime=3600)
    async with asyncio.timeout(5):
        while await store.fetch("other") is not None:  # whose time ends after theirs would have
            heard.told.clear()
            await heard.told.wait()
    assert [each.id for each in await store.page("", 9)] == ["kept", "renewed"]


async def test_the_lifetime_of_a_removed_record_does_not_end_the_next_one(store: MemoryRegistry, heard: Heard) -> None:
    await store.put(box(), lifetime=0.01)
    await store.remove("box")
    await store.put(box())
    await store.put(box(name="other"), lifetime=0.02)
    async with asyncio.timeout(5):
        while await store.fetch("other") is not None:
            heard.told.clear()
            await heard.told.wait()
    assert await store.fetch("box") is not None


async def test_closing_stops_every_clock() -> None:
    loop = asyncio.get_running_loop()
    store = MemoryRegistry({})
    await store.put(box(), lifetime=3600)
    await store.close()
    timers = [timer for timer in getattr(loop, "_scheduled", ()) if not timer.cancelled() and "_drop" in repr(timer)]
    assert timers == []
    assert await store.fetch("box") is not None
