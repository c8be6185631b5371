"""Flow control: the windows that are ours to grant (RFC 9113 sections 5.2 and 6.9).

Theirs, which we spend, are plain integers of the stream and of the session, next to the queues they gate.
"""

from __future__ import annotations

from typing import Final

KEPT_UP: Final = 2
"""Updates in a row, half a window each, after which a window doubles: its reader has taken a whole window as fast as it
came, so the window may be what holds the sender up (64 KiB a round trip of 50 ms are 1.3 MB/s)."""


class Growth:
    """By how many octets all windows of a connection may still grow."""

    __slots__ = ("left",)

    def __init__(self, octets: int) -> None:
        self.left = octets


class ReceiveWindow:
    """What a sender may still send us, and what of it we owe: has been consumed, and not been granted anew."""

    __slots__ = ("_kept_up", "grown", "left", "owed", "size")

    def __init__(self, size: int) -> None:
        self.size = size  # octets when nothing is under way: left + owed + what is held by the reader
        self.left = size  # octets that may come; below 0 only after SETTINGS have shrunk it
        self.owed = 0
        self.grown = 0  # octets of `size` that came out of the connection's `Growth`
        self._kept_up = 0  # updates in a row at which the reader held next to nothing

    def __repr__(self) -> str:
        return f"<ReceiveWindow {self.left} of {self.size}, {self.owed} owed>"

    def resize(self, difference: int) -> None:
        """The peer has acknowledged another initial size (section 6.9.2)."""
        self.size += difference
        self.left += difference

    def give(self, octets: int) -> int:
        """`octets` have been consumed; returns the increment to announce, 0 while it is too small to be worth it."""
        self.owed = owed = self.owed + octets
        if owed * 2 < self.size:
            return 0
        self.owed = 0
        self.left += owed
        return owed

    def grow(self, growth: Growth, largest: int) -> int:
        """After `give` has returned an increment: the octets to be added to it if the window was too small."""
        held = self.size - self.left
        if held * 4 > self.size:
            self._kept_up = 0
            return 0
        self._kept_up += 1
        if self._kept_up < KEPT_UP:
            return 0
        self._kept_up = 0
        more = min(self.size, largest - self.size, growth.left)
        if more <= 0:
            return 0
        growth.left -= more
        self.grown += more
        self.size += more
        self.left += more
        return more
