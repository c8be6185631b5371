"""The garbage collector, told what a server is like.

Nearly everything here dies by reference count; the collector is there for the few cycles that errors leave behind. Left
to itself it stops the world for 50 ms now and then to look through fifty thousand objects that were imported once and
live for ever, and longer with every open connection.
"""

from __future__ import annotations

import gc

YOUNG, MIDDLE, OLD = 10_000, 20, 100
"""Net allocations before the youngest are looked at, how often those before the middle ones, those before all."""


def settle() -> None:
    """Called once everything is imported, before forking: what exists now is never looked at again.

    Its pages stay shared between the workers, too, because looking at an object writes to it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
