"""One measurement, and what several of them say together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

import msgspec

METRICS = ("cpu_us", "per_second", "p50_us", "p99_us", "rss_kib", "pss_kib", "held_kib", "busy", "load_busy", "foreign")


class Sample(msgspec.Struct, kw_only=True):
    """One peer, one workload, one round; a fresh proxy process each time."""

    peer: str
    workload: str
    round: int
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
    spread: float
    """(largest - smallest) / median of `figure` over the rounds."""
    errors: dict[str, int]
    extra: dict[str, float]

    @property
    def figure(self) -> float:
        """The one that counts for this workload: KiB held if it is about idle connections, else CPU microseconds."""
        return self.held_kib or self.cpu_us

    @property
    def capacity(self) -> float:
        """Per second of CPU time. Unlike `per_second` it does not depend on whether the load could keep up."""
        return 1e6 / self.cpu_us if self.cpu_us else 0.0


def spread(values: Sequence[float]) -> float:
    """Largest minus smallest, as a share of the median; 0 of nothing."""
    middle = median(values) if values else 0.0
    return (max(values) - min(values)) / middle if middle else 0.0


def summarize(samples: Iterable[Sample]) -> list[Summary]:
    """One summary per workload and peer, in the order in which they first appear."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.workload, sample.peer), []).append(sample)
    return [_summary(group) for group in groups.values()]


def _summary(group: list[Sample]) -> Summary:
    medians = {metric: float(median(getattr(sample, metric) for sample in group)) for metric in METRICS}
    errors: dict[str, int] = {}
    for sample in group:
        for kind, count in sample.errors.items():
            errors[kind] = errors.get(kind, 0) + count
    extras = {name for sample in group for name in sample.extra}
    return Summary(
        peer=group[0].peer,
        workload=group[0].workload,
        rounds=len(group),
        spread=spread([sample.held_kib or sample.cpu_us for sample in group]),
        errors=errors,
        extra={name: float(median(sample.extra.get(name, 0.0) for sample in group)) for name in sorted(extras)},
        **medians,
    )
