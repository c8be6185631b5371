"""Whether the backend can be asked: what this process has seen of it, and one line in the log for all processes.

    there --a question fails--> away --any answer--> there

A record that alone cannot be understood (`RecordError`) is an answer. What is done about an outage is the cache's
business.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import time
import weakref
from collections.abc import Callable

from gateway.directory.sandbox import DirectoryError, RecordError
from gateway.directory.shared_cache import EARLIEST, SharedCache

QUIET = 2.5
"""Seconds after an outage in which none is spoken of: questions from before its end may fail that long (2 s at most),
and a backend that flutters is no reason for a flood of lines."""

log = logging.getLogger("gateway.directory")


class OutageReporter:
    """Decides which of the processes that share it reports an outage in the log: one, and the same its end.

    The right to speak is a lock on a file in memory, made before the fork. A process that dies loses it to the next one
    whose question fails or is answered. Made without `shared`, it is this process's own.
    """

    _NOTE = struct.Struct("<dd")
    """When the outage began that was spoken of, 0 for none; when the one before ended. CLOCK_BOOTTIME."""

    def __init__(self, *, shared: bool = False) -> None:
        self._descriptor = os.memfd_create("gateway-outage", os.MFD_CLOEXEC) if shared else None
        if self._descriptor is not None:
            weakref.finalize(self, os.close, self._descriptor)
        self._note = 0.0, -QUIET  # without a file, or while nothing is in it
        self._speaking = False

    def reports_outage(self, since: float) -> bool:
        """Whether this process shall say that the backend is away, `since` that time; asked for each failure."""
        if self._speaking or not self._take():
            return False
        began, ended = self._read()
        if began:
            self._speaking = True  # who has said so is dead: the end is ours to tell
            return False
        if _now() - ended < QUIET:
            self._release()
            return False
        self._speaking = True
        self._write(since, ended)
        return True

    def reports_recovery(self) -> float | None:
        """For how long the backend was away, in seconds, if this process shall say that it is back."""
        if not self._speaking and not self._take():
            return None
        (began, _), now = self._read(), _now()
        if began:  # by whomever it was told, who is dead if it was not this process
            self._write(0.0, now)
        self._speaking = False
        self._release()
        return now - began if began else None

    def _take(self) -> bool:
        if self._descriptor is None:
            return True
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _release(self) -> None:
        if self._descriptor is not None:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def _read(self) -> tuple[float, float]:
        if self._descriptor is None:
            return self._note
        octets = os.pread(self._descriptor, self._NOTE.size, 0)
        began, ended = self._NOTE.unpack(octets) if len(octets) == self._NOTE.size else self._note
        return began, ended

    def _write(self, began: float, ended: float) -> None:
        if self._descriptor is None:
            self._note = began, ended
        else:
            os.pwrite(self._descriptor, self._NOTE.pack(began, ended), 0)


class Availability:
    """A `WatchObserver` of one process. `where` names the backend in a line; `cache` is what outlives this process."""

    def __init__(self, where: str, reporter: OutageReporter | None = None, cache: SharedCache | None = None) -> None:
        self.away = ""
        """What the latest failure said; empty: the backend is there."""
        self.on_outage: Callable[[], None] = lambda: None
        self.on_recovery: Callable[[], None] = lambda: None
        self.on_missed: Callable[[], None] = lambda: None
        self.watch_down = False
        self.floor = EARLIEST
        """Of `SharedCache.now`: changes have been missed until then, and what was asked before is not believed."""
        self._cache = cache
        self._where = where
        self._reporter = OutageReporter() if reporter is None else reporter
        self._since = 0.0

    def __repr__(self) -> str:
        return f"<Availability {self._where} {f'away: {self.away}' if self.away else 'there'}>"

    def answered(self) -> None:
        """The backend has answered a question, whatever it said."""
        if not self.away:
            return
        self.away = ""
        duration = self._reporter.reports_recovery()
        if duration is not None:
            log.info("%s: back after %.1f s", self._where, duration)
        self.on_recovery()

    def failed(self, error: DirectoryError) -> None:
        """A question was not answered."""
        if isinstance(error, RecordError):
            self.answered()
            return
        began = not self.away
        self.away = str(error) or "no answer"
        if began:
            self._since = _now()
        if self._reporter.reports_outage(self._since):
            log.error("%s; what was looked up lately is served on until it is back", self.away)
        if began:
            self.on_outage()

    def missed(self) -> None:
        """As `WatchObserver.missed`."""
        self.floor = SharedCache.now()
        if self._cache is not None:
            self._cache.forget()
        self.on_missed()

    @property
    def bookmark(self) -> str:
        """As `WatchObserver.bookmark`."""
        return "" if self._cache is None else self._cache.bookmark

    @bookmark.setter
    def bookmark(self, text: str) -> None:
        if self._cache is not None:
            self._cache.bookmark = text


def _now() -> float:
    """Seconds of the one clock that all processes share, and that nobody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
