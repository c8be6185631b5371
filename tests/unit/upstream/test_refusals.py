"""A target that refuses is dialed a few times in a while, and not as often as somebody asks."""

from __future__ import annotations

from gateway.endpoint import Endpoint, Origin
from gateway.errors import Failure, Reason
from gateway.upstream.refusals import DIALS, MAX_REMEMBERED, WINDOW, RefusalCache
from tests.support.clock import Clock

REFUSED = Failure(Reason.CONNECTION_REFUSED, "connect to [fd00::5]:5000: Connection refused after 0.4 ms")
LATER = Failure(Reason.CONNECTION_REFUSED, "connect to [fd00::5]:5000: Connection refused after 0.5 ms")


def endpoint(port: int, generation: str = "1") -> Endpoint:
    return Endpoint(Origin("abc", generation, "fd00::5"), port)


def dial(refusals: RefusalCache, port: int = 5000, failure: Failure = REFUSED) -> bool:
    """Asks for the port, and is refused if it is dialed; whether it was."""
    if refusals.instead_of_dialing(endpoint(port)) is not None:
        return False
    refusals.count(endpoint(port))
    refusals.remember(endpoint(port), failure)
    return True


def answer(refusals: RefusalCache, port: int = 5000) -> Failure | None:
    """What is said instead of dialing."""
    refusal = refusals.instead_of_dialing(endpoint(port))
    return refusal.failure if refusal is not None else None


def test_a_few_requests_are_all_dialed() -> None:
    refusals = RefusalCache(Clock())
    assert [dial(refusals) for _ in range(DIALS)] == [True] * DIALS


def test_of_many_only_a_few_are_dialed_and_the_last_refusal_answers() -> None:
    refusals = RefusalCache(Clock())
    for _ in range(DIALS - 1):
        dial(refusals)
    assert dial(refusals, failure=LATER)
    assert not any(dial(refusals) for _ in range(1000))
    assert answer(refusals) is LATER


def test_every_window_has_its_dials() -> None:
    clock = Clock()
    refusals = RefusalCache(clock)
    for _ in range(5):
        assert sum(dial(refusals) for _ in range(1000)) == DIALS
        clock.now += WINDOW


def test_dials_under_way_count() -> None:
    """A window's dials are counted when they begin: a hundred requests at once are not a hundred dials."""
    clock = Clock()
    refusals = RefusalCache(clock)
    refusals.remember(endpoint(5000), REFUSED)
    clock.now += WINDOW
    begun = 0
    for _ in range(100):
        if refusals.instead_of_dialing(endpoint(5000)) is None:
            refusals.count(endpoint(5000))
            begun += 1
    assert begun == DIALS


def test_dials_that_began_before_the_first_refusal_count() -> None:
    refusals = RefusalCache(Clock())
    refusals.remember(endpoint(5000), REFUSED, dials=DIALS)
    assert answer(refusals) is REFUSED


def test_asking_counts_nothing() -> None:
    refusals = RefusalCache(Clock())
    refusals.remember(endpoint(5000), REFUSED)
    assert all(refusals.instead_of_dialing(endpoint(5000)) is None for _ in range(100))


def test_what_a_look_has_found_is_kept_over_later_refusals() -> None:
    refusals = RefusalCache(Clock())
    refusals.remember(endpoint(5000), REFUSED, dials=DIALS)
    before = refusals.instead_of_dialing(endpoint(5000))
    assert before is not None and not before.looked
    looked = Failure(Reason.IPV4_ONLY_LISTENER, "something listens on 127.0.0.1:5000")
    refusals.explain(endpoint(5000), looked)
    refusals.remember(endpoint(5000), LATER)
    assert answer(refusals) is looked
    assert before.looked


def test_an_old_refusal_answers_for_nobody() -> None:
    clock = Clock()
    refusals = RefusalCache(clock)
    for _ in range(DIALS):
        dial(refusals)
    clock.now += 2 * WINDOW
    assert refusals.instead_of_dialing(endpoint(5000)) is None
    assert len(refusals) == 0


def test_an_app_that_came_up_is_dialed_again() -> None:
    refusals = RefusalCache(Clock())
    for _ in range(DIALS):
        dial(refusals)
    refusals.forget(endpoint(5000))
    assert refusals.instead_of_dialing(endpoint(5000)) is None


def test_it_answers_for_its_own_target_only() -> None:
    refusals = RefusalCache(Clock())
    for _ in range(DIALS):
        dial(refusals)
    assert refusals.instead_of_dialing(endpoint(5001)) is None
    assert refusals.instead_of_dialing(endpoint(5000, generation="2")) is None, "another machine under the same id"


def test_the_oldest_are_forgotten_when_there_are_too_many() -> None:
    refusals = RefusalCache(Clock())
    for port in range(1, MAX_REMEMBERED + 11):
        for _ in range(DIALS):
            dial(refusals, port)
    assert len(refusals) == MAX_REMEMBERED
    assert refusals.instead_of_dialing(endpoint(10)) is None
    assert answer(refusals, 11) is REFUSED
