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
from functools import partial
from math import inf

from gateway import descriptors
from gateway.admin.auth import TokenFile
from gateway.config import Settings
from gateway.directory import backends
from gateway.directory.shared import share
from gateway.edge.listener import own_listeners
from gateway.edge.local_reply import redirect_to_https
from gateway.observe import logs
from gateway.process import admin, memory, worker
from gateway.process.children import KILL_GRACE, Child, Children
from gateway.process.file_watch import FileWatch
from gateway.process.heartbeat import CONTROL_SIGNALS
from gateway.process.sockets import bind, for_this_machine
from gateway.process.worker import ListenSocket, Slot
from gateway.socket_options import refuse_new
from gateway.tls import effective
from gateway.tls.context import CertificatePair, ContextOptions
from gateway.tls.store import CertificateStore
from gateway.upstream.claims import Claims

log = logging.getLogger("gateway.process")

ENDS = (signal.SIGTERM, signal.SIGINT)
SIGNALS = (*ENDS, signal.SIGCHLD, signal.SIGHUP)
LOG_PAUSE = 1.0
"""Seconds between two attempts to write to a stderr that is full."""


class Supervisor:
    """Once made, everything that can fail is done: settings checked, files read, sockets bound."""

    def __init__(self, settings: Settings) -> None:
        """Raises UserError, or CertificateError, with one sentence."""
        self._settings = settings = for_this_machine(settings)
        descriptors.raise_limit()
        backends.check(settings.directory)  # opened by the children, each for itself
        shared, claims = share(settings.directory), Claims()
        self._token = TokenFile(settings.admin.token_file)
        count = settings.process.workers or len(os.sched_getaffinity(0))
        tls, self._certificates = None, None
        if settings.edge.listen:
            pairs = [CertificatePair(pair.cert, pair.key) for pair in settings.tls.certificates]
            options = ContextOptions(settings.tls.minimum_version, settings.tls.groups)
            self._certificates = CertificateStore(pairs, options)
            tls = self._certificates.context
            agreed, differences = effective.report(tls, settings.tls.groups)
            log.info(agreed)
            for difference in differences:
                log.warning(difference)
        edge = settings.edge
        plain = redirect_to_https(edge.domains, edge.public_port) if edge.plain == "redirect" else None
        slots: list[list[ListenSocket]] = [[] for _ in range(count)]
        for listen in settings.edge.listen:
            for slot, sock in zip(slots, bind(listen, slots=count), strict=True):
                slot.append(ListenSocket(sock, tls))
        for listen in settings.edge.listen_plain:
            for slot, sock in zip(slots, bind(listen, slots=count), strict=True):
                slot.append(ListenSocket(sock, None, plain))
        [admin_socket] = bind(settings.admin.listen)
        channels = [_channel() for _ in range(count)]
        self._kept_open = [admin_socket, *(end for pair in channels for end in pair)]
        alive, lifeline = os.pipe()  # closed by the kernel when this process ends
        self._sockets = [[each.socket for each in slot] for slot in slots]
        own = own_listeners([admin_socket, *(sock for slot in self._sockets for sock in slot)])
        ours = [end for end, _ in channels]
        admin_slot = admin.AdminSlot(settings, own, self._token, admin_socket, ours, alive, shared, self._certificates)
        self._admin = Child("admin", partial(admin.run, admin_slot), frozenset([admin_socket, *ours]))
        self._workers = [
            Child(
                f"worker {number}",
                partial(
                    worker.run,
                    settings,
                    Slot(number, tuple(slot), own, theirs, alive, shared, claims, self._certificates),
                ),
                frozenset([theirs, *(each.socket for each in slot)]),
                replacements=1,
            )
            for number, (slot, (_, theirs)) in enumerate(zip(slots, channels, strict=True))
        ]
        process = settings.process
        looks = [self._token.look, *([self._certificates.look] if self._certificates else [])]
        self._file_watch = FileWatch(looks)
        self._children = Children([*self._workers, self._admin], process.stuck_timeout, process.drain_timeout, lifeline)

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
                log.warning("this version does not reload its configuration: restart it")
        now = self._announce_stop(self._settings.process.drain_delay if received == signal.SIGTERM else 0.0)
        self._drain(now=now)
        log.info("stopped")
        return 1 if self._children.lost else 0

    def _wait(self, longest: float = inf) -> int:
        """The next signal, or 0 if something else was due; polls the children."""
        timeout = min(self._children.timeout(), longest, LOG_PAUSE if logs.pump() else inf, self._file_watch.timeout())
        received = signal.sigtimedwait(SIGNALS, max(0.0, timeout))
        self._file_watch.poll()  # before the children, so that those to be started have what is new
        self._children.poll()
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
        for sockets in self._sockets:
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
        for child, sockets in zip(self._workers, self._sockets, strict=True):
            if sockets and child.listeners_closed:
                for sock in sockets:
                    sock.shutdown(socket.SHUT_RDWR)
                    sock.close()
                sockets.clear()
        return any(self._sockets)


def _channel() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs
