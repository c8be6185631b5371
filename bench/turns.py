"""All proxies of one workload at once, each under its own load for a fiftieth of a second in turn.

What a request costs changes with whatever else the machine's owner runs on it, by a quarter from one second to the
next, and for everybody alike: the processor's caches and clock are shared. Proxies measured one after another are
measured on different machines. Here all loads but one are stopped (SIGSTOP), and a cycle through all of them takes a
fifth of a second, so every turn of the gateway has one of each peer beside it; what counts is the mean of the ratios,
cycle by cycle. An open loop is not stopped, which would spoil its latencies: its turns are longer, and end when the
last request is answered.

A turn costs what the proxy uses from its beginning to the beginning of its next one, so nothing it puts off is lost
(what it does by the clock while others have their turn counts too). What it has done is counted in octets that the
load's process has moved, which the kernel knows exactly at any moment.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench import loading
from bench.loading import LoadFailed
from bench.peers import PEERS, Proxy, running
from bench.processes import Child, core_busy_seconds, cost, cpu_ns, family, octets_moved
from bench.samples import Sample
from bench.site import Site, Unable
from bench.workloads import Kind, Load, Workload

UNDISTURBED_SECONDS = 1.0
"""Of load without turns before: it warms the proxy up, and latencies are its, which stopping the load would spoil."""
OPENING_SECONDS = 0.4
"""After which wrk has opened its connections. Our own clients do the same before they count."""
WARMING_SECONDS = 0.6
"""Of load on each proxy in turns that do not count. Caches, pools and heaps fill: under mixed traffic the gateway needs
a tenth more in its first seconds than later."""
QUIET_SECONDS, LOOKING_SECONDS = 0.004, 0.001
"""Without any use of CPU, after which a proxy has dealt with what was under way when its load was stopped; how often we
look."""
QUIET_PATIENCE = 0.25
ATTEMPTS, ATTEMPT_SECONDS = 20, 0.2
"""How often a load is told to end, and how far apart."""
STARTING_SECONDS = 30.0
"""For each proxy, while the loads of those before it wait."""
LOAD_FULL = 0.9
"""Share of the load's core above which an open loop no longer keeps to its plan."""
PROGRESSING = 0.75
"""Share of turns that have to bring something."""
SATURATED = 0.95
"""Share of an open loop's rate: a proxy that answers fewer has a queue that grows and no latency."""


@dataclass(slots=True)
class Turn:
    """One peer's, as differences; `cpu` and `octets` until its next one begins, the rest until it was quiet again."""

    cpu: float = 0.0
    octets: int = 0
    wall: float = 0.0
    core: float = 0.0
    load_core: float = 0.0


@dataclass(slots=True)
class Contender:
    """One proxy with its load, which is stopped but in its turns."""

    sample: Sample
    workload: Workload
    proxy: Proxy
    load: Child
    pids: list[int]
    moved_before: int = 0
    """Octets moved by the load's process before it counted."""
    turns: list[Turn] = field(default_factory=list)
    _mark: tuple[float, int] = (0.0, 0)

    def cpu_seconds(self) -> float:
        """Of all its processes. Raises FileNotFoundError if one of them has ended."""
        return sum(map(cpu_ns, self.pids)) / 1e9

    def close_turn(self) -> None:
        """Nothing of the last turn comes after this."""
        mark = self.cpu_seconds(), octets_moved(self.load.pid)
        if self.turns:
            self.turns[-1].cpu = mark[0] - self._mark[0]
            self.turns[-1].octets = mark[1] - self._mark[1]
        self._mark = mark

    def take_turn(self, site: Site) -> None:
        self.close_turn()
        began, core, load_core = _clocks(site)
        if self.workload.kind is Kind.OPEN_LOOP:
            loading.turn(self.load)
        else:
            os.kill(self.load.pid, signal.SIGCONT)
            time.sleep(self.workload.turn_seconds)
            os.kill(self.load.pid, signal.SIGSTOP)
        quiet_since = self._wait_until_quiet()
        _, core_after, load_core_after = _clocks(site)
        self.turns.append(Turn(wall=quiet_since - began, core=core_after - core, load_core=load_core_after - load_core))

    def _wait_until_quiet(self) -> float:
        """Returns when it was last seen at work."""
        now = since = at_work = time.monotonic()
        used = self.cpu_seconds()
        while now < since + QUIET_PATIENCE and now < at_work + QUIET_SECONDS:
            time.sleep(LOOKING_SECONDS)
            before, used = used, self.cpu_seconds()
            now = time.monotonic()
            if used != before:
                at_work = now
        return at_work


def count(seconds: float, turn_seconds: float) -> int:
    """Turns in so much load."""
    return max(1, round(seconds / turn_seconds))


def costs(turns: Sequence[Turn], unit: float) -> list[float]:
    """Microseconds of CPU for each `unit` octets, turn by turn. 0 for a turn that brought none, because the answers of
    a slow proxy come in flocks or the host had other plans: what it has used or moved counts in the next.
    """
    found = []
    cpu, octets = 0.0, 0
    for turn in turns:
        cpu += turn.cpu
        octets += turn.octets
        if cpu > 0 and octets > 0:
            found.append(round(cpu * 1e6 * unit / octets, 3))
            cpu, octets = 0.0, 0
        else:
            found.append(0.0)
    return found


def measure(peers: Sequence[str], workload: Workload, site: Site, seconds: float, *, rate: float = 0.0) -> list[Sample]:
    """A sample per peer, after `seconds` of load on each, of an open loop with `rate` requests per second. What goes
    wrong with one is in its sample's `errors`.
    """
    turn = workload.turn_seconds
    warming = count(WARMING_SECONDS, turn)
    cycles = warming + count(seconds, turn)
    samples = []
    with contextlib.ExitStack() as stack:
        contenders: list[Contender] = []
        longest = len(peers) * (STARTING_SECONDS + cycles * (turn + QUIET_PATIENCE))
        for name in peers:
            sample = Sample(peer=name, workload=workload.name)
            samples.append(sample)
            try:
                proxy = stack.enter_context(running(PEERS[name], site))
                _undisturbed(sample, workload, Load(site, proxy, UNDISTURBED_SECONDS, rate))
                if not sample.left_out:
                    load = Load(site, proxy, turn if workload.kind is Kind.OPEN_LOOP else longest, rate)
                    contenders.append(_enter(stack, sample, workload, load))
            except (Unable, LoadFailed, FileNotFoundError) as error:
                sample.errors = {str(error)[:200]: 1}
        for contender in contenders[:]:
            _attempt(contenders, contender, _begin)
        for number in range(cycles):
            for contender in contenders[:] if number % 2 == 0 else contenders[::-1]:
                _attempt(contenders, contender, lambda each: each.take_turn(site))
        for contender in contenders[:]:
            _attempt(contenders, contender, lambda each: _leave(each, warming))
    return samples


def _attempt(contenders: list[Contender], contender: Contender, step: Callable[[Contender], None]) -> None:
    """One that fails is out of the race, and the others go on."""
    try:
        step(contender)
    except LoadFailed as error:
        contender.sample.errors = {str(error): 1}
    except (FileNotFoundError, ProcessLookupError) as error:
        said = contender.proxy.last_words()[-300:].strip() or "without a word"
        contender.sample.errors = {f"a process of it has ended, {said} ({error})": 1}
    if contender.sample.errors:
        contenders.remove(contender)
        _end(contender.load)  # or it would go on in the turns of the others


def _undisturbed(sample: Sample, workload: Workload, load: Load) -> None:
    with loading.start(workload, load) as child:
        if workload.kind is Kind.OPEN_LOOP:
            loading.turn(child)
        elif workload.kind is not Kind.WRK:
            loading.go(child)
        flow = loading.end(workload, child, load.seconds + loading.LOAD_PATIENCE)
    sample.p50_us, sample.p99_us, sample.extra = flow.p50_us, flow.p99_us, flow.extra
    if flow.count < SATURATED * load.rate * flow.seconds:
        sample.left_out = f"{load.rate:,.0f} per second are more than it can do"


def _enter(stack: contextlib.ExitStack, sample: Sample, workload: Workload, load: Load) -> Contender:
    child = loading.start(workload, load)
    stack.callback(_end, child)
    if workload.kind is Kind.WRK:
        time.sleep(OPENING_SECONDS)
        os.kill(child.pid, signal.SIGSTOP)
    return Contender(sample, workload, load.proxy, child, family(load.proxy.pid))


def _begin(contender: Contender) -> None:
    """A staged client begins when all are there: a handshake that stood still for so long would be given up."""
    kind = contender.workload.kind
    if kind is not Kind.WRK:
        contender.moved_before = octets_moved(contender.load.pid)
    if kind is Kind.STAGED:
        loading.go(contender.load)
        os.kill(contender.load.pid, signal.SIGSTOP)


def _end(child: Child) -> None:
    """A stopped process cannot end politely."""
    if child.process.poll() is None:
        os.kill(child.pid, signal.SIGCONT)
    child.close()


def _leave(contender: Contender, warming: int) -> None:
    """Ends the load, and makes its sample of what it says and of all turns but the first `warming`. Raises LoadFailed,
    FileNotFoundError.
    """
    contender.close_turn()
    sample, workload, load = contender.sample, contender.workload, contender.load
    moved = octets_moved(load.pid) - contender.moved_before
    if workload.kind is not Kind.OPEN_LOOP:
        _interrupt(load)
    flow = loading.end(workload, load, loading.LOAD_PATIENCE)
    after = cost(contender.proxy.pid)
    sample.note_errors(flow, failing=workload.failing)
    if list(after.pids) != contender.pids:
        sample.errors["processes replaced"] = 1
    turns = contender.turns[warming:]
    unit = moved / max(1, flow.count)  # octets
    sample.turns = costs(turns, unit)
    progressing = [cost for cost in sample.turns if cost]
    if not flow.count or len(progressing) < PROGRESSING * len(turns):
        sample.errors["turns without progress"] = len(turns) - len(progressing)
        return
    sample.count = flow.count
    sample.rss_kib, sample.pss_kib = after.rss_kib, after.pss_kib
    sample.cpu_us = median(progressing)
    sample.per_second = median(turn.octets / unit / turn.wall for turn in turns)
    wall = sum(turn.wall for turn in turns)
    sample.busy = sum(turn.cpu for turn in turns) / wall
    sample.foreign = max(0.0, sum(turn.core - turn.cpu for turn in turns) / wall)
    sample.load_busy = sum(turn.load_core for turn in turns) / wall
    if workload.kind is Kind.OPEN_LOOP:
        sample.p50_us, sample.p99_us, sample.extra = flow.p50_us, flow.p99_us, flow.extra
        if sample.load_busy > LOAD_FULL:
            sample.errors["load core full: latencies are the client's"] = 1


def _interrupt(load: Child) -> None:
    """wrk and our clients then stop asking, and say what they have seen."""
    stdout = load.process.stdout
    assert stdout is not None
    os.kill(load.pid, signal.SIGCONT)
    for _ in range(ATTEMPTS):
        # Again, until it speaks: any thread may get the signal, and wrk hears it only if the sleeping one does.
        os.kill(load.pid, signal.SIGINT)
        if select.select((stdout,), (), (), ATTEMPT_SECONDS)[0]:
            return


def _clocks(site: Site) -> tuple[float, float, float]:
    return time.monotonic(), core_busy_seconds(site.proxy_core), site.load_core_seconds()
