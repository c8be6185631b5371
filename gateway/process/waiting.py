"""Says on a terminal that something is waited for, and for how long by now; anywhere else nothing.

A thread of its own, because who waits is blocked. What it wrote is gone when the wait is over.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

INTERVAL = 1.0
"""Seconds before it is said first, and between: what is quick says nothing."""
_ERASE = "\r\x1b[K"


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """`what` is a sentence without its end, and fits a line: "waiting for the app"."""
    if not sys.stderr.isatty():
        yield
        return
    over = threading.Event()
    telling = threading.Thread(target=_tell, args=(what, over), name="waiting", daemon=True)
    telling.start()
    try:
        yield
    finally:
        over.set()
        telling.join()


def _tell(what: str, over: threading.Event) -> None:
    for intervals in count(1):
        if over.wait(INTERVAL):
            break
        sys.stderr.write(f"{_ERASE}{what} … {intervals * INTERVAL:.0f} s")
        sys.stderr.flush()
    if intervals > 1:
        sys.stderr.write(_ERASE)
        sys.stderr.flush()
