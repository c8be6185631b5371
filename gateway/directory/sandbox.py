"""A sandbox as the directory knows it, and what a backend must offer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol


@dataclass(slots=True)
class Sandbox:
    """One directory record.

    `generation` changes whenever the id is given to another machine: upstream connections are pooled under it, so
    what was opened to the machine before is never used for the one after.
    """

    id: str
    address: IPv6Address
    generation: str
    ipv4: IPv4Address | None = None
    """Where the same machine is reached over IPv4. Nothing is forwarded there: after a refusal it tells whether the
    app merely listens on IPv4 only."""
    host: str = ""
    """The Host field its apps are sent, as `upstream.host`; empty: what that setting says."""
    origin: tuple[str, str] = field(init=False)
    """(generation, address as text): the part of a pool key that is the sandbox's. Hashing an IPv6Address costs a
    microsecond, a tuple of strings a twentieth."""

    def __post_init__(self) -> None:
        self.origin = (self.generation, str(self.address))


class Directory(Protocol):
    """A backend. `DirectoryCache` stands in front of every one of them."""

    async def fetch(self, sandbox_id: str) -> Sandbox | None:
        """The record under `sandbox_id`, or None if the backend is sure that there is none.

        Raises DirectoryError when the backend cannot tell.
        """
        ...


class DirectoryError(Exception):
    """The backend could not answer; the message says what was tried and what came of it."""


class TableDirectory:
    """Records in memory: what `gateway dev` uses, and the base of the file backend."""

    def __init__(self, table: Mapping[str, Sandbox]) -> None:
        self.table = dict(table)

    async def fetch(self, sandbox_id: str) -> Sandbox | None:
        return self.table.get(sandbox_id)
