"""What the supervisor and one of its processes tell each other: orders by signal, the rest by a page that both see.

A process bumps a counter each time its event loop comes round to it; the supervisor looks now and then whether it has
moved. Looks are counted, not seconds: after the supervisor itself was stopped, or the machine asleep, nobody is judged
before there was time for as many looks again.
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

LOOKS = 6
"""Looks in a row that find a process as the one before did, until it counts as stuck."""
SLOWEST_BEAT = 1.0
"""Seconds between beats at most; a beat costs a microsecond."""

ORDERS = (signal.SIGTERM, signal.SIGUSR1)
"""What a child is told by. Blocked over the fork, so that an order waits until the child can take it."""

_BEATS, _STAGE, _CLOSING = struct.Struct("=Q"), 8, 9
"""The page: the counter at its beginning, then one octet each."""


class Stage(IntEnum):
    """How far a process has come."""

    STARTING = 0
    SERVING = 1
    LEFT = 2
    """It accepts no more: what is queued from now on is somebody else's."""


class Pulse:
    """One per process, made before the fork."""

    __slots__ = ("_page",)

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def __repr__(self) -> str:
        return f"<Pulse {self.stage.name} beats={self.beats}{' closing' if self.closing else ''}>"

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
    def closing(self) -> bool:
        """Set by the supervisor: the gateway is about to end, nobody takes over what this process leaves."""
        return self._page[_CLOSING] != 0

    @closing.setter
    def closing(self, closing: bool) -> None:
        self._page[_CLOSING] = closing

    def close(self) -> None:
        self._page.close()


def start_beating(pulse: Pulse, stuck_timeout: float) -> None:
    """Beats with every turn of the running loop's clock, often enough for a supervisor of that patience."""
    loop = asyncio.get_running_loop()
    interval = min(SLOWEST_BEAT, stuck_timeout / (2 * LOOKS) or SLOWEST_BEAT)

    def beat() -> None:
        pulse.beat()
        loop.call_later(interval, beat)

    beat()


class Watch:
    """The supervisor's side: what one process showed at the last look, and for how many it has stood still."""

    __slots__ = ("_pid", "_pulse", "_shown", "_still")

    def __init__(self, pid: int, pulse: Pulse) -> None:
        self._pid = pid
        self._pulse = pulse
        self._shown = self._sign()
        self._still = 0

    def forget(self) -> None:
        """The supervisor has not looked when it should have: what it saw before that says nothing."""
        self._still = 0

    def look(self) -> bool:
        """Whether the process has given no sign of life for `LOOKS` looks, this one included."""
        sign = self._sign()
        self._still = self._still + 1 if sign == self._shown else 0
        self._shown = sign
        return self._still >= LOOKS

    def _sign(self) -> tuple[int, int]:
        pulse = self._pulse
        # Reading a large registry takes as long as it takes, and no loop turns yet: there, working is life.
        return pulse.beats, _ticks(self._pid) if pulse.stage is Stage.STARTING else 0


def _ticks(pid: int) -> int:
    """The processor time that a process has used, in the kernel's ticks of 10 ms; 0 if it has ended."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(after_name[11]) + int(after_name[12])  # utime and stime, fields 14 and 15 of proc(5)


def take_orders() -> None:
    """From here on the orders reach their handlers; those that came before are the first."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ORDERS)


def tell_parent() -> None:
    """Wakes the supervisor, which then looks after its children."""
    with contextlib.suppress(PermissionError):  # it has died, and who has this process now is not ours to signal
        os.kill(os.getppid(), signal.SIGCHLD)
