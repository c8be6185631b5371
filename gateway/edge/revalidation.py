"""Are the records still the same of which something is open or under way?

What a change, a loss of the backend or the end of a lifetime has put in doubt is fetched anew; what that says reaches
the pool by way of the directory's cache, and `Pool.retire_replaced` ends what was opened to another machine.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.directory.cache import DirectoryCache
    from gateway.tasks import Tasks
    from gateway.upstream.pool import Pool

TASK = "whose is what is open?"


class Revalidation:
    """One per worker."""

    def __init__(self, pool: Pool, directory: DirectoryCache, tasks: Tasks) -> None:
        self._pool = pool
        self._directory = directory
        self._tasks = tasks
        self._stale: dict[str, None] = {}  # ids to be fetched anew, in that order

    def changed(self, sandbox_ids: Iterable[str]) -> None:
        """The backend says that these records differ."""
        changed = list(sandbox_ids)
        self._directory.invalidate(changed)
        self._revalidate([name for name in changed if self._pool.serves(name)])

    def all(self) -> None:
        """Changes that cannot be named were missed."""
        self._revalidate(self._pool.sandboxes())

    def due(self, in_use: Collection[str]) -> None:
        """What has been in use for longer than its record vouches for, as far as it is not under way already."""
        if not self._tasks.keeps(TASK):
            self._revalidate(self._directory.due(in_use))

    def _revalidate(self, sandbox_ids: Iterable[str]) -> None:
        self._stale.update(dict.fromkeys(sandbox_ids))
        if self._stale:
            self._tasks.keep(self._fetch, TASK)

    async def _fetch(self) -> None:
        """A few at a time: a whole fleet may be written anew."""
        while self._stale:
            stale, self._stale = self._stale, {}
            try:
                await self._directory.ask_again(list(stale))
            except Exception:
                self._stale = stale | self._stale
                raise
