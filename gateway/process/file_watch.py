"""The supervisor's looks at files that are followed without a reload: certificates, the admin's token.

The supervisor serves nothing of them. It looks, so that processes which it forks later begin with what is there now, or
with what was good last; and it alone tells of them, else every line would come once from each process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from gateway.file_changes import INTERVAL

log = logging.getLogger("gateway.process")


class FileWatch:
    """Calls `looks` every `INTERVAL`, for code without an event loop: see `Children` for the protocol."""

    def __init__(self, looks: Sequence[Callable[[], None]]) -> None:
        self._looks = looks
        self._due = time.monotonic() + INTERVAL
        self._said = ""  # what a look has failed of

    def timeout(self) -> float:
        """Seconds until `poll` has something to do."""
        return max(0.0, self._due - time.monotonic())

    def poll(self) -> None:
        """Does what is due."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + INTERVAL
        for look in self._looks:
            try:
                look()
            except Exception as error:  # a fault of ours; the processes are to be watched nevertheless
                if self._said != (said := f"{type(error).__name__}: {error}"):
                    self._said = said
                    log.exception("a look at a followed file failed")
