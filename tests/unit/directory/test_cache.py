"""The cache in front of every backend, on a clock that stands still unless it is told to move."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest

from gateway import tasks as tasks_module
from gateway.config import Directory as Settings
from gateway.directory import cache as cache_module
from gateway.directory import prober as prober_module
from gateway.directory.availability import OutageReporter
from gateway.directory.cache import MIN_RECORD_TTL, MIN_RESPONSE_TIMER, RETRY_AFTER_ERROR, SLOW_LIMIT, DirectoryCache
from gateway.directory.sandbox import DirectoryError, RecordError, Sandbox
from gateway.directory.shared import Shared
from gateway.directory.shared_cache import SharedCache
from gateway.directory.snapshot import load, save
from gateway.errors import GatewayError, Reason
from gateway.tasks import Tasks
from tests.support.clock import Clock

TTL, NEGATIVE_TTL, STALE = 5.0, 1.0, 600.0
TICK = 0.001
SETTINGS = Settings(ttl=TTL, negative_ttl=NEGATIVE_TTL, stale=STALE)
DOWN = DirectoryError("connect to the backend: refused")


def sandbox(sandbox_id: str = "abc", generation: str = "1", lifetime: float | None = None) -> Sandbox:
    return Sandbox(sandbox_id, IPv6Address("fd00::5"), generation, lifetime=lifetime)


class Backend:
    """Answers what `answers` holds, at once or when `open` is set."""

    where = "the backend"
    reports_changes = True
    at_once = 64

    def __init__(self) -> None:
        self.answers: dict[str, Sandbox | Exception | None] = {}
        self.asked: list[str] = []
        self.away: DirectoryError | None = None
        self.being_asked = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()
        self.takes = 0.0
        self.clock: Clock | None = None
        self.together = [0]
        self._under_way = 0

    async def fetch(self, sandbox_id: str) -> Sandbox | None:
        self.asked.append(sandbox_id)
        # What the backend knows when it is asked, however long that takes.
        answer = self.away or self.answers.get(sandbox_id)
        self.being_asked.set()
        self._under_way += 1
        self.together.append(self._under_way)
        try:
            await asyncio.sleep(0)
            await self.open.wait()
        finally:
            self._under_way -= 1
        if self.clock is not None:
            self.clock.now += self.takes
        if isinstance(answer, Exception):
            raise type(answer)(*answer.args)  # anew: one that was raised holds frames, and this one outlives the test
        return answer


class Told(list[tuple[str, str | None]]):
    """Whose ids are, as the cache tells it: the generation, None for nobody."""

    def __init__(self, cache: DirectoryCache) -> None:
        super().__init__()
        cache.on_answer = lambda name, record: self.append((name, record and record.generation))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
async def cache(backend: Backend, clock: Clock) -> DirectoryCache:
    return DirectoryCache(backend, clock, SETTINGS)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """For how long the cache is ready to wait, each time; None: until the answer comes."""
    noted: list[float | None] = []
    wait = asyncio.wait

    async def note(tasks: Any, *, timeout: float | None = None) -> Any:
        noted.append(timeout)
        return await wait(tasks, timeout=timeout)

    monkeypatch.setattr(cache_module.asyncio, "wait", note)
    return noted


async def reason_of(cache: DirectoryCache, sandbox_id: str = "abc") -> Reason:
    with pytest.raises(GatewayError) as error:
        await cache.fetch(sandbox_id)
    assert error.value.detail
    return error.value.reason


# --- how long an answer lives -------------------------------------------------------------------------------------


async def test_a_record_is_asked_for_once_and_then_known(cache: DirectoryCache, backend: Backend) -> None:
    backend.answers["abc"] = known = sandbox()
    assert cache.get_cached("abc") is None
    assert await cache.fetch("abc") is known
    assert cache.get_cached("abc") is known
    assert await cache.fetch("abc") is known
    assert backend.asked == ["abc"]
    assert len(cache) == 1


async def test_a_record_lives_its_ttl(cache: DirectoryCache, backend: Backend, clock: Clock) -> None:
    backend.answers["abc"] = before = sandbox(generation="1")
    await cache.fetch("abc")
    backend.answers["abc"] = after = sandbox(generation="2")
    clock.now += TTL
    assert cache.get_cached("abc") is before
    clock.now += TICK
    assert cache.get_cached("abc") is None
    assert await cache.fetch("abc") is after
    assert cache.get_cached("abc") is after


@pytest.mark.parametrize(("own", "lives"), [(2.0, 2.0), (TTL + 1, TTL), (0.0, MIN_RECORD_TTL), (-3.0, MIN_RECORD_TTL)])
async def test_a_records_own_ttl_counts_within_bounds(
    cache: DirectoryCache, backend: Backend, clock: Clock, own: float, lives: float
) -> None:
    """Never longer than the setting says, and never so short that the backend is asked for each request."""
    backend.answers["abc"] = Sandbox("abc", IPv6Address("fd00::5"), "1", ttl=own)
    await cache.fetch("abc")
    clock.now += lives
    assert cache.get_cached("abc") is not None
    clock.now += TICK
    assert cache.get_cached("abc") is None


async def test_no_such_sandbox_is_knowledge_too(cache: DirectoryCache, backend: Backend, clock: Clock) -> None:
    assert await reason_of(cache) is Reason.DESTINATION_NOT_FOUND
    clock.now += NEGATIVE_TTL
    with pytest.raises(GatewayError) as error:
        cache.get_cached("abc")
    assert error.value.reason is Reason.DESTINATION_NOT_FOUND
    assert await reason_of(cache) is Reason.DESTINATION_NOT_FOUND
    assert backend.asked == ["abc"]


async def test_a_new_sandbox_is_found_after_the_negative_ttl(
    cache: DirectoryCache, backend: Backend, clock: Clock
) -> None:
    assert await reason_of(cache) is Reason.DESTINATION_NOT_FOUND
    backend.answers["abc"] = known = sandbox()
    clock.now += NEGATIVE_TTL + TICK
    assert cache.get_cached("abc") is None
    assert await cache.fetch("abc") is known


# --- one question, many askers ------------------------------------------------------------------------------------

ANSWERS = [
    (sandbox(), None),
    (None, Reason.DESTINATION_NOT_FOUND),
    (DirectoryError("no answer from the backend"), Reason.DIRECTORY_UNAVAILABLE),
]


@pytest.mark.parametrize(("answer", "reason"), ANSWERS, ids=["found", "not found", "unavailable"])
async def test_any_number_of_askers_are_one_question(
    cache: DirectoryCache, backend: Backend, answer: Sandbox | DirectoryError | None, reason: Reason | None
) -> None:
    backend.answers["abc"] = answer
    backend.open.clear()
    askers = Tasks()
    waiting = [askers.spawn(cache.fetch("abc"), f"asker {number}") for number in range(50)]
    await backend.being_asked.wait()
    backend.open.set()
    await asyncio.wait(waiting)
    assert backend.asked == ["abc"]
    for asker in waiting:
        if reason is None:
            assert asker.result() is answer
        else:
            error = asker.exception()
            assert isinstance(error, GatewayError)
            assert error.reason is reason


async def test_different_sandboxes_are_different_questions(cache: DirectoryCache, backend: Backend) -> None:
    backend.answers |= {"abc": sandbox("abc"), "xyz": sandbox("xyz")}
    assert (await cache.fetch("abc")).id == "abc"
    assert (await cache.fetch("xyz")).id == "xyz"
    assert backend.asked == ["abc", "xyz"]


async def test_one_asker_leaving_takes_nothing_from_the_others(cache: DirectoryCache, backend: Backend) -> None:
    backend.answers["abc"] = known = sandbox()
    backend.open.clear()
    askers = Tasks()
    leaving, staying = (askers.spawn(cache.fetch("abc"), name) for name in ("leaving", "staying"))
    await backend.being_asked.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    backend.open.set()
    assert await staying is known
    assert backend.asked == ["abc"]


async def test_an_answer_nobody_waits_for_any_more_is_kept(cache: DirectoryCache, backend: Backend) -> None:
    backend.answers["abc"] = known = sandbox()
    backend.open.clear()
    asker = Tasks().spawn(cache.fetch("abc"), "asker")
    await backend.being_asked.wait()
    asker.cancel()
    await asyncio.wait([asker])
    backend.open.set()
    assert await cache.fetch("abc") is known
    assert backend.asked == ["abc"]


async def test_a_backends_bug_is_everybodys_and_not_kept(
    cache: DirectoryCache, backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.answers["abc"] = ZeroDivisionError("a bug")
    with caplog.at_level(logging.CRITICAL), pytest.raises(ZeroDivisionError):
        await cache.fetch("abc")
    backend.answers["abc"] = known = sandbox()
    assert await cache.fetch("abc") is known


# --- when the backend fails ---------------------------------------------------------------------------------------


async def until(condition: Callable[[], object], what: str) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def expire(cache: DirectoryCache, backend: Backend, clock: Clock, *names: str) -> None:
    """The records of these names are known, and old."""
    for name in names:
        backend.answers[name] = sandbox(name)
        await cache.fetch(name)
    clock.now += TTL + TICK
    backend.asked.clear()
    backend.being_asked.clear()


async def test_an_outage_takes_down_nothing_that_was_known(
    cache: DirectoryCache, backend: Backend, clock: Clock
) -> None:
    await expire(cache, backend, clock, "abc")
    backend.away = DOWN
    served = await cache.fetch("abc")
    assert served == sandbox()
    assert served.stale
    assert cache.get_cached("abc") is served, "the hot path serves it without a question"


async def test_while_the_backend_is_away_it_gets_one_question_at_a_time_whatever_is_served(
    cache: DirectoryCache, backend: Backend, clock: Clock
) -> None:
    names = [f"box{number}" for number in range(200)]
    await expire(cache, backend, clock, *names)
    backend.away = DOWN
    assert (await cache.fetch("box0")).stale
    backend.open.clear()  # from now on it hangs
    backend.asked.clear()
    for name in names:
        assert (await cache.fetch(name)).stale
        clock.now += RETRY_AFTER_ERROR + TICK
        assert (await cache.fetch(name)).stale
    await until(lambda: backend.asked, "the prober asks")
    assert len(backend.asked) == 1
    assert len(cache._fetches) == 1


async def test_a_backend_that_fails_is_asked_ever_more_seldom(
    cache: DirectoryCache, backend: Backend, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        if seconds:
            pauses.append(seconds)
        await sleep(0)

    await expire(cache, backend, clock, "abc")
    backend.away = DOWN
    monkeypatch.setattr(prober_module.asyncio, "sleep", note)
    await cache.fetch("abc")
    for _ in range(1000):
        await sleep(0)
    backend.away = None
    for _ in range(1000):
        await sleep(0)
    assert pauses[:6] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    asked = len(pauses)
    for _ in range(100):
        await sleep(0)
    assert len(pauses) == asked, "it ends with the outage"


@pytest.mark.parametrize(("beyond", "served"), [(-TICK, True), (TICK, False)])
async def test_an_old_record_is_served_only_so_long(
    cache: DirectoryCache, backend: Backend, clock: Clock, beyond: float, served: bool
) -> None:
    backend.answers["abc"] = known = sandbox()
    await cache.fetch("abc")
    backend.away = DOWN
    clock.now += TTL + STALE + beyond
    if served:
        assert await cache.fetch("abc") == known
        clock.now += 2 * TICK
        assert cache.get_cached("abc") is None, "not even for the pause between two questions"
    assert await reason_of(cache) is Reason.DIRECTORY_UNAVAILABLE


LIFE = 3.0


@pytest.mark.parametrize("how", ["there", "away", "silent"])
@pytest.mark.parametrize(("beyond", "served"), [(-TICK, True), (TICK, False)])
async def test_nothing_is_served_beyond_the_end_of_its_lifetime(
    cache: DirectoryCache, backend: Backend, clock: Clock, how: str, beyond: float, served: bool
) -> None:
    assert LIFE < TTL
    backend.answers["abc"] = known = sandbox(lifetime=LIFE)
    await cache.fetch("abc")
    backend.answers["abc"] = None
    if how == "away":
        backend.away = DOWN
        clock.now += LIFE / 2
        assert await reason_of(cache, "other") is Reason.DIRECTORY_UNAVAILABLE
        cache.evict("abc")
        assert await cache.fetch("abc") == known, "served on until its end"
        clock.now -= LIFE / 2
    elif how == "silent":
        backend.open.clear()
    clock.now += LIFE + beyond
    if served:
        assert cache.get_cached("abc") or await cache.fetch("abc") == known
        clock.now += 2 * TICK
    assert cache.get_cached("abc") is None
    if how == "silent":
        asking = Tasks().spawn(cache.fetch("abc"), "asks")
        await asyncio.wait([asking], timeout=2 * MIN_RESPONSE_TIMER)
        assert not asking.done(), "there is nothing to serve meanwhile"
        backend.open.set()
        await asyncio.wait([asking])
        assert isinstance(asking.exception(), GatewayError)
    else:
        gone = Reason.DESTINATION_NOT_FOUND if how == "there" else Reason.DIRECTORY_UNAVAILABLE
        assert await reason_of(cache) is gone


async def test_a_lifetime_shorter_than_any_records_ttl_counts(
    cache: DirectoryCache, backend: Backend, clock: Clock
) -> None:
    backend.answers["abc"] = sandbox(lifetime=MIN_RECORD_TTL / 10)
    await cache.fetch("abc")
    clock.now += MIN_RECORD_TTL / 10 + TICK
    assert cache.get_cached("abc") is None


async def test_a_lifetime_that_ends_while_the_backend_is_asked_has_ended(
    cache: DirectoryCache, backend: Backend, clock: Clock
) -> None:
    """It counts from the question: how long the answer was under way the backend cannot know."""
    backend.answers["abc"] = sandbox(lifetime=LIFE)
    backend.clock, backend.takes = clock, LIFE - TICK
    assert await cache.fetch("abc") == sandbox()
    clock.now += 2 * TICK
    assert cache.get_cached("abc") is None
    backend.takes = LIFE + TICK
    assert await reason_of(cache) is Reason.DESTINATION_NOT_FOUND


async def test_the_outages_own_words_are_told(cache: DirectoryCache, backend: Backend) -> None:
    backend.away = DOWN
    for _ in range(2):
        with pytest.raises(GatewayError) as error:
            await cache.fetch("abc")
        assert error.value.detail == "connect to the backend: refused"


async def test_an_outage_is_no_knowledge(cache: DirectoryCache, backend: Backend, clock: Clock) -> None:
    backend.away = DOWN
    assert await reason_of(cache) is Reason.DIRECTORY_UNAVAILABLE
    assert len(cache) == 0
    backend.away, backend.answers["abc"] = None, sandbox()
    clock.now += prober_module.FIRST_PAUSE
    assert await cache.fetch("abc") == sandbox(), "the moment the backend is back"


async def test_what_is_unknown_is_refused_promptly_while_the_backend_hangs(
    cache: DirectoryCache, backend: Backend, clock: Clock
) -> None:
    await expire(cache, backend, clock, "abc")
    backend.away = DOWN
    await cache.fetch("abc")
    backend.open.clear()
    await until(lambda: len(backend.asked) > 1, "the prober asks, and hangs")
    clock.now += MIN_RESPONSE_TIMER + TICK
    for number in range(100):
        assert await reason_of(cache, f"unknown-{number}") is Reason.DIRECTORY_UNAVAILABLE
    assert len(backend.asked) == 2


async def test_a_flood_of_unknown_names_is_no_flood_of_questions(cache: DirectoryCache, backend: Backend) -> None:
    backend.away = DOWN
    for number in range(200):
        assert await reason_of(cache, f"unknown-{number}") is Reason.DIRECTORY_UNAVAILABLE
    assert len(backend.asked) <= 3, "the clock stands still: one, and what the prober asks of its own"


async def test_what_was_learned_before_changes_were_missed_is_not_served_on(
    cache: DirectoryCache, backend: Backend, clock: Clock
) -> None:
    await expire(cache, backend, clock, "abc")
    cache.availability.missed()
    backend.away = DOWN
    assert await reason_of(cache) is Reason.DIRECTORY_UNAVAILABLE


async def test_what_was_served_stale_is_asked_for_as_soon_as_the_backend_is_back(
    cache: DirectoryCache, backend: Backend, clock: Clock
) -> None:
    names = [f"box{number}" for number in range(50)]
    await expire(cache, backend, clock, *names)
    told = Told(cache)
    backend.away = DOWN
    for name in names:
        assert (await cache.fetch(name)).stale
    backend.asked.clear()
    del backend.answers["box7"]
    backend.answers["box8"] = sandbox("box8", generation="2")
    backend.away = None
    await until(lambda: len(set(backend.asked)) == 50, "every one of them is asked for, without a request")
    await until(lambda: len(told) == 50, "whose each of them is, is told")
    assert dict(told) == dict.fromkeys(names, "1") | {"box7": None, "box8": "2"}
    assert max(backend.together) <= cache_module.REFRESHED_AT_ONCE + 1
    with pytest.raises(GatewayError) as raised:
        cache.get_cached("box7")
    assert raised.value.reason is Reason.DESTINATION_NOT_FOUND
    fresh = cache.get_cached("box8")
    assert fresh is not None and fresh.generation == "2" and not fresh.stale


async def test_a_fault_of_the_prober_ends_no_probing(
    cache: DirectoryCache, backend: Backend, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks_module, "PAUSE", 0.001)
    await expire(cache, backend, clock, "abc")
    backend.away = DOWN
    assert (await cache.fetch("abc")).stale
    ask, faults = cache._prober._ask, [RuntimeError("a fault of ours")] * 2

    def fail(sandbox_id: str) -> asyncio.Task[Any]:
        if faults:
            raise faults.pop()
        return ask(sandbox_id)

    monkeypatch.setattr(cache._prober, "_ask", fail)
    await until(lambda: cache.failing == ["directory prober"], "it is named")
    backend.away = None
    await until(lambda: not cache.availability.away, "it is found to be back")
    await until(lambda: not cache.failing, "it is over")


@pytest.mark.pure
async def test_a_fault_while_asking_again_is_no_reason_not_to(
    cache: DirectoryCache, backend: Backend, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks_module, "PAUSE", 0.001)
    names = [f"box{number}" for number in range(20)]
    await expire(cache, backend, clock, *names)
    backend.away = DOWN
    for name in names:
        assert (await cache.fetch(name)).stale
    backend.answers = {name: sandbox(name, generation="2") for name in names}
    ask_again, faults = cache.ask_again, [RuntimeError("a fault of ours")] * 2

    async def fail(sandbox_ids: Sequence[str]) -> None:
        if faults:
            raise faults.pop()
        await ask_again(sandbox_ids)

    monkeypatch.setattr(cache, "ask_again", fail)
    backend.away = None
    await until(
        lambda: all((known := cache.get_cached(name)) is not None and known.generation == "2" for name in names),
        "every one of them is asked for",
    )
    assert not faults


async def test_what_was_served_stale_is_not_vouched_for(cache: DirectoryCache, backend: Backend, clock: Clock) -> None:
    """A backend that tells of changes vouches for what it said last; not for what was served without its word."""
    await expire(cache, backend, clock, "heard", "stale")
    assert cache.due(["heard", "stale"]) == []
    backend.away = DOWN
    assert (await cache.fetch("stale")).stale
    clock.now += cache_module.RETRY_AFTER_ERROR + 1
    assert cache.due(["heard", "stale"]) == ["stale"]


async def test_what_a_second_outage_serves_stale_is_asked_for_by_who_still_asks(
    cache: DirectoryCache, backend: Backend, clock: Clock
) -> None:
    names = [f"box{number}" for number in range(20)]
    await expire(cache, backend, clock, *names, "late", "latest")
    backend.away = DOWN
    for name in names:
        assert (await cache.fetch(name)).stale
    backend.away = None
    backend.open.clear()
    cache.availability.answered()
    await until(lambda: len(cache._fetches) >= cache_module.REFRESHED_AT_ONCE, "they are being asked for")
    cache.availability.failed(DOWN)
    for name in ("late", "latest"):  # the second, because the prober asks for the last one of itself
        assert (await cache.fetch(name)).stale
    cache.availability.answered()
    backend.open.set()
    await until(lambda: (known := cache.get_cached("late")) is not None and not known.stale, "it is asked for, too")


async def test_one_record_that_cannot_be_understood_is_no_outage(
    cache: DirectoryCache, backend: Backend, clock: Clock
) -> None:
    await expire(cache, backend, clock, "abc", "bad")
    backend.answers["bad"] = RecordError("the record of bad is broken")
    assert (await cache.fetch("bad")).stale
    assert not cache.availability.away
    assert not (await cache.fetch("abc")).stale
    assert await reason_of(cache, "new") is Reason.DESTINATION_NOT_FOUND
    backend.answers["worse"] = RecordError("the record of worse is broken")
    assert await reason_of(cache, "worse") is Reason.DIRECTORY_UNAVAILABLE


async def test_after_an_outage_the_new_answer_counts(cache: DirectoryCache, backend: Backend, clock: Clock) -> None:
    await expire(cache, backend, clock, "abc")
    backend.away = DOWN
    await cache.fetch("abc")
    backend.away, backend.answers["abc"] = None, sandbox(generation="2")
    await until(lambda: not cache.availability.away, "it is found to be back")
    await until(lambda: (known := cache.get_cached("abc")) is not None and known.generation == "2", "it is asked for")


async def test_what_the_backend_knows_to_be_gone_is_not_served_on(
    cache: DirectoryCache, backend: Backend, clock: Clock
) -> None:
    await expire(cache, backend, clock, "abc")
    backend.answers["abc"] = None
    assert await reason_of(cache) is Reason.DESTINATION_NOT_FOUND
    backend.away = DOWN
    clock.now += NEGATIVE_TTL + TICK
    assert await reason_of(cache) is Reason.DIRECTORY_UNAVAILABLE


# --- when the backend is slow -------------------------------------------------------------------------------------


async def test_an_expired_record_waits_for_a_slow_backend_only_briefly(
    cache: DirectoryCache, backend: Backend, clock: Clock, waits: list[float | None]
) -> None:
    await expire(cache, backend, clock, "abc")
    backend.open.clear()
    waits.clear()
    assert (await cache.fetch("abc")).stale
    assert waits == [MIN_RESPONSE_TIMER]
    clock.now += RETRY_AFTER_ERROR + TICK
    assert (await cache.fetch("abc")).stale
    assert waits == [MIN_RESPONSE_TIMER, 0], "once, not every second"
    assert backend.asked == ["abc"]
    backend.open.set()
    await until(lambda: (known := cache.get_cached("abc")) is not None and not known.stale, "the answer is kept")


async def test_a_backend_that_is_always_slow_is_given_its_time(
    cache: DirectoryCache, backend: Backend, clock: Clock, waits: list[float | None]
) -> None:
    backend.takes, backend.clock = 0.4, clock
    await expire(cache, backend, clock, "abc")
    waits.clear()
    assert not (await cache.fetch("abc")).stale
    assert waits == [pytest.approx(0.8)]


@pytest.mark.parametrize(("age", "stale"), [(SLOW_LIMIT - 1, True), (SLOW_LIMIT + 1, False)])
async def test_slowness_alone_is_no_reason_for_a_very_old_record_where_changes_are_not_told(
    backend: Backend, clock: Clock, age: float, stale: bool
) -> None:
    backend.reports_changes = False
    cache = DirectoryCache(backend, clock, SETTINGS)
    await expire(cache, backend, clock, "abc")
    clock.now += age
    backend.open.clear()
    backend.answers["abc"] = after = sandbox(generation="2")
    asker = Tasks().spawn(cache.fetch("abc"), "asker")
    if stale:
        assert (await asker).stale
    else:
        await until(lambda: len(backend.asked), "it is asked for")
        await asyncio.sleep(MIN_RESPONSE_TIMER + 0.05)
        assert not asker.done()
        backend.open.set()
        assert await asker is after
    backend.open.set()
    await cache.close()


async def test_an_asker_that_leaves_while_the_backend_is_slow_breaks_nothing(
    cache: DirectoryCache, backend: Backend, clock: Clock
) -> None:
    await expire(cache, backend, clock, "abc")
    backend.open.clear()
    asker = Tasks().spawn(cache.fetch("abc"), "asker")
    await backend.being_asked.wait()
    asker.cancel()
    await asyncio.wait([asker])
    backend.open.set()
    await until(lambda: cache.get_cached("abc") is not None, "the answer is kept")


async def test_questions_wait_their_turn(cache: DirectoryCache, backend: Backend) -> None:
    backend.open.clear()
    askers = Tasks()
    waiting = [askers.spawn(cache.fetch(f"box{number}"), "asker") for number in range(200)]
    await until(lambda: len(backend.asked) == backend.at_once, "as many as may")
    await asyncio.sleep(0)
    assert len(backend.asked) == backend.at_once
    backend.away = DOWN
    backend.open.set()
    await until(lambda: len(backend.asked) > backend.at_once, "the next ones")
    await asyncio.wait(waiting)
    assert cache.availability.away
    assert len(backend.asked) < 200, "the last ones are not asked any more"
    for each in waiting:
        assert each.exception() is not None


# --- what other workers know --------------------------------------------------------------------------------------


class Fleet:
    """Several workers' caches in front of one backend."""

    def __init__(self, backend: Backend, clock: Clock) -> None:
        self.known = SharedCache.make("test")
        self._backend, self._clock = backend, clock
        self._caches: list[DirectoryCache] = []

    def worker(self) -> DirectoryCache:
        cache = DirectoryCache(self._backend, self._clock, SETTINGS, Shared(OutageReporter(), self.known))
        self._caches.append(cache)
        return cache

    async def close(self) -> None:
        for cache in self._caches:
            await cache.close()


@pytest.fixture
async def fleet(backend: Backend, clock: Clock) -> AsyncIterator[Fleet]:
    fleet = Fleet(backend, clock)
    yield fleet
    backend.open.set()
    await fleet.close()


async def test_what_one_worker_has_looked_up_all_serve(fleet: Fleet, backend: Backend) -> None:
    backend.answers["abc"] = sandbox()
    one, other, later = fleet.worker(), fleet.worker(), fleet.worker()
    await one.fetch("abc")
    backend.away = DOWN
    for worker in (other, later):
        served = await worker.fetch("abc")
        assert served == sandbox()
        assert served.stale
        assert await reason_of(worker, "unknown") is Reason.DIRECTORY_UNAVAILABLE


async def test_a_new_worker_serves_it_while_the_backend_hangs(fleet: Fleet, backend: Backend) -> None:
    backend.answers["abc"] = sandbox()
    await fleet.worker().fetch("abc")
    backend.open.clear()
    assert (await fleet.worker().fetch("abc")).stale


async def test_a_backend_that_answers_is_believed_before_any_worker(fleet: Fleet, backend: Backend) -> None:
    backend.answers["abc"] = sandbox()
    await fleet.worker().fetch("abc")
    backend.answers["abc"] = after = sandbox(generation="2")
    assert await fleet.worker().fetch("abc") is after


@pytest.mark.parametrize("how", ["asked again", "told of the change", "missed changes"])
async def test_what_one_worker_knows_to_be_gone_no_worker_serves(
    fleet: Fleet, backend: Backend, clock: Clock, how: str
) -> None:
    backend.answers["abc"] = sandbox()
    one, other = fleet.worker(), fleet.worker()
    await one.fetch("abc")
    await other.fetch("abc")
    clock.now += TTL + TICK
    backend.answers["abc"] = None
    if how == "asked again":
        assert await reason_of(one) is Reason.DESTINATION_NOT_FOUND
    elif how == "told of the change":
        one.invalidate(["abc"])
    else:
        one.availability.missed()
    backend.away = DOWN
    for worker in (one, other, fleet.worker()):
        clock.now += NEGATIVE_TTL + TICK
        assert await reason_of(worker) is Reason.DIRECTORY_UNAVAILABLE


async def test_the_latest_answer_that_any_worker_got_is_served(fleet: Fleet, backend: Backend, clock: Clock) -> None:
    backend.answers["abc"] = sandbox(generation="1")
    one, other = fleet.worker(), fleet.worker()
    await one.fetch("abc")
    told = Told(one)
    backend.answers["abc"] = sandbox(generation="2")
    await other.fetch("abc")
    backend.away = DOWN
    clock.now += TTL + TICK
    assert (await one.fetch("abc")).generation == "2"
    assert told == [("abc", "2")]


async def test_an_answer_from_before_the_change_is_not_spread(fleet: Fleet, backend: Backend) -> None:
    backend.answers["abc"] = sandbox()
    one, other = fleet.worker(), fleet.worker()
    await one.fetch("abc")
    backend.open.clear()
    backend.being_asked.clear()
    early = Tasks().spawn(other.fetch("abc"), "early")
    await backend.being_asked.wait()
    one.invalidate(["abc"])  # `other` has not heard of it yet
    backend.open.set()
    await early
    backend.away = DOWN
    assert await reason_of(one) is Reason.DIRECTORY_UNAVAILABLE
    assert await reason_of(fleet.worker()) is Reason.DIRECTORY_UNAVAILABLE


@pytest.mark.parametrize("how", ["the same table", "a snapshot"])
async def test_what_others_know_is_not_served_beyond_the_end_of_its_lifetime(
    fleet: Fleet, backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    backend.answers["abc"] = sandbox(lifetime=2 * LIFE)
    before = SharedCache.now()
    await fleet.worker().fetch("abc")
    backend.away = DOWN
    if how == "a snapshot":
        save(tmp_path / "known", "test", fleet.known, TTL + STALE)
        fleet.known = SharedCache.make("test")
        load(tmp_path / "known", "test", fleet.known)
    assert (await fleet.worker().fetch("abc")).stale
    found = fleet.known.find("abc")
    assert found is not None
    assert found.asked - before < LIFE * 1e9, "this machine is too slow to tell"
    for left, served in ((-LIFE, True), (TICK, False)):
        moment = found.asked + int((2 * LIFE + left) * 1e9)
        monkeypatch.setattr(SharedCache, "now", staticmethod(lambda moment=moment: moment))
        worker = fleet.worker()
        if served:
            assert (await worker.fetch("abc")).stale
        else:
            assert await reason_of(worker) is Reason.DIRECTORY_UNAVAILABLE


async def test_what_others_know_is_served_only_so_long(
    fleet: Fleet, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.answers["abc"] = sandbox()
    await fleet.worker().fetch("abc")
    backend.away = DOWN
    now = SharedCache.now()
    for age, served in ((TTL + STALE - 1, True), (TTL + STALE + 1, False), (-5.0, False)):
        moment = now + int(age * 1e9)
        monkeypatch.setattr(SharedCache, "now", staticmethod(lambda moment=moment: moment))
        worker = fleet.worker()
        if served:
            assert (await worker.fetch("abc")).stale
        else:
            assert await reason_of(worker) is Reason.DIRECTORY_UNAVAILABLE


# --- forgetting ---------------------------------------------------------------------------------------------------


async def test_an_evicted_record_is_asked_for_again(cache: DirectoryCache, backend: Backend) -> None:
    backend.answers["abc"] = sandbox()
    await cache.fetch("abc")
    cache.evict("abc")
    cache.evict("unknown")
    assert cache.get_cached("abc") is None
    backend.answers["abc"] = after = sandbox(generation="2")
    assert await cache.fetch("abc") is after


async def test_an_evicted_record_is_all_there_is_during_an_outage(cache: DirectoryCache, backend: Backend) -> None:
    """A port that a firewall drops must not take the other ports of its sandbox down."""
    backend.answers["abc"] = sandbox()
    await cache.fetch("abc")
    cache.evict("abc")
    backend.away = DOWN
    assert (await cache.fetch("abc")).stale


async def test_an_evicted_record_is_not_served_because_the_backend_is_slow(
    cache: DirectoryCache, backend: Backend
) -> None:
    backend.answers["abc"] = sandbox()
    await cache.fetch("abc")
    cache.evict("abc")
    backend.answers["abc"] = after = sandbox(generation="2")
    backend.open.clear()
    asker = Tasks().spawn(cache.fetch("abc"), "asker")
    await backend.being_asked.wait()
    await asyncio.sleep(MIN_RESPONSE_TIMER + 0.05)
    assert not asker.done()
    backend.open.set()
    assert await asker is after


async def test_whose_an_id_is_is_told_whatever_was_forgotten(cache: DirectoryCache, backend: Backend) -> None:
    backend.answers["abc"] = sandbox()
    told = Told(cache)
    await cache.fetch("abc")
    cache.evict("abc")
    backend.answers["abc"] = sandbox(generation="2")
    await cache.fetch("abc")
    cache.invalidate(["abc"])
    backend.answers["abc"] = None
    assert await reason_of(cache) is Reason.DESTINATION_NOT_FOUND
    assert told == [("abc", "1"), ("abc", "2"), ("abc", None)]


async def test_changed_records_are_forgotten_and_no_others(cache: DirectoryCache, backend: Backend) -> None:
    backend.answers |= {name: sandbox(name) for name in ("abc", "def", "xyz")}
    for name in backend.answers:
        await cache.fetch(name)
    assert await reason_of(cache, "new") is Reason.DESTINATION_NOT_FOUND
    cache.invalidate(iter(["abc", "new", "unknown"]))
    assert cache.get_cached("abc") is None
    assert cache.get_cached("new") is None
    assert cache.get_cached("def") is not None
    assert cache.get_cached("xyz") is not None


async def test_an_answer_from_before_a_change_is_no_answer(cache: DirectoryCache, backend: Backend) -> None:
    backend.answers["abc"] = sandbox(generation="1")
    backend.open.clear()
    askers = Tasks()
    early = askers.spawn(cache.fetch("abc"), "early")
    await backend.being_asked.wait()
    backend.answers["abc"] = after = sandbox(generation="2")
    cache.invalidate(["abc"])
    backend.being_asked.clear()
    late = askers.spawn(cache.fetch("abc"), "late")
    await backend.being_asked.wait()
    backend.open.set()
    assert await early is after
    assert await late is after
    assert cache.get_cached("abc") is after
    assert backend.asked == ["abc", "abc"]


async def test_nor_is_it_if_nobody_else_asks_again(cache: DirectoryCache, backend: Backend) -> None:
    backend.answers["abc"] = sandbox(generation="1")
    backend.open.clear()
    askers = Tasks()
    early = askers.spawn(cache.fetch("abc"), "early")
    await backend.being_asked.wait()
    backend.answers["abc"] = None
    cache.invalidate(["abc"])
    backend.open.set()
    with pytest.raises(GatewayError) as error:
        await early
    assert error.value.reason is Reason.DESTINATION_NOT_FOUND


@pytest.mark.pure
async def test_the_oldest_record_goes_when_there_is_no_room(
    cache: DirectoryCache, backend: Backend, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "MAX_ENTRIES", 4)
    backend.answers |= {name: sandbox(name) for name in "abcde"}
    for name in "abc":
        await cache.fetch(name)
    clock.now += TTL + TICK
    await cache.fetch("a")  # asked for again, so it is the youngest
    for name in "de":
        await cache.fetch(name)
    assert len(cache) == 4
    cache.invalidate(["c"])  # too old to be seen, young enough to be kept
    assert len(cache) == 3
    assert [name for name in "abcde" if cache.get_cached(name)] == ["a", "d", "e"]


@pytest.mark.pure
async def test_names_nobody_has_cannot_grow_the_cache(cache: DirectoryCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_ENTRIES", 3)
    for number in range(20):
        assert await reason_of(cache, f"random-{number}") is Reason.DESTINATION_NOT_FOUND
    assert len(cache) == 3


@pytest.mark.pure
async def test_names_nobody_has_push_out_each_other_and_no_record(
    cache: DirectoryCache, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was has to be known when there is an outage."""
    monkeypatch.setattr(cache_module, "MAX_ENTRIES", 8)
    monkeypatch.setattr(cache_module, "MAX_MISSING", 3)
    backend.answers["abc"] = sandbox("abc")
    await cache.fetch("abc")
    for number in range(20):
        assert await reason_of(cache, f"random-{number}") is Reason.DESTINATION_NOT_FOUND
    assert len(cache) == 4
    cache.invalidate(["random-18"])
    for name in ("random-17", "another-1", "another-2"):
        await reason_of(cache, name)
    assert len(cache) == 4
    backend.answers |= {f"random-{number}": sandbox(f"random-{number}") for number in range(3)}
    for number in range(3):
        await cache.fetch(f"random-{number}")
    assert len(cache) == 7
    assert cache.get_cached("abc") is not None
