"""What the supervisor and one of its processes share: control signals, a page of memory with a heartbeat, and the block
in which what the process counts is seen.

A timer of each process's event loop bumps a counter; the supervisor checks now and then whether it has moved, and has
children.py show the stack of one that is stuck, kill it and replace it. Checks are counted, not seconds: after the
supervisor was stopped, or the machine asleep, all of them are made anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import signal
import struct
from enum import IntEnum
from pathlib import Path

from gateway.process.shared_metrics import Block

CHECKS = 6
"""Checks in a row without progress after which a process counts as stuck."""
MAX_INTERVAL = 1.0
"""Seconds between beats; a beat costs a microsecond."""

CONTROL_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""Sent to children. Blocked over the fork, so that they stay pending until the child handles them."""

_BEATS, _STAGE, _STOPPING, _LAST, _HURRIED, _REOPENINGS = struct.Struct("=Q"), 8, 9, 10, 11, 12
"""The page: the counter at its beginning, then one octet each."""


class Stage(IntEnum):
    """How far a process has come."""

    STARTING = 0  # its event loop does not run yet
    SERVING = 1
    LISTENERS_CLOSED = 2  # it accepts no more connections; another process does


class Heartbeat:
    """The shared page of one process, made before the fork."""

    __slots__ = ("_page", "block")

    def __init__(self, block: Block | None = None) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)
        self.block = block or Block()
        """Where what it counts is seen."""

    def __repr__(self) -> str:
        flags = [name for name in ("stopping", "is_last", "hurried") if getattr(self, name)]
        return f"<Heartbeat {' '.join([self.stage.name, f'beats={self.beats}', *flags])}>"

    @property
    def beats(self) -> int:
        count: int = _BEATS.unpack_from(self._page)[0]
        return count

    def beat(self) -> None:
        _BEATS.pack_into(self._page, 0, self.beats + 1)

    @property
    def stage(self) -> Stage:
        """Set by the process."""
        return Stage(self._page[_STAGE])

    @stage.setter
    def stage(self, stage: Stage) -> None:
        self._page[_STAGE] = stage

    @property
    def stopping(self) -> bool:
        """Set by the supervisor, which then sends SIGUSR1: the gateway is about to end."""
        return self._page[_STOPPING] != 0

    @stopping.setter
    def stopping(self, stopping: bool) -> None:
        self._page[_STOPPING] = stopping

    @property
    def is_last(self) -> bool:
        """Set by the supervisor before SIGTERM: no process succeeds this one, so what is queued is this one's."""
        return self._page[_LAST] != 0

    @is_last.setter
    def is_last(self, is_last: bool) -> None:
        self._page[_LAST] = is_last

    @property
    def hurried(self) -> bool:
        """Set by the supervisor before SIGTERM: nothing is waited for. A second SIGTERM says the same, unless it comes
        so soon that it is one with the first (`drain.ONE_SIGNAL`, and the kernel)."""
        return self._page[_HURRIED] != 0

    @hurried.setter
    def hurried(self, hurried: bool) -> None:
        self._page[_HURRIED] = hurried

    @property
    def reopenings(self) -> int:
        """How often log files were to be opened anew, of 256; counted by the supervisor, which then sends SIGUSR1."""
        return self._page[_REOPENINGS]

    @reopenings.setter
    def reopenings(self, count: int) -> None:
        self._page[_REOPENINGS] = count % 256

    def close(self) -> None:
        self._page.close()


def start_heartbeat(heartbeat: Heartbeat, stuck_timeout: float) -> None:
    """Beats on the running loop, often enough for `stuck_timeout`."""
    loop = asyncio.get_running_loop()
    interval = min(MAX_INTERVAL, stuck_timeout / (2 * CHECKS) or MAX_INTERVAL)

    def beat() -> None:
        heartbeat.beat()
        loop.call_later(interval, beat)

    beat()


class Watchdog:
    """The supervisor's side of one heartbeat."""

    __slots__ = ("_heartbeat", "_pid", "_seen", "_still")

    def __init__(self, pid: int, heartbeat: Heartbeat) -> None:
        self._pid = pid
        self._heartbeat = heartbeat
        self._seen = self._progress()
        self._still = 0  # checks in a row without progress

    def reset(self) -> None:
        """The supervisor has not checked in time: earlier checks prove nothing."""
        self._still = 0

    def is_stuck(self) -> bool:
        """Checks; whether this was the last of `CHECKS` checks without progress."""
        progress = self._progress()
        self._still = self._still + 1 if progress == self._seen else 0
        self._seen = progress
        return self._still >= CHECKS

    def _progress(self) -> tuple[int, int]:
        heartbeat = self._heartbeat
        # While STARTING no loop turns yet, and a large registry takes long to read: CPU time counts as progress.
        return heartbeat.beats, _ticks(self._pid) if heartbeat.stage is Stage.STARTING else 0


def _ticks(pid: int) -> int:
    """The processor time that a process has used, in the kernel's ticks of 10 ms; 0 if it has ended."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(after_name[11]) + int(after_name[12])  # utime and stime, fields 14 and 15 of proc(5)


def unblock_signals() -> None:
    """From here on control signals, pending ones first, reach their handlers."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, CONTROL_SIGNALS)


def block_signals() -> None:
    """The loop is about to end, and its handlers with it: a late control signal must not end the process by default."""
    signal.pthread_sigmask(signal.SIG_BLOCK, CONTROL_SIGNALS)


def notify_supervisor() -> None:
    """Wakes the supervisor."""
    with contextlib.suppress(PermissionError):  # it has died, and the new parent is not ours to signal
        os.kill(os.getppid(), signal.SIGCHLD)
