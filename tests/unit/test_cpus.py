"""A CPU quota is found wherever it is set, and counts whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway import cpus

V2 = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
V1 = (
    "30 23 0:27 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n"
    "32 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "33 30 0:30 {mounted} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    (tmp_path / "proc").mkdir()
    return tmp_path


def quota(machine: Path, cgroup: str, mounts: str, **files: str) -> float | None:
    (machine / "proc/cgroup").write_text(cgroup)
    (machine / "proc/mountinfo").write_text(mounts)
    for name, content in files.items():
        path = machine / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return cpus.quota(machine / "proc", machine)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({}, None),
        ({"cpu.max": ""}, None),
        ({"cpu.max": "1 0\n"}, None),
    ],
)
def test_in_a_container_of_version_2(machine: Path, files: dict[str, str], expected: float | None) -> None:
    """With a namespace of its own: its cgroup is the root it sees."""
    assert quota(machine, "0::/\n", V2, **files) == expected


@pytest.mark.parametrize(
    ("leaf", "middle", "expected"),
    [("max 100000", "200000 100000", 2.0), ("50000 100000", "200000 100000", 0.5), ("400000 100000", "max 1", 4.0)],
)
def test_the_least_of_all_levels(machine: Path, leaf: str, middle: str, expected: float) -> None:
    """A service in a slice, a pod in its quality of service."""
    files = {"a.slice/b.service/cpu.max": leaf, "a.slice/cpu.max": middle, "cpu.max": "max 100000"}
    assert quota(machine, "0::/a.slice/b.service\n", V2, **files) == expected


@pytest.mark.parametrize(
    ("mounted", "group"),
    [("/", "/docker/abc"), ("/docker/abc", "/docker/abc"), ("/docker/abc", "/"), ("/docker/abc", "/docker/abc/child")],
)
def test_in_version_1(machine: Path, mounted: str, group: str) -> None:
    inside = "docker/abc/" if mounted == "/" else ""
    files = {
        f"cpu,cpuacct/{inside}cpu.cfs_quota_us": "250000\n",
        f"cpu,cpuacct/{inside}cpu.cfs_period_us": "100000\n",
        "cpu.max": "1 100000",  # not of this hierarchy
    }
    text = f"5:memory:/x\n4:cpuacct,cpu:{group}\n0::/\n"
    assert quota(machine, text, V1.format(mounted=mounted), **files) == 2.5


def test_version_1_without_a_limit(machine: Path) -> None:
    files = {"cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"}
    assert quota(machine, "4:cpu,cpuacct:/\n", V1.format(mounted="/"), **files) is None


def test_a_mount_point_may_be_called_anything(machine: Path) -> None:
    mounts = "31 23 0:28 / /sys/fs/cgroup/a\\040b\\134x\udcff rw - cgroup2 cgroup2 rw\n"
    folder = machine / "sys/fs/cgroup/a b\\x\udcff"
    folder.mkdir(parents=True)
    (folder / "cpu.max").write_text("300000 100000")
    (machine / "proc/cgroup").write_text("0::/\n")
    (machine / "proc/mountinfo").write_bytes(os.fsencode(mounts))
    assert cpus.quota(machine / "proc", machine) == 3.0


@pytest.mark.parametrize(
    ("cgroup", "mounts"),
    [("", ""), ("nonsense\n\n::\n", "nonsense\n - \n1 2 - cgroup2\n"), ("0::/../../x\n", V2)],
)
def test_what_cannot_be_read_limits_nothing(machine: Path, cgroup: str, mounts: str) -> None:
    assert quota(machine, cgroup, mounts) is None
    assert cpus.quota(machine / "absent", machine) is None


@pytest.mark.parametrize(("limit", "workers"), [(None, 8), (0.1, 1), (1.0, 1), (1.5, 2), (2.0, 2), (7.9, 8), (64.0, 8)])
def test_it_is_rounded_up(monkeypatch: pytest.MonkeyPatch, limit: float | None, workers: int) -> None:
    monkeypatch.setattr(cpus, "seen", lambda: 8)
    monkeypatch.setattr(cpus, "quota", lambda: limit)
    assert cpus.usable() == workers


def test_this_machine_has_some() -> None:
    assert 1 <= cpus.usable() <= cpus.seen()
