"""What a load says at its end, and the arithmetic of latencies."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Sequence

import msgspec


class Flow(msgspec.Struct, kw_only=True):
    """One line of JSON on standard output. Latencies are microseconds."""

    count: int
    """Requests, messages or connections completed."""
    seconds: float
    p50_us: float
    p99_us: float
    errors: dict[str, int] = {}
    """Kinds that did not happen are left out."""
    extra: dict[str, float] = {}


def percentile(ascending: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of all values do not exceed; 0 of nothing."""
    if not ascending:
        return 0.0
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]


def say(latencies: list[float], seconds: float, errors: dict[str, int], **extra: float) -> None:
    """Prints the result of a client that has gathered latencies in seconds; returns when standard input ends.

    Until then its connections stay open: closing them costs the proxy something, which is not to be measured.
    """
    latencies.sort()
    flow = Flow(
        count=len(latencies),
        seconds=seconds,
        p50_us=percentile(latencies, 0.50) * 1e6,
        p99_us=percentile(latencies, 0.99) * 1e6,
        errors={kind: count for kind, count in errors.items() if count},
        extra=extra,
    )
    print(msgspec.json.encode(flow).decode(), flush=True)
    sys.stdin.read()


def each_turn() -> Iterator[None]:
    """Tells the runner that everything is open; then a turn whenever it says go, and it hears when that is over. Ends
    when it says that this was all."""
    print("ready", flush=True)
    while sys.stdin.readline() == "go\n":
        yield
        print("done", flush=True)


def ready() -> float:
    """Tells the runner that everything is open; returns when it says go, with the time of that."""
    print("ready", flush=True)
    sys.stdin.readline()
    return time.perf_counter()
