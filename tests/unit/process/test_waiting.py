"""A command that waits for long says so, to people only."""

from __future__ import annotations

import io
import threading

import pytest

from gateway.process import waiting as module
from gateway.process.waiting import waiting


class Terminal(io.StringIO):
    """`seen` is set once something was written."""

    def __init__(self, is_one: bool) -> None:
        super().__init__()
        self.seen = threading.Event()
        self._is_one = is_one

    def isatty(self) -> bool:
        return self._is_one

    def write(self, text: str) -> int:
        self.seen.set()
        return super().write(text)


def test_a_terminal_is_told_for_how_long_and_forgets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(True)
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(module, "INTERVAL", 0.01)
    with pytest.raises(KeyError), waiting("waiting for the app"):
        assert terminal.seen.wait(30)
        raise KeyError
    first, *_, last = terminal.getvalue().split("\r\x1b[K")[1:]
    assert first == "waiting for the app … 0 s"
    assert last == ""


@pytest.mark.parametrize("is_terminal", [True, False])
def test_what_is_quick_says_nothing_nor_does_a_pipe(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> None:
    terminal = Terminal(is_terminal)
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(module, "INTERVAL", 30.0 if is_terminal else 0.001)
    with waiting("waiting for the app"):
        terminal.seen.wait(0 if is_terminal else 0.05)
    assert terminal.getvalue() == ""
