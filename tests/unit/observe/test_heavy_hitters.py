"""The busiest are found among however many, in bounded memory."""

from __future__ import annotations

import random

from gateway.observe.heavy_hitters import CAPACITY, SPAN, HeavyHitters, merged


def names(sketch: HeavyHitters, count: int, now: float = 0.0) -> list[str]:
    return [each.id for each in sketch.top(count, now)]


def test_few_are_counted_exactly() -> None:
    sketch = HeavyHitters()
    sketch.add({"a": (3, 30), "b": (1, 500)}, 0.0)
    sketch.add({"b": (5, 1)}, 1.0)
    first, second = sketch.top(10, 1.0)
    assert (first.id, first.requests, first.octets, first.error) == ("b", 6, 501, 0)
    assert (second.id, second.requests, second.octets, second.error) == ("a", 3, 30, 0)


def test_whoever_is_frequent_is_found_in_a_flood_of_others() -> None:
    """A hundred thousand ids, each once or twice, beside three that come with each batch."""
    sketch, source = HeavyHitters(), random.Random(5)
    for batch in range(1000):
        counts = {f"stranger-{batch}-{number}": (1 + source.randrange(2), 10) for number in range(100)}
        counts |= {"first": (30, 1), "second": (20, 1), "third": (15, 1)}
        sketch.add(counts, 1.0)
        assert len(sketch._now) <= 2 * CAPACITY
    top = sketch.top(3, 1.0)
    assert [each.id for each in top] == ["first", "second", "third"]
    for each, true in zip(top, (30_000, 20_000, 15_000), strict=True):
        assert each.requests - each.error <= true <= each.requests


def test_a_flood_of_newcomers_is_not_taken_for_frequent() -> None:
    """What is told of one that took a forgotten one's place is too much by `error`, and says so."""
    sketch = HeavyHitters()
    for number in range(10 * CAPACITY):
        sketch.add({f"box{number}": (1, 0)}, 1.0)
    assert all(each.requests - each.error <= 1 for each in sketch.top(CAPACITY, 1.0))


def test_what_was_busy_long_ago_is_not_told() -> None:
    sketch = HeavyHitters()
    sketch.add({"early": (100, 0)}, SPAN)
    sketch.add({"late": (1, 0)}, 2 * SPAN + 1)
    assert names(sketch, 5, 2 * SPAN + 1) == ["early", "late"], "the span before counts as well"
    assert names(sketch, 5, 3 * SPAN + 2) == ["late"]
    assert names(sketch, 5, 9 * SPAN) == [], "nobody has asked since"


def test_after_a_long_silence_the_span_before_is_forgotten() -> None:
    sketch = HeavyHitters()
    sketch.add({"early": (100, 0)}, SPAN)
    sketch.add({"late": (1, 0)}, 10 * SPAN)
    assert names(sketch, 5, 10 * SPAN) == ["late"]


def test_sketches_of_several_processes_are_added() -> None:
    first, second = HeavyHitters(), HeavyHitters()
    first.add({"a": (2, 5), "b": (3, 0)}, 0.0)
    second.add({"a": (2, 6)}, 0.0)
    whole = merged([first.top(9, 0.0), second.top(9, 0.0)], 1)
    assert [(each.id, each.requests, each.octets) for each in whole] == [("a", 4, 11)]
    assert first.top(9, 0.0)[1].requests == 2, "what was added stays as it was"


def test_who_came_late_has_what_was_forgotten_as_its_error() -> None:
    """The count of who was pruned and came again is never too low, and `error` says by how much it may be too high."""
    sketch = HeavyHitters()
    sketch.add({"back": (3, 0)}, 1.0)
    sketch.add({f"box{number}": (5, 0) for number in range(2 * CAPACITY)}, 1.0)
    assert "back" not in sketch._now
    sketch.add({"back": (1, 0)}, 1.0)
    back = sketch._now["back"]
    assert back.error > 0
    assert back.requests - back.error <= 4 <= back.requests


def test_nobody_gets_to_the_top_by_what_others_left_behind() -> None:
    sketch = HeavyHitters()
    sketch.add({"real": (60, 0)}, 1.0)
    for number in range(20 * CAPACITY):
        sketch.add({f"invented{number}": (1, 0)}, 1.0)
    assert sketch.top(1, 1.0)[0].id == "real"
