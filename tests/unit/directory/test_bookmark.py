"""What changed while no process watched is told to the first that does again, from where the last one had come to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from gateway.directory import sqlite as sqlite_module
from gateway.directory.availability import Availability
from gateway.directory.redis import RedisRegistry
from gateway.directory.sandbox import Registry
from gateway.directory.shared_cache import EARLIEST, SharedCache
from gateway.directory.sqlite import SqliteRegistry
from gateway.tasks import Tasks
from tests.support.redis_server import RedisServer
from tests.unit.directory.conftest import sandbox

DEADLINE = 10.0

Open = Callable[[], Registry]


@pytest.fixture(params=["sqlite", "redis"])
async def opened(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Open]:
    """Opens one more process's view of one registry."""
    monkeypatch.setattr(sqlite_module, "POLL_INTERVAL", 0.001)
    stores: list[Registry] = []
    with ExitStack() as servers:
        make: Open
        if request.param == "sqlite":
            make = partial(SqliteRegistry, tmp_path / "sandboxes.db")
        else:
            make = partial(RedisRegistry, servers.enter_context(RedisServer()).url)

        def open_() -> Registry:
            stores.append(make())
            return stores[-1]

        yield open_
        for store in stores:
            await store.close()


@asynccontextmanager
async def watching(store: Registry, known: SharedCache) -> AsyncIterator[list[str]]:
    """What a process hears whose observer writes to `known`; it has begun to watch."""
    heard: list[str] = []
    begun = asyncio.Event()

    class Observer(Availability):
        def answered(self) -> None:
            super().answered()
            begun.set()

    def changed(names: Iterable[str]) -> None:
        heard.extend(names)

    tasks = Tasks()
    tasks.spawn(store.watch(changed, Observer(store.where, cache=known)), "watch")
    async with asyncio.timeout(DEADLINE):
        await begun.wait()
    yield heard
    await tasks.cancel()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_watch_goes_on_where_the_one_before_had_come_to(opened: Open) -> None:
    known, writer = SharedCache.make("test"), opened()
    async with watching(opened(), known) as heard:
        await writer.put(sandbox("before"))
        await until(lambda: heard == ["before"])
        told = known.bookmark
        await writer.put(sandbox("kept"))
        await until(lambda: known.bookmark not in ("", told))
    await writer.remove("before")
    await writer.put(sandbox("kept", "fd00::6"))
    reader = opened()
    await reader.fetch("kept")  # a worker may be asked before it watches
    async with watching(reader, known) as heard:
        await until(lambda: heard == ["before", "kept"])
    assert known.floor == EARLIEST, "nothing was missed"


async def test_a_first_watch_begins_now(opened: Open) -> None:
    known, writer = SharedCache.make("test"), opened()
    await writer.put(sandbox("old"))
    async with watching(opened(), known) as heard:
        await until(lambda: known.bookmark)
        await writer.put(sandbox("new"))
        await until(lambda: "new" in heard)
        assert heard == ["new"]


@pytest.mark.parametrize("bookmark", ["nonsense", "9" * 60, "-1", "1e3", "٣", "0-0-0"])
async def test_a_bookmark_that_is_none_is_passed_over(opened: Open, bookmark: str) -> None:
    known, writer = SharedCache.make("test"), opened()
    await writer.put(sandbox("old"))
    known.bookmark = bookmark
    async with watching(opened(), known) as heard:
        await writer.put(sandbox("new"))
        await until(lambda: "new" in heard)
        assert heard == ["new"]


async def test_a_bookmark_from_the_future_means_that_changes_were_missed(opened: Open) -> None:
    """The registry has lost its data, or a backup was put in its place."""
    known, writer = SharedCache.make("test"), opened()
    await writer.put(sandbox("there"))
    known.note(sandbox("removed"), known.now())
    known.bookmark = "99999999999999-0" if isinstance(writer, RedisRegistry) else "999999"
    async with watching(opened(), known):
        await until(lambda: known.floor > EARLIEST)
    assert known.find("removed") is None
