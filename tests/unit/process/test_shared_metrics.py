"""Blocks of cells that processes share: nothing counted is lost with who counted it."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from gateway.metrics import DIAL, IN_FLIGHT, REQUESTS, RESTARTS, SIZE
from gateway.process.shared_metrics import ADMIN, Block, SharedMetrics

GET = REQUESTS.at("HTTP/1.1", "GET", "200")


def start(shared: SharedMetrics, number: int = 0) -> Block:
    block = shared.take()
    block.belongs_to(4711 + number, number)
    return block


def test_what_running_processes_count_is_summed() -> None:
    shared = SharedMetrics(4)
    first, second = start(shared), start(shared, 1)
    first.cells[GET] += 2
    second.cells[GET] += 3
    shared.count(RESTARTS, "signal")
    totals = shared.read()
    assert totals.sum(REQUESTS) == 5
    assert totals.value(RESTARTS, "signal") == 1
    assert list(shared.processes()) == [(4711, 0), (4712, 1)]


def test_who_has_ended_leaves_what_was_counted_and_nothing_that_was_open() -> None:
    shared = SharedMetrics(1)
    for _ in range(3):  # the same block, each time
        block = start(shared)
        assert not any(block.cells)
        block.cells[GET] += 2
        block.cells[IN_FLIGHT.at()] += 1
        DIAL.observe(block.cells, 0.5)
        shared.give_back(block)
    totals = shared.read()
    assert (totals.sum(REQUESTS), totals.sum(DIAL), totals.value(IN_FLIGHT)) == (6, 3, 0)
    assert totals.buckets(DIAL)[1] == 1.5
    assert not list(shared.processes())


def test_a_process_that_is_not_forked_yet_is_none() -> None:
    shared = SharedMetrics(1)
    shared.take()
    assert not list(shared.processes())


def test_more_processes_than_blocks_are_told_and_count_for_themselves(caplog: pytest.LogCaptureFixture) -> None:
    shared = SharedMetrics(1)
    start(shared)
    with caplog.at_level(logging.ERROR):
        extra = start(shared, ADMIN)
    assert "still there: 1 process" in caplog.text
    extra.publish([1] * SIZE)
    shared.give_back(extra)
    assert shared.read().sum(REQUESTS) == 0
    assert repr(shared) == "<SharedMetrics 1 of 1 blocks in use>"


# Forked in a program of its own: the test runner may have threads.
PROGRAM = """
import os, signal
from gateway.metrics import REQUESTS, private
from gateway.process.shared_metrics import SharedMetrics

GET = REQUESTS.at("HTTP/1.1", "GET", "200")
shared = SharedMetrics(1)
"""
KILLED = """
block = shared.take()
ready, told = os.pipe()
pid = os.fork()
if pid == 0:
    cells = private()
    cells[GET] += 1000
    block.publish(cells)
    os.write(told, b"x")
    signal.pause()
block.belongs_to(pid, 0)
os.read(ready, 1)
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
assert shared.read().sum(REQUESTS) == 1000
shared.give_back(block)
assert shared.read().sum(REQUESTS) == 1000
"""
GIVEN_BACK = """
pid = os.fork()
if pid == 0:  # the supervisor
    cells = private()
    cells[GET] = 1
    for _ in range(2000):
        block = shared.take()
        block.belongs_to(1, 0)
        block.publish(cells)
        shared.give_back(block)
    os._exit(0)
seen = 0
while os.waitpid(pid, os.WNOHANG) == (0, 0):
    now = shared.read().sum(REQUESTS)
    assert now >= seen, (now, seen)
    seen = now
assert shared.read().sum(REQUESTS) == 2000
"""


@pytest.mark.parametrize("program", [KILLED, GIVEN_BACK], ids=["killed", "given back while somebody reads"])
def test_nothing_is_counted_twice_or_lost(program: str) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM + program], check=True, timeout=60)
