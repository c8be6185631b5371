"""A server's garbage collector does not stop the world for what lives for ever."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc, time
import gateway.process.supervisor
from gateway.process.collector import MIDDLE, OLD, YOUNG, settle
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
