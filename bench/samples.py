"""One measurement, and what several of them say together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean, median, stdev

import msgspec

from bench.load.result import Flow

GATEWAY = "gateway"
COMPILED = "gateway_compiled"
BUILDS = (GATEWAY, COMPILED)
"""Ours: the others are compared with each of them."""

METRICS = ("cpu_us", "per_second", "p50_us", "p99_us", "rss_kib", "pss_kib", "held_kib", "busy", "load_busy", "foreign")


class Sample(msgspec.Struct, kw_only=True):
    """One peer, one workload, one round; a fresh proxy process each time."""

    peer: str
    workload: str
    round: int = 0
    count: int = 0
    """Requests, echoes or connections completed."""
    cpu_us: float = 0.0
    """CPU time of all the proxy's processes, for one of them."""
    per_second: float = 0.0
    p50_us: float = 0.0
    p99_us: float = 0.0
    rss_kib: float = 0.0
    """Of all the proxy's processes at the end; what they share counts once for each."""
    pss_kib: float = 0.0
    """The same with every shared page counted once: what the proxy takes of the machine."""
    held_kib: float = 0.0
    """Idle workloads: what the proxy holds for one connection (growth of PSS)."""
    busy: float = 0.0
    """Share of its core that the proxy used; below 1 the load was the bottleneck, and `per_second` is no capacity."""
    load_busy: float = 0.0
    """Share of the load's core that was used, by whomever."""
    foreign: float = 0.0
    """Share of the proxy's core that somebody else used."""
    errors: dict[str, int] = {}
    extra: dict[str, float] = {}
    left_out: str = ""
    """Why there is no figure, though nothing went wrong."""
    turns: list[float] = []
    """`cpu_us` of each turn, where proxies were measured in turns: the n-th of all peers lie side by side. 0 where
    nothing came of one."""

    def note_errors(self, flow: Flow, *, failing: bool) -> None:
        """Takes the load's errors over; where every answer should have been an error status, a success is one."""
        self.errors = dict(flow.errors)
        statuses = self.errors.pop("status", 0) if failing else flow.count
        if statuses < flow.count:
            self.errors["unexpected success"] = flow.count - statuses


class Summary(msgspec.Struct, kw_only=True):
    """Medians over the rounds of one peer and workload."""

    peer: str
    workload: str
    rounds: int
    cpu_us: float
    per_second: float
    p50_us: float
    p99_us: float
    rss_kib: float
    pss_kib: float
    held_kib: float
    busy: float
    load_busy: float
    foreign: float
    ratio: float
    """The gateway's figure divided by this peer's: of turns the mean of the rounds, each of which is the mean of its
    quotients without the tenth at either end (geometric means both), else the quotient of the medians; 0 without both.
    """
    margin: float
    """How far `ratio` may be off, as a share of it: of turns twice the standard error of that mean, by the rounds or,
    of a single one, by its turns; else half of what the rounds lie apart. Of the gateway, the same for its figure."""
    errors: dict[str, int]
    extra: dict[str, float]
    compiled_ratio: float = 0.0
    compiled_margin: float = 0.0
    """`ratio` and `margin` of the compiled gateway."""
    left_out: str = ""
    """Why there are no figures (all are 0), though nothing went wrong."""

    @property
    def figure(self) -> float:
        """The one that counts for this workload: KiB held if it is about idle connections, else CPU microseconds."""
        return self.held_kib or self.cpu_us

    @property
    def capacity(self) -> float:
        """Per second of CPU time. Unlike `per_second` it does not depend on whether the load could keep up."""
        return 1e6 / self.cpu_us if self.cpu_us else 0.0

    def ratio_of(self, build: str) -> float:
        """One of `BUILDS`' figure divided by this peer's."""
        return self.compiled_ratio if build == COMPILED else self.ratio

    def margin_of(self, build: str) -> float:
        return self.compiled_margin if build == COMPILED else self.margin


def spread(values: Sequence[float]) -> float:
    """Largest minus smallest, as a share of the median; 0 of nothing."""
    half_way = median(values) if values else 0.0
    return (max(values) - min(values)) / half_way if half_way else 0.0


def middle(values: Sequence[float]) -> float:
    """The mean without the tenth at either end: outliers do not matter, yet more values count than in a median."""
    tenth = len(values) // 10
    return fmean(sorted(values)[tenth : len(values) - tenth])


def standard_error(values: Sequence[float]) -> float:
    """Of their mean; 0 of a single one, which says nothing of it."""
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def summarize(samples: Iterable[Sample]) -> list[Summary]:
    """One summary per workload and peer, in the order in which they first appear."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.workload, sample.peer), []).append(sample)
    return [
        _summary(group, groups.get((workload, GATEWAY), []), groups.get((workload, COMPILED), []))
        for (workload, _), group in groups.items()
    ]


def _summary(group: list[Sample], ours: list[Sample], compiled: list[Sample]) -> Summary:
    left_out = next((sample.left_out for sample in group if sample.left_out), "")
    medians = {
        metric: 0.0 if left_out else float(median(getattr(sample, metric) for sample in group)) for metric in METRICS
    }
    errors: dict[str, int] = {}
    for sample in group:
        for kind, count in sample.errors.items():
            errors[kind] = errors.get(kind, 0) + count
    extras = {name for sample in group for name in sample.extra}
    ratio, margin = (0.0, 0.0) if left_out else _ratio(group, ours)
    compiled_ratio, compiled_margin = (0.0, 0.0) if left_out or not compiled else _ratio(group, compiled)
    return Summary(
        peer=group[0].peer,
        workload=group[0].workload,
        rounds=len(group),
        ratio=ratio,
        margin=margin,
        compiled_ratio=compiled_ratio,
        compiled_margin=compiled_margin,
        errors=errors,
        extra={name: float(median(sample.extra.get(name, 0.0) for sample in group)) for name in sorted(extras)},
        left_out=left_out,
        **medians,
    )


def _ratio(theirs: list[Sample], ours: list[Sample]) -> tuple[float, float]:
    """`Summary.ratio` and `Summary.margin`."""
    rounds = _rounds_of_turns(theirs, ours)
    if rounds:
        logarithms = [[math.log(quotient) for quotient in each] for each in rounds]
        means = [middle(each) for each in logarithms]
        margin = 2 * standard_error(means if len(means) > 1 else logarithms[0])
        return (1.0 if theirs is ours else math.exp(fmean(means))), margin
    figures = [sample.held_kib or sample.cpu_us for sample in theirs]
    our, their = (median(each.held_kib or each.cpu_us for each in side) if side else 0.0 for side in (ours, theirs))
    return (our / their if their else 0.0), spread(figures) / 2


def _rounds_of_turns(theirs: list[Sample], ours: list[Sample]) -> list[list[float]]:
    """For each round in which both took turns, our figure divided by theirs, turn by turn; ours if both are one."""
    if theirs is ours:
        rounds = [list(filter(None, sample.turns)) for sample in ours]
    else:
        opposite = {sample.round: sample.turns for sample in theirs}
        rounds = [_quotients(sample.turns, opposite.get(sample.round, [])) for sample in ours]
    return [each for each in rounds if each]


def _quotients(ours: list[float], theirs: list[float]) -> list[float]:
    """Of the turns that brought something on both sides; none if one side has no turns."""
    if not ours or not theirs:
        return []
    return [our / their for our, their in zip(ours, theirs, strict=True) if our and their]
