"""What the processes of one gateway know together about the directory; made by the supervisor before the fork."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.config import Directory as DirectorySettings
from gateway.directory.availability import Availability, OutageReporter
from gateway.directory.backends import open_directory
from gateway.directory.sandbox import Directory
from gateway.directory.shared_cache import SharedCache
from gateway.directory.snapshot import SnapshotWriter, load

if TYPE_CHECKING:
    from gateway.directory.file import LastGood

log = logging.getLogger("gateway.directory")


@dataclass(frozen=True, slots=True)
class Shared:
    """`cache` is None where there is nothing to remember: the backend is a file, or nothing is served stale."""

    reporter: OutageReporter
    cache: SharedCache | None = None
    keeper: SnapshotWriter | None = None
    """Of the admin process; None: nothing is kept for the next start."""
    last_good: LastGood | None = None
    """None: the backend is no file, or there is no memory for it."""

    def open(self, settings: DirectorySettings) -> Directory:
        """As `open_directory`, for a process that may take the place of another."""
        return open_directory(settings, self.last_good)

    def availability(self, directory: Directory) -> Availability:
        """What one process sees of the backend it has opened."""
        return Availability(directory.where, self.reporter, self.cache)

    def changed(self, sandbox_ids: Iterable[str]) -> None:
        """The backend says that these records differ from before."""
        if self.cache is not None:
            now = self.cache.now()
            for sandbox_id in sandbox_ids:
                self.cache.mark_gone(sandbox_id, now)


def share(settings: DirectorySettings) -> Shared:
    """What is known from the last start included. Raises UserError as `open_directory` does."""
    reporter = OutageReporter(shared=True)
    if settings.backend == "file":
        return Shared(reporter, last_good=_last_good())
    if not settings.stale:
        return Shared(reporter)
    where = settings.path.absolute() if settings.backend == "sqlite" else open_directory(settings).where
    registry = f"{settings.backend}: {where}"
    try:
        cache = SharedCache.make(registry)
    except OSError as error:
        log.warning("what one worker looks up is not known to the others: %s", os.strerror(error.errno or 0))
        return Shared(reporter)
    if settings.known_file is None:
        return Shared(reporter, cache)
    load(settings.known_file, registry, cache)
    return Shared(reporter, cache, SnapshotWriter(settings.known_file, registry, cache, settings.ttl + settings.stale))


def _last_good() -> LastGood | None:
    from gateway.directory.file import LastGood

    try:
        return LastGood()
    except OSError as error:
        log.warning("a process that is replaced reads the table anew: %s", os.strerror(error.errno or 0))
        return None
