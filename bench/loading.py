"""One load on one running proxy: started, read before and after, and understood at its end."""

from __future__ import annotations

import select
import subprocess
import time
from dataclasses import dataclass, replace

import msgspec

from bench.load.result import Flow
from bench.processes import Child, Cost, core_busy_seconds, cost
from bench.workloads import Kind, Load, Workload

WARM_SECONDS = 1.0
"""Of wrk, whose shortest run it is: connections, caches and pools are there when it counts."""
SETTLE_SECONDS = 1.0
"""Before memory is read: what was freed is given back, what was delayed is done."""
LOAD_PATIENCE = 150.0
"""Seconds beyond its own duration after which a load is ended: opening ten thousand connections takes long."""


class LoadFailed(Exception):
    """The message is the load's own."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The proxy and both cores at one moment; seconds."""

    cost: Cost
    core: float
    """Busy time of the proxy's core."""
    load_core: float
    clock: float


def read(load: Load) -> Reading:
    """Now. Raises FileNotFoundError if the proxy, or one of its processes, has just ended."""
    site = load.site
    return Reading(cost(load.proxy.pid), core_busy_seconds(site.proxy_core), site.load_core_seconds(), time.monotonic())


def once(workload: Workload, load: Load) -> tuple[Reading, Flow, Reading]:
    """A whole load, with the readings between which it counts. Raises LoadFailed, FileNotFoundError."""
    return _wrk(workload, load) if workload.kind is Kind.WRK else _staged(workload, load)


def start(workload: Workload, load: Load) -> Child:
    """The load's process; a staged client has opened its connections and waits for `go`. Raises LoadFailed."""
    pipe = subprocess.PIPE
    child = Child(workload.command(load), core=load.site.load_core, batch=True, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        if workload.kind is not Kind.WRK and _line(child, LOAD_PATIENCE) != b"ready\n":
            raise LoadFailed(_last_words(child))
    except BaseException:
        child.close()
        raise
    return child


def go(child: Child) -> None:
    """What a staged client and an open loop wait for. Raises LoadFailed."""
    _tell(child, b"go\n")


def turn(child: Child) -> None:
    """A whole turn of an open loop, until its last answer is there. Raises LoadFailed."""
    go(child)
    if _line(child, LOAD_PATIENCE) != b"done\n":
        raise LoadFailed(_last_words(child))


def end(workload: Workload, child: Child, seconds: float) -> Flow:
    """What the load says when it is done, for which it has `seconds`. Raises LoadFailed."""
    if workload.kind is Kind.OPEN_LOOP:
        _tell(child, b"end\n")
    if workload.kind is not Kind.WRK:
        return _decode(_line(child, seconds), child)  # its connections stay open until it is closed
    try:
        out, _ = child.process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise LoadFailed("wrk did not end") from None
    return _decode(out.rstrip().rpartition(b"\n")[2], child)


def _wrk(workload: Workload, load: Load) -> tuple[Reading, Flow, Reading]:
    def whole(load: Load) -> Flow:
        with start(workload, load) as child:
            return end(workload, child, load.seconds + LOAD_PATIENCE)

    whole(replace(load, seconds=WARM_SECONDS))
    before = read(load)
    flow = whole(load)
    return before, flow, read(load)


def _staged(workload: Workload, load: Load) -> tuple[Reading, Flow, Reading]:
    """Idle connections are compared with the time before they came, all others with the time when they stood."""
    if workload.kind is Kind.IDLE:
        time.sleep(SETTLE_SECONDS)
    before = read(load)
    with start(workload, load) as child:
        if workload.kind is Kind.IDLE:
            time.sleep(SETTLE_SECONDS)
        else:
            before = read(load)
        go(child)
        flow = end(workload, child, load.seconds + LOAD_PATIENCE)
        return before, flow, read(load)  # while the client still holds its connections


def _tell(child: Child, word: bytes) -> None:
    assert child.process.stdin is not None
    try:
        child.process.stdin.write(word)
        child.process.stdin.flush()
    except BrokenPipeError:
        raise LoadFailed(_last_words(child)) from None


def _line(child: Child, patience: float) -> bytes:
    """The client's next line, b"" if it has ended. It prints few, and whole."""
    stdout = child.process.stdout
    assert stdout is not None
    if not select.select((stdout,), (), (), patience)[0]:
        raise LoadFailed("the load did not end")
    return stdout.readline()


def _decode(line: bytes, child: Child) -> Flow:
    try:
        return msgspec.json.decode(line, type=Flow)
    except msgspec.MsgspecError:
        raise LoadFailed(_last_words(child)) from None


def _last_words(child: Child) -> str:
    child.close()
    return child.last_words.decode(errors="replace").strip()[-300:] or "the load said nothing"
