"""The supervisor: plain synchronous code that owns the sockets, has children.py start, watch and replace the processes,
and passes signals on.

It runs no event loop and starts no thread, so it can fork at any time. Every worker slot has its own SO_REUSEPORT
sockets, bound here and inherited: when a worker dies, its replacement takes over the accept queue and nothing is lost.
Only the supervisor holds all sockets, so no process keeps another one's open.
TLS contexts are made before the first fork, so a session ticket from one worker is good at all of them.

SIGTERM: readiness fails and answers say `Connection: close`, the balancer gets `drain_delay` to notice, then new
connections are refused and the workers drain. SIGINT does the same without the delay. A second one of either means now,
at any time: what is under way is cut off. SIGUSR2 starts a new version of the program, which takes the sockets over; so
does a gateway that is started while this one stops (succession.py). As long as another process has the sockets as well,
they are closed and nothing else: what is queued is that one's. SIGUSR1 has log files opened anew.
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
from gateway.counting import counted
from gateway.metrics import DRAINING
from gateway.observe import logs
from gateway.process import memory
from gateway.process.children import KILL_GRACE, PROCESSES_PER_SLOT, Child, Children
from gateway.process.file_watch import FileWatch
from gateway.process.generation import Generation, Wiring, worker_count
from gateway.process.heartbeat import CONTROL_SIGNALS, Stage
from gateway.process.inherited import Inherited
from gateway.process.listening import ListeningSockets
from gateway.process.predecessor import in_use, succeed
from gateway.process.reload import Reloads
from gateway.process.reload_state import ReloadState
from gateway.process.rendezvous import Rendezvous
from gateway.process.shared_metrics import SharedMetrics
from gateway.process.sockets import AddressInUse, for_this_machine
from gateway.process.succession import Succession
from gateway.process.systemd import ServiceManager, inherited_sockets
from gateway.process.takeover import Takeover
from gateway.socket_options import accept_new, refuse_new

log = logging.getLogger("gateway.process")

ENDS = (signal.SIGTERM, signal.SIGINT)
SIGNALS = (*ENDS, signal.SIGCHLD, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGIO)
LOG_PAUSE = 1.0
"""Seconds between two attempts to write to a stderr that is full."""


class Supervisor:
    """Once made, everything that can fail is done: settings checked, files read, sockets bound."""

    def __init__(self, read: Callable[[], Settings]) -> None:
        """`read` reads the configuration, now and at every reload. Raises UserError, CertificateError among them, with
        one sentence.
        """
        # They end nobody: a reload that is asked for before there is anything to reload comes right afterwards.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGIO, signal.SIGUSR1, signal.SIGUSR2})
        self._manager = ServiceManager(os.environ)
        passed_on = inherited_sockets(os.environ)
        settings = for_this_machine(read())
        descriptors.raise_limit()
        generation = Generation(settings)
        count = worker_count(settings)
        addresses = (settings.admin.listen, *settings.edge.listen, *settings.edge.listen_plain)
        predecessor = succeed(addresses, os.environ)
        self._takeover = predecessor if isinstance(predecessor, Takeover) else None
        for sock in passed_on:
            accept_new(sock)  # processes of the one before may have ended as orphans, who refuse
        self._manager_keeps = bool(passed_on) or (self._takeover is not None and self._takeover.kept)
        inherited = Inherited(
            [*passed_on, *(self._takeover.sockets if self._takeover else ())], kept=self._manager_keeps
        )
        try:
            listening = ListeningSockets.bind(settings, count, inherited)
        except AddressInUse as error:
            if predecessor is None or isinstance(predecessor, Takeover):
                raise
            raise in_use(error.listen, predecessor) from None
        inherited.close()
        alive, lifeline = os.pipe()  # closed by the kernel when this process ends
        shared_metrics = SharedMetrics((count + 1) * PROCESSES_PER_SLOT)
        self._wiring = wiring = Wiring(
            listening, [_channel() for _ in range(count)], alive, ReloadState(), shared_metrics
        )
        self._open = [[each.socket for each in slot] for slot in listening.slots]  # those that still listen
        self._workers = [
            Child(
                f"worker {number}",
                generation.worker(number, wiring),
                frozenset([theirs, *(each.socket for each in listening.slots[number])]),
                number=number,
                replacements=1,
            )
            for number, (_, theirs) in enumerate(wiring.channels)
        ]
        ours = [end for end, _ in wiring.channels]
        self._admin = Child("admin", generation.admin(wiring), frozenset([listening.admin.socket, *ours]))
        slots = [*self._workers, self._admin]
        self._children = Children(slots, settings.process.stuck_timeout, lifeline, shared_metrics)
        self._reloads = Reloads(read, generation, wiring, self._children, slots)
        self._rendezvous = Rendezvous(addresses)
        self._succession = Succession(self._rendezvous, self._listening, self._manager, self._children)
        self._succession.succeeding = self._takeover is not None
        self._children.close_own = self._close_own
        self._status = ""
        self._serves = False  # all children do, and no predecessor any more
        self._reload_later = False  # SIGHUP came while another version was about to take over

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
        self._status = f"{counted(len(self._workers), 'worker')} on {where}"
        if self._takeover is None:
            self._rendezvous.open()
        if shortage := descriptors.shortage(self._settings.limits.connections):
            log.warning("%s", shortage)
        log.info("%s; health on http://%s/readyz", self._status, listen)
        while (received := self._wait()) not in ENDS and not self._succession.ready:
            if self._takeover is not None and self._takeover.withdrawn:
                log.error("the gateway with pid %d goes on: this one ends", self._takeover.pid)
                break
            if received == signal.SIGHUP and self._succession.is_upgrade:
                log.info("the configuration is read again when the new version has taken over, or has not")
                self._reload_later = True
            elif received == signal.SIGHUP or (self._reload_later and not self._succession.is_upgrade):
                self._reload_later = False
                self._manager.reloading()
                self._reloads.request()
        now = self._stop(self._settings.process.drain_delay if received == signal.SIGTERM else 0.0)
        self._drain(now=now)
        log.info("stopped")
        return 1 if self._children.lost or (self._takeover is not None and self._takeover.withdrawn) else 0

    def _wait(self, longest: float = inf) -> int:
        """The next signal, or 0 if something else was due; does what is due of everybody."""
        takeover, succession, manager = self._takeover, self._succession, self._manager
        dues = [self._children.timeout(), self._file_watch.timeout(), self._reloads.timeout(), longest]
        dues += [
            succession.timeout(),
            takeover.timeout() if takeover else inf,
            manager.timeout() if self._serves else inf,
        ]
        received = signal.sigtimedwait(SIGNALS, max(0.0, min(*dues, LOG_PAUSE if logs.pump() else inf)))
        if received is not None and received.si_signo not in ENDS:  # lower numbers come first: SIGHUP, again and again
            received = signal.sigtimedwait(ENDS, 0) or received
        self._wiring.metrics.count_own_time()
        self._file_watch.poll()  # before the children, so that those to be started have what is new
        self._children.poll()
        self._reloads.poll()
        if takeover is not None:
            takeover.poll()
        succession.poll()
        self._look_whether_all_serve()
        number = received.si_signo if received is not None else 0
        if number == signal.SIGUSR2:
            succession.start_new_version()
        elif number == signal.SIGUSR1:
            log.info("log files are opened anew")
            for worker in self._workers:
                worker.reopen_logs()
        return number

    # --- before this one and after it ----------------------------------------------------------------------------

    def _look_whether_all_serve(self) -> None:
        """Tells the predecessor, and when it accepts no more, whoever wants to know."""
        running = [child.process for child in (*self._workers, self._admin)]
        if not self._serves:
            if not all(each is not None and each.heartbeat.stage is Stage.SERVING for each in running):
                return
            if self._takeover is not None and not self._takeover.alone:
                self._takeover.ready()
                return
            self._serves = True
            if self._takeover is not None:
                self._succession.succeeding = False
                self._rendezvous.open()
            self._manager.forget()
            self._manager_keeps |= self._manager.keep(self._listening())
            self._succession.kept = self._manager_keeps
            self._manager.ready(self._status)
        elif self._reloads.has_ended:
            self._reloads.has_ended = False
            self._manager.ready(self._status)
        if any(each is not None and not each.stuck for each in running):
            self._manager.alive()

    def _listening(self) -> list[socket.socket]:
        """What still listens; the admin's first."""
        return [self._wiring.listening.admin.socket, *(sock for slot in self._open for sock in slot)]

    @property
    def _others_listen(self) -> bool:
        """Whether another process holds the sockets as well, and goes on with them."""
        takes = self._takeover is not None and not self._takeover.alone
        return takes or self._manager_keeps or self._succession.under_way or self._succession.released

    def _hand_over(self) -> None:
        pid = self._succession.release()
        log.info("the gateway with pid %d has taken over: this one finishes what it has", pid)
        self._children.stop(self._admin, time.monotonic() + KILL_GRACE)
        if self._reload_later:
            os.kill(pid, signal.SIGHUP)

    def _close_own(self) -> None:
        """In a forked process. What is the supervisor's alone: one that held it would hide the supervisor's end."""
        self._rendezvous.close()
        self._succession.close()
        if self._takeover is not None:
            self._takeover.close()

    # --- stopping ------------------------------------------------------------------------------------------------

    def _stop(self, delay: float) -> bool:
        """Begins to stop, and waits `delay` seconds for balancers unless somebody takes over; whether a second signal
        has ended the wait.
        """
        self._reloads.abandon("the gateway stops")
        self._reloads.has_ended = False
        if self._succession.ready:
            return False
        if self._serves:
            self._manager.stopping("stopping")
        self._succession.stop()
        # While a predecessor still accepts, nobody has to notice anything.
        return self._announce_stop(0.0 if self._takeover is not None and not self._takeover.alone else delay)

    def _announce_stop(self, delay: float) -> bool:
        """Readiness fails and answers say `Connection: close`; everything is served for `delay` seconds, in which
        balancers notice. Whether a second signal has ended the wait.

        Lasts longer if somebody is about to take over, and ends when that is done.
        """
        self._wiring.metrics.kept[DRAINING.at()] = 1
        for child in (self._admin, *self._workers):
            child.announce_stop()
        if not delay:
            return False
        log.info("stopping in %g s: readiness fails from now on", delay)
        end = time.monotonic() + delay
        while not self._succession.ready:
            left = end - time.monotonic()
            if left <= 0 and not self._succession.under_way:
                break
            if self._wait(left if left > 0 else inf) in ENDS:
                return True
        return False

    def _drain(self, *, now: bool) -> None:
        """Refuses new connections, unless they are another process's; drains the workers (`now`: cuts them off), then
        ends the admin process.
        """
        if self._succession.ready:
            self._hand_over()
        is_last = not self._others_listen
        if is_last:
            self._succession.refusing = True
            if self._takeover is not None:
                self._takeover.leave_sockets()
            for sockets in self._open:
                for sock in sockets:
                    refuse_new(sock)
        deadline = time.monotonic() + self._settings.process.drain_timeout + KILL_GRACE
        for child in self._workers:
            self._children.stop(child, deadline, is_last=is_last)
        if now:
            self._hurry()
        while self._close_listeners() or any(child.processes for child in self._workers):
            if self._wait() in ENDS:
                self._hurry()
            if self._succession.ready:
                self._hand_over()
        if not self._succession.released:
            self._children.stop(self._admin, time.monotonic() + KILL_GRACE)
        while self._admin.processes:
            self._wait()

    def _hurry(self) -> None:
        log.warning("told to stop again: closing what has not finished")
        for child in self._workers:
            child.stop_now(time.monotonic() + KILL_GRACE)

    def _close_listeners(self) -> bool:
        """Closes the listening sockets of slots that accept no more; whether there are others.

        Shut down, not only closed, unless they are somebody else's as well: a stuck process would keep them open.
        """
        for child, sockets in zip(self._workers, self._open, strict=True):
            if sockets and child.listeners_closed:
                for sock in sockets:
                    if not self._others_listen:
                        sock.shutdown(socket.SHUT_RDWR)
                    sock.close()
                sockets.clear()
        return any(self._open)


def _channel() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs
