"""What is remembered is bounded."""

from __future__ import annotations

from gateway.memo import remember


def test_memory_is_bounded_and_the_oldest_goes() -> None:
    memory: dict[int, int] = {}
    for number in range(5):
        remember(memory, number, number, 3)
    assert list(memory) == [2, 3, 4]
