"""A crowd at one target: a few dial, the others hear what became of it or come next."""

from __future__ import annotations

import asyncio

import pytest

from gateway.endpoint import Endpoint, Origin
from gateway.errors import Failure, Reason
from gateway.tasks import Tasks
from gateway.upstream.turns import AT_ONCE, Turns

KEY = Endpoint(Origin("abc", "1", "fd00::5"), 5000)
REFUSED = Failure(Reason.CONNECTION_REFUSED, "connect to [fd00::5]:5000: Connection refused after 0.4 ms")
HUNG_UP = Failure(Reason.CONNECTION_TERMINATED, "the app closed the connection before it was asked")


def full() -> Turns:
    """As many turns as there may be have begun."""
    turns = Turns()
    assert [turns.begin(KEY) for _ in range(AT_ONCE + 1)] == [True] * AT_ONCE + [False]
    return turns


async def waiting(turns: Turns, tasks: Tasks, count: int) -> list[asyncio.Task[Failure | None]]:
    waiters = [tasks.spawn(turns.wait(KEY), "waiter") for _ in range(count)]
    await asyncio.sleep(0)
    return waiters


def done(waiters: list[asyncio.Task[Failure | None]]) -> list[Failure | None]:
    return [waiter.result() for waiter in waiters if waiter.done()]


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_failure_answers_for_all_who_wait() -> None:
    turns, tasks = full(), Tasks()
    waiters = await waiting(turns, tasks, 200)
    turns.end(KEY, REFUSED)
    await settle()
    assert done(waiters) == [REFUSED] * 200
    assert turns.under_way(KEY) == AT_ONCE - 1


async def test_each_success_makes_room_for_two() -> None:
    turns, tasks = full(), Tasks()
    waiters = await waiting(turns, tasks, 200)
    for _ in range(AT_ONCE):
        turns.end(KEY, connected=True)
    await settle()
    assert done(waiters) == [None] * (2 * AT_ONCE), "those who came first"
    assert all(waiter.done() for waiter in waiters[: 2 * AT_ONCE])
    assert turns.under_way(KEY) == 2 * AT_ONCE
    turns.end(KEY, REFUSED)
    await settle()


async def test_what_concerns_one_connection_is_told_to_nobody_else() -> None:
    turns, tasks = full(), Tasks()
    waiters = await waiting(turns, tasks, 2)
    turns.end(KEY, HUNG_UP)
    await settle()
    assert done(waiters) == [None]
    turns.end(KEY)  # its sender has left
    await settle()
    assert done(waiters) == [None, None]


async def test_who_leaves_while_waiting_takes_nobodys_turn() -> None:
    turns, tasks = full(), Tasks()
    first, second = await waiting(turns, tasks, 2)
    first.cancel()
    await settle()
    turns.end(KEY)
    await settle()
    assert first.cancelled()
    assert second.result() is None


async def test_a_turn_given_to_somebody_who_leaves_goes_to_the_next() -> None:
    turns, tasks = full(), Tasks()
    first, second = await waiting(turns, tasks, 2)
    turns.end(KEY)
    first.cancel()  # in the same turn of the event loop
    await settle()
    assert first.cancelled()
    assert second.result() is None
    assert turns.under_way(KEY) == AT_ONCE


@pytest.mark.parametrize("connected", [True, False])
async def test_nothing_is_kept_of_a_target_without_dials(connected: bool) -> None:
    turns = full()
    for _ in range(AT_ONCE):
        turns.end(KEY, connected=connected)
    assert len(turns) == 0
    assert turns.under_way(KEY) == 0


async def test_other_targets_are_not_concerned() -> None:
    turns = full()
    assert turns.begin((("abc", "1", "fd00::5"), 5001))
    assert turns.begin((("abc", "2", "fd00::5"), 5000)), "another machine under the same address"
