"""A watch that fails begins anew, and says so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

import pytest

from gateway.directory import watching
from gateway.directory.availability import Availability
from gateway.directory.sandbox import TableDirectory, Witness
from gateway.directory.watching import keep_watching
from gateway.tasks import Tasks


class Faulty(TableDirectory):
    """Its watch fails twice, then tells of one change, and ends."""

    def __init__(self) -> None:
        super().__init__({})
        self.begun = 0

    async def watch(self, changed: Callable[[Iterable[str]], None], witness: Witness | None = None) -> None:
        self.begun += 1
        if self.begun < 3:
            raise RuntimeError(f"fault {self.begun}")
        changed([f"change {self.begun}"])


async def test_a_watch_that_fails_or_ends_begins_anew(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watching, "PAUSE", 0.001)
    monkeypatch.setattr(watching, "LONGEST_PAUSE", 0.002)
    heard: asyncio.Queue[str] = asyncio.Queue()
    tasks, directory = Tasks(), Faulty()

    def changed(names: Iterable[str]) -> None:
        for name in names:
            heard.put_nowait(name)

    tasks.spawn(keep_watching(directory, changed, Availability("a table")), "watch")
    async with asyncio.timeout(20):
        assert [await heard.get(), await heard.get()] == ["change 3", "change 4"]
    await tasks.cancel()
    lines = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [line.getMessage().partition(":")[0] for line in lines] == ["the table of sandboxes"] * 2
    assert all(line.exc_info for line in lines)
