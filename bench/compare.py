"""Two results side by side: whether a run can be repeated, or what a change has brought.

.venv/bin/python -m bench.compare BEFORE.json AFTER.json

Compares the gateway's figures as multiples of each peer's in the same run, never the figures themselves: those change
with the machine. Ends with status 1 if one of them differs by more than a tenth.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.report import load
from bench.samples import BUILDS, Summary

AGREES = 0.10
"""Share by which two ratios may differ."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One ratio in both runs."""

    workload: str
    build: str
    """Of the gateway, whose figure is divided by the peer's."""
    peer: str
    before: float
    after: float

    @property
    def change(self) -> float:
        return self.after / self.before - 1

    @property
    def agrees(self) -> bool:
        return abs(self.change) <= AGREES


def pairs(before: Sequence[Summary], after: Sequence[Summary]) -> list[Pair]:
    """Every ratio that both runs have, in the order of the first."""
    later = {(each.workload, each.peer): each for each in after if not each.errors}
    return [
        Pair(each.workload, build, each.peer, each.ratio_of(build), then.ratio_of(build))
        for each in before
        if each.peer not in BUILDS and not each.errors and (then := later.get((each.workload, each.peer)))
        for build in BUILDS
        if each.ratio_of(build) and then.ratio_of(build)
    ]


def table(found: Sequence[Pair]) -> Iterator[str]:
    """For a terminal."""
    for pair in found:
        mark = "" if pair.agrees else "  differs"
        row = f"{pair.workload:<18} {pair.build:<16} {pair.peer:<14}"
        yield f"{row} {pair.before:>6.2f} {pair.after:>6.2f} {pair.change:>+6.0%}{mark}"
    within = sum(pair.agrees for pair in found)
    yield f"{within} of {len(found)} ratios within {AGREES:.0%}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description="two results side by side")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    options = parser.parse_args()
    try:
        found = pairs(load(options.before).summaries, load(options.after).summaries)
    except (OSError, msgspec.MsgspecError) as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(table(found)))
    return 0 if found and all(pair.agrees for pair in found) else 1


if __name__ == "__main__":
    sys.exit(main())
