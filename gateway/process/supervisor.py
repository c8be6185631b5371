"""The supervisor: plain synchronous code that owns the sockets, has children.py start, watch and replace the processes,
and passes signals on.

It runs no event loop and starts no thread, so it can fork at any time. Every worker slot has its own SO_REUSEPORT
sockets, bound here and inherited: when a worker dies, its replacement takes over the accept queue and nothing is lost.
Only the supervisor holds all sockets, so no process keeps another one's open.
TLS contexts are made before the first fork, so a session ticket from one worker is good at all of them.

SIGTERM: readiness fails and answers say `Connection: close`, the balancer gets `drain_delay` to notice, then new
connections are refused and the workers drain. SIGINT does the same without the delay. A second one of either means now,
at any time: what is under way is cut off.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from math import inf

from gateway import descriptors
from gateway.config import Settings
from gateway.observe import logs
from gateway.process import memory
from gateway.process.children import KILL_GRACE, Child, Children
from gateway.process.file_watch import FileWatch
from gateway.process.generation import Generation, Wiring, worker_count
from gateway.process.heartbeat import CONTROL_SIGNALS
from gateway.process.listening import ListeningSockets
from gateway.process.reload import Reloads
from gateway.process.reload_state import ReloadState
from gateway.process.sockets import for_this_machine
from gateway.socket_options import refuse_new

log = logging.getLogger("gateway.process")

ENDS = (signal.SIGTERM, signal.SIGINT)
SIGNALS = (*ENDS, signal.SIGCHLD, signal.SIGHUP)
LOG_PAUSE = 1.0
"""Seconds between two attempts to write to a stderr that is full."""


class Supervisor:
    """Once made, everything that can fail is done: settings checked, files read, sockets bound."""

    def __init__(self, read: Callable[[], Settings]) -> None:
        """`read` reads the configuration, now and at every reload. Raises UserError, CertificateError among them, with
        one sentence.
        """
        settings = for_this_machine(read())
        descriptors.raise_limit()
        generation = Generation(settings)
        count = worker_count(settings)
        listening = ListeningSockets.bind(settings, count)
        alive, lifeline = os.pipe()  # closed by the kernel when this process ends
        self._wiring = wiring = Wiring(listening, [_channel() for _ in range(count)], alive, ReloadState())
        self._open = [[each.socket for each in slot] for slot in listening.slots]  # those that still listen
        self._workers = [
            Child(
                f"worker {number}",
                generation.worker(number, wiring),
                frozenset([theirs, *(each.socket for each in listening.slots[number])]),
                replacements=1,
            )
            for number, (_, theirs) in enumerate(wiring.channels)
        ]
        ours = [end for end, _ in wiring.channels]
        self._admin = Child("admin", generation.admin(wiring), frozenset([listening.admin.socket, *ours]))
        slots = [*self._workers, self._admin]
        self._children = Children(slots, settings.process.stuck_timeout, lifeline)
        self._reloads = Reloads(read, generation, wiring, self._children, slots)

    @property
    def _settings(self) -> Settings:
        return self._reloads.generation.settings

    @property
    def _file_watch(self) -> FileWatch:
        return self._reloads.generation.file_watch

    def run(self) -> int:
        """Supervises until told to stop; returns the exit status."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {*SIGNALS, *CONTROL_SIGNALS})
        memory.settle()
        self._children.poll()
        edge, listen = self._settings.edge, self._settings.admin.listen
        where = ", ".join(str(address) for address in (*edge.listen, *edge.listen_plain))
        if shortage := descriptors.shortage(self._settings.limits.connections):
            log.warning("%s", shortage)
        log.info("%d workers serve %s; health on http://%s/readyz", len(self._workers), where, listen)
        while (received := self._wait()) not in ENDS:
            if received == signal.SIGHUP:
                self._reloads.request()
        self._reloads.abandon("the gateway stops")
        now = self._announce_stop(self._settings.process.drain_delay if received == signal.SIGTERM else 0.0)
        self._drain(now=now)
        log.info("stopped")
        return 1 if self._children.lost else 0

    def _wait(self, longest: float = inf) -> int:
        """The next signal, or 0 if something else was due; does what is due of files, children and reloads."""
        dues = (self._children.timeout(), self._file_watch.timeout(), self._reloads.timeout(), longest)
        timeout = min(*dues, LOG_PAUSE if logs.pump() else inf)
        received = signal.sigtimedwait(SIGNALS, max(0.0, timeout))
        self._file_watch.poll()  # before the children, so that those to be started have what is new
        self._children.poll()
        self._reloads.poll()
        return received.si_signo if received is not None else 0

    # --- stopping ------------------------------------------------------------------------------------------------

    def _announce_stop(self, delay: float) -> bool:
        """Readiness fails and answers say `Connection: close`; everything is served for `delay` seconds, in which
        balancers notice. Whether a second signal has ended the wait.
        """
        for child in (self._admin, *self._workers):
            child.announce_stop()
        if not delay:
            return False
        log.info("stopping in %g s: readiness fails from now on", delay)
        end = time.monotonic() + delay
        while (left := end - time.monotonic()) > 0:
            if self._wait(left) in ENDS:
                return True
        return False

    def _drain(self, *, now: bool) -> None:
        """Refuses new connections, drains the workers (`now`: cuts them off), then ends the admin process."""
        for sockets in self._open:
            for sock in sockets:
                refuse_new(sock)
        deadline = time.monotonic() + self._settings.process.drain_timeout + KILL_GRACE
        for child in self._workers:
            self._children.stop(child, deadline)
        if now:
            self._hurry()
        while self._close_listeners() or any(child.processes for child in self._workers):
            if self._wait() in ENDS:
                self._hurry()
        self._children.stop(self._admin, time.monotonic() + KILL_GRACE)
        while self._admin.processes:
            self._wait()

    def _hurry(self) -> None:
        log.warning("told to stop again: closing what has not finished")
        for child in self._workers:
            child.stop_now(time.monotonic() + KILL_GRACE)

    def _close_listeners(self) -> bool:
        """Closes the listening sockets of slots that accept no more; whether there are others.

        Shut down, not only closed: a stuck process would keep them open.
        """
        for child, sockets in zip(self._workers, self._open, strict=True):
            if sockets and child.listeners_closed:
                for sock in sockets:
                    sock.shutdown(socket.SHUT_RDWR)
                    sock.close()
                sockets.clear()
        return any(self._open)


def _channel() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs
