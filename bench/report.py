"""A run's result: as JSON to keep, as a table to read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bench.machine import Machine
from bench.peers import PEERS
from bench.samples import BUILDS, COMPILED, GATEWAY, Sample, Summary
from bench.targets import Verdict
from bench.workloads import WORKLOADS, Kind

NOISY = 0.05
"""Share of the proxy's core used by others above which a run is not to be trusted."""


class Result(msgspec.Struct, kw_only=True):
    """Everything about one run; what `latest.json` holds."""

    machine: Machine
    versions: dict[str, str]
    turns: int
    """Of each peer in a round, in most workloads: they have as much load in turns that are longer."""
    turn_seconds: float
    missing: list[str]
    """Peers that were not installed."""
    gateway_config: str
    """`gateway check` of the configuration that was measured."""
    summaries: list[Summary]
    verdicts: list[Verdict]
    samples: list[Sample]

    def method(self) -> str:
        """How it was measured, for a caption."""
        rounds = {each.rounds for each in self.summaries if WORKLOADS[each.workload].kind is not Kind.IDLE}
        least, most = min(rounds, default=0), max(rounds, default=0)
        count = f"{most} round{'s' if most > 1 else ''}" if least == most else f"{least} to {most} rounds"
        return f"{count} of {self.turns} turns of {self.turn_seconds * 1000:g} ms"


def save(result: Result, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")


def load(path: Path) -> Result:
    """Raises OSError, msgspec.ValidationError."""
    return msgspec.json.decode(path.read_bytes(), type=Result)


def terminal(result: Result) -> str:
    """The whole result for a person at a terminal."""
    return "\n".join(_lines(result))


def _lines(result: Result) -> Iterator[str]:
    yield result.machine.sentence()
    yield f"{result.method()}; proxy on one core, load and upstream on another"
    for name in dict.fromkeys(summary.workload for summary in result.summaries):
        yield ""
        yield from _workload(name, result.summaries)
    yield ""
    yield "targets (gateway as a multiple of …)"
    for verdict in result.verdicts:
        if verdict.value is not None:
            said = "reached" if verdict.reached else "MISSED"
            yield f"  {said:<8} {verdict.title:<36} {verdict.value:>6.2f}   wanted {verdict.wanted()}"
    unknown = sum(verdict.value is None for verdict in result.verdicts)
    if unknown:
        yield f"  {unknown} of {len(result.verdicts)} were not measured in this run"
    yield from _doubts(result)


def _workload(name: str, summaries: Sequence[Summary]) -> Iterator[str]:
    workload = WORKLOADS[name]
    rows = [summary for summary in summaries if summary.workload == name]
    idle = workload.kind is Kind.IDLE
    figure = f"KiB/{workload.unit}" if idle else "CPU µs"
    builds = [build for build in BUILDS if any(row.peer == build for row in rows)]
    columns = "" if idle else f"{'per s':>9} {'p50 µs':>8} {'p99 µs':>8} {'busy':>5}"
    multiples = " ".join(f"{_IS[build]:>12}" for build in builds)
    yield workload.title
    yield f"  {'':<26}{figure:>15} {multiples} {'MiB':>6} {columns}"
    for row in rows:
        multiples = " ".join(f"{_multiple(row, build):>12}" for build in builds)
        flow = f"{row.per_second:>9,.0f} {row.p50_us:>8,.0f} {row.p99_us:>8,.0f} {row.busy:>5.0%}"
        remarks = [*filter(None, [row.left_out]), *(f"{count} × {kind}" for kind, count in row.errors.items())]
        figures = f"{row.figure:>15.1f} {multiples} {row.pss_kib / 1024:>6.1f} {'' if idle else flow}"
        yield (
            f"  {PEERS[row.peer].title:<26}{figures if row.figure else '–'.rjust(15)}  {', '.join(remarks)}"
        ).rstrip()


_IS = {GATEWAY: "gateway is", COMPILED: "compiled is"}


def _multiple(row: Summary, build: str) -> str:
    """A build's figure as a multiple of the row's; of its own the margin alone."""
    margin = f"±{row.margin_of(build):.0%}"
    return f"{row.ratio_of(build):.2f} × {margin}" if row.ratio_of(build) and row.peer != build else margin


def _doubts(result: Result) -> Iterator[str]:
    worst = max((summary.foreign for summary in result.summaries), default=0.0)
    if worst > NOISY:
        yield ""
        yield f"not quiet: others used up to {worst:.0%} of the proxy's core; repeat it on an idle machine"
    if any(0 < summary.busy < 0.9 for summary in result.summaries):
        yield ""
        yield "busy: share of its core that the proxy used. Where it is low the load was the bottleneck, so `per s` is"
        yield "no capacity, and CPU µs is on the high side: a proxy that waits is woken for every request."
