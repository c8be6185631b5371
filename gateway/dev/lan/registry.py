"""The registry of a gateway that has other ids for its sandboxes, under which the local network knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gateway.directory.memory import MemoryRegistry
from gateway.directory.sandbox import Sandbox


class LanRegistry(MemoryRegistry):
    """`aliases`: a sandbox's id by another one, which no sandbox has itself. They are listed nowhere."""

    def __init__(self, table: Mapping[str, Sandbox]) -> None:
        super().__init__(table)
        self.aliases: Mapping[str, str] = {}

    async def fetch(self, sandbox_id: str) -> Sandbox | None:
        """As `Directory.fetch`."""
        found = await super().fetch(sandbox_id)
        if found is None and (alias_of := self.aliases.get(sandbox_id)) is not None:
            found = await super().fetch(alias_of)
        return found if found is None or found.id == sandbox_id else replace(found, id=sandbox_id)
