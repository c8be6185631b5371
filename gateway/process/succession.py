"""Who takes the place of this supervisor: a new version that it starts itself, or one that is started while it stops.

    SIGUSR2: start it (new_version.py) --.
                                          >-- offered (handover.py) -- ready --> this one drains, and ends
    stopping: it comes (rendezvous.py) --'           |
                                                     `-- ended, too slow, not wanted any more: this one goes on

Plain synchronous code, like the supervisor: `poll` does what is due, `timeout` says when to call it again. Both hold
the sockets from the offer on. Whoever ends alone leaves them as they are: no filter, no shutdown.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from math import inf

from gateway.process.children import Children
from gateway.process.handover import READY_TIME, Offer, Stage, State
from gateway.process.new_version import Command, start
from gateway.process.rendezvous import Rendezvous
from gateway.process.systemd import ServiceManager
from gateway.process.takeover import Settling

log = logging.getLogger("gateway.process")

MAX_OFFERS = 8
"""Connections at a time; more of our user's processes than that are a mistake."""
END_TIME = 80.0
"""Seconds a new version that is not wanted any more has to drain what it has accepted, before it is killed."""


class Succession:
    """On the side of the one who leaves."""

    def __init__(
        self,
        rendezvous: Rendezvous,
        sockets: Callable[[], Sequence[socket.socket]],
        manager: ServiceManager,
        children: Children,
    ) -> None:
        """`sockets` are those that still listen."""
        self._rendezvous = rendezvous
        self._sockets = sockets
        self._manager = manager
        self._children = children
        self._command = Command.of_this_process()
        self._offers: list[Offer] = []
        self._started = 0  # the new version's process id, if we have started one that has not ended
        self._own: Offer | None = None  # the offer to it
        self._kill_at = inf
        self._settling = Settling()  # of what orphans of a taker that failed do to the sockets
        self.succeeding = False
        """Set while this one has itself not taken over yet."""
        self.kept = False
        """Set when the service manager holds the sockets as well."""
        self.stopping = False
        """Set when the gateway is told to stop: who asks from then on is offered the sockets."""
        self.refusing = False
        """Set when the sockets refuse new connections, because the gateway drains."""
        self.released = False
        """Whether a successor serves alone."""

    def __repr__(self) -> str:
        return f"<Succession {self._offers} stopping={self.stopping} released={self.released}>"

    @property
    def under_way(self) -> bool:
        """Whether somebody is about to take over, and holds the sockets as well or will in a moment."""
        return self._own is not None or any(offer.under_way for offer in self._offers)

    @property
    def is_upgrade(self) -> bool:
        """Whether that is a new version that we have started."""
        return self._own is not None

    @property
    def ready(self) -> bool:
        """Whether a successor serves beside us; then `release` it."""
        return not self.released and any(offer.stage is Stage.READY for offer in self._offers)

    def timeout(self) -> float:
        dues = [self._kill_at, *(offer.deadline for offer in self._offers)]
        return min(max(0.0, min(dues) - time.monotonic()), self._settling.timeout())

    def start_new_version(self) -> None:
        """SIGUSR2."""
        obstacle = self._obstacle()
        if obstacle:
            log.warning("no new version is started: %s", obstacle)
            return
        variables = self._manager.variables
        try:
            self._started, connection = start(self._command, variables)
        except OSError as error:
            log.error("no new version is started: %s", error.strerror)
            return
        log.info("a new version is started (pid %d), which takes over when it is ready", self._started)
        self._own = Offer(connection, self._sockets, kept=self.kept, patience=READY_TIME)  # it has to start first
        self._offers.append(self._own)

    def _obstacle(self) -> str:
        if os.getpid() == 1:
            return "this is process 1 of a container, which ends with it: start a new container in its place"
        if sys.platform != "linux":
            return "that needs Linux: start the gateway anew"
        if self.succeeding:
            return "this one has not taken over itself yet"
        if self.stopping or self.released:
            return "this gateway is stopping: whoever is started now takes over by itself"
        if self.under_way:
            return "one is already about to take over"
        if self._started:
            return f"the one before (pid {self._started}) has not ended yet"
        return ""

    def poll(self) -> None:
        """Answers who has come; notices who has ended or is late."""
        now = time.monotonic()
        for connection in self._rendezvous.accept():
            if len(self._offers) < MAX_OFFERS:
                self._offers.append(Offer(connection, self._available, kept=self.kept))
            else:
                connection.close()
        for offer in self._offers:
            offer.poll()
        exit_code = self._children.strangers.pop(self._started, None)
        if exit_code is not None:
            self._new_version_ended(exit_code)
        for offer in [each for each in self._offers if each.stage in (Stage.FAILED, Stage.REFUSED)]:
            self._offers.remove(offer)
            if offer.stage is Stage.FAILED:
                self._failed(offer)
        if now >= self._kill_at:
            self._kill_at = inf
            os.kill(self._started, signal.SIGKILL)
        self._settling.poll(() if self.refusing else self._sockets())

    def release(self) -> int:
        """The successor goes on alone; its process id. Our processes have to stop accepting now."""
        [offer] = [each for each in self._offers if each.stage is Stage.READY]
        self.released, self._kill_at = True, inf
        if offer is self._own:
            self._manager.main_pid(self._started)  # before we end, and before it says that it is ready
        self._rendezvous.close()  # the names are its own from now on
        offer.release()
        return self._started if offer is self._own else offer.pid

    def stop(self) -> None:
        """The gateway is told to stop: a new version that we have started stops as well, and who comes is welcome."""
        self.stopping = True
        for offer in self._offers:
            offer.withdraw("the gateway stops")
        self.poll()

    def close(self) -> None:
        """In a forked process, to which none of this belongs."""
        for offer in self._offers:
            offer.close()

    def _available(self) -> Sequence[socket.socket] | State:
        if self.released or self.under_way:
            return State.BUSY
        return self._sockets() if self.stopping else State.RUNNING

    def _new_version_ended(self, exit_code: int) -> None:
        log.log(
            logging.INFO if self.released else logging.ERROR,
            "the new version (pid %d) %s",
            self._started,
            f"was killed by signal {-exit_code}" if exit_code < 0 else f"exited with status {exit_code}",
        )
        self._started, self._kill_at = 0, inf
        if self._own is not None:
            self._own.withdraw("it has ended")  # if that is not known yet

    def _failed(self, offer: Offer) -> None:
        if offer is self._own:
            self._own = None
            log.error("the new version does not take over: %s; this one goes on", offer.why)
            if self._started:
                self._kill_at = time.monotonic() + END_TIME
        elif offer.pid:
            log.error("the gateway with pid %d does not take over: %s", offer.pid, offer.why)
        if offer.pid:
            self._settling.begin()
