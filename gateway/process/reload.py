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
from gateway.observe import logs
from gateway.process import preflight
from gateway.process.children import Child, Children
from gateway.process.generation import Generation, Wiring, applicable
from gateway.process.roll import Roll
from gateway.process.sockets import for_this_machine

log = logging.getLogger("gateway.process")


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
        self._children = children
        self._slots = slots
        self._next: Generation | None = None  # valid, and waits
        self._roll: Roll | None = None
        self.has_ended = False
        """Set when one was refused or has ended, well or not; cleared by whoever is interested."""

    def request(self) -> None:
        """Reads and judges the configuration; what is valid is rolled out as soon as it can be."""
        state, running = self._wiring.reload, self.generation.settings
        requested = state.last.requested + 1
        try:
            settings, needs_restart = applicable(for_this_machine(self._read()), running)
            self._next = Generation(settings, self.generation)
        except UserError as error:
            self._refused(requested, str(error))
            return
        except Exception:  # a bug of ours must not end a gateway that serves
            log.exception("the configuration cannot be read anew")
            self._refused(requested, "an unexpected error, logged with a traceback")
            return
        preflight.warn(settings)
        if needs_restart:
            log.warning("not before a restart: %s (what a reload cannot change)", ", ".join(needs_restart))
        self._tell(requested=requested, state="waiting", needs_restart=needs_restart)
        self.poll()
        if self._next is not None:
            log.info("the new configuration is valid and waits for processes to finish (process.max_draining)")

    def _refused(self, requested: int, why: str) -> None:
        self.has_ended = True
        log.error("not reloaded, nothing has changed: %s", why)
        self._tell(requested=requested, state="refused", successful=False, ended=time.time(), error=why)

    def _tell(self, **changes: object) -> None:
        self._wiring.reload.write(msgspec.structs.replace(self._wiring.reload.last, **changes))

    def timeout(self) -> float:
        """As `Roll.timeout`; infinite while nothing rolls."""
        return self._roll.timeout() if self._roll is not None else float("inf")

    def poll(self) -> None:
        """Does what is due."""
        draining = tuple(sorted(self._children.draining_generations()))
        if draining != self._wiring.reload.last.draining:
            self._tell(draining=draining)
        if self._roll is None and self._next is not None and self._may_roll():
            self._begin(self._next)
        if self._roll is not None:
            self._roll.poll()
            if self._roll.done:
                self._end(self._roll)

    def _may_roll(self) -> bool:
        return len(self._children.draining_generations()) < self.generation.settings.process.max_draining

    def _begin(self, generation: Generation) -> None:
        self._next = None
        self.generation = generation
        logs.reconfigure(generation.settings.log.format, generation.settings.log.level)
        *workers, admin = self._slots
        programs = [(child, generation.worker(number, self._wiring)) for number, child in enumerate(workers)]
        log.info("reloading: generation %d takes the place of the one before, worker by worker", generation.number)
        self._roll = Roll(self._children, [*programs, (admin, generation.admin(self._wiring))])
        self._tell(state="rolling", generation=generation.number)

    def _end(self, roll: Roll) -> None:
        self._roll, self.has_ended = None, True
        if roll.failure:
            log.error("the reload ended early: %s; what was not replaced goes on as before", roll.failure)
        else:
            log.info("reloaded: generation %d serves", self.generation.number)
        self._tell(
            state="failed" if roll.failure else "done",
            successful=not roll.failure,
            ended=time.time(),
            error=roll.failure,
        )

    def abandon(self, why: str) -> None:
        """The gateway is about to end: no roll goes on, and none begins."""
        self._next = None
        if self._roll is not None:
            self._roll.abandon(why)
            self._end(self._roll)
