"""Keys in the terminal of `gateway dev`: one key, one action, as long as this process is who the terminal listens to.

The terminal is put into a state in which keys come at once and are not shown, Ctrl-C and Ctrl-Z mean what they always
do, and what it was before comes back at the end. In the background nothing is read and nothing changed: a process that
did would be stopped for it. Knows no gateway; what keys do is a table that it is given.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

LOOK_INTERVAL = 0.5
"""Seconds between two looks, from the background, at who is in front."""
MOST_OCTETS = 1024
"""Read at once. More than a key and its Enter is pasted text, or an arrow's escape sequence, and means nothing."""


@dataclass(frozen=True, slots=True)
class Key:
    """What one key does, and how `h` says it."""

    action: Callable[[], None]
    meaning: str


def is_terminal() -> bool:
    """Whether somebody can press keys and sees what comes of it."""
    return all(stream is not None and not stream.closed and stream.isatty() for stream in (sys.stdin, sys.stdout))


class Keys:
    """From `open` to `close`. `keys` are single characters."""

    def __init__(self, keys: Mapping[str, Key], descriptor: int) -> None:
        self._keys = keys
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._before: list[Any] | None = None  # the terminal's state, while it is ours
        self._is_read = False
        self._later: asyncio.TimerHandle | None = None  # while in the background

    def open(self) -> None:
        self._loop.add_signal_handler(signal.SIGCONT, self._look)  # after Ctrl-Z: in front again, or not
        self._look()

    def close(self) -> None:
        self._loop.remove_signal_handler(signal.SIGCONT)
        self._leave()
        if self._later is not None:
            self._later.cancel()
        if self._before is not None and self._is_in_front():
            self._set(self._before)
        self._before = None

    def _look(self) -> None:
        if not self._is_in_front():
            self._wait_behind()
            return
        try:
            now = termios.tcgetattr(self._descriptor)
        except termios.error:  # the terminal has gone
            self._leave()
            return
        if self._before is None:
            self._before = [*now[:6], list(now[6])]
        now[3] &= ~(termios.ICANON | termios.ECHO)
        now[6][termios.VMIN], now[6][termios.VTIME] = 1, 0
        self._set(now)
        if not self._is_read:
            self._is_read = True
            self._loop.add_reader(self._descriptor, self._pressed)

    def _pressed(self) -> None:
        if not self._is_in_front():
            self._wait_behind()
            return
        try:
            octets = os.read(self._descriptor, MOST_OCTETS)
        except OSError:
            octets = b""
        if not octets:
            self._leave()
            return
        text = octets.decode("utf-8", "replace").strip("\r\n")
        key = self._keys.get(text)  # what is more than a character is no key
        if key is not None:
            key.action()

    def _leave(self) -> None:
        if self._is_read:
            self._is_read = False
            self._loop.remove_reader(self._descriptor)

    def _wait_behind(self) -> None:
        """`fg` tells a process that runs in the background nothing."""
        self._leave()
        if self._later is not None:
            self._later.cancel()
        self._later = self._loop.call_later(LOOK_INTERVAL, self._look)

    def _is_in_front(self) -> bool:
        try:
            return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except OSError:
            return False

    def _set(self, state: list[Any]) -> None:
        try:
            termios.tcsetattr(self._descriptor, termios.TCSANOW, state)
        except termios.error:  # the terminal has gone
            self._leave()
