"""The admin listener of `gateway dev`: what `serve` has there, of this one process, and the inspector at its `/`."""

from __future__ import annotations

import os
import time

from gateway import __version__
from gateway.admin.app import Health, make_app, start
from gateway.admin.metrics import Sources
from gateway.admin.overview import Answer, refusing
from gateway.dev.parts import Parts
from gateway.directory.memory import MemoryRegistry
from gateway.edge.sampler import Sampler
from gateway.inspector.live import Live
from gateway.inspector.replay import Replays
from gateway.inspector.routes import Inspector
from gateway.observe.totals import Totals
from gateway.process.worker import status_of, told


class AdminListener:
    """From `start` to `close`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._sampler = Sampler(parts.edge)
        prepared, store = parts.prepared, parts.recording.store
        facts = {"version": __version__, "authority": str(prepared.certificates.authority.absolute())}
        inspector = Inspector(Live(store, parts.tasks), store, Replays(parts.edge, store), parts.context, facts)
        health = Health(self._status, parts.tasks, sources=self._sources())
        self._app = make_app(health, parts.context, lambda: prepared.token.token, inspector)

    async def start(self) -> None:
        self._runner = await start(self._app, self._parts.prepared.admin)

    async def close(self) -> None:
        self._sampler.close()
        await self._runner.cleanup()

    async def _status(self) -> list[Answer]:
        """What `/readyz` says: the one worker is the process that answers."""
        return [told(status_of(self._parts.edge, worker=0))]

    def _sources(self) -> Sources:
        """Nobody shares anything: the one process looks at itself."""
        parts = self._parts
        return Sources(
            self._totals,
            lambda: [("worker 0", os.getpid())],
            started=time.time(),
            directory=MemoryRegistry.where,
            limits=refusing(parts.edge.settings.limits),
            certificates=lambda: parts.certificate_files,
        )

    def _totals(self) -> Totals:
        self._sampler.sample()
        return Totals.of([self._parts.cells])
