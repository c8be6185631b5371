"""The supervisor's children: started, watched, replaced and ended.

A `Child` is a slot (a worker's, the admin process's), kept filled by a running `Process`. It may have more: a process
that drains, or is stuck, is replaced at once and ends beside its replacement, and a successor that runs another
`Program` is started before its predecessor is told to end (`roll.py` says when). Plain synchronous code: `poll` does
what is due, `timeout` says when to call it again.
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

from gateway.metrics import RESTARTS
from gateway.process.heartbeat import CHECKS, CONTROL_SIGNALS, Heartbeat, Stage, Watchdog
from gateway.process.shared_metrics import ADMIN, SharedMetrics

log = logging.getLogger("gateway.process")

SHORT_LIFETIME = 2.0
"""Seconds; a process that ended sooner is restarted with growing pauses instead of at once."""
MAX_PAUSE = 5.0
KILL_GRACE = 5.0
"""Seconds past the drain timeout before a process that does not end is killed."""
DUMP_TIME = 1.0
"""Seconds a stuck process has to write its stack before it is killed."""
KILL_TIME = 1.0
"""Seconds a killed process has to end. One in an uninterruptible sleep does not, and is not waited for."""
LISTENERS_TIME = 2.0
"""Seconds a worker has, while the gateway ends, to accept what is queued; then a replacement does."""
PROCESSES_PER_SLOT = 32
"""That may be counted in at once, beside each other: one that serves, and those of former generations."""
DUMP_STACK = signal.SIGABRT
"""The process writes its stack to stderr and ends (faulthandler): were it to come unstuck meanwhile, it would accept
connections that die with it a moment later."""
_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that the parent's death sends."""


@dataclass(frozen=True, slots=True)
class Program:
    """What the processes of a slot run, as one generation of settings has it."""

    run: Callable[[Heartbeat], int]
    """In the forked process; returns its exit status."""
    generation: int = 1
    drain_timeout: float = 60.0
    """Seconds from SIGTERM to the end; it is killed `KILL_GRACE` later."""


@dataclass(slots=True)
class Process:
    """One running process."""

    pid: int
    program: Program
    heartbeat: Heartbeat
    started: float
    watchdog: Watchdog
    deadline: float = inf
    """When it is killed."""
    hurry: float = inf
    """When it is told to cut off what it still has: it drains for longer than the gateway, which ends, waits."""
    stuck: bool = False
    killed: bool = False


@dataclass(slots=True)
class Child:
    """A slot, its process, and former ones that have not ended yet."""

    name: str
    program: Program
    """What the next process runs, if this one ends."""
    sockets: frozenset[socket.socket]
    """Its own sockets; a process closes all others of the supervisor's as soon as it is forked."""
    number: int = ADMIN
    """A worker's."""
    replacements: int = 0
    """How many more processes may be started while the gateway ends, for what is queued."""
    process: Process | None = None
    successor: Process | None = None
    """Runs another program and does not serve yet; `process` does until then."""
    retiring: list[Process] = field(default_factory=list)
    failures: int = 0
    """Processes in a row that ended within `SHORT_LIFETIME`."""
    due: float = 0.0
    """When to start a process, while there is none."""
    stopping: bool = False
    """The gateway is about to end, and its processes know."""
    stop_deadline: float = inf
    """Set while the gateway ends: when what is left is killed."""
    replacement_due: float = inf
    """Set while the gateway ends: when a process that still listens is replaced."""

    @property
    def processes(self) -> list[Process]:
        return [*self.retiring, *(each for each in (self.process, self.successor) if each is not None)]

    @property
    def listeners_closed(self) -> bool:
        """While the gateway ends: no process accepts here any more, nor will."""
        return self.process.heartbeat.stage is Stage.LISTENERS_CLOSED if self.process else self.due == inf

    def announce_stop(self) -> None:
        """Tells its processes, later ones too, that the gateway is about to end."""
        self.stopping = True
        for process in self.processes:
            process.heartbeat.stopping = True
        self.send_signal(signal.SIGUSR1)

    def reopen_logs(self) -> None:
        """Has its processes open their log files anew."""
        for process in self.processes:
            process.heartbeat.reopenings += 1
        self.send_signal(signal.SIGUSR1)

    def stop_now(self, deadline: float) -> None:
        """`Children.stop` waits for nothing any more; kills at `deadline` at the latest."""
        self.stop_deadline = min(self.stop_deadline, deadline)
        self.replacements, self.due, self.replacement_due = 0, inf, inf  # nor for what is queued
        for process in self.processes:
            process.deadline, process.hurry = min(process.deadline, deadline), inf
            process.heartbeat.hurried = True
        self.send_signal(signal.SIGTERM)

    def send_signal(self, number: signal.Signals) -> None:
        """To every process."""
        for process in self.processes:
            os.kill(process.pid, number)


class Children:
    """All of them, in the order they are started."""

    def __init__(
        self,
        children: Sequence[Child],
        stuck_timeout: float,
        lifeline: int,
        metrics: SharedMetrics | None = None,
    ) -> None:
        """`lifeline` is the write end of the pipe by which children notice that the supervisor is gone."""
        self._metrics = metrics or SharedMetrics(len(children) * PROCESSES_PER_SLOT)
        self._children = children
        self._sockets = frozenset[socket.socket]().union(*(child.sockets for child in children))
        self.stuck_timeout = stuck_timeout
        self._lifeline = lifeline
        self._checked = time.monotonic()
        self.lost = 0
        """Processes that did not end when they were killed."""
        self.strangers: dict[int, int] = {}
        """Exit codes, by id, of processes that ended and are none of these: a new version's."""
        self.close_own: Callable[[], None] = lambda: None
        """Called in a forked process: closes what is the supervisor's alone."""

    def poll(self) -> None:
        """Does what is due: reaps, checks, kills, starts."""
        self._reap()
        now = time.monotonic()
        self._check(now)
        for child, process in list(self._all()):
            if process.hurry <= now:
                self._hurry(process)
            if process.deadline <= now:
                self._kill(child, process, now)
        for child in self._children:
            if child.process is not None:
                closed = child.process.heartbeat.stage is Stage.LISTENERS_CLOSED
                if closed and child.stop_deadline < inf:
                    child.replacement_due = inf  # it needs none
                elif closed or child.replacement_due <= now:
                    self._replace(child, child.process, now)
            if child.process is None and child.due <= now:
                self._start(child, now)

    def timeout(self) -> float:
        """Seconds until something is due."""
        dues = [child.replacement_due if child.process else child.due for child in self._children]
        dues += [min(process.deadline, process.hurry) for _, process in self._all()]
        if self.stuck_timeout:
            dues.append(self._checked + self.stuck_timeout / CHECKS)
        return max(0.0, min(min(dues) - time.monotonic(), 3600.0))

    def stop(self, child: Child, deadline: float, *, is_last: bool = True) -> None:
        """Drains `child`, because the gateway ends; kills what has not ended at `deadline`.

        As long as something may be queued, a process that is missing, dies or is stuck is replaced (`replacements`);
        not so if it `is_last` not: then what is queued is for another gateway.
        """
        now = time.monotonic()
        if not is_last:
            child.replacements = 0
        child.stop_deadline = deadline
        child.due, child.replacement_due = (now, now + LISTENERS_TIME) if child.replacements else (inf, inf)
        child.announce_stop()
        for process in child.processes:
            if process in child.retiring:  # was told already, and a second SIGTERM means now
                if process.deadline > deadline:
                    process.hurry = deadline - KILL_GRACE
            else:
                process.heartbeat.is_last = is_last and process is child.process
                os.kill(process.pid, signal.SIGTERM)
            process.deadline = min(process.deadline, deadline)
        self.poll()

    # --- succession ----------------------------------------------------------------------------------------------

    def start_successor(self, child: Child, program: Program) -> None:
        """Starts a process that runs `program` beside the one there is, on the same sockets. There is none afterwards
        if the machine has no room for another process.
        """
        try:
            child.successor = self._fork(child, program)
        except OSError as error:
            log.error("%s cannot be started: %s", child.name, os.strerror(error.errno or 0))

    def install_successor(self, child: Child) -> None:
        """The successor serves: it takes the place, and its predecessor, if there is one, finishes what it has."""
        assert child.successor is not None  # see start_successor
        predecessor, child.process, child.successor = child.process, child.successor, None
        child.program = child.process.program
        child.failures, child.due = 0, 0.0
        if predecessor is not None:
            self._retire(child, predecessor)
            os.kill(predecessor.pid, signal.SIGTERM)

    def retire_successor(self, child: Child) -> None:
        """It is not wanted any more, or does not come up: it ends beside the process there is."""
        successor, child.successor = child.successor, None
        if successor is not None:
            self._retire(child, successor)
            if successor.heartbeat.stage is Stage.STARTING:  # it has nothing to finish
                successor.deadline = min(successor.deadline, time.monotonic() + KILL_GRACE)
            os.kill(successor.pid, signal.SIGTERM)

    def draining_generations(self) -> set[int]:
        """Those of which processes still finish what they have, beside their successors."""
        current = {child.process.program.generation for child in self._children if child.process is not None}
        return {process.program.generation for child in self._children for process in child.retiring} - current

    # --- starting ------------------------------------------------------------------------------------------------

    def _start(self, child: Child, now: float) -> None:
        try:
            process = child.process = self._fork(child, child.program)
        except OSError as error:  # no memory, or as many processes as are allowed: the others still serve
            child.failures += 1
            pause = _pause(child.failures)
            child.due = now + pause
            why = os.strerror(error.errno or 0)
            log.error("%s cannot be started: %s; trying again in %g s", child.name, why, pause)
            return
        if child.stop_deadline < inf:
            child.replacements -= 1
            child.replacement_due = inf
            os.kill(process.pid, signal.SIGTERM)

    def _fork(self, child: Child, program: Program) -> Process:
        heartbeat = Heartbeat(self._metrics.take())
        heartbeat.stopping = child.stopping
        heartbeat.is_last = child.stop_deadline < inf
        try:
            pid = os.fork()
        except OSError:
            self._close(heartbeat)
            raise
        if pid == 0:
            self._run_child(child, program, heartbeat)
        heartbeat.block.belongs_to(pid, child.number)
        return Process(pid, program, heartbeat, time.monotonic(), Watchdog(pid, heartbeat), child.stop_deadline)

    def _close(self, heartbeat: Heartbeat) -> None:
        """Its process has ended, or was never made."""
        heartbeat.close()
        self._metrics.give_back(heartbeat.block)

    def _replace(self, child: Child, process: Process, now: float) -> None:
        """`process` may end by itself; the next `poll` starts another."""
        self._retire(child, process)
        child.process, child.due = None, now
        log.info("another process takes the place of %s while that finishes", child.name)

    def _retire(self, child: Child, process: Process) -> None:
        end = time.monotonic() + process.program.drain_timeout + KILL_GRACE
        process.deadline = min(process.deadline, child.stop_deadline, end)
        child.retiring.append(process)

    def _run_child(self, child: Child, program: Program, heartbeat: Heartbeat) -> None:
        """In the forked process; never returns."""
        status = 1
        try:
            _wake_when_orphaned()
            os.close(self._lifeline)
            self.close_own()
            for sock in self._sockets - child.sockets:
                sock.close()
            for _, process in self._all():
                process.heartbeat.close()
            # A terminal's SIGINT and SIGHUP reach the whole process group, and pkill(1) every process of the name; the
            # supervisor alone acts on them. Control signals stay blocked until the child handles them
            # (`heartbeat.unblock_signals`).
            for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
                signal.signal(ignored, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, CONTROL_SIGNALS)
            faulthandler.enable()
            status = program.run(heartbeat)
        except BaseException:
            log.exception("%s ended by a bug of its own", child.name)
        finally:
            logging.shutdown()  # flushes the handlers
            os._exit(status)

    # --- watching ------------------------------------------------------------------------------------------------

    def _all(self) -> Iterator[tuple[Child, Process]]:
        for child in self._children:
            for process in child.processes:
                yield child, process

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            for child, process in list(self._all()):
                if process.pid == pid:
                    self._process_ended(child, process, code)
                    break
            else:
                self.strangers[pid] = code

    def _process_ended(self, child: Child, process: Process, code: int) -> None:
        """`code` is the exit status, or a signal's number made negative."""
        closed = process.heartbeat.stage is Stage.LISTENERS_CLOSED
        self._close(process.heartbeat)
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
        now, retiring = time.monotonic(), process in child.retiring
        if process is child.successor:
            child.successor = None  # see roll.py
            if not process.stuck:
                log.error("the successor of %s %s before it served", child.name, how)
            return
        if retiring:
            child.retiring.remove(process)
        else:
            child.process = None
        if retiring or child.stop_deadline < inf:
            if not retiring:
                child.due = inf if closed or not child.replacements or now >= child.stop_deadline else now
            if code and not process.killed:
                log.error("%s %s while it finished", child.name, how)
            return
        child.failures = child.failures + 1 if now - process.started < SHORT_LIFETIME else 0
        pause = _pause(child.failures) if child.failures else 0.0
        child.due = now + pause
        if not process.stuck:
            if child.number != ADMIN:
                self._metrics.count(RESTARTS, "signal" if code < 0 else "exit")
            level = logging.ERROR if code else logging.INFO  # 0: it was sent SIGTERM, as timeout(1) does
            log.log(level, "%s %s; starting it again%s", child.name, how, f" in {pause:g} s" if pause else "")

    def _check(self, now: float) -> None:
        interval = self.stuck_timeout / CHECKS
        if not interval or now - self._checked < interval:
            return
        asleep = now - self._checked > 2 * interval
        self._checked = now
        for child, process in self._all():
            if asleep:
                process.watchdog.reset()
            if process.watchdog.is_stuck() and not process.stuck:
                self._on_stuck(child, process, now)

    def _on_stuck(self, child: Child, process: Process, now: float) -> None:
        log.error(
            "%s (pid %d) has not turned its loop for %g s (process.stuck_timeout): it is replaced; its stack follows",
            child.name,
            process.pid,
            self.stuck_timeout,
        )
        if child.number != ADMIN:
            self._metrics.count(RESTARTS, "stuck")
        process.stuck = True
        process.deadline = now + DUMP_TIME
        os.kill(process.pid, DUMP_STACK)
        os.kill(process.pid, signal.SIGCONT)  # a stopped process gets no further than to its stack

    # --- ending --------------------------------------------------------------------------------------------------

    def _hurry(self, process: Process) -> None:
        process.hurry = inf
        process.heartbeat.hurried = True
        os.kill(process.pid, signal.SIGTERM)

    def _kill(self, child: Child, process: Process, now: float) -> None:
        if process.killed:  # a disk or a driver holds it in the kernel
            log.error("%s (pid %d) does not even end when it is killed; it is left behind", child.name, process.pid)
            self.lost += 1
            self._process_ended(child, process, -signal.SIGKILL)
            return
        if not process.stuck:
            log.error("%s did not end in time and was killed", child.name)
        process.killed, process.deadline = True, now + KILL_TIME
        os.kill(process.pid, signal.SIGKILL)


def _pause(failures: int) -> float:
    """Seconds until the next try after so many in a row."""
    return min(0.1 * 2.0 ** min(failures, 10), MAX_PAUSE)


def _wake_when_orphaned() -> None:
    """SIGCONT when the supervisor dies, so that a stopped process notices and drains. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)
