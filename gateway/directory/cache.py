"""The one cache in front of every backend.

`get_cached` is the hot path: synchronous, one dict look-up. `fetch` is the cold one: one shared question per id,
whoever asks. An entry lives `ttl`, or less if the record says so; a "no such sandbox" lives `negative_ttl`.

An outage of the registry is no reason to take down what was reachable a minute ago. An entry that has expired is
served on for `stale` (RFC 5861, RFC 8767), but never beyond the end of its lifetime, whatever is away,

    at once      while the backend is known to be away, or did not answer in time when last asked about this entry;
                 `prober` finds out when it is back, and then what was served is asked for first
    after 0.2 s  while the backend has not answered a question; the answer is kept when it comes

and what this worker does not know, another may have looked up (`known`).
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.config import Directory as DirectorySettings
from gateway.directory.availability import Availability
from gateway.directory.prober import Prober
from gateway.directory.sandbox import Directory, DirectoryError, Sandbox
from gateway.directory.shared import Shared
from gateway.directory.shared_cache import EARLIEST, SharedCache
from gateway.errors import GatewayError, Reason
from gateway.metrics import LOOKUP_SECONDS, LOOKUPS, Cells, private
from gateway.tasks import SingleFlight, Tasks

MAX_ENTRIES: Final = 100_000
"""Entries kept (about 300 octets each); the oldest goes first."""
MAX_MISSING: Final = 8192
"""Of them names that the backend does not know, which anybody can make up: they push out each other, and no record."""
MIN_RECORD_TTL: Final = 0.5
"""Seconds a record is used at least, whatever its own ttl: zero would ask the backend for every request."""
RETRY_AFTER_ERROR: Final = 1.0
"""Seconds a stale entry is served before the backend is asked again."""
MIN_RESPONSE_TIMER: Final = 0.2
"""Seconds an expired entry waits for the backend: the client response timer of RFC 8767, which resolvers set to 1.8 s
(ours: a page makes many requests). Twice as long as answers have been taking lately, if that is more."""
MAX_RESPONSE_TIMER: Final = 1.0
SLOW_LIMIT: Final = 30.0
"""Seconds past its end that a record is served because of slowness alone, if its backend reports no changes: while that
is away there is nothing better, but an answer that takes 0.3 s is worth more than one from ten minutes ago."""
REFRESHED_AT_ONCE: Final = 8
"""Questions under way that no request waits for, about what was served stale, once the backend is back, and about what
has connections: it has enough to do."""

_CACHED: Final[int] = LOOKUPS.at("cached")
_FOUND: Final[int] = LOOKUPS.at("found")
_NOT_FOUND: Final[int] = LOOKUPS.at("not_found")
_STALE: Final[int] = LOOKUPS.at("stale")
_UNAVAILABLE: Final[int] = LOOKUPS.at("unavailable")


class _Entry:
    __slots__ = ("asked", "doubted", "ends", "expires", "sandbox", "stale_until")

    def __init__(
        self, sandbox: Sandbox | None, expires: float, stale_until: float, asked: int, ends: float = math.inf
    ) -> None:
        self.sandbox = sandbox  # None: the backend is sure there is none
        self.expires = expires
        self.ends = ends  # when its lifetime does
        self.stale_until = stale_until
        self.asked = asked  # of `SharedCache.now`
        self.doubted = False  # it led nowhere: served on only if the backend cannot be asked at all


@dataclass(frozen=True, slots=True)
class _Unanswered:
    """What the backend's failure said; the exception itself is not kept."""

    why: str


class DirectoryCache:
    """Times are seconds on `clock`, which is the event loop's time. Without `shared`, this worker knows for itself."""

    def __init__(
        self,
        backend: Directory,
        clock: Callable[[], float],
        settings: DirectorySettings,
        shared: Shared | None = None,
        cells: Cells | None = None,
    ) -> None:
        self._backend = backend
        self._cells = private() if cells is None else cells
        self._clock = clock
        self._ttl = settings.ttl
        self._negative_ttl = settings.negative_ttl
        self._stale = settings.stale
        self.availability = Availability(backend.where) if shared is None else shared.availability(backend)
        self._shared_cache = None if shared is None else shared.cache
        self.on_answer: Callable[[str, Sandbox | None], None] = lambda sandbox_id, sandbox: None
        """Called with each answer, whoever asked: whose the id is now, None for nobody's. Who knows what is open
        compares; what is kept here says nothing of that."""
        self.not_found: Callable[[str], GatewayError] = not_found
        """What is said of an id without a record; `gateway dev` says which there are."""
        self.on_flush: Callable[[], None] = lambda: None
        """Called when changes have been missed: whatever was told may be wrong."""
        # The oldest first. A plain dict would look for it past all that were deleted before it.
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._missing: OrderedDict[str, None] = OrderedDict()  # the same, of those without a record
        self._ends: dict[str, float] = {}  # of lifetimes, from entries that went since `due` looked, or are in use
        self._served_stale: dict[str, None] = {}  # not yet asked for again; in the order in which they were served
        self._srtt = 0.0  # seconds that answers take, smoothed as RFC 6298 does it
        self._slow_limit = math.inf if backend.reports_changes else SLOW_LIMIT
        self._turns = asyncio.Semaphore(backend.at_once)
        self._tasks = Tasks()
        self._fetches: SingleFlight[str, Sandbox | _Unanswered | None] = SingleFlight(self._tasks)
        self._prober = Prober(self.availability, self._join_fetch, clock)
        self.availability.on_outage = self._start_prober
        self.availability.on_recovery = self._start_refresh
        self.availability.on_missed = self._flush

    def get_cached(self, sandbox_id: str) -> Sandbox | None:
        """The record if it is cached and fresh; None means: ask `fetch`.

        Raises GatewayError(destination_not_found) if it is fresh knowledge that there is none.
        """
        entry = self._entries.get(sandbox_id)
        if entry is None or entry.expires < self._clock():
            return None
        sandbox = entry.sandbox
        if sandbox is None:
            self._cells[_NOT_FOUND] += 1
            raise self.not_found(sandbox_id)
        self._cells[_STALE if sandbox.stale else _CACHED] += 1
        return sandbox

    async def look_up(self, sandbox_id: str) -> Sandbox:
        """As `fetch`, for a request: its result is counted."""
        result = _UNAVAILABLE
        try:
            sandbox = await self.fetch(sandbox_id)
            result = _STALE if sandbox.stale else _FOUND
            return sandbox
        except GatewayError as error:
            if error.reason is Reason.DESTINATION_NOT_FOUND:
                result = _NOT_FOUND
            raise
        finally:
            self._cells[result] += 1

    async def fetch(self, sandbox_id: str) -> Sandbox:
        """The record: a fresh one from the cache, else from the backend, or an old one if that does not answer.

        Raises GatewayError: `destination_not_found`, or `directory_unavailable` if the backend fails and nothing
        usable is known.
        """
        known = self._entries.get(sandbox_id)
        if known is not None and known.expires >= self._clock():
            if known.sandbox is None:
                raise self.not_found(sandbox_id)
            return known.sandbox
        if self.availability.away:
            old = self._old(sandbox_id)
            if old is not None:
                return self._serve_old(sandbox_id, old)
            if not await self._prober.is_back(sandbox_id, MIN_RESPONSE_TIMER):
                raise GatewayError(Reason.DIRECTORY_UNAVAILABLE, self.availability.away)
        asking = self._join_fetch(sandbox_id)
        entry = self._entries.get(sandbox_id)
        late = entry is not None and entry.sandbox is not None and entry.sandbox.stale
        # Without shield or wait_for: one asker going away must not take the answer from the others.
        done, _ = await asyncio.wait([asking], timeout=0 if late else self._response_timer())
        if not done:
            old = self._old(sandbox_id, slow=True)
            if old is not None:
                return self._serve_old(sandbox_id, old)
            await asyncio.wait([asking])
        answer = asking.result()
        if isinstance(answer, _Unanswered):
            old = self._old(sandbox_id)
            if old is None:
                raise GatewayError(Reason.DIRECTORY_UNAVAILABLE, answer.why)
            return self._serve_old(sandbox_id, old)
        if answer is None:
            raise self.not_found(sandbox_id)
        return answer

    # --- asking --------------------------------------------------------------------------------------------------

    def _join_fetch(self, sandbox_id: str, *, probe: bool = False) -> asyncio.Task[Sandbox | _Unanswered | None]:
        """The question under way about this id; with `probe` it is asked although the backend is away."""
        return self._fetches.get(sandbox_id) or self._fetches.start(
            sandbox_id, self._ask(sandbox_id, probe), f"directory fetch {sandbox_id}"
        )

    async def _ask(self, sandbox_id: str, probe: bool) -> Sandbox | _Unanswered | None:
        """The backend's answer, remembered; its failure is an answer too, for everybody who waits."""
        try:
            async with self._turns:
                if self.availability.away and not probe:
                    return _Unanswered(self.availability.away)  # found out while this one waited for its turn
                asked, began = SharedCache.now(), self._clock()
                sandbox = await self._backend.fetch(sandbox_id)
        except DirectoryError as error:
            LOOKUP_SECONDS.observe(self._cells, self._clock() - began)
            self._prober.wanted = sandbox_id
            self.availability.failed(error)
            return _Unanswered(str(error))
        took = self._clock() - began
        LOOKUP_SECONDS.observe(self._cells, took)
        if sandbox is not None and sandbox.lifetime is not None and sandbox.lifetime < took:
            sandbox = None  # its lifetime has ended while it was asked for
        self._srtt = self._srtt + (took - self._srtt) / 8 if self._srtt else took
        self.availability.answered()
        if self._fetches.is_current(sandbox_id):
            self._remember(sandbox_id, sandbox, asked, began)
            return sandbox
        # The record changed while the backend was asked, so that its answer may be from before: a later one counts.
        entry = self._entries.get(sandbox_id)
        if entry is not None and entry.asked > asked:
            return entry.sandbox
        later = self._join_fetch(sandbox_id)
        await asyncio.wait([later])
        return later.result()

    def _response_timer(self) -> float:
        return min(max(MIN_RESPONSE_TIMER, 2 * self._srtt), MAX_RESPONSE_TIMER)

    # --- forgetting ----------------------------------------------------------------------------------------------

    def evict(self, sandbox_id: str) -> None:
        """What the record led to was not there: it is asked for again. Until there is an answer, it is all there is."""
        entry = self._entries.get(sandbox_id)
        if entry is not None:
            entry.expires = -math.inf
            entry.doubted = True

    def invalidate(self, sandbox_ids: Iterable[str]) -> None:
        """Forgets the records that the backend says have changed."""
        now = SharedCache.now()
        for sandbox_id in sandbox_ids:
            if self._shared_cache is not None:
                self._shared_cache.mark_gone(sandbox_id, now)
            self._drop(sandbox_id)
            self._fetches.forget(sandbox_id)  # its answer may be from before: who waits for it waits for the next

    def _flush(self) -> None:
        for sandbox_id, entry in self._entries.items():
            self._keep_end(sandbox_id, entry)
        for cleared in (self._entries, self._missing, self._served_stale):
            cleared.clear()
        self._fetches.forget_all()
        self.on_flush()

    @property
    def failing(self) -> list[str]:
        """As `Tasks.failing`."""
        return self._tasks.failing

    async def close(self) -> None:
        """Ends the questions under way."""
        self._prober.close()
        await self._tasks.cancel()

    def __len__(self) -> int:
        return len(self._entries)

    # --- for those who hold connections open ---------------------------------------------------------------------

    def due(self, sandbox_ids: Collection[str]) -> list[str]:
        """Of these ids those to `ask_again` about, because what was last said of them may have changed unheard.

        While changes are told, that is what is forgotten, was served stale, or has a lifetime that is over; else all
        that is older than its ttl.
        """
        now = self._clock()
        told = self._backend.reports_changes and not self.availability.watch_down
        if self._ends:
            self._ends = {name: end for name, end in self._ends.items() if name in sandbox_ids}

        def is_current(entry: _Entry | None) -> bool:
            if entry is None:
                return False
            if entry.sandbox is None or entry.expires >= now:
                return True
            return told and not entry.sandbox.stale and entry.ends > now

        return [sandbox_id for sandbox_id in sandbox_ids if not is_current(self._entries.get(sandbox_id))]

    async def ask_again(self, sandbox_ids: Sequence[str]) -> None:
        """Asks about each of these ids, a few at a time; `on_answer` gets what comes of it.

        While there is no answer all stays as it is, but for a lifetime that ends: that much was known.
        """
        asking: set[asyncio.Task[Sandbox | _Unanswered | None]] = set()
        for sandbox_id in sandbox_ids:
            if self.availability.away:
                break
            asking.add(self._join_fetch(sandbox_id))
            if len(asking) >= REFRESHED_AT_ONCE:
                _, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        if asking:
            await asyncio.wait(asking)
        now = self._clock()
        for sandbox_id in sandbox_ids:
            entry = self._entries.get(sandbox_id)
            ends = self._ends.get(sandbox_id, math.inf) if entry is None else entry.ends
            if ends <= now:
                self.on_answer(sandbox_id, None)

    # --- remembering ---------------------------------------------------------------------------------------------

    def _remember(self, sandbox_id: str, sandbox: Sandbox | None, asked: int, began: float) -> None:
        now = self._clock()
        if sandbox is None:
            if self._shared_cache is not None:
                self._shared_cache.mark_gone(sandbox_id, asked)
            self._replace(sandbox_id, _Entry(None, now + self._negative_ttl, now + self._negative_ttl, asked))
            return
        if self._shared_cache is not None:
            self._shared_cache.note(sandbox, asked)
        self._replace(sandbox_id, self._entry(sandbox, asked, began, learned=now))

    def _entry(self, sandbox: Sandbox, asked: int, began: float, learned: float) -> _Entry:
        """`sandbox` as it was asked for at `began`, which is when its lifetime counts from, and told at `learned`."""
        ttl = self._ttl if sandbox.ttl is None else min(max(sandbox.ttl, MIN_RECORD_TTL), self._ttl)
        end = math.inf if sandbox.lifetime is None else began + sandbox.lifetime
        expires = learned + ttl
        return _Entry(sandbox, min(expires, end), min(expires + self._stale, end), asked, end)

    def _replace(self, sandbox_id: str, entry: _Entry) -> None:
        entries = self._entries
        self._drop(sandbox_id)  # so that insertion order is age
        if entry.sandbox is None:
            self._missing[sandbox_id] = None
            if len(self._missing) > MAX_MISSING:
                self._drop(next(iter(self._missing)))
        while len(entries) >= MAX_ENTRIES:
            self._drop(next(iter(entries)))
        entries[sandbox_id] = entry
        self._ends.pop(sandbox_id, None)
        self.on_answer(sandbox_id, entry.sandbox)

    def _drop(self, sandbox_id: str) -> None:
        self._served_stale.pop(sandbox_id, None)
        self._missing.pop(sandbox_id, None)
        entry = self._entries.pop(sandbox_id, None)
        if entry is not None:
            self._keep_end(sandbox_id, entry)

    def _keep_end(self, sandbox_id: str, entry: _Entry) -> None:
        """The entry goes, and perhaps the backend, too: that much was known of what is open."""
        if entry.ends < math.inf:
            self._ends[sandbox_id] = entry.ends

    # --- while the backend does not answer -----------------------------------------------------------------------

    def _old(self, sandbox_id: str, *, slow: bool = False) -> _Entry | None:
        """The latest that anybody was told about this id, if it may be served; `slow`: although an answer may come."""
        self._learn_from_others(sandbox_id)
        entry, now = self._entries.get(sandbox_id), self._clock()
        if entry is None or entry.sandbox is None or entry.stale_until < now or entry.asked < self.availability.floor:
            return None
        if slow and (entry.doubted or entry.expires + self._slow_limit < now):
            return None
        return entry

    def _learn_from_others(self, sandbox_id: str) -> None:
        """Takes over what another worker was told later than this one."""
        if self._shared_cache is None:
            return
        entry = self._entries.get(sandbox_id)
        told = self._shared_cache.find(sandbox_id)
        if entry is not None and entry.asked < max(self._shared_cache.floor, EARLIEST if told is None else told.asked):
            entry.stale_until = -math.inf
        if told is not None and told.sandbox is not None and (entry is None or entry.asked < told.asked):
            age = (SharedCache.now() - told.asked) / 1e9
            if age >= 0:
                then = self._clock() - age
                self._replace(sandbox_id, self._entry(told.sandbox, told.asked, then, learned=then))

    def _serve_old(self, sandbox_id: str, entry: _Entry) -> Sandbox:
        sandbox = entry.sandbox
        assert sandbox is not None  # `_old`
        entry.expires = min(self._clock() + RETRY_AFTER_ERROR, entry.stale_until)
        if not sandbox.stale:
            entry.sandbox = sandbox = replace(sandbox, stale=True)
        self._served_stale[sandbox_id] = None
        self._prober.wanted = sandbox_id
        return sandbox

    def _start_prober(self) -> None:
        self._tasks.keep(self._prober.run, "directory prober")

    def _start_refresh(self) -> None:
        if self._served_stale:
            self._tasks.keep(self._refresh, "directory refresh")

    async def _refresh(self) -> None:
        """Asks for everything that was served stale, so that what has moved or gone meanwhile is noticed at once."""
        while self._served_stale and not self.availability.away:
            entries = [(sandbox_id, self._entries.get(sandbox_id)) for sandbox_id in self._served_stale]
            stale = [name for name, entry in entries if entry and entry.sandbox and entry.sandbox.stale]
            self._served_stale.clear()
            try:
                await self.ask_again(stale)
            except Exception:
                self._served_stale.update(dict.fromkeys(stale))  # still to be asked for
                raise


def not_found(sandbox_id: str) -> GatewayError:
    """Nobody knows it."""
    return GatewayError(Reason.DESTINATION_NOT_FOUND, f"no record for {sandbox_id}")
