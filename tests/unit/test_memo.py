"""What is remembered is bounded."""

from __future__ import annotations

from gateway.memo import remember


def test_memory_is_bounded_and_the_oldest_goes() -> None:
    memory: dict[int, int] = {}
    for number in range(5):
        remember(memory, number, number, 3)
    assert list(memory) == [2, 3, 4]


def test_the_oldest_go_together() -> None:
    """To find a dict's first entry takes as long as there were others before it."""
    memory = dict.fromkeys(range(16))
    remember(memory, 16, None, 16)
    assert list(memory) == [*range(3, 17)]
    remember(memory, 17, None, 16)
    assert list(memory) == [*range(3, 18)]
