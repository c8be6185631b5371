"""So many a second, of which one sandbox gets so many."""

from __future__ import annotations

from gateway.diagnosis.rate_limit import RateLimit


def test_so_many_begin_within_a_second() -> None:
    limit = RateLimit(3, 3)
    assert [limit.take(0.1 * number, number) for number in range(4)] == [True, True, True, False]
    assert not limit.take(0.99, "another")
    assert limit.take(1.0, "another"), "the first is a second old"
    assert not limit.take(1.05, "another"), "the second is not"


def test_one_sandbox_leaves_some_for_others() -> None:
    limit = RateLimit(3, 2)
    assert [limit.take(0.0, "a") for _ in range(3)] == [True, True, False]
    assert limit.take(0.0, "b")
    assert not limit.take(0.5, "c"), "so many in all"
    assert limit.take(1.0, "a")


def test_what_was_refused_is_not_counted() -> None:
    limit = RateLimit(2, 1)
    assert limit.take(0.0, "a")
    assert not limit.take(0.5, "a")
    assert limit.take(1.0, "a")
