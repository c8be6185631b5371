"""Asking the workers how they are, with the test at their ends of the channels."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import msgspec
import pytest

from gateway.process import admin
from gateway.process.admin import Workers
from gateway.process.worker import Status, StatusRequest
from gateway.tasks import Tasks


class Slot:
    """A worker slot's channel. The worker answers if it is told to, and else stands still."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ours.setblocking(False)
        self.theirs.setblocking(False)
        self.asked: list[int] = []

    def answers(self) -> None:
        asyncio.get_running_loop().add_reader(self.theirs, self.answer)

    def answer(self) -> None:
        """Answers one question."""
        number = msgspec.json.decode(self.theirs.recv(4096), type=StatusRequest).number
        self.asked.append(number)
        self.theirs.send(
            msgspec.json.encode(Status(number, self.number, 100 + self.number, "ready", 0, 0, 0, ["watch"]))
        )

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def slots() -> Iterator[list[Slot]]:
    with ExitStack() as stack:
        slots = [Slot(number) for number in range(4)]
        for slot in slots:
            stack.callback(slot.close)
        yield slots


@pytest.fixture
async def workers(slots: list[Slot]) -> AsyncIterator[Workers]:
    loop, tasks = asyncio.get_running_loop(), Tasks()
    yield Workers([slot.ours for slot in slots], tasks)
    assert not len(tasks)
    for slot in slots:
        assert not loop.remove_reader(slot.ours), "a reader is left behind"
        loop.remove_reader(slot.theirs)


def pids(answers: list[admin.Answer]) -> list[object]:
    return [answer and answer["pid"] for answer in answers]


async def test_every_worker_says_how_it_is(workers: Workers, slots: list[Slot]) -> None:
    for slot in slots:
        slot.answers()
    answers = await workers.ask()
    assert answers[1] == {
        "worker": 1,
        "pid": 101,
        "state": "ready",
        "connections": 0,
        "exchanges": 0,
        "upstream": 0,
        "failing": ["watch"],
        "generation": 1,
        "directory": "",
        "records": 0,
        "busiest": [],
        "failures": [],
    }
    assert pids(answers) == [100, 101, 102, 103]


async def test_however_many_ask_nobody_waits_longer(workers: Workers, slots: list[Slot]) -> None:
    for slot in slots[:2]:
        slot.answers()
    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        probes = [group.create_task(workers.ask()) for _ in range(50)]
    # Fifty rounds would have taken forty seconds.
    assert time.monotonic() - started < 10
    assert [pids(probe.result()) for probe in probes] == [[100, 101, None, None]] * 50
    assert [len(slot.asked) for slot in slots] == [1, 1, 0, 0]


async def test_the_time_is_for_all_of_them_together(
    workers: Workers, slots: list[Slot], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "ANSWER_TIMEOUT", 0.3)
    started = time.monotonic()
    assert pids(await workers.ask()) == [None] * 4
    assert time.monotonic() - started < 10
    slots[3].answer()  # late
    slots[3].answers()
    assert pids(await workers.ask()) == [None, None, None, 103], "a new round, and the late answer is not taken for it"
    assert len(set(slots[3].asked)) == 2


async def test_who_stood_still_for_long_is_heard_again(
    workers: Workers, slots: list[Slot], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its questions have piled up until the kernel took no more."""
    monkeypatch.setattr(admin, "ANSWER_TIMEOUT", 0.001)
    for slot in slots[:3]:
        slot.answers()
    full = False
    while not full:
        assert pids(await workers.ask())[3] is None
        try:
            slots[3].ours.send(msgspec.json.encode(StatusRequest(0)))
        except BlockingIOError:
            full = True
    monkeypatch.setattr(admin, "ANSWER_TIMEOUT", 0.2)
    slots[3].answers()
    while pids(await workers.ask())[3] is None:
        pass
    assert slots[3].asked


async def test_an_answer_counts_although_the_asker_is_late(
    workers: Workers, slots: list[Slot], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The admin process itself was held up; that is no worker's fault."""
    monkeypatch.setattr(admin, "ANSWER_TIMEOUT", 0.05)
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(workers.ask())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for slot in slots:
            slot.answer()
        time.sleep(0.1)  # the loop is held up
    assert pids(asking.result()) == [100, 101, 102, 103]


async def test_an_answer_that_somebody_else_reads_is_asked_for_again(workers: Workers, slots: list[Slot]) -> None:
    """In a reload, two admin processes ask over the same channels for a moment."""
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(workers.ask())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        slots[0].answer()
        slots[0].ours.recv(4096)
        for slot in slots:
            slot.answers()
    assert pids(asking.result()) == [100, 101, 102, 103]
    assert [len(slot.asked) for slot in slots] == [2, 1, 1, 1]


async def test_one_asker_that_goes_away_takes_nothing_from_the_others(workers: Workers, slots: list[Slot]) -> None:
    async with asyncio.TaskGroup() as group:
        first, second = group.create_task(workers.ask()), group.create_task(workers.ask())
        await asyncio.sleep(0)
        first.cancel()
        for slot in slots:
            slot.answers()
    assert pids(second.result()) == [100, 101, 102, 103]
