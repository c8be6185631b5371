"""A roll: slot by slot a new generation of processes takes the place of the one before, and no connection is refused.

    slot 0    old ======================SIGTERM- - drains - -
              new      fork--SERVING===========================
    slot 1    old ==========================SIGTERM- - drains - -
              new                 fork--SERVING=================

A successor inherits its slot's sockets, and both accept from the same queues until the predecessor is told to finish.
One slot at a time, so that most of the gateway serves whatever becomes of a successor, and no more than one process's
start competes with it for the processor. A successor that does not come up ends the roll: its slot and those after it
keep what they have.

Plain synchronous code, called by the supervisor; knows nothing of settings.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence

from gateway.process.children import Child, Children, Program
from gateway.process.heartbeat import Stage

log = logging.getLogger("gateway.process")

START_TIME = 60.0
"""Seconds in which a successor has to serve: a large registry takes some to read."""


class Roll:
    """`programs` in the order in which they are started."""

    def __init__(self, children: Children, programs: Sequence[tuple[Child, Program]]) -> None:
        self._children = children
        self._left = deque(programs)
        self._deadline = 0.0  # of the successor that is starting
        self._starting: Child | None = None
        self.failure = ""
        """Why it ended early; empty: it did not."""

    def __repr__(self) -> str:
        return f"<Roll starting={self._starting and self._starting.name} left={len(self._left)} {self.failure}>"

    @property
    def done(self) -> bool:
        return not self._left and self._starting is None

    def timeout(self) -> float:
        """Seconds until `poll` is due, if nobody ends or wakes the supervisor before."""
        return max(0.0, self._deadline - time.monotonic()) if self._starting is not None else 0.0

    def poll(self) -> None:
        """Goes on as far as it is possible now; not to be called once it is `done`."""
        while not self.done and self._step():
            pass

    def _step(self) -> bool:
        """Whether something has changed."""
        child = self._starting
        if child is None:
            child, program = self._left.popleft()
            self._deadline = time.monotonic() + START_TIME
            self._starting = child
            self._children.start_successor(child, program)
            return True
        if child.successor is None or child.successor.stuck:
            self.abandon(f"the new process of {child.name} has not come up (its log lines say why)")
        elif child.successor.heartbeat.stage is not Stage.STARTING:
            self._starting = None
            self._children.install_successor(child)
        elif time.monotonic() >= self._deadline:
            self.abandon(f"the new process of {child.name} does not serve after {START_TIME:g} s")
        else:
            return False
        return True

    def abandon(self, why: str) -> None:
        """Ends it here."""
        self.failure = why
        self._left.clear()
        if self._starting is not None:
            self._children.retire_successor(self._starting)
            self._starting = None
