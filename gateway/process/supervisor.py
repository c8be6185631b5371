"""The supervisor: plain synchronous code that owns the sockets, forks, waits, and passes signals on.

It runs no event loop and starts no thread, so it can fork at any time. Every worker slot has its own SO_REUSEPORT
socket, bound here and inherited: when a worker dies, its successor takes over the queue and nothing queued is lost.
TLS contexts are made before the first fork, so a session ticket from one worker is good at all of them.

SIGTERM: readiness fails, the balancer gets `drain_delay` to notice, then the workers finish what is under way.
SIGINT does the same without the delay.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from gateway import descriptors
from gateway.admin.auth import read_token
from gateway.config import Settings
from gateway.directory import backends
from gateway.edge.listener import own_listeners
from gateway.edge.refusal import redirect_to_https
from gateway.process import admin, memory, worker
from gateway.process.sockets import bind
from gateway.process.worker import Door, Slot
from gateway.tls import in_force
from gateway.tls.context import CertificatePair, server_context

log = logging.getLogger("gateway.process")

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP)
SHORT_LIFE = 2.0
"""Seconds; a child that lived less is restarted with growing pauses instead of at once."""
LONGEST_PAUSE = 5.0
KILL_GRACE = 5.0
"""Seconds past the drain timeout before a child that does not end is killed."""


@dataclass(slots=True)
class Child:
    """One process to keep alive: what it runs, and how its latest incarnation fares."""

    name: str
    run: Callable[[], int]
    pid: int = 0  # 0: not running
    started: float = 0.0
    failures: int = 0  # short lives in a row
    due: float = 0.0  # when to start it, while it is not running


class Supervisor:
    """Made with everything that can fail already done: settings checked, files read, sockets bound."""

    def __init__(self, settings: Settings) -> None:
        """Raises UserError, or CertificateError, with one sentence."""
        self._settings = settings
        descriptors.raise_limit()
        backends.check(settings.directory)  # opened by the children, each for itself
        token = read_token(settings.admin.token_file)
        count = settings.process.workers or len(os.sched_getaffinity(0))
        tls = None
        if settings.edge.listen:
            pairs = [CertificatePair(pair.cert, pair.key) for pair in settings.tls.certificates]
            tls = server_context(pairs, minimum_version=settings.tls.minimum_version, groups=settings.tls.groups)
            agreed, differences = in_force.report(tls, settings.tls.groups)
            log.info(agreed)
            for difference in differences:
                log.warning(difference)
        edge = settings.edge
        plain = redirect_to_https(edge.domains, edge.public_port) if edge.plain == "redirect" else None
        doors: list[list[Door]] = [[] for _ in range(count)]
        for listen in settings.edge.listen:
            for slot, sock in zip(doors, bind(listen, slots=count), strict=True):
                slot.append(Door(sock, tls))
        for listen in settings.edge.listen_plain:
            for slot, sock in zip(doors, bind(listen, slots=count), strict=True):
                slot.append(Door(sock, None, plain))
        [admin_socket] = bind(settings.admin.listen)
        channels = [_channel() for _ in range(count)]
        self._others = [admin_socket, *(end for pair in channels for end in pair)]
        alive, self._lifeline = os.pipe()  # nobody writes; it closes when this process ends, however it ends
        self._doors = [door for slot in doors for door in slot]
        own = own_listeners([admin_socket, *(door.socket for door in self._doors)])
        post = admin.Post(settings, own, token, admin_socket, [ours for ours, _ in channels], alive)
        self._admin = Child("admin", lambda: admin.run(post))
        self._workers = [
            Child(f"worker {number}", _worker_runner(settings, Slot(number, tuple(slot), own, theirs, alive)))
            for number, (slot, (_, theirs)) in enumerate(zip(doors, channels, strict=True))
        ]

    def run(self) -> int:
        """Supervises until told to stop; returns the exit status."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        memory.settle()
        for child in (*self._workers, self._admin):
            self._start(child)
        edge, listen = self._settings.edge, self._settings.admin.listen
        where = ", ".join(str(address) for address in (*edge.listen, *edge.listen_plain))
        if shortage := descriptors.shortage(self._settings.limits.connections):
            log.warning("%s", shortage)
        log.info("%d workers serve %s; health on http://%s/readyz", len(self._workers), where, listen)
        while True:
            received = signal.sigtimedwait(SIGNALS, self._until_next_start())
            if received is not None and received.si_signo in (signal.SIGTERM, signal.SIGINT):
                return self._stop(delay=received.si_signo == signal.SIGTERM)
            if received is not None and received.si_signo == signal.SIGHUP:
                log.warning("this version does not reload its configuration: restart it")
            self._reap()
            for child in (*self._workers, self._admin):
                if not child.pid and child.due <= time.monotonic():
                    self._start(child)

    # --- starting ------------------------------------------------------------------------------------------------

    def _start(self, child: Child) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._be(child)
        child.pid = pid
        child.started = time.monotonic()

    def _be(self, child: Child) -> None:
        """The child's whole life; never returns to the supervisor's code."""
        status = 1
        try:
            os.close(self._lifeline)
            # A terminal's Ctrl-C reaches every process of the group; what it means is the supervisor's to say.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            status = child.run()
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _until_next_start(self) -> float:
        """Seconds until a pausing child is due; an hour when none is."""
        now = time.monotonic()
        pauses = [child.due - now for child in (*self._workers, self._admin) if not child.pid]
        return max(0.0, min(pauses, default=3600.0))

    # --- watching ------------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in (*self._workers, self._admin):
                if child.pid == pid:
                    self._ended(child, status)

    def _ended(self, child: Child, status: int) -> None:
        now = time.monotonic()
        child.pid = 0
        child.failures = child.failures + 1 if now - child.started < SHORT_LIFE else 0
        pause = min(0.1 * 2**child.failures, LONGEST_PAUSE) if child.failures else 0.0
        child.due = now + pause
        code = os.waitstatus_to_exitcode(status)
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
        log.error("%s %s; starting it again%s", child.name, how, f" in {pause:g} s" if pause else "")

    # --- stopping ------------------------------------------------------------------------------------------------

    def _stop(self, *, delay: bool) -> int:
        process = self._settings.process
        if delay and process.drain_delay:
            log.info("stopping in %g s: readiness fails from now on", process.drain_delay)
            _signal(self._admin, signal.SIGUSR1)
            # A second signal means: now.
            signal.sigtimedwait((signal.SIGTERM, signal.SIGINT), process.drain_delay)
        for door in self._doors:
            door.socket.close()  # with the workers' copies closed too, new connections are refused at once
        for child in self._workers:
            _signal(child, signal.SIGTERM)
        self._wait(self._workers, process.drain_timeout + KILL_GRACE)
        _signal(self._admin, signal.SIGTERM)
        self._wait([self._admin], KILL_GRACE)
        for sock in self._others:
            sock.close()
        log.info("stopped")
        return 0

    def _wait(self, children: list[Child], timeout: float) -> None:
        """Waits for children to end, and kills those that do not."""
        deadline = time.monotonic() + timeout
        while any(child.pid for child in children):
            for child in children:
                if child.pid and os.waitpid(child.pid, os.WNOHANG)[0]:
                    child.pid = 0
            left = deadline - time.monotonic()
            if left <= 0:
                for child in children:
                    _signal(child, signal.SIGKILL)
                    log.error("%s did not end in time and was killed", child.name) if child.pid else None
                deadline = float("inf")
            signal.sigtimedwait((signal.SIGCHLD,), min(max(left, 0.0), 0.1) or 0.1)


def _channel() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def _worker_runner(settings: Settings, slot: Slot) -> Callable[[], int]:
    return lambda: worker.run(settings, slot)


def _signal(child: Child, number: signal.Signals) -> None:
    if child.pid:
        os.kill(child.pid, number)
