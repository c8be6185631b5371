"""What a result was measured on, and with what."""

from __future__ import annotations

import os
import platform
import ssl
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from bench.processes import ROOT


class Machine(msgspec.Struct, kw_only=True):
    """Where and when."""

    date: str
    """UTC, when the run began."""
    processor: str
    cores: int
    memory_gib: int
    kernel: str
    python: str
    uvloop: str
    openssl: str
    commit: str
    """Of this tree, with `+` if it had changes; "" outside a repository."""
    load_average: float
    """Of the minute before the run: above 0.5 somebody else was at work."""

    def sentence(self) -> str:
        """For a caption."""
        return (
            f"{self.processor}, {self.cores} cores, Linux {self.kernel}, Python {self.python}, uvloop {self.uvloop}, "
            f"{self.openssl}, {self.date[:10]}"
        )


def describe() -> Machine:
    """This machine, now."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        processor=_processor(),
        cores=os.cpu_count() or 0,
        memory_gib=round(memory / 2**30),
        kernel=platform.release().partition("-")[0],
        python=platform.python_version(),
        uvloop=version("uvloop"),
        openssl=" ".join(ssl.OPENSSL_VERSION.split()[:2]),
        commit=_commit(),
        load_average=os.getloadavg()[0],
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return platform.machine()


def _commit() -> str:
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
