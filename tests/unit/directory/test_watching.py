"""A watch that fails or ends begins anew, and its observer knows that nothing was heard meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

import pytest

from gateway import tasks as tasks_module
from gateway.directory.availability import Availability
from gateway.directory.sandbox import TableDirectory, WatchObserver
from gateway.directory.watching import watch
from gateway.tasks import Tasks


class Faulty(TableDirectory):
    """Its watch fails twice, then tells of one change, and ends."""

    def __init__(self) -> None:
        super().__init__({})
        self.begun = 0

    async def watch(self, changed: Callable[[Iterable[str]], None], observer: WatchObserver | None = None) -> None:
        assert observer is not None
        assert not observer.watch_down
        self.begun += 1
        if self.begun < 3:
            raise RuntimeError(f"fault {self.begun}")
        changed([f"change {self.begun}"])


async def test_a_watch_that_fails_or_ends_begins_anew(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tasks_module, "PAUSE", 0.001)
    heard: asyncio.Queue[str] = asyncio.Queue()
    tasks, directory = Tasks(), Faulty()

    def changed(names: Iterable[str]) -> None:
        for name in names:
            heard.put_nowait(name)

    tasks.keep(partial(watch, directory, changed, Availability("a table")), "directory watch")
    async with asyncio.timeout(20):
        assert [await heard.get(), await heard.get(), await heard.get()] == ["change 3", "change 4", "change 5"]
    await tasks.cancel()
    causes = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert causes == ["fault 1", "fault 2", "the table of sandboxes: watching for changes has ended"]


async def test_a_watch_that_has_failed_is_deaf() -> None:
    observer = Availability("a table")
    with pytest.raises(RuntimeError, match="fault 1"):
        await watch(Faulty(), lambda names: None, observer)
    assert observer.watch_down
