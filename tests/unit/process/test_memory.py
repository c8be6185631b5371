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
