"""The cache in front of every backend, on a clock that stands still unless it is told to move."""

from __future__ import annotations

import asyncio
import logging
from ipaddress import IPv6Address

import pytest

from gateway.directory import cache as cache_module
from gateway.directory.cache import MIN_RECORD_TTL, RETRY_AFTER_ERROR, DirectoryCache
from gateway.directory.sandbox import DirectoryError, Sandbox
from gateway.errors import GatewayError, Reason
from gateway.tasks import Tasks

TTL, NEGATIVE_TTL, STALE = 5.0, 1.0, 600.0
TICK = 0.001


def sandbox(sandbox_id: str = "abc", generation: str = "1") -> Sandbox:
    return Sandbox(sandbox_id, IPv6Address("fd00::5"), generation)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Backend:
    """Answers what `answers` holds, at once or when `open` is set."""

    def __init__(self) -> None:
        self.answers: dict[str, Sandbox | Exception | None] = {}
        self.asked: list[str] = []
        self.being_asked = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def fetch(self, sandbox_id: str) -> Sandbox | None:
        self.asked.append(sandbox_id)
        answer = self.answers.get(sandbox_id)  # what the backend knows when it is asked, however long that takes
        self.being_asked.set()
        await self.open.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def cache(backend: Backend, clock: Clock) -> DirectoryCache:
    return DirectoryCache(backend, clock, ttl=TTL, negative_ttl=NEGATIVE_TTL, stale=STALE)


async def reason_of(cache: DirectoryCache, sandbox_id: str = "abc") -> Reason:
    with pytest.raises(GatewayError) as error:
        await cache.fetch(sandbox_id)
    assert error.value.detail
    return error.value.reason


# --- how long an answer lives -------------------------------------------------------------------------------------


async def test_a_record_is_asked_for_once_and_then_known(cache: DirectoryCache, backend: Backend) -> None:
    backend.answers["abc"] = known = sandbox()
    assert cache.peek("abc") is None
    assert await cache.fetch("abc") is known
    assert cache.peek("abc") is known
    assert await cache.fetch("abc") is known
    assert backend.asked == ["abc"]
    assert len(cache) == 1


async def test_a_record_lives_its_ttl(cache: DirectoryCache, backend: Backend, clock: Clock) -> None:
    backend.answers["abc"] = before = sandbox(generation="1")
    await cache.fetch("abc")
    backend.answers["abc"] = after = sandbox(generation="2")
    clock.now += TTL
    assert cache.peek("abc") is before
    clock.now += TICK
    assert cache.peek("abc") is None
    assert await cache.fetch("abc") is after
    assert cache.peek("abc") is after


@pytest.mark.parametrize(("own", "lives"), [(2.0, 2.0), (TTL + 1, TTL), (0.0, MIN_RECORD_TTL), (-3.0, MIN_RECORD_TTL)])
async def test_a_records_own_ttl_counts_within_bounds(
    cache: DirectoryCache, backend: Backend, clock: Clock, own: float, lives: float
) -> None:
    """Never longer than the setting says, and never so short that the backend is asked for each request."""
    backend.answers["abc"] = Sandbox("abc", IPv6Address("fd00::5"), "1", ttl=own)
    await cache.fetch("abc")
    clock.now += lives
    assert cache.peek("abc") is not None
    clock.now += TICK
    assert cache.peek("abc") is None


async def test_no_such_sandbox_is_knowledge_too(cache: DirectoryCache, backend: Backend, clock: Clock) -> None:
    assert await reason_of(cache) is Reason.DESTINATION_NOT_FOUND
    clock.now += NEGATIVE_TTL
    with pytest.raises(GatewayError) as error:
        cache.peek("abc")
    assert error.value.reason is Reason.DESTINATION_NOT_FOUND
    assert await reason_of(cache) is Reason.DESTINATION_NOT_FOUND
    assert backend.asked == ["abc"]


async def test_a_new_sandbox_is_found_after_the_negative_ttl(
    cache: DirectoryCache, backend: Backend, clock: Clock
) -> None:
    assert await reason_of(cache) is Reason.DESTINATION_NOT_FOUND
    backend.answers["abc"] = known = sandbox()
    clock.now += NEGATIVE_TTL + TICK
    assert cache.peek("abc") is None
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


async def test_an_outage_takes_down_nothing_that_was_known(
    cache: DirectoryCache, backend: Backend, clock: Clock
) -> None:
    backend.answers["abc"] = known = sandbox()
    await cache.fetch("abc")
    backend.answers["abc"] = DirectoryError("down")
    clock.now += TTL + TICK
    assert await cache.fetch("abc") is known
    assert backend.asked == ["abc"] * 2


async def test_during_an_outage_the_backend_is_asked_now_and_then(
    cache: DirectoryCache, backend: Backend, clock: Clock
) -> None:
    backend.answers["abc"] = known = sandbox()
    await cache.fetch("abc")
    backend.answers["abc"] = DirectoryError("down")
    clock.now += TTL + TICK
    await cache.fetch("abc")
    clock.now += RETRY_AFTER_ERROR
    assert cache.peek("abc") is known, "the hot path serves it without a question"
    clock.now += TICK
    assert cache.peek("abc") is None
    assert await cache.fetch("abc") is known
    assert backend.asked == ["abc"] * 3


@pytest.mark.parametrize(("beyond", "served"), [(-TICK, True), (TICK, False)])
async def test_an_old_record_is_served_only_so_long(
    cache: DirectoryCache, backend: Backend, clock: Clock, beyond: float, served: bool
) -> None:
    backend.answers["abc"] = known = sandbox()
    await cache.fetch("abc")
    backend.answers["abc"] = DirectoryError("down")
    clock.now += TTL + STALE + beyond
    if served:
        assert await cache.fetch("abc") is known
        clock.now += 2 * TICK
        assert cache.peek("abc") is None, "not even for the pause between two questions"
    assert await reason_of(cache) is Reason.DIRECTORY_UNAVAILABLE


async def test_the_outages_own_words_are_told(cache: DirectoryCache, backend: Backend) -> None:
    backend.answers["abc"] = DirectoryError("connect to the backend: refused")
    with pytest.raises(GatewayError) as error:
        await cache.fetch("abc")
    assert error.value.detail == "connect to the backend: refused"
    assert isinstance(error.value.__cause__, DirectoryError)


async def test_an_outage_is_no_knowledge(cache: DirectoryCache, backend: Backend) -> None:
    backend.answers["abc"] = DirectoryError("down")
    assert await reason_of(cache) is Reason.DIRECTORY_UNAVAILABLE
    assert len(cache) == 0
    backend.answers["abc"] = known = sandbox()
    assert await cache.fetch("abc") is known


async def test_after_an_outage_the_new_answer_counts(cache: DirectoryCache, backend: Backend, clock: Clock) -> None:
    backend.answers["abc"] = sandbox()
    await cache.fetch("abc")
    backend.answers["abc"] = DirectoryError("down")
    clock.now += TTL + TICK
    await cache.fetch("abc")
    backend.answers["abc"] = after = sandbox(generation="2")
    clock.now += RETRY_AFTER_ERROR + TICK
    assert await cache.fetch("abc") is after


async def test_what_the_backend_knows_to_be_gone_is_not_served_on(
    cache: DirectoryCache, backend: Backend, clock: Clock
) -> None:
    backend.answers["abc"] = sandbox()
    await cache.fetch("abc")
    backend.answers["abc"] = None
    clock.now += TTL + TICK
    assert await reason_of(cache) is Reason.DESTINATION_NOT_FOUND
    backend.answers["abc"] = DirectoryError("down")
    clock.now += NEGATIVE_TTL + TICK
    assert await reason_of(cache) is Reason.DIRECTORY_UNAVAILABLE


# --- forgetting ---------------------------------------------------------------------------------------------------


async def test_an_evicted_record_is_asked_for_again(cache: DirectoryCache, backend: Backend) -> None:
    backend.answers["abc"] = sandbox()
    await cache.fetch("abc")
    cache.evict("abc")
    cache.evict("unknown")
    assert cache.peek("abc") is None
    backend.answers["abc"] = after = sandbox(generation="2")
    assert await cache.fetch("abc") is after


async def test_an_evicted_record_is_not_served_during_an_outage(cache: DirectoryCache, backend: Backend) -> None:
    backend.answers["abc"] = sandbox()
    await cache.fetch("abc")
    cache.evict("abc")
    backend.answers["abc"] = DirectoryError("down")
    assert await reason_of(cache) is Reason.DIRECTORY_UNAVAILABLE


async def test_changed_records_are_forgotten_and_no_others(cache: DirectoryCache, backend: Backend) -> None:
    backend.answers |= {name: sandbox(name) for name in ("abc", "def", "xyz")}
    for name in backend.answers:
        await cache.fetch(name)
    assert await reason_of(cache, "new") is Reason.DESTINATION_NOT_FOUND
    cache.invalidate(iter(["abc", "new", "unknown"]))
    assert cache.peek("abc") is None
    assert cache.peek("new") is None
    assert cache.peek("def") is not None
    assert cache.peek("xyz") is not None


async def test_an_answer_from_before_a_change_is_not_kept(cache: DirectoryCache, backend: Backend) -> None:
    backend.answers["abc"] = before = sandbox(generation="1")
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
    assert await early is before
    assert await late is after
    assert cache.peek("abc") is after
    assert backend.asked == ["abc", "abc"]


async def test_nor_is_it_if_nobody_asks_again(cache: DirectoryCache, backend: Backend) -> None:
    backend.answers["abc"] = before = sandbox(generation="1")
    backend.open.clear()
    askers = Tasks()
    early = askers.spawn(cache.fetch("abc"), "early")
    await backend.being_asked.wait()
    cache.invalidate(["abc"])
    backend.open.set()
    assert await early is before
    assert cache.peek("abc") is None


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
    cache.evict("c")  # too old to be seen, young enough to be kept
    assert len(cache) == 3
    assert [name for name in "abcde" if cache.peek(name)] == ["a", "d", "e"]


async def test_names_nobody_has_cannot_grow_the_cache(cache: DirectoryCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_ENTRIES", 3)
    for number in range(20):
        assert await reason_of(cache, f"random-{number}") is Reason.DESTINATION_NOT_FOUND
    assert len(cache) == 3
