"""Records in memory that the admin API writes: the registry of `gateway dev`, gone with the process.

Everything happens in one event loop, so a write is one step and needs no lock.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from gateway.directory.sandbox import Expected, Sandbox, TableDirectory, WatchObserver, expect

_Changed = Callable[[Iterable[str]], None]


class MemoryRegistry(TableDirectory):
    """A `Registry`. Methods that write need a running event loop: a lifetime ends by its timer."""

    def __init__(self, table: Mapping[str, Sandbox]) -> None:
        super().__init__(table)
        self._watchers: list[_Changed] = []
        self._ends: dict[str, asyncio.TimerHandle] = {}  # of the records with a lifetime, and of no others

    async def fetch(self, sandbox_id: str) -> Sandbox | None:
        """As `Directory.fetch`."""
        record, left = self.table.get(sandbox_id), self._left(sandbox_id)
        return record if record is None or left is None else replace(record, lifetime=left)

    async def put(self, sandbox: Sandbox, *, expected: Expected = None, lifetime: float | None = None) -> Sandbox:
        """As `Registry.put`. Without `lifetime` the record stays, whatever it was given before."""
        before = self.table.get(sandbox.id)
        expect(None if before is None else before.generation, expected)
        # Random, because nothing remembers the generations of a removed record, and none may come twice.
        kept = before is not None and before.address == sandbox.address
        stored = replace(sandbox, generation=before.generation if before and kept else secrets.token_hex(8))
        left = self._left(sandbox.id)
        self._forget_end(sandbox.id)
        self.table[sandbox.id] = stored
        if lifetime is not None:
            self._ends[sandbox.id] = asyncio.get_running_loop().call_later(lifetime, self._drop, sandbox.id)
        if stored != before or (lifetime is not None and (left is None or lifetime < left)):
            self._tell(sandbox.id)
        return replace(stored, lifetime=lifetime)

    async def remove(self, sandbox_id: str, *, expected: Expected = None) -> bool:
        """As `Registry.remove`."""
        before = self.table.get(sandbox_id)
        expect(None if before is None else before.generation, expected)
        if before is None:
            return False
        self._drop(sandbox_id)
        return True

    async def obstacle(self) -> str:
        """As `Registry.obstacle`."""
        return ""

    async def tend(self) -> float:
        """As `Registry.tend`: a lifetime ends by its timer."""
        return 3600.0

    async def watch(self, changed: Callable[[Iterable[str]], None], observer: WatchObserver) -> None:
        """Runs until cancelled; a change is told before the write that made it returns."""
        self._watchers.append(changed)
        try:
            await asyncio.Event().wait()
        finally:
            self._watchers.remove(changed)

    async def close(self) -> None:
        """Stops the clocks of the lifetimes."""
        for name in list(self._ends):
            self._forget_end(name)

    def _drop(self, sandbox_id: str) -> None:
        self._forget_end(sandbox_id)
        del self.table[sandbox_id]
        self._tell(sandbox_id)

    def _left(self, sandbox_id: str) -> float | None:
        end = self._ends.get(sandbox_id)
        return None if end is None else end.when() - asyncio.get_running_loop().time()

    def _forget_end(self, sandbox_id: str) -> None:
        end = self._ends.pop(sandbox_id, None)
        if end is not None:
            end.cancel()

    def _tell(self, sandbox_id: str) -> None:
        for changed in list(self._watchers):
            changed([sandbox_id])
