"""Records are asked for again where something is open, all at a time; what asking failed for is asked for again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from typing import cast

import pytest

from gateway import tasks as tasks_module
from gateway.directory.cache import DirectoryCache
from gateway.edge.revalidation import Revalidation
from gateway.tasks import Tasks
from gateway.upstream.pool import Pool


class Opened:
    """A pool with connections to these sandboxes."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def serves(self, sandbox_id: str) -> bool:
        return sandbox_id in self._names

    def sandboxes(self) -> list[str]:
        return list(self._names)


class Directory:
    def __init__(self) -> None:
        self.invalidated: list[str] = []
        self.asked: list[list[str]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.failures = 0

    def invalidate(self, sandbox_ids: Iterable[str]) -> None:
        self.invalidated += sandbox_ids

    def due(self, sandbox_ids: Collection[str]) -> list[str]:
        return list(sandbox_ids)

    async def ask_again(self, sandbox_ids: Sequence[str]) -> None:
        self.asked.append(list(sandbox_ids))
        await self.may_answer.wait()
        if self.failures:
            self.failures -= 1
            raise RuntimeError("a bug")


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
async def revalidation(directory: Directory) -> AsyncIterator[Revalidation]:
    tasks = Tasks()
    yield Revalidation(cast(Pool, Opened("a", "b", "c")), cast(DirectoryCache, directory), tasks)
    await tasks.cancel()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_of_what_has_changed_only_what_is_open_is_asked_for(
    revalidation: Revalidation, directory: Directory
) -> None:
    revalidation.changed(["b", "nobody's"])
    await settle()
    assert directory.invalidated == ["b", "nobody's"]
    assert directory.asked == [["b"]]


async def test_a_change_that_touches_nothing_open_asks_nobody(revalidation: Revalidation, directory: Directory) -> None:
    revalidation.changed(["nobody's"])
    await settle()
    assert directory.asked == []


async def test_where_changes_were_missed_all_that_is_open_is_asked_for(
    revalidation: Revalidation, directory: Directory
) -> None:
    revalidation.all()
    await settle()
    assert directory.asked == [["a", "b", "c"]]


async def test_what_changes_meanwhile_is_asked_for_next_and_once(
    revalidation: Revalidation, directory: Directory
) -> None:
    directory.may_answer.clear()
    revalidation.changed(["a"])
    await settle()
    for _ in range(3):
        revalidation.changed(["a", "b"])
    revalidation.due(["c"])  # what is due is looked at when the one under way is over
    directory.may_answer.set()
    await settle()
    assert directory.asked == [["a"], ["a", "b"]]


async def test_after_a_failure_the_same_are_asked_for_again(
    revalidation: Revalidation, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks_module, "PAUSE", 0.001)
    directory.failures = 1
    revalidation.changed(["a", "b"])
    async with asyncio.timeout(10):
        while len(directory.asked) < 2:
            await asyncio.sleep(0.001)
    assert directory.asked == [["a", "b"], ["a", "b"]]
