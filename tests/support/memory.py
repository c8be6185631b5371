"""Where a test's files are in memory: for stores that wait for the disk with every write. No test cuts the power."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_MOUNTED = Path("/dev/shm")
_ROOM = 1 << 30
"""A container has 64 MiB by default: some tests write more."""


def in_memory() -> Path | None:
    """A file system in memory; None where this machine has none that is large, and then a disk will do."""
    there = os.access(_MOUNTED, os.W_OK | os.X_OK) and shutil.disk_usage(_MOUNTED).free > _ROOM
    return _MOUNTED if there else None
