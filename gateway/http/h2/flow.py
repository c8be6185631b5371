"""Flow control: the windows that are ours to grant (RFC 9113 sections 5.2 and 6.9).

Theirs, which we spend, are plain integers of the stream and of the session, next to what they gate.

A window that is granted anew only when half of it is consumed goes round by halves: after a burst that fills it, what
is short of the other half stays with us until the next one, a round trip later. So credit is given in sixteenths, and
at least a frame at a time.
"""

from __future__ import annotations

from typing import Final

from gateway.http.h2.frames import MAX_FRAME

PORTIONS: Final = 16
"""Of a large window, that credit is given in."""


class Growth:
    """By how many octets all windows of a connection may still grow."""

    __slots__ = ("left",)

    def __init__(self, octets: int) -> None:
        self.left = octets


class ReceiveWindow:
    """What a sender may still send us, and what of it we owe: has been consumed, and not been granted anew."""

    __slots__ = ("_due", "_kept_up", "grown", "left", "owed", "size")

    def __init__(self, size: int) -> None:
        self.size = size  # octets when nothing is under way: left + owed + what is held by the reader
        self.left = size  # octets that may come; below 0 only after SETTINGS have shrunk it
        self.owed = 0
        self.grown = 0  # octets of `size` that came out of the connection's `Growth`
        self._due = _portion(size)  # octets owed from which on they are granted
        self._kept_up = 0  # octets consumed since the reader last held much, or the window grew

    def __repr__(self) -> str:
        return f"<ReceiveWindow {self.left} of {self.size}, {self.owed} owed>"

    def resize(self, difference: int) -> None:
        """Moves by so much, as the peer knows or is about to be told."""
        self.size += difference
        self.left += difference
        self._due = _portion(self.size)

    def give(self, octets: int) -> int:
        """`octets` have been consumed; returns the increment to announce, 0 while it is too small to be worth it."""
        self.owed = owed = self.owed + octets
        if owed < self._due:
            return 0
        self.owed = 0
        self.left += owed
        return owed

    def grow(self, increment: int, growth: Growth, largest: int) -> int:
        """After `give` has returned `increment`: the octets to add to it.

        A window doubles when its reader has taken all of it as fast as it came: then it may be what holds the sender up
        (64 KiB for each round trip of 50 ms are 1.3 MB/s).
        """
        if (self.size - self.left) * 4 > self.size:  # held by the reader
            self._kept_up = 0
            return 0
        self._kept_up += increment
        if self._kept_up < self.size:
            return 0
        self._kept_up = 0
        more = min(self.size, largest - self.size, growth.left)
        if more <= 0:
            return 0
        growth.left -= more
        self.grown += more
        self.resize(more)
        return more


def _portion(size: int) -> int:
    return max(min(size // 2, max(size // PORTIONS, MAX_FRAME)), 1)
