"""Two real proxies take turns under real loads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench import turns
from bench.processes import octets_moved
from bench.samples import summarize
from bench.site import open_site
from bench.workloads import WORKLOADS

two_cores = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2 and os.environ.get("CI") != "true", reason="the benchmark needs two cores"
)


@two_cores
@pytest.mark.ipv6
def test_proxies_take_turns_and_each_turn_has_its_cost() -> None:
    with open_site() as site:
        samples = turns.measure(["gateway", "aiohttp"], WORKLOADS["ws_32"], site, 0.4)
    assert [sample.errors for sample in samples] == [{}, {}]
    assert [len(sample.turns) for sample in samples] == [20, 20]
    for sample in samples:
        assert sample.count > 8
        costs = [turn for turn in sample.turns if turn]  # others may have had the core for the whole of a turn
        assert len(costs) > 10
        assert min(costs) > 1.0  # microseconds: an echo takes four calls of the kernel at least
        assert 0.0 < sample.busy < 1.2
        assert sample.p99_us >= sample.p50_us > 0
    _, aiohttp = summarize(samples)
    # 0.7 on a quiet machine: aiohttp reads and writes every frame anew in Python.
    assert 0.2 < aiohttp.ratio < 1.3


@two_cores
@pytest.mark.ipv6
def test_an_open_loop_keeps_its_rate_turn_by_turn() -> None:
    with open_site() as site:
        [sample] = turns.measure(["gateway"], WORKLOADS["half_load_p99"], site, 0.5, rate=500.0)
    if sample.left_out:  # somebody else's work has left it no core
        assert sample.left_out == "500 per second are more than it can do"
        return
    # A core that others have filled makes the client late, too; that is said, whoever fills it.
    full = sample.load_busy > turns.LOAD_FULL
    assert (list(sample.errors), len(sample.turns)) == (["load core full: latencies are the client's"] * full, 5)
    assert 1.0 * 500 < sample.count < 1.2 * 500  # eleven turns of 0.1 s, the first six of which do not count elsewhere
    assert full or sample.per_second > 350
    assert sample.per_second < 600
    assert sample.p99_us >= sample.p50_us > 100


@two_cores
@pytest.mark.ipv6
def test_a_proxy_that_cannot_keep_up_is_left_out() -> None:
    with open_site() as site:
        [aiohttp] = turns.measure(["aiohttp"], WORKLOADS["half_load_p99"], site, 0.2, rate=15_000.0)
    assert (aiohttp.left_out, aiohttp.errors, aiohttp.turns) == ("15,000 per second are more than it can do", {}, [])


def test_what_a_turn_without_progress_has_used_counts_in_the_next() -> None:
    taken = [
        turns.Turn(cpu=0.010, octets=1000),
        turns.Turn(cpu=0.020),  # the answers came later
        turns.Turn(cpu=0.020, octets=4000),
        turns.Turn(octets=500),  # the load has asked; the proxy had no core
        turns.Turn(cpu=0.010, octets=500),
    ]
    assert turns.costs(taken, unit=10.0) == [100.0, 0.0, 100.0, 0.0, 100.0]


def test_octets_are_counted_while_a_process_is_stopped(tmp_path: Path) -> None:
    file = tmp_path / "octets"
    code = (
        "import os, sys; f = os.open(sys.argv[1], os.O_WRONLY); os.write(f, bytes(100_000)); print(flush=True); input()"
    )
    file.touch()
    with subprocess.Popen([sys.executable, "-c", code, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        os.kill(child.pid, signal.SIGSTOP)
        moved = octets_moved(child.pid)
        assert moved > 100_000
        assert octets_moved(child.pid) == moved
        os.kill(child.pid, signal.SIGCONT)
        child.communicate(b"\n")
    with pytest.raises(FileNotFoundError):
        octets_moved(child.pid)
