"""The supervisor's children: started, watched, replaced and ended.

A *child* is a place to be filled (a worker slot, the admin process); a *life* is one process that fills it. A place may
have more than one: a worker that was told to finish, or that nobody can reach any more, leaves its slot to a successor
and ends beside it. Plain synchronous code: `tend` does what is due, `patience` says when to call again.
"""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf

from gateway.process.pulse import LOOKS, ORDERS, Pulse, Stage, Watch

log = logging.getLogger("gateway.process")

SHORT_LIFE = 2.0
"""Seconds; a child that lived less is restarted with growing pauses instead of at once."""
LONGEST_PAUSE = 5.0
KILL_GRACE = 5.0
"""Seconds past the drain timeout before a process that does not end is killed."""
STACK_TIME = 1.0
"""Seconds a stuck process has to write its stack before it is killed."""
DEATH_TIME = 1.0
"""Seconds a killed process has to be gone. One in an uninterruptible sleep is not, and is not waited for."""
LEAVE_TIME = 2.0
"""Seconds a worker has, once told that the gateway ends, to take what is queued; then another one does."""
STACK = signal.SIGUSR2
"""Tells a process to write its stack to stderr and end."""
_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that the parent's death sends."""


@dataclass(slots=True)
class Life:
    """One process."""

    pid: int
    pulse: Pulse
    started: float
    watch: Watch
    deadline: float = inf
    """When it is killed."""
    stuck: bool = False
    killed: bool = False


@dataclass(slots=True)
class Child:
    """A place to be filled, and who fills it."""

    name: str
    run: Callable[[Pulse], int]
    holds: frozenset[socket.socket]
    """Its own sockets; a process closes all others of the supervisor's as soon as it is forked."""
    heirs: int = 0
    """How often the place may be filled once more while the gateway ends, for what is queued there."""
    life: Life | None = None
    leaving: list[Life] = field(default_factory=list)
    """Former processes that have not ended yet."""
    failures: int = 0
    """Short lives in a row."""
    due: float = 0.0
    """When to start it, while there is no life."""
    announced: bool = False
    """Its processes know that the gateway is about to end."""
    closing: float = inf
    """Set while the gateway ends: when what is left is killed."""
    heir_due: float = inf
    """Set while the gateway ends: when an heir takes the place of a process that has not left it by itself."""

    @property
    def lives(self) -> list[Life]:
        return self.leaving if self.life is None else [*self.leaving, self.life]

    @property
    def has_left(self) -> bool:
        """While the gateway ends: nobody accepts here any more, nor will."""
        return self.life.pulse.stage is Stage.LEFT if self.life else self.due == inf

    def announce(self) -> None:
        """Lets the child know, and every process that succeeds it, that the gateway is about to end."""
        self.announced = True
        for life in self.lives:
            life.pulse.closing = True

    def hurry(self, deadline: float) -> None:
        """Told to finish before, it is told again, and killed at `deadline` at the latest."""
        self.closing = min(self.closing, deadline)
        for life in self.lives:
            life.deadline = min(life.deadline, deadline)
        self.tell(signal.SIGTERM)

    def tell(self, order: signal.Signals) -> None:
        """Signals every process."""
        for life in self.lives:
            os.kill(life.pid, order)


class Children:
    """All of them, in the order they are started."""

    def __init__(self, children: Sequence[Child], stuck_timeout: float, drain_timeout: float, lifeline: int) -> None:
        """`lifeline` is the write end of the pipe by which children notice that the supervisor is gone."""
        self._children = children
        self._sockets = frozenset[socket.socket]().union(*(child.holds for child in children))
        self._stuck_timeout = stuck_timeout
        self._drain_timeout = drain_timeout
        self._lifeline = lifeline
        self._looked = time.monotonic()
        self.lost = 0
        """Processes that did not end when they were killed."""

    def tend(self) -> None:
        """Does what is due: notices who has ended, left or got stuck; kills; starts."""
        self._reap()
        now = time.monotonic()
        self._look(now)
        for child, life in list(self._all()):
            if life.deadline <= now:
                self._kill(child, life, now)
        for child in self._children:
            if child.life is not None:
                left = child.life.pulse.stage is Stage.LEFT
                if left and child.closing < inf:
                    child.heir_due = inf  # as it should be
                elif left or child.heir_due <= now:
                    self._succeed(child, child.life, now)
            if child.life is None and child.due <= now:
                self._start(child)

    def patience(self) -> float:
        """Seconds until something is due."""
        dues = [child.heir_due if child.life else child.due for child in self._children]
        dues += [life.deadline for _, life in self._all()]
        if self._stuck_timeout:
            dues.append(self._looked + self._stuck_timeout / LOOKS)
        return max(0.0, min(min(dues) - time.monotonic(), 3600.0))

    def close(self, child: Child, deadline: float) -> None:
        """Tells `child` to finish, because the gateway ends; what has not finished at `deadline` is killed.

        An empty place is filled once more, for what is queued there, and so is one whose process dies, or stands still,
        before it has taken that.
        """
        now = time.monotonic()
        child.closing = deadline
        child.due, child.heir_due = (now, now + LEAVE_TIME) if child.heirs else (inf, inf)
        child.announce()
        for life in child.lives:
            life.deadline = min(life.deadline, deadline)
        child.tell(signal.SIGTERM)
        self.tend()

    # --- starting ------------------------------------------------------------------------------------------------

    def _start(self, child: Child) -> None:
        pulse = Pulse()
        pulse.closing = child.announced
        pid = os.fork()
        if pid == 0:
            self._be(child, pulse)
        child.life = Life(pid, pulse, time.monotonic(), Watch(pid, pulse), child.closing)
        if child.closing < inf:
            child.heirs -= 1
            child.heir_due = inf
            os.kill(pid, signal.SIGTERM)

    def _succeed(self, child: Child, life: Life, now: float) -> None:
        """The child's process is left to end by itself; another one takes its place."""
        life.deadline = min(life.deadline, child.closing, now + self._drain_timeout + KILL_GRACE)
        child.leaving.append(life)
        child.life, child.due = None, now
        log.info("another process takes the place of %s while that finishes", child.name)

    def _be(self, child: Child, pulse: Pulse) -> None:
        """The process's whole life; never returns to the supervisor's code."""
        status = 1
        try:
            _wake_when_orphaned()
            os.close(self._lifeline)
            for sock in self._sockets - child.holds:
                sock.close()
            for _, life in self._all():
                life.pulse.close()
            # A terminal's Ctrl-C and its hanging up reach every process of the group; what they mean is the
            # supervisor's to say. Orders stay blocked until the child can take them (`pulse.take_orders`).
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, ORDERS)
            faulthandler.enable()
            # Chained to the default, which ends it: a stuck process that came to itself while its stack is written
            # would take connections that die with it a moment later.
            faulthandler.register(STACK, chain=True)
            status = child.run(pulse)
        except BaseException:
            log.exception("%s ended by a bug of its own", child.name)
        finally:
            logging.shutdown()  # the last words
            os._exit(status)

    # --- watching ------------------------------------------------------------------------------------------------

    def _all(self) -> Iterator[tuple[Child, Life]]:
        for child in self._children:
            for life in child.lives:
                yield child, life

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child, life in self._all():
                if life.pid == pid:
                    self._ended(child, life, os.waitstatus_to_exitcode(status))

    def _ended(self, child: Child, life: Life, code: int) -> None:
        """`code` is the exit status, or a signal's number made negative."""
        left = life.pulse.stage is Stage.LEFT
        life.pulse.close()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
        if life is not child.life:
            child.leaving.remove(life)
            if code and not life.killed:
                log.error("%s %s while it finished", child.name, how)
            return
        now = time.monotonic()
        child.life = None
        if child.closing < inf:
            child.due = inf if left or not child.heirs or now >= child.closing else now
            if code and not life.killed:
                log.error("%s %s while it finished", child.name, how)
            return
        child.failures = child.failures + 1 if now - life.started < SHORT_LIFE else 0
        pause = min(0.1 * 2**child.failures, LONGEST_PAUSE) if child.failures else 0.0
        child.due = now + pause
        if not life.stuck:
            level = logging.ERROR if code else logging.INFO  # somebody has told it to end, as timeout(1) tells all
            log.log(level, "%s %s; starting it again%s", child.name, how, f" in {pause:g} s" if pause else "")

    def _look(self, now: float) -> None:
        interval = self._stuck_timeout / LOOKS
        if not interval or now - self._looked < interval:
            return
        asleep = now - self._looked > 2 * interval
        self._looked = now
        for child, life in self._all():
            if asleep:
                life.watch.forget()
            if life.watch.look() and not life.stuck:
                self._stuck(child, life, now)

    def _stuck(self, child: Child, life: Life, now: float) -> None:
        log.error(
            "%s (pid %d) has not turned its loop for %g s (process.stuck_timeout): it is replaced; its stack follows",
            child.name,
            life.pid,
            self._stuck_timeout,
        )
        life.stuck = True
        life.deadline = now + STACK_TIME
        os.kill(life.pid, STACK)
        os.kill(life.pid, signal.SIGCONT)  # one that was stopped comes no further than to its stack

    # --- ending --------------------------------------------------------------------------------------------------

    def _kill(self, child: Child, life: Life, now: float) -> None:
        if life.killed:  # a disk or a driver holds it in the kernel; nobody can do more, and nobody waits for it
            log.error("%s (pid %d) does not even end when it is killed; it is left behind", child.name, life.pid)
            self.lost += 1
            self._ended(child, life, -signal.SIGKILL)
            return
        if not life.stuck:
            log.error("%s did not end in time and was killed", child.name)
        life.killed, life.deadline = True, now + DEATH_TIME
        os.kill(life.pid, signal.SIGKILL)


def _wake_when_orphaned() -> None:
    """A process that somebody has stopped (SIGSTOP) goes on when its supervisor dies, and finds that out by itself.

    Not SIGKILL: what is under way is finished. Linux; elsewhere a stopped process stays until somebody continues it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)
