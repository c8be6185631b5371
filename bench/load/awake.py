"""Keeps a core from going to sleep, without taking it from anybody: runs until it is ended.

    python -m bench.load.awake

A write to a process whose core sleeps sends an interrupt to that core, which costs the writer 10 µs and more where a
hypervisor has to pass it on. A slow proxy's load sleeps more often than a fast one's, so the slow one would pay more
often for the same request. The interrupt is the machine's price and not the proxy's, so here nobody pays it.
"""

from __future__ import annotations

import os

LEAST = 19
"""Nice: one part in seventy of the core, if others want it all the time."""


def main() -> None:
    os.nice(LEAST)
    give_way = os.sched_yield
    while True:
        give_way()


if __name__ == "__main__":
    main()
