"""Windows that are ours to grant: when credit is given, and when a window grows."""

from __future__ import annotations

import pytest

from gateway.http.h2.flow import Growth, ReceiveWindow

KIB = 1024


@pytest.mark.parametrize(
    ("size", "portion"), [(1_000, 500), (16 * KIB, 8 * KIB), (64 * KIB, 16 * KIB), (KIB * KIB, 64 * KIB), (1, 1)]
)
def test_credit_is_given_in_portions(size: int, portion: int) -> None:
    window = ReceiveWindow(size)
    window.left = 0
    assert (window.give(portion - 1), window.left, window.owed) == (0, 0, portion - 1)
    assert (window.give(1), window.left, window.owed) == (portion, portion, 0)


def test_little_of_a_window_waits_for_the_next_burst() -> None:
    """A sender far away sends all it may, and waits for a round trip."""
    window, granted = ReceiveWindow(KIB * KIB), KIB * KIB
    for _ in range(10):
        burst, granted = granted, 0
        assert burst > 0.9 * KIB * KIB
        while burst:
            size = min(burst, 16 * KIB)
            burst -= size
            window.left -= size
            granted += window.give(size)


def run(window: ReceiveWindow, growth: Growth, octets: int, held: int = 0) -> None:
    """So many come, and the reader takes them as they do, but for `held` of them."""
    window.left -= held
    for _ in range(0, octets, 8):
        window.left -= 8
        increment = window.give(8)
        if increment:
            window.grow(increment, growth, 1_000)
    window.left += held


def test_a_window_doubles_with_each_that_its_reader_has_taken_at_once() -> None:
    window, growth = ReceiveWindow(96), Growth(10_000)
    sizes = []
    for _ in range(6):
        run(window, growth, window.size - 8)
        sizes.append(window.size)
        run(window, growth, 8)
        assert window.left + window.owed == window.size
    assert sizes == [96, 192, 384, 768, 1_000, 1_000]
    assert growth.left == 10_000 - (1_000 - 96)
    assert window.grown == 1_000 - 96


def test_it_stays_while_its_reader_holds_much() -> None:
    window, growth = ReceiveWindow(96), Growth(10_000)
    run(window, growth, 10_000, held=32)
    assert window.size == 96
    for _ in range(50):
        run(window, growth, 48)
        run(window, growth, 48, held=32)
    assert window.size == 96, "a whole window in a row"


def test_growth_is_shared_and_ends() -> None:
    growth = Growth(150)
    windows = [ReceiveWindow(96), ReceiveWindow(96)]
    for window in windows:
        run(window, growth, 96)
    assert [window.size for window in windows] == [192, 96 + 54]
    assert growth.left == 0


def test_another_size_moves_what_is_left() -> None:
    window = ReceiveWindow(100)
    window.left -= 80
    window.resize(-50)
    assert (window.size, window.left) == (50, -30)
    assert repr(window) == "<ReceiveWindow -30 of 50, 0 owed>"
