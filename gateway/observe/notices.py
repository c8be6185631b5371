"""Rate-limited log lines about what any peer can cause, thousands of times a second: refusals, mistaken protocols.

A notice counts, and remembers the last example; once a second the sweeper has those written that have something to
say, with the count since their last line. So a flood costs two assignments each, and a line a second at most, and what
happened once is still told within a second. Nothing is dropped: a count that was not told yet is in the next line.

Totals are `counters`; whoever refuses adds to both.
"""

from __future__ import annotations

import logging

log = logging.getLogger("gateway.notices")

INTERVAL = 1.0
"""Seconds between two lines of one notice."""


class Notice:
    """One kind of line. `text` has a `%d` for how often it happened and then a `%s` for the last example."""

    __slots__ = ("_last", "_level", "_text", "_untold", "_when")

    def __init__(self, level: int, text: str) -> None:
        self._level = level
        self._text = text
        self._untold = 0  # since the last line
        self._last: object = ""
        self._when = -INTERVAL  # of the last line, in the loop's time

    def __repr__(self) -> str:
        return f"<Notice {self._text!r} untold={self._untold}>"

    def happened(self, example: object) -> None:
        """It did, to `example`, of which text is made only if it is told."""
        self._untold += 1
        self._last = example

    def tell(self, now: float) -> None:
        """Writes a line if there is something to tell, and the last one is old enough."""
        if self._untold and now - self._when >= INTERVAL:
            count, self._untold, self._when = self._untold, 0, now
            log.log(self._level, self._text, count, self._last)


class Notices:
    """All of one worker."""

    def __init__(self) -> None:
        self._all: list[Notice] = []

    def add(self, level: int, text: str) -> Notice:
        """A new one; see `Notice`."""
        notice = Notice(level, text)
        self._all.append(notice)
        return notice

    def tell(self, now: float) -> None:
        """To be called about once a second, with the loop's time."""
        for notice in self._all:
            notice.tell(now)

    def tell_rest(self) -> None:
        """The last words, however soon."""
        self.tell(float("inf"))
