"""Child processes: where they run, what they cost, and that they end.

Costs are read from /proc for a whole family: the process we started and everything it forked. Only processes started
here are ever ended, by their own id.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
"""The project's root; children run there unless told otherwise, so that `-m gateway` and `-m bench` are this tree's."""
STOP_PATIENCE = 5.0
"""Seconds between SIGTERM and SIGKILL."""
_TICK = os.sysconf("SC_CLK_TCK")
_HAS_SCHEDSTAT = Path("/proc/self/schedstat").exists()


class Child:
    """A process pinned to one core. Close it, or use it in a `with`.

    With `batch` it takes no core from others when it wakes up, but waits until they sleep (SCHED_BATCH).
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        core: int,
        batch: bool = False,
        stdout: IO[bytes] | int = subprocess.DEVNULL,
        stderr: IO[bytes] | int = subprocess.DEVNULL,
        stdin: int = subprocess.DEVNULL,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> None:
        # taskset and not sched_setaffinity afterwards: a runtime counts cores and starts threads before we could.
        policy = ["chrt", "--batch", "0"] if batch else []
        self.process = subprocess.Popen(
            [*policy, "taskset", "-c", str(core), *command],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=cwd,
            env={**os.environ, **(env or {})},
        )
        self.pid = self.process.pid
        self.last_words = b""  # what it wrote to a piped standard error, once it is closed

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process, politely first, and waits for it; its children are its own to end."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_PATIENCE)
            except subprocess.TimeoutExpired:
                orphans = family(self.pid)
                self.process.kill()
                self.process.wait()
                for pid in orphans[1:]:  # it had no chance to end them itself
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        if self.process.stderr is not None and not self.process.stderr.closed:
            self.last_words = self.process.stderr.read()
            self.process.stderr.close()


@dataclass(frozen=True, slots=True)
class Cost:
    """What a family of processes has used so far, and holds now."""

    pids: tuple[int, ...]
    cpu_ns: int
    rss_kib: int
    pss_kib: int
    """Like RSS, with every shared page counted once in all: what the family as a whole holds."""


def family(pid: int) -> list[int]:
    """`pid` and all its descendants, parents first; without those that end while we look."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def cost(pid: int) -> Cost:
    """Of the family of `pid`. Raises FileNotFoundError if one of it ends while we look."""
    pids = family(pid)
    memory = [_memory(each) for each in pids]
    return Cost(
        pids=tuple(pids),
        cpu_ns=sum(cpu_ns(each) for each in pids),
        rss_kib=sum(rss for rss, _ in memory),
        pss_kib=sum(pss for _, pss in memory),
    )


def cpu_ns(pid: int) -> int:
    """Nanoseconds on a core, all threads; in ticks of 10 ms where the kernel keeps no better."""
    if not _HAS_SCHEDSTAT:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1_000_000_000 // _TICK
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that just ended
            total += int((task / "schedstat").read_text().split()[0])
    return total


def octets_moved(pid: int) -> int:
    """Read and written by `pid` since it began, sockets and files alike. Raises FileNotFoundError if it has ended, or
    if the kernel keeps no such account (CONFIG_TASK_IO_ACCOUNTING).
    """
    values = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(values["rchar"]) + int(values["wchar"])


def _memory(pid: int) -> tuple[int, int]:
    values = {"Rss": 0, "Pss": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        if name in values:
            values[name] = int(rest.split()[0])
    return values["Rss"], values["Pss"]


def core_busy_seconds(core: int) -> float:
    """Seconds that `core` has spent on anything but idling since boot, time stolen by the hypervisor included."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
            return (user + nice + system + irq + softirq + steal) / _TICK
    raise RuntimeError(f"/proc/stat knows no core {core}")


def find(program: str) -> str | None:
    """The program's path; Debian keeps servers in sbin, which is not on every user's PATH."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin:/sbin")
