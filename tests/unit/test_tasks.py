"""What is kept lives as long as its owner, whatever it dies of; what is shared runs once per key."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from gateway import tasks as tasks_module
from gateway.tasks import SingleFlight, Tasks


class Work:
    """Fails with each of `faults` in turn, then runs until told to return."""

    def __init__(self, *faults: BaseException) -> None:
        self.faults = list(faults)
        self.begun = 0
        self.runs = asyncio.Event()
        self.returns = asyncio.Event()

    async def __call__(self) -> None:
        self.begun += 1
        if self.faults:
            raise self.faults.pop(0)
        self.runs.set()
        await self.returns.wait()


@pytest.fixture
async def tasks(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tasks]:
    monkeypatch.setattr(tasks_module, "PAUSE", 0.001)
    tasks = Tasks()
    yield tasks
    async with asyncio.timeout(20):
        await tasks.cancel()
    assert not len(tasks)
    assert not tasks.failing


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        f"{record.getMessage().partition(';')[0]}: {record.exc_info[1]}"
        for record in caplog.records
        if record.levelno == logging.ERROR and record.exc_info
    ]


@pytest.mark.parametrize(
    "fault",
    [RuntimeError("of ours"), RecursionError(), TimeoutError(), MemoryError(), ExceptionGroup("two", [KeyError(1)])],
    ids=repr,
)
async def test_it_begins_anew(tasks: Tasks, fault: BaseException) -> None:
    work = Work(fault, fault)
    tasks.keep(work, "a watch")
    async with asyncio.timeout(20):
        await work.runs.wait()
    assert work.begun == 3


async def test_a_cancellation_that_leaks_out_of_it_is_a_failure_like_any_other(tasks: Tasks) -> None:
    """A library that cancels something of its own and does not catch it: nobody has told this task to end."""
    work = Work(asyncio.CancelledError(), RuntimeError())
    tasks.keep(work, "a watch")
    async with asyncio.timeout(20):
        await work.runs.wait()


async def test_its_owner_ends_it_while_it_runs_and_while_it_pauses(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks_module, "PAUSE", 3600.0)
    running, pausing = Work(), Work(RuntimeError())
    tasks.keep(running, "running")
    tasks.keep(pausing, "pausing")
    async with asyncio.timeout(20):
        await running.runs.wait()
    assert tasks.failing == ["pausing"]
    async with asyncio.timeout(20):
        await tasks.cancel()
    assert (running.begun, pausing.begun) == (1, 1)


async def test_the_same_failure_is_said_once(tasks: Tasks, caplog: pytest.LogCaptureFixture) -> None:
    work = Work(*[OSError("first")] * 3, *[OSError("second")] * 3)
    tasks.keep(work, "a watch")
    async with asyncio.timeout(20):
        await work.runs.wait()
    assert said(caplog) == ["task a watch failed: first", "task a watch failed: second"]


async def test_pauses_double_up_to_the_longest(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(tasks_module.asyncio, "sleep", note)
    monkeypatch.setattr(tasks_module, "PAUSE", 1.0)
    work = Work(*[OSError()] * 8)
    tasks.keep(work, "a watch")
    async with asyncio.timeout(20):
        await work.runs.wait()
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


async def test_who_has_run_for_long_fails_for_the_first_time_again(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tasks_module, "LONGEST_PAUSE", 0.0)
    work = Work(OSError("the same"), OSError("the same"))
    tasks.keep(work, "a watch")
    async with asyncio.timeout(20):
        await work.runs.wait()
    assert said(caplog) == ["task a watch failed: the same"] * 2


async def test_it_fails_until_it_has_run_for_longer_than_it_had_to_wait(tasks: Tasks) -> None:
    work = Work(*[OSError()] * 5)
    tasks.keep(work, "a watch")
    assert not tasks.failing
    await asyncio.sleep(0)
    assert tasks.failing == ["a watch"]
    async with asyncio.timeout(20):
        await work.runs.wait()
        assert tasks.failing == ["a watch"], "it has just begun, after 16 ms"
        while tasks.failing:
            await asyncio.sleep(0.001)


async def test_what_returns_has_done_its_work(tasks: Tasks) -> None:
    work = Work(OSError())
    work.returns.set()
    tasks.keep(work, "a job")
    async with asyncio.timeout(20):
        while tasks.keeps("a job"):
            await asyncio.sleep(0.001)
    assert work.begun == 2
    assert not tasks.failing


async def test_there_are_no_two_of_one_name(tasks: Tasks) -> None:
    work = Work()
    tasks.keep(work, "a job")
    tasks.keep(work, "a job")
    async with asyncio.timeout(20):
        await work.runs.wait()
    assert (work.begun, len(tasks)) == (1, 1)
    work.returns.set()
    async with asyncio.timeout(20):
        while tasks.keeps("a job"):
            await asyncio.sleep(0)
    tasks.keep(work, "a job")
    await asyncio.sleep(0)
    assert work.begun == 2


# --- single-flight ------------------------------------------------------------------------------------------------


async def answer(event: asyncio.Event, text: str) -> str:
    await event.wait()
    return text


@pytest.fixture
def flights(tasks: Tasks) -> SingleFlight[str, str]:
    return SingleFlight(tasks)


async def test_one_task_per_key_is_forgotten_when_it_ends(flights: SingleFlight[str, str]) -> None:
    event = asyncio.Event()
    first = flights.start("a", answer(event, "of a"), "a")
    other = flights.start("b", answer(event, "of b"), "b")
    assert flights.get("a") is first
    assert list(flights) == ["a", "b"]
    event.set()
    await asyncio.wait([first, other])
    assert (first.result(), other.result()) == ("of a", "of b")
    assert flights.get("a") is None
    assert not len(flights)


async def test_a_task_that_has_ended_is_joined_by_nobody(flights: SingleFlight[str, str]) -> None:
    joined: list[object] = []
    event = asyncio.Event()
    event.set()
    task = flights.start("a", answer(event, ""), "a")
    asyncio.get_running_loop().call_soon(lambda: joined.append((task.done(), flights.get("a"))))
    await task
    assert joined == [(True, None)]


async def test_a_waiter_that_is_cancelled_takes_the_answer_from_nobody(
    flights: SingleFlight[str, str], tasks: Tasks
) -> None:
    event = asyncio.Event()
    shared = flights.start("a", answer(event, "of a"), "a")

    async def wait() -> str:
        return await asyncio.shield(shared)

    one, two = tasks.spawn(wait(), "one"), tasks.spawn(wait(), "two")
    await asyncio.sleep(0)
    one.cancel()
    await asyncio.wait([one])
    event.set()
    assert await two == "of a"
    assert one.cancelled()


@pytest.mark.parametrize("forget_all", [False, True])
async def test_what_is_forgotten_runs_on_beside_its_successor(
    flights: SingleFlight[str, str], forget_all: bool
) -> None:
    current: list[bool] = []

    async def work(event: asyncio.Event) -> str:
        await event.wait()
        current.append(flights.is_current("a"))
        return ""

    events = asyncio.Event(), asyncio.Event()
    first = flights.start("a", work(events[0]), "first")
    if forget_all:
        flights.forget_all()
    else:
        flights.forget("a")
    second = flights.start("a", work(events[1]), "second")
    events[0].set()
    await first
    assert flights.get("a") is second
    events[1].set()
    await second
    assert current == [False, True]
    flights.forget("a")  # nothing is under way


async def test_a_task_that_never_began_is_forgotten(flights: SingleFlight[str, str]) -> None:
    task = flights.start("a", answer(asyncio.Event(), ""), "a")
    task.cancel()
    await asyncio.wait([task])
    assert not len(flights)
