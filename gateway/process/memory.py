"""Python's garbage collector and glibc's allocator, told what a server is like.

Nearly everything here dies by reference count; the collector is there for the few cycles that errors leave behind. Left
to itself it stops the world for 50 ms now and then to look through fifty thousand objects that were imported once and
live for ever, and longer with every open connection.

A large read is a block of 250 KiB, alive for a fraction of a millisecond. Left to itself glibc gives such a block back
to the system whenever it lies at the end of the heap, and asks for it again with the next read: 137 page faults for
each MiB, in one process of three, as chance has laid out its heap.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc

YOUNG, MIDDLE, OLD = 10_000, 20, 100
"""Net allocations before the youngest are looked at, how often those before the middle ones, those before all."""
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
