"""The one cache in front of every backend.

`peek` is the hot path: synchronous, one dict look-up. `fetch` is the cold one: one shared question per id, whoever
asks. An entry lives `ttl`, or less if the record says so;
a "no such sandbox" lives `negative_ttl`; and when the backend fails, an entry that was
good up to `stale` ago is served on, because an outage of the registry is no reason to take down what was reachable
a minute ago.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from gateway.directory.sandbox import Directory, DirectoryError, Sandbox
from gateway.errors import GatewayError, Reason
from gateway.tasks import Tasks

MAX_ENTRIES = 100_000
"""Entries kept (about 300 octets each); the oldest goes first."""
MIN_RECORD_TTL = 0.5
"""Seconds a record is used at least, whatever its own ttl: zero would ask the backend for every request."""
RETRY_AFTER_ERROR = 1.0
"""Seconds a stale entry is served before the backend is asked again."""


class _Entry:
    __slots__ = ("expires", "sandbox", "stale_until")

    def __init__(self, sandbox: Sandbox | None, expires: float, stale_until: float) -> None:
        self.sandbox = sandbox  # None: the backend is sure there is none
        self.expires = expires
        self.stale_until = stale_until


class DirectoryCache:
    """Times are seconds on `clock`, which is the event loop's time."""

    def __init__(
        self, backend: Directory, clock: Callable[[], float], *, ttl: float, negative_ttl: float, stale: float
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._ttl = ttl
        self._negative_ttl = negative_ttl
        self._stale = stale
        self.moved: Callable[[Sandbox], None] = lambda before: None
        """Called with the old record when asking again has shown another machine, or none, under its id."""
        self._entries: dict[str, _Entry] = {}
        self._asking: dict[str, asyncio.Task[Sandbox | DirectoryError | None]] = {}
        self._tasks = Tasks()

    def peek(self, sandbox_id: str) -> Sandbox | None:
        """The record if it is cached and fresh; None means: ask `fetch`.

        Raises GatewayError(destination_not_found) if it is fresh knowledge that there is none.
        """
        entry = self._entries.get(sandbox_id)
        if entry is None or entry.expires < self._clock():
            return None
        if entry.sandbox is None:
            raise _not_found(sandbox_id)
        return entry.sandbox

    async def fetch(self, sandbox_id: str) -> Sandbox:
        """The record, from the backend unless `peek` has it by now.

        Raises GatewayError: `destination_not_found`, or `directory_unavailable` if the backend fails and nothing
        usable is cached.
        """
        known = self.peek(sandbox_id)
        if known is not None:
            return known
        asking = self._asking.get(sandbox_id)
        if asking is None:
            asking = self._tasks.spawn(self._ask(sandbox_id), f"directory fetch {sandbox_id}")
            self._asking[sandbox_id] = asking
        # shield: one asker going away must not take the answer from the others.
        answer = await asyncio.shield(asking)
        if isinstance(answer, DirectoryError):
            return self._serve_stale(sandbox_id, answer)
        if answer is None:
            raise _not_found(sandbox_id)
        return answer

    async def _ask(self, sandbox_id: str) -> Sandbox | DirectoryError | None:
        """The backend's answer, remembered; its failure is an answer too, for everybody who waits."""
        try:
            sandbox = await self._backend.fetch(sandbox_id)
        except DirectoryError as error:
            return error
        finally:
            current = self._asking.get(sandbox_id) is asyncio.current_task()
            if current:
                del self._asking[sandbox_id]
        if current:  # else the record changed while the backend was asked
            self._remember(sandbox_id, sandbox, self._clock())
        return sandbox

    def evict(self, sandbox_id: str) -> None:
        """Forgets one record: what it led to was not there."""
        self._entries.pop(sandbox_id, None)

    def invalidate(self, sandbox_ids: Iterable[str]) -> list[Sandbox]:
        """Forgets the records that the backend says have changed; returns those that were known."""
        known: list[Sandbox] = []
        for sandbox_id in sandbox_ids:
            entry = self._entries.pop(sandbox_id, None)
            if entry is not None and entry.sandbox is not None:
                known.append(entry.sandbox)
            self._asking.pop(sandbox_id, None)  # those who wait get what they asked for; it is not kept
        return known

    async def close(self) -> None:
        """Ends the questions under way."""
        await self._tasks.cancel()

    def __len__(self) -> int:
        return len(self._entries)

    def _remember(self, sandbox_id: str, sandbox: Sandbox | None, now: float) -> None:
        entries = self._entries
        before = entries.pop(sandbox_id, None)  # so that insertion order is age
        known = before.sandbox if before is not None else None
        if known is not None and (sandbox is None or sandbox.origin != known.origin):
            self.moved(known)
        while len(entries) >= MAX_ENTRIES:
            del entries[next(iter(entries))]
        if sandbox is None:
            entries[sandbox_id] = _Entry(None, now + self._negative_ttl, now + self._negative_ttl)
            return
        ttl = self._ttl if sandbox.ttl is None else min(max(sandbox.ttl, MIN_RECORD_TTL), self._ttl)
        entries[sandbox_id] = _Entry(sandbox, now + ttl, now + ttl + self._stale)

    def _serve_stale(self, sandbox_id: str, error: DirectoryError) -> Sandbox:
        entry = self._entries.get(sandbox_id)
        now = self._clock()
        if entry is None or entry.sandbox is None or entry.stale_until < now:
            raise GatewayError(Reason.DIRECTORY_UNAVAILABLE, str(error)) from error
        entry.expires = min(now + RETRY_AFTER_ERROR, entry.stale_until)
        return entry.sandbox


def _not_found(sandbox_id: str) -> GatewayError:
    return GatewayError(Reason.DESTINATION_NOT_FOUND, f"no record for {sandbox_id}")
