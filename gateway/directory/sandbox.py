"""A sandbox as the directory knows it, and what a backend must offer.

`Directory` is what the gateway itself needs: looking up, and hearing of changes. `Registry` is what the admin API needs
besides: writing. The file and DNS backends are directories only, their records are somebody else's to write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address
from typing import Protocol, runtime_checkable

from gateway.addresses import Address
from gateway.endpoint import Origin


@dataclass(slots=True)
class Sandbox:
    """One directory record.

    `generation` changes whenever the id is given to another machine: upstream connections are pooled under it, so
    what was opened to the machine before is never used for the one after.
    """

    id: str
    address: Address
    """IPv6 in every backend; `gateway dev` on a machine without IPv6 has 127.0.0.1 here."""
    generation: str
    ipv4: IPv4Address | None = None
    """Where the same machine is reached over IPv4. Nothing is forwarded there: after a refusal it tells whether the
    app merely listens on IPv4 only."""
    host: str = ""
    """The Host field its apps are sent, as `upstream.host`; empty: what that setting says."""
    protocol: str = field(default="", kw_only=True)
    """What is spoken to its apps, as text (`app_protocol`); empty: what they understand is found out."""
    ttl: float | None = None
    """Seconds for which the backend says this record may be used (DNS); None: as `directory.ttl` says."""
    lifetime: float | None = field(default=None, compare=False)
    """Seconds that were left of it when the backend was asked; None: it stays. Nobody uses it beyond that."""
    stale: bool = field(default=False, compare=False)
    """Whether the backend could not be asked in time, so that this is what it said before."""
    origin: Origin = field(init=False)

    def __post_init__(self) -> None:
        self.origin = Origin(self.id, self.generation, str(self.address))


@dataclass(frozen=True, slots=True)
class Broken:
    """A record that nobody can read. It leads nowhere, and can be replaced and removed as any other."""

    id: str
    why: str


class WatchObserver(Protocol):
    """Hears what comes of each attempt to ask a backend."""

    bookmark: str
    """How far, in the backend's own words, changes have been told to whatever outlives this process; "": unknown. A
    watch begins there and moves it on: what changed while nobody watched is told as well."""

    watch_down: bool
    """Whether changes are not heard of although the backend answers: then they are noticed as where none are told."""

    def answered(self) -> None: ...

    def failed(self, error: DirectoryError) -> None: ...

    def missed(self) -> None:
        """Changes that cannot be named have passed unheard: what was learned before may be wrong."""


class Directory(Protocol):
    """A backend. `DirectoryCache` stands in front of every one of them."""

    where: str
    """Names it in a message: "Redis at 10.0.0.2:6379, database 0"."""
    reports_changes: bool
    """Whether `watch` tells what changed; else a change is noticed by asking again, and by nothing else."""

    at_once: int
    """Questions that it takes at the same time; the others wait for their turn, for which it is not to blame."""

    async def fetch(self, sandbox_id: str) -> Sandbox | None:
        """The record under `sandbox_id`, or None if the backend is sure that there is none.

        Raises DirectoryError when the backend cannot tell.
        """
        ...

    async def watch(self, changed: Callable[[Iterable[str]], None], observer: WatchObserver) -> None:
        """Runs until cancelled; calls `changed(ids)` with the ids whose record differs from before.

        A backend that is away for a while is no reason to end: it goes on when it is back. Each attempt's outcome is
        told to `observer`.
        """
        ...

    async def close(self) -> None:
        """Gives back what the backend holds open."""
        ...


class Presence(Enum):
    """What a writer may expect who has no generation in mind: `If-None-Match: *` and `If-Match: *`."""

    ABSENT = "there is no record"
    PRESENT = "there is one, whatever its generation"


Expected = str | Presence | None
"""What must be in force for a write to happen: this generation; None: anything, or nothing."""


@runtime_checkable
class Registry(Directory, Protocol):
    """A backend whose records are written through the admin API.

    Every method raises DirectoryError as `fetch` does; those that write, WriteError if the backend takes no write, and
    Conflict if the record in force is not as `expected`: whether it is, is part of the write, whoever else writes.
    """

    async def put(self, sandbox: Sandbox, *, expected: Expected = None, lifetime: float | None = None) -> Sandbox:
        """Creates or replaces the record; returns it as stored.

        `sandbox.generation` is ignored: the stored one stays as it is while the address stays, and is a new one, never
        used before for this id, when the address changes or the id was removed meanwhile. After `lifetime` seconds the
        record is gone; an end that comes earlier than the one before is a change that `watch` tells.
        """
        ...

    async def remove(self, sandbox_id: str, *, expected: Expected = None) -> bool:
        """Whether there was such a record."""
        ...

    async def page(self, after: str, limit: int) -> list[Sandbox | Broken]:
        """At most `limit` records whose id is greater than `after`, in the order of their ids."""
        ...

    async def tend(self) -> float:
        """One step, of bounded length, by which records whose lifetime has ended leave the backend although nobody asks
        for them; returns the seconds until the next one is due. Raises WriteError as those that write.
        """
        ...

    async def obstacle(self) -> str:
        """Why nothing could be written now, as far as that shows without trying; empty: nothing is in the way."""
        ...


class Conflict(Exception):
    """The record is not the one the writer had in mind; `current` is its generation, "" if it is broken, None if there
    is none.
    """

    def __init__(self, current: str | None) -> None:
        self.current = current
        broken = "the record is broken, and has no generation"
        there = f"the record's generation is {current}" if current else broken
        super().__init__("there is no such record" if current is None else there)


def expect(current: str | None, expected: Expected) -> None:
    """Raises Conflict if `current`, the generation in force, is not what the writer expects."""
    match expected:
        case None:
            met = True
        case Presence.ABSENT:
            met = current is None
        case Presence.PRESENT:
            met = current is not None
        case generation:
            met = current == generation
    if not met:
        raise Conflict(current)


class DirectoryError(Exception):
    """The backend could not answer; the message says what was tried and what came of it."""


class WriteError(DirectoryError):
    """The backend is there, and the record was not written. `full`: because there is no room for it."""

    def __init__(self, message: str, *, full: bool = False) -> None:
        self.full = full
        super().__init__(message)


class RecordError(DirectoryError):
    """The backend is there, but cannot tell about this one record."""


class TableDirectory:
    """Records in memory; the base of the file backend, and of the registry of `gateway dev`."""

    where = "the table of sandboxes"
    reports_changes = True
    at_once = 64

    def __init__(self, table: Mapping[str, Sandbox]) -> None:
        self.table = dict(table)

    async def fetch(self, sandbox_id: str) -> Sandbox | None:
        return self.table.get(sandbox_id)

    async def page(self, after: str, limit: int) -> list[Sandbox | Broken]:
        """As `Registry.page`."""
        return [self.table[name] for name in sorted(name for name in self.table if name > after)[:limit]]

    async def watch(self, changed: Callable[[Iterable[str]], None], observer: WatchObserver) -> None:
        await asyncio.Event().wait()  # nothing changes by itself

    async def close(self) -> None: ...
