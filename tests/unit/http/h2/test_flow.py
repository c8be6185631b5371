"""Windows that are ours to grant: when credit is given, and when a window grows."""

from __future__ import annotations

from gateway.http.h2.flow import Growth, ReceiveWindow


def test_credit_waits_until_it_is_half_a_window() -> None:
    window = ReceiveWindow(100)
    window.left -= 80
    assert [window.give(20), window.give(29), window.give(1), window.give(30)] == [0, 0, 50, 0]
    assert (window.left, window.owed) == (70, 30)


def test_a_window_doubles_while_its_reader_keeps_up() -> None:
    window, growth = ReceiveWindow(100), Growth(10_000)
    sizes = []
    for _ in range(12):
        increment = 0
        while not increment:
            window.left -= 10
            increment = window.give(10)
        window.grow(growth, 1_000)
        sizes.append(window.size)
        assert window.left == window.size
    assert sizes == [100, 200, 200, 400, 400, 800, 800, 1_000, 1_000, 1_000, 1_000, 1_000]
    assert growth.left == 10_000 - 900
    assert window.grown == 900


def test_it_stays_while_its_reader_holds_much() -> None:
    window, growth = ReceiveWindow(100), Growth(10_000)
    window.left -= 40
    for _ in range(20):
        window.left -= 50
        assert window.give(50) == 50
        assert window.grow(growth, 1_000) == 0
    assert window.size == 100


def test_keeping_up_counts_only_in_a_row() -> None:
    window, growth = ReceiveWindow(100), Growth(10_000)
    for held in (0, 30, 0, 30, 0, 30):
        window.left -= 50 + held
        window.give(50)
        assert window.grow(growth, 1_000) == 0
        window.left += held


def test_growth_is_shared_and_ends() -> None:
    growth = Growth(150)
    windows = [ReceiveWindow(100), ReceiveWindow(100)]
    for window in windows:
        for _ in range(2):
            window.left -= 50
            window.give(50)
            window.grow(growth, 1_000)
    assert [window.size for window in windows] == [200, 150]
    assert growth.left == 0


def test_another_size_moves_what_is_left() -> None:
    window = ReceiveWindow(100)
    window.left -= 80
    window.resize(-50)
    assert (window.size, window.left) == (50, -30)
    assert repr(window) == "<ReceiveWindow -30 of 50, 0 owed>"
