"""Who asks most often: a sketch of a stream of ids, of bounded size however many ids there are.

Space-Saving (Metwally and others, 2005), pruned in batches: an id that comes when the sketch is full takes over the
count of the smallest that was forgotten, so that whoever is really frequent is in it, with a count that is too high by
`error` at most. Two spans of time are kept, the one that runs and the one before, so that what is told is of the last
one to two spans and not of all time.

Knows neither requests nor processes. Sketches of several processes are added by `merged`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from operator import attrgetter

import msgspec

CAPACITY = 128
"""Ids kept; twice as many between two prunings. About 200 octets each."""
SPAN = 60.0
"""Seconds."""


class Hitter(msgspec.Struct, gc=False):
    """One id."""

    id: str
    requests: int
    """At least `requests - error`; of one process at most this, of several as many more as were forgotten there."""
    octets: int
    """Of content, both ways, since it is in the sketch."""
    error: int = 0


_requests = attrgetter("requests")


def _certain(hitter: Hitter) -> int:
    """Requests that were its own for sure: nobody gets to the top by what others have left behind."""
    return hitter.requests - hitter.error


class HeavyHitters:
    """Of one process. Times are of any clock that does not go back."""

    __slots__ = ("_before", "_began", "_floor", "_now")

    def __init__(self) -> None:
        self._now: dict[str, Hitter] = {}
        self._before: dict[str, Hitter] = {}
        self._floor = 0  # the largest count that was forgotten in this span
        self._began = 0.0

    def __repr__(self) -> str:
        return f"<HeavyHitters {len(self._now)} ids, error {self._floor}>"

    def add(self, counts: Mapping[str, tuple[int, int]], now: float) -> None:
        """What a batch brought: requests and octets by id."""
        self._turn(now)
        hitters, floor = self._now, self._floor
        for name, (requests, octets) in counts.items():
            hitter = hitters.get(name)
            if hitter is None:
                hitters[name] = Hitter(name, floor + requests, octets, floor)
            else:
                hitter.requests += requests
                hitter.octets += octets
        if len(hitters) > 2 * CAPACITY:
            self._prune()

    def _turn(self, now: float) -> None:
        """Begins a new span when it is time."""
        if now - self._began >= SPAN:
            self._before = self._now if now - self._began < 2 * SPAN else {}
            self._now, self._floor, self._began = {}, 0, now

    def _prune(self) -> None:
        *kept, largest = heapq.nlargest(CAPACITY + 1, self._now.values(), key=_requests)
        self._floor = largest.requests
        self._now = {hitter.id: hitter for hitter in kept}

    def top(self, count: int, now: float) -> list[Hitter]:
        """The busiest of the last one to two spans, the busiest first."""
        self._turn(now)
        return merged([self._now.values(), self._before.values()], count)


def merged(sketches: Iterable[Iterable[Hitter]], count: int) -> list[Hitter]:
    """The busiest of several sketches, the busiest first."""
    total: dict[str, Hitter] = {}
    for sketch in sketches:
        for each in sketch:
            known = total.get(each.id)
            if known is None:
                total[each.id] = msgspec.structs.replace(each)
            else:
                known.requests += each.requests
                known.octets += each.octets
                known.error += each.error
    return heapq.nlargest(count, total.values(), key=_certain)
