"""Python's garbage collector and glibc's allocator, told what a server is like.

Nearly everything here dies by reference count; no failure leaves a cycle behind (a test counts), so the collector is
there for what nobody has thought of. Left to itself it stops the world for 50 ms now and then to look through fifty
thousand objects that were imported once and live for ever, and for 11 ms more with every thousand open connections,
which are 22 objects each. So a worker's collector takes small bites: it looks at what is young, never at more than
`YOUNG * (MIDDLE + 2)` objects at once, which takes 3 ms if they live, and 5 to 35 if all of them are garbage (frames
and exceptions cost most). What has grown old is looked at when hardly anybody is connected (`Collector`).

A large read is a block of up to 256 KiB, alive for a fraction of a millisecond. Left to itself glibc gives such a block
back to the system whenever it lies at the end of the heap, and asks for it again with the next read: 137 page faults
for each MiB, in one process of three, as chance has laid out its heap.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import time
from collections.abc import Callable

log = logging.getLogger("gateway.process")

YOUNG, MIDDLE, OLD = 5_000, 3, 100
"""Net allocations before the youngest are looked at, how often those before the middle ones, those before all."""
NEVER = 2**31 - 1
EVERY = 10.0
"""Seconds between two questions whether the old may be looked at."""
HARDLY_ANYBODY = 200
"""Open connections and requests under way: 4,400 objects, 2 ms."""
TOO_MANY = 500
"""Looks at the middle ones, each of which has left up to 25,000 objects to the old. When ten million have come together
something leaks, and a pause is better than no memory."""
MAPPED = 4 * 1024 * 1024
"""Octets from which on a block is mapped for itself, and given back when it is freed."""
KEPT = 16 * 1024 * 1024
"""Octets that may lie unused at the end of the heap before they are given back."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of mallopt(3)."""


def settle() -> None:
    """Called once everything is imported, before forking: what exists now is never looked at again.

    Its pages stay shared between the workers, too, because looking at an object writes to it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
    with contextlib.suppress(AttributeError):  # another C library than glibc does not have it
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, MAPPED)
        mallopt(_M_TRIM_THRESHOLD, KEPT)


class Collector:
    """A worker's: the old are looked at when that stops hardly anybody. `under_way` counts who would wait: connections,
    and exchanges, of which one connection of HTTP/2 may carry hundreds.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, under_way: Callable[[], int]) -> None:
        self._loop = loop
        self._under_way = under_way
        gc.set_threshold(YOUNG, MIDDLE, NEVER)
        self._timer = loop.call_later(EVERY, self._look)

    def _look(self) -> None:
        self._timer = self._loop.call_later(EVERY, self._look)
        promoted = gc.get_count()[2]  # looks at the middle ones since the last one at all
        if promoted >= TOO_MANY:
            started = time.monotonic()
            found = gc.collect()
            elapsed = (time.monotonic() - started) * 1000
            log.warning("a collection of all objects stopped this worker for %.0f ms; it found %d", elapsed, found)
        elif promoted and self._under_way() <= HARDLY_ANYBODY:
            gc.collect()

    def close(self) -> None:
        self._timer.cancel()
        gc.set_threshold(YOUNG, MIDDLE, OLD)
