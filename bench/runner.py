"""Taking measurements: one fresh proxy, one load, one sample; and the order in which peers take turns."""

from __future__ import annotations

import select
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from bench.load.result import Flow
from bench.peers import PEERS, Peer, running
from bench.processes import Child, Cost, core_busy_seconds, cost
from bench.samples import Sample
from bench.site import Site, Unable
from bench.workloads import Kind, Load, Workload

WARM_SECONDS = 1.0
"""Of wrk, whose shortest run it is: connections, caches and pools are there when it counts."""
SETTLE_SECONDS = 1.0
"""Before memory is read: what was freed is given back, what was delayed is done."""
LOAD_PATIENCE = 150.0
"""Seconds beyond its own duration after which a load is ended: opening ten thousand connections takes long."""
LOAD_FULL = 0.9
"""Share of the load's core above which an open loop no longer keeps to its plan."""
RATE_PEERS = ("gateway", "nginx")
"""Half load is half of what the slower of these can do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run consists of."""

    peers: Sequence[str]
    workloads: Sequence[Workload]
    rounds: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Reading:
    """The proxy and both cores at one moment; seconds."""

    cost: Cost
    core: float
    """Busy time of the proxy's core."""
    load_core: float
    clock: float


def run(plan: Plan, site: Site, tell: Callable[[Sample], None]) -> list[Sample]:
    """All samples: per workload A B C, C B A, A B C, …, so that what changes slowly changes for everybody alike.

    A workload for which there are not enough descriptors is left out. A proxy that does not start has an error in that
    sample; what was measured before is not lost.
    """
    samples: list[Sample] = []
    for workload in plan.workloads:
        if workload.descriptors > site.descriptors:
            continue
        rate = half_rate(samples) if workload.half_load else 0.0
        for number in range(plan.rounds):
            for name in plan.peers if number % 2 == 0 else reversed(plan.peers):
                try:
                    sample = measure(PEERS[name], workload, site, plan.seconds, rate=rate)
                except Unable as error:
                    sample = Sample(peer=name, workload=workload.name, round=number, errors={str(error)[:200]: 1})
                sample.round = number
                samples.append(sample)
                tell(sample)
    return samples


def half_rate(samples: Sequence[Sample]) -> float:
    """Requests per second for the open loop, from the `get_tls` samples. Raises Unable if there are none."""
    best: dict[str, float] = {}
    for sample in samples:
        if sample.workload == "get_tls" and sample.peer in RATE_PEERS:
            best[sample.peer] = max(best.get(sample.peer, 0.0), sample.per_second)
    if not best:
        raise Unable("half load is half of what get_tls reaches: run get_tls with it, for gateway or nginx")
    return min(best.values()) / 2


def measure(
    peer: Peer, workload: Workload, site: Site, seconds: float, *, rate: float = 0.0, sandboxes: Path | None = None
) -> Sample:
    """One sample; what goes wrong with the load is in its `errors`. Raises Unable if the proxy does not start."""
    sample = Sample(peer=peer.name, workload=workload.name, round=0)
    run_load = _run_wrk if workload.kind is Kind.WRK else _run_staged
    with running(peer, site, sandboxes) as proxy:
        try:
            before, flow, after = run_load(workload, Load(site, proxy, seconds, rate))
        except (_LoadFailed, FileNotFoundError) as error:
            sample.errors = {str(error): 1}
        else:
            _fill(sample, workload, flow, before, after)
    return sample


def _fill(sample: Sample, workload: Workload, flow: Flow, before: Reading, after: Reading) -> None:
    sample.errors = dict(flow.errors)
    statuses = sample.errors.pop("status", 0) if workload.failing else flow.count
    if statuses < flow.count:
        sample.errors["unexpected success"] = flow.count - statuses
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
    if workload.half_load and sample.load_busy > LOAD_FULL:
        sample.errors["load core full: latencies are the client's"] = 1


class _LoadFailed(Exception):
    """The message is the load's own."""


def _read(load: Load) -> Reading:
    site = load.site
    cores = core_busy_seconds(site.proxy_core), core_busy_seconds(site.load_core)
    return Reading(cost(load.proxy.pid), *cores, time.monotonic())


def _run_wrk(workload: Workload, load: Load) -> tuple[Reading, Flow, Reading]:
    def once(load: Load) -> Flow:
        command = workload.command(load)
        with Child(command, core=load.site.load_core, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            try:
                out, _ = child.process.communicate(timeout=load.seconds + LOAD_PATIENCE)
            except subprocess.TimeoutExpired:
                raise _LoadFailed("wrk did not end") from None
            return _decode(out.rstrip().rpartition(b"\n")[2], child)

    once(replace(load, seconds=WARM_SECONDS))
    before = _read(load)
    flow = once(load)
    return before, flow, _read(load)


def _run_staged(workload: Workload, load: Load) -> tuple[Reading, Flow, Reading]:
    """Idle connections are compared with the time before they came, all others with the time when they stood."""
    if workload.kind is Kind.IDLE:
        time.sleep(SETTLE_SECONDS)
    before = _read(load)
    command = workload.command(load)
    pipe = subprocess.PIPE
    with Child(command, core=load.site.load_core, stdin=pipe, stdout=pipe, stderr=pipe) as child:
        assert child.process.stdin is not None
        if _line(child, LOAD_PATIENCE) != b"ready\n":
            raise _LoadFailed(_last_words(child))
        if workload.kind is Kind.IDLE:
            time.sleep(SETTLE_SECONDS)
        else:
            before = _read(load)
        child.process.stdin.write(b"\n")
        child.process.stdin.flush()
        flow = _decode(_line(child, load.seconds + LOAD_PATIENCE), child)
        return before, flow, _read(load)  # while the client still holds its connections


def _line(child: Child, patience: float) -> bytes:
    """The client's next line, b"" if it has ended. It prints few, and whole."""
    stdout = child.process.stdout
    assert stdout is not None
    if not select.select((stdout,), (), (), patience)[0]:
        raise _LoadFailed("the load did not end")
    return stdout.readline()


def _decode(line: bytes, child: Child) -> Flow:
    try:
        return msgspec.json.decode(line, type=Flow)
    except msgspec.MsgspecError:
        raise _LoadFailed(_last_words(child)) from None


def _last_words(child: Child) -> str:
    child.close()
    stderr = child.process.stderr
    said = stderr.read().decode(errors="replace").strip() if stderr and not stderr.closed else ""
    return said[-300:] or "the load said nothing"
