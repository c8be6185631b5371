"""Reloads: from SIGHUP to the last worker that runs the new settings.

    SIGHUP --invalid--> refused: nothing changes
      |
      `--valid--> waiting --fewer than `max_draining` generations drain--> rolling --> done
                     ^  |                                                     |
                     `--' a later SIGHUP takes its place                      `--> failed: see roll.py

What may be wrong is found while the old settings serve (`generation.py`). How it went is in the log, and in
`ReloadState` for the admin listener.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import msgspec

from gateway.config import Settings
from gateway.errors import UserError
from gateway.metrics import RELOAD_SUCCESSFUL, RELOADS
from gateway.observe import logs
from gateway.process import preflight
from gateway.process.children import Child, Children
from gateway.process.generation import Generation, Wiring, applicable
from gateway.process.roll import Roll
from gateway.process.sockets import for_this_machine

log = logging.getLogger("gateway.process")

PAUSE = 0.5
"""Seconds between two readings of the configuration; reloads asked for meanwhile become one."""


class Reloads:
    """Of one supervisor; plain synchronous code, like it."""

    def __init__(
        self,
        read: Callable[[], Settings],
        generation: Generation,
        wiring: Wiring,
        children: Children,
        slots: Sequence[Child],
    ) -> None:
        """`read` reads the configuration anew; `slots` are the workers', by number, and the admin's."""
        self._read = read
        self.generation = generation
        """The newest that serves, or was last tried."""
        self._wiring = wiring
        wiring.metrics.kept[RELOAD_SUCCESSFUL.at()] = True
        self._children = children
        self._slots = slots
        self._next: Generation | None = None  # valid, and waits
        self._roll: Roll | None = None
        self._asked = False  # for a reload that has not been judged yet
        self._judged = float("-inf")  # when the last one was
        self._valid = 0  # the number of the request for `_next`, or what was that last
        self._rolled = 0  # the same of `_roll`
        self.has_ended = False
        """Set when one was refused or has ended, well or not; cleared by whoever is interested."""

    def request(self) -> None:
        """Reads and judges the configuration; what is valid is rolled out as soon as it can be."""
        self._asked = True
        self.poll()

    def _judge(self) -> None:
        self._asked, self._judged = False, time.monotonic()
        state, running = self._wiring.reload, self.generation.settings
        requested = state.last.requested + 1
        try:
            settings, needs_restart = applicable(for_this_machine(self._read()), running)
            generation = Generation(settings, self.generation)
            preflight.warn(settings)
        except UserError as error:
            self._refused(requested, str(error))
            return
        except Exception:  # a bug of ours must not end a gateway that serves
            log.exception("the configuration cannot be read anew")
            self._refused(requested, "an unexpected error, logged with a traceback")
            return
        if needs_restart:
            log.warning("not before a restart: %s (what a reload cannot change)", ", ".join(needs_restart))
        self._next, self._valid = generation, requested
        self._tell(requested=requested, state="waiting", needs_restart=needs_restart)
        if not self._may_roll():
            log.info("the new configuration is valid and waits for processes to finish (process.max_draining)")

    def _refused(self, requested: int, why: str) -> None:
        self.has_ended = True
        log.error("not reloaded, nothing has changed: %s", why)
        self._count(successful=False)
        self._tell(requested=requested, state="refused", successful=False, ended=time.time(), error=why)

    def _count(self, *, successful: bool) -> None:
        metrics = self._wiring.metrics
        metrics.count(RELOADS, "success" if successful else "failure")
        metrics.kept[RELOAD_SUCCESSFUL.at()] = successful

    def _tell(self, **changes: object) -> None:
        self._wiring.reload.write(msgspec.structs.replace(self._wiring.reload.last, **changes))

    def timeout(self) -> float:
        """As `Roll.timeout`; infinite while nothing rolls, and nothing is to be judged."""
        judging = max(0.0, self._judged + PAUSE - time.monotonic()) if self._asked else float("inf")
        return min(judging, self._roll.timeout()) if self._roll is not None else judging

    def poll(self) -> None:
        """Does what is due."""
        draining = tuple(sorted(self._children.draining_generations()))
        if draining != self._wiring.reload.last.draining:
            self._tell(draining=draining)
        if self._asked and time.monotonic() >= self._judged + PAUSE:
            self._judge()
        if self._next is not None and self._may_roll():
            self._begin(self._next)
        if self._roll is not None:
            self._roll.poll()
            if self._roll.done:
                self._end(self._roll)

    def _may_roll(self) -> bool:
        if self._roll is not None:
            return False
        return len(self._children.draining_generations()) < self.generation.settings.process.max_draining

    def _begin(self, generation: Generation) -> None:
        self._next, self._rolled = None, self._valid
        self.generation = generation
        logs.reconfigure(generation.settings.log.format, generation.settings.log.level)
        *workers, admin = self._slots
        programs = [(child, generation.worker(number, self._wiring)) for number, child in enumerate(workers)]
        log.info("reloading: generation %d takes the place of the one before, worker by worker", generation.number)
        self._roll = Roll(self._children, [*programs, (admin, generation.admin(self._wiring))])
        latest = self._is_latest()
        self._tell(generation=generation.number, **({"state": "rolling"} if latest else {}))

    def _is_latest(self) -> bool:
        """Whether nothing has been judged since what rolls was: then it is what is told about."""
        return self._wiring.reload.last.requested == self._rolled

    def _end(self, roll: Roll) -> None:
        self._roll, self.has_ended = None, True
        self._count(successful=not roll.failure)
        if roll.failure:
            log.error("the reload ended early: %s; what was not replaced goes on as before", roll.failure)
        else:
            log.info("reloaded: generation %d serves", self.generation.number)
        how = {"successful": not roll.failure, "ended": time.time(), "error": roll.failure}
        if self._is_latest():
            self._tell(state="failed" if roll.failure else "done", **how)
        elif self._next is not None:
            self._tell(**how)
        # Else a later one was refused, which is what has to be told.

    def abandon(self, why: str) -> None:
        """The gateway is about to end: no roll goes on, and none begins."""
        self._asked = False
        if self._next is not None:
            self._next = None
            log.warning("not reloaded: %s", why)
            self._count(successful=False)
            self._tell(state="failed", successful=False, ended=time.time(), error=why)
        if self._roll is not None:
            self._roll.abandon(why)
            self._end(self._roll)
