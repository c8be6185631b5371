"""A crowd at one target: a few dial, the others hear what became of it or come next."""

from __future__ import annotations

import asyncio

import pytest

from gateway.endpoint import Endpoint, Origin
from gateway.errors import Failure, Reason
from gateway.tasks import Tasks
from gateway.turns import Turns
from gateway.upstream.dial_limiter import AT_ONCE, DialLimiter

KEY = Endpoint(Origin("abc", "1", "fd00::5"), 5000)
REFUSED = Failure(Reason.CONNECTION_REFUSED, "connect to [fd00::5]:5000: Connection refused after 0.4 ms")
HUNG_UP = Failure(Reason.CONNECTION_TERMINATED, "the app closed the connection before it was asked")


def full() -> DialLimiter:
    """As many limiter as there may be have begun."""
    limiter = DialLimiter(Turns(asyncio.get_running_loop().call_soon))
    assert [limiter.try_acquire(KEY) for _ in range(AT_ONCE + 1)] == [True] * AT_ONCE + [False]
    return limiter


async def waiting(limiter: DialLimiter, tasks: Tasks, count: int) -> list[asyncio.Task[Failure | None]]:
    waiters = [tasks.spawn(limiter.acquire(KEY), "waiter") for _ in range(count)]
    await asyncio.sleep(0)
    return waiters


def done(waiters: list[asyncio.Task[Failure | None]]) -> list[Failure | None]:
    return [waiter.result() for waiter in waiters if waiter.done()]


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_failure_answers_for_all_who_wait() -> None:
    limiter, tasks = full(), Tasks()
    waiters = await waiting(limiter, tasks, 200)
    limiter.release(KEY, REFUSED)
    await settle()
    assert len(done(waiters)) < 100, "in portions"
    await asyncio.wait(waiters, timeout=10)
    assert done(waiters) == [REFUSED] * 200
    assert limiter.under_way(KEY) == AT_ONCE - 1


async def test_each_success_makes_room_for_two() -> None:
    limiter, tasks = full(), Tasks()
    waiters = await waiting(limiter, tasks, 200)
    for _ in range(AT_ONCE):
        limiter.release(KEY, connected=True)
    await settle()
    assert done(waiters) == [None] * (2 * AT_ONCE), "those who came first"
    assert all(waiter.done() for waiter in waiters[: 2 * AT_ONCE])
    assert limiter.under_way(KEY) == 2 * AT_ONCE
    limiter.release(KEY, REFUSED)
    await settle()


async def test_what_concerns_one_connection_is_told_to_nobody_else() -> None:
    limiter, tasks = full(), Tasks()
    waiters = await waiting(limiter, tasks, 2)
    limiter.release(KEY, HUNG_UP)
    await settle()
    assert done(waiters) == [None]
    limiter.release(KEY)  # its sender has left
    await settle()
    assert done(waiters) == [None, None]


async def test_who_leaves_while_waiting_takes_nobodys_turn() -> None:
    limiter, tasks = full(), Tasks()
    first, second = await waiting(limiter, tasks, 2)
    first.cancel()
    await settle()
    limiter.release(KEY)
    await settle()
    assert first.cancelled()
    assert second.result() is None


async def test_a_turn_given_to_somebody_who_leaves_goes_to_the_next() -> None:
    limiter, tasks = full(), Tasks()
    first, second = await waiting(limiter, tasks, 2)
    limiter.release(KEY)
    first.cancel()  # in the same turn of the event loop
    await settle()
    assert first.cancelled()
    assert second.result() is None
    assert limiter.under_way(KEY) == AT_ONCE


@pytest.mark.parametrize("connected", [True, False])
async def test_nothing_is_kept_of_a_target_without_dials(connected: bool) -> None:
    limiter = full()
    for _ in range(AT_ONCE):
        limiter.release(KEY, connected=connected)
    assert len(limiter) == 0
    assert limiter.under_way(KEY) == 0


async def test_other_targets_are_not_concerned() -> None:
    limiter = full()
    assert limiter.try_acquire((("abc", "1", "fd00::5"), 5001))
    assert limiter.try_acquire((("abc", "2", "fd00::5"), 5000)), "another machine under the same address"
