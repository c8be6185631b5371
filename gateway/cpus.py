"""How many processors this process can use: those it may run on, or fewer where a container has a CPU quota.

A container with a quota of two processors on a machine of 64 sees all 64. With a worker for each, the quota of every
period is used up in its first milliseconds, and then everybody waits. So the quota counts, rounded up, as for Go 1.25
and the JVM. It may be set at any level of the cgroup hierarchy, in version 2 (`cpu.max`) or 1 (`cpu.cfs_quota_us`).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

_OCTAL = re.compile(r"\\([0-7]{3})")
"""How /proc/pid/mountinfo writes a space (`\\040`), a tab, a line feed and a backslash."""


def seen() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0))


def usable() -> int:
    """Processors that this process can keep busy, at least one."""
    limit = quota()
    return seen() if limit is None else min(seen(), whole(limit))


def whole(quota: float) -> int:
    """As many processors as a quota is shared by."""
    return max(1, math.ceil(quota))


def quota(proc: Path = Path("/proc/self"), root: Path = Path("/")) -> float | None:
    """Processors' worth of time that the cgroups of this process allow; None: no limit, or none that shows.

    `root` is where the paths in `proc` begin.
    """
    try:
        groups, mounts = (os.fsdecode((proc / name).read_bytes()) for name in ("cgroup", "mountinfo"))
    except OSError:  # no Linux, or no /proc
        return None
    paths = list(_groups(groups))
    limits = [
        limit
        for version, mounted, mount_point in _mounts(mounts)
        for group_version, group in paths
        if version == group_version
        for folder in _up(group, mounted, root / mount_point.lstrip("/"))
        if (limit := _limit(folder, version)) is not None
    ]
    return min(limits, default=None)


def _groups(text: str) -> Iterator[tuple[int, str]]:
    """The version and path of each hierarchy that may hold a CPU quota: cgroups(7), /proc/pid/cgroup."""
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            yield 2, path
        elif "cpu" in controllers.split(","):
            yield 1, path


def _mounts(text: str) -> Iterator[tuple[int, str, str]]:
    """The version of each such hierarchy that is mounted, which of its folders is, and where: proc_pid_mountinfo(5)."""
    for line in text.splitlines():
        left, found, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if not found or len(fields) < 5 or len(kind) < 3:
            continue
        where = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])
        if kind[0] == "cgroup2":
            yield 2, fields[3], where
        elif kind[0] == "cgroup" and "cpu" in kind[2].split(","):
            yield 1, fields[3], where


def _up(group: str, mounted: str, mount_point: Path) -> Iterator[Path]:
    """The folder of `group` and those above it, as far as they are mounted."""
    inside = Path(group)
    if mounted != "/" and not inside.is_relative_to(mounted):
        inside = Path(mounted)  # what is mounted is this container's own, whatever the path is called outside
    folder = mount_point / inside.relative_to(mounted) if ".." not in inside.parts else mount_point
    while folder.is_relative_to(mount_point):
        yield folder
        folder = folder.parent


def _limit(folder: Path, version: int) -> float | None:
    try:
        if version == 2:
            time, period = (folder / "cpu.max").read_text().split()
        else:
            time, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return int(time) / int(period) if time != "max" and int(time) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # no limit is set there, or no controller
        return None
