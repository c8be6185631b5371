"""A server does not stop for what lives for ever, nor give memory back that it needs again at once."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import gc, time
import gateway.process.supervisor
from gateway.process.memory import MIDDLE, OLD, YOUNG, settle
settle()
assert gc.isenabled()
assert gc.get_threshold() == (YOUNG, MIDDLE, OLD)
assert gc.get_freeze_count() > 10_000, gc.get_freeze_count()
assert len(gc.get_objects()) < 1_000, len(gc.get_objects())
class Knot: pass
knot = Knot(); knot.itself = knot; del knot
assert gc.collect() > 0, "cycles made later are still found"
"""


def test_what_was_imported_is_never_looked_at_again() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr


SMALL_BITES = """
import asyncio, gc
from gateway.process import memory
memory.settle()
loop = asyncio.new_event_loop()
connected = 20_000
collector = memory.Collector(loop, lambda: connected)
looks = []
def note(phase, info):
    if phase == "stop":
        looks.append((info["generation"], info["collected"]))

gc.callbacks.append(note)

def fail(depth):
    if depth:
        fail(depth - 1)
    raise ValueError(depth)

def knot():
    try:
        fail(6)
    except ValueError as error:
        kept = error  # it leads to this frame, and this frame to it

for _ in range(40_000):
    knot()  # 360,000 objects
most = max(collected for _, collected in looks)
assert 0 < most <= memory.YOUNG * (memory.MIDDLE + 2), most
assert sum(collected for _, collected in looks) > 300_000
assert all(generation < 2 for generation, _ in looks), "nothing old is looked at by itself"

old = [[] for _ in range(30_000)]
for each in old:
    each.append(each)
for _ in range(40_000):
    knot()  # until the knots in `old` have grown old
del old, each
assert gc.get_count()[2] > 0
looks.clear()
collector._look()
assert not looks, "twenty thousand would wait"
connected = memory.HARDLY_ANYBODY
collector._look()
assert looks and looks[-1][0] == 2 and looks[-1][1] >= 30_000, looks
looks.clear()
collector._look()
assert not looks, "nothing has come since"
"""


@pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="its collector is incremental: there is no middle to promote from"
)
def test_no_look_is_at_more_than_a_small_bite() -> None:
    done = subprocess.run([sys.executable, "-c", SMALL_BITES], capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stderr


OVERDUE = """
import asyncio, gc, logging
from gateway.process import memory
memory.settle()
memory.TOO_MANY = 2
collector = memory.Collector(asyncio.new_event_loop(), lambda: 20_000)
kept = [[] for _ in range(100_000)]
assert gc.get_count()[2] >= 2, gc.get_count()
collector._look()
assert gc.get_count()[2] == 0
"""


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="as above")
def test_before_memory_runs_out_a_pause_is_accepted_and_said() -> None:
    done = subprocess.run([sys.executable, "-c", OVERDUE], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "stopped this worker for" in done.stderr


BLOCKS = """
import resource
from gateway.process.memory import settle
settle()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        blocks = [bytearray(250_000) for _ in range(4)]  # each touched as it is made
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
assert faults() < 100, "each block has 61 pages"
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator is what is told")
def test_large_blocks_are_kept_for_the_next_read() -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKS], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
