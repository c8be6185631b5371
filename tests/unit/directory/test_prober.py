"""One question at a time to a backend that is away, however many would like to know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.directory.availability import Availability
from gateway.directory.prober import FIRST_PAUSE, Prober
from gateway.directory.sandbox import DirectoryError
from gateway.tasks import Tasks
from tests.support.clock import Clock


class Backend:
    """Fails each question as soon as it is asked."""

    def __init__(self, availability: Availability, tasks: Tasks) -> None:
        self.asked: list[str] = []
        self._availability = availability
        self._tasks = tasks

    def __call__(self, sandbox_id: str, *, probe: bool) -> asyncio.Task[None]:
        assert probe
        self.asked.append(sandbox_id)
        return self._tasks.spawn(self._fail(), "question")

    async def _fail(self) -> None:
        self._availability.failed(DirectoryError("away"))


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    tasks = Tasks()
    yield tasks
    await tasks.cancel()


async def test_a_failure_answers_for_a_moment(tasks: Tasks) -> None:
    """A flood of ids that nobody has is no flood of questions."""
    clock, availability = Clock(), Availability("a backend")
    availability.failed(DirectoryError("away"))
    backend = Backend(availability, tasks)
    prober = Prober(availability, backend, clock)
    for number in range(100):
        assert not await prober.is_back(f"nobody-{number}", 0.2)
    assert backend.asked == ["nobody-0"]
    clock.now += FIRST_PAUSE
    assert not await prober.is_back("somebody", 0.2)
    assert backend.asked == ["nobody-0", "somebody"]
