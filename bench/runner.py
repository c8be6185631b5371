"""A run: which workloads, on which peers, in which order.

In rounds, with fresh proxies in each: where a process happens to lie in memory makes it 3 % faster or slower for all
its life, and who is started first is slower than who is started last, so that every round begins with another. A round
is all workloads, so that the rounds of one lie minutes apart: a neighbour on the same host who stays for a while spoils
one of them. A workload whose ratios have margins that are small enough needs no further rounds. Proxies are measured in
turns, all at once (`bench.turns`); only memory held for idle connections is measured one proxy after another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import loading, turns
from bench.load.result import Flow
from bench.loading import LoadFailed, Reading
from bench.peers import PEERS, Peer, running
from bench.samples import BUILDS, Sample, summarize
from bench.site import Site, Unable
from bench.workloads import Kind, Load, Workload

IDLE_ROUNDS = 2
"""Enough for memory, which hardly changes from one to the next."""
MARGIN = 0.05
"""Of a ratio, above which it needs another round: two runs then differ by less than a tenth, but one time in two
hundred."""
RATE_PEERS = ("gateway", "nginx")
"""Half load is half of what the slower of these can do."""
MOST_PER_SECOND = 6000.0
"""That our client can ask for and keep to its plan, where it needs 130 µs for each; then half load is a little less."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run consists of."""

    peers: Sequence[str]
    workloads: Sequence[Workload]
    least_rounds: int
    most_rounds: int
    """Of workloads whose ratios still have too large a margin."""
    seconds: float
    """Of load on each peer in each round of a workload."""

    def has_round(self, number: int, workload: Workload, samples: Sequence[Sample]) -> bool:
        """Whether `workload` needs its round `number`, after those of which `samples` are; the first is 0."""
        if workload.kind is Kind.IDLE:
            return number < min(self.least_rounds, IDLE_ROUNDS)
        if number < self.least_rounds:
            return True
        if number >= self.most_rounds:
            return False
        summaries = summarize(sample for sample in samples if sample.workload == workload.name)
        compared = (each for each in summaries if each.peer not in BUILDS and not each.errors)
        return any(each.margin_of(build) > MARGIN for each in compared for build in BUILDS)


def run(plan: Plan, site: Site, tell: Callable[[Sample], None]) -> list[Sample]:
    """All samples. A workload for which there are not enough descriptors is left out; a proxy that does not start has
    an error in its sample, and what was measured before is not lost.
    """
    samples: list[Sample] = []
    rate = 0.0
    for number in range(plan.most_rounds):
        first = number % len(plan.peers)
        peers = [*plan.peers[first:], *plan.peers[:first]]
        for workload in plan.workloads:
            if workload.descriptors > site.descriptors or not plan.has_round(number, workload, samples):
                continue
            taken: Iterable[Sample]
            able = [name for name in peers if PEERS[name].http2 or not workload.http2]
            if workload.kind is Kind.IDLE:
                taken = (_alone(name, workload, site) for name in able)
            else:
                is_open_loop = workload.kind is Kind.OPEN_LOOP
                if is_open_loop and not rate:
                    rate = half_rate(samples)  # for all rounds
                taken = turns.measure(able, workload, site, plan.seconds, rate=rate if is_open_loop else 0.0)
            for sample in taken:
                sample.round = number
                samples.append(sample)
                tell(sample)
    return samples


def _alone(name: str, workload: Workload, site: Site) -> Sample:
    try:
        return measure(PEERS[name], workload, site, 0.0)
    except Unable as error:
        return Sample(peer=name, workload=workload.name, errors={str(error)[:200]: 1})


def half_rate(samples: Sequence[Sample]) -> float:
    """Requests per second for the open loop, from the `get_tls` samples. Raises Unable if there are none."""
    reached = [
        median(rates)
        for peer in RATE_PEERS
        if (rates := [each.per_second for each in samples if (each.workload, each.peer) == ("get_tls", peer)])
    ]
    if not any(reached):
        raise Unable("half load is half of what get_tls reaches: run get_tls with it, for gateway or nginx")
    return min(MOST_PER_SECOND, min(filter(None, reached)) / 2)


def measure(peer: Peer, workload: Workload, site: Site, seconds: float, sandboxes: Path | None = None) -> Sample:
    """One sample of a fresh proxy; what goes wrong with the load is in its `errors`. Raises Unable if the proxy does
    not start.
    """
    sample = Sample(peer=peer.name, workload=workload.name)
    with running(peer, site, sandboxes) as proxy:
        try:
            before, flow, after = loading.once(workload, Load(site, proxy, seconds))
        except (LoadFailed, FileNotFoundError) as error:
            sample.errors = {str(error): 1}
        else:
            _fill(sample, workload, flow, before, after)
    return sample


def _fill(sample: Sample, workload: Workload, flow: Flow, before: Reading, after: Reading) -> None:
    sample.note_errors(flow, failing=workload.failing)
    if before.cost.pids != after.cost.pids:
        sample.errors["processes replaced"] = 1
    count = max(1, flow.count)
    wall = after.clock - before.clock
    cpu_s = (after.cost.cpu_ns - before.cost.cpu_ns) / 1e9
    sample.count = flow.count
    sample.rss_kib, sample.pss_kib = after.cost.rss_kib, after.cost.pss_kib
    sample.extra = flow.extra
    if workload.kind is Kind.IDLE:
        sample.held_kib = (after.cost.pss_kib - before.cost.pss_kib) / count
        return
    sample.cpu_us = cpu_s * 1e6 / count
    sample.per_second = flow.count / flow.seconds
    sample.p50_us = flow.p50_us
    sample.p99_us = flow.p99_us
    sample.busy = cpu_s / wall
    sample.foreign = max(0.0, (after.core - before.core - cpu_s) / wall)
    sample.load_busy = (after.load_core - before.load_core) / wall
