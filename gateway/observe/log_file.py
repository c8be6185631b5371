"""A log file that we open ourselves, by its path (`log.path`), and open anew when it has been rotated.

Opened to append, so that several workers write to one file, and whoever truncates it under us (logrotate's
copytruncate) finds the next line at its beginning. That it was moved is noticed by a look at the path, once a second at
most and only when there is something to write; a signal (`reopen`) says so at once.

A worker serves whatever becomes of its log: what cannot be opened is told, tried again, and its lines are dropped and
counted as those that nobody reads.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from pathlib import Path

from gateway.errors import UserError
from gateway.observe.sink import LAST_WORDS, WAITING, LogSink

LOOK_INTERVAL = 1.0
"""Seconds between two looks whether the path still leads to the file that is open."""
SAID_EVERY = 60.0
"""Seconds between two lines about a file that cannot be opened, at least."""
MODE = 0o640
"""Of a file that is made: who else reads it is the group's business. A umask takes more away."""

log = logging.getLogger("gateway.access")


class LogFile(LogSink):
    """Lines to the file at `path`. Whatever is wrong with it is no exception, see above."""

    def __init__(self, path: Path, limit: int = WAITING) -> None:
        super().__init__(-1, limit)
        self._path = path
        self._own = -1  # its descriptor; -1: it could not be opened yet
        self._identity = (0, 0)  # device and inode of what is open
        self._looked = time.monotonic()
        self._silent_until = 0.0
        self.reopen()

    def __repr__(self) -> str:
        return f"<LogFile {self._path} {super().__repr__()}>"

    def pump(self) -> None:
        now = time.monotonic()
        if now - self._looked >= LOOK_INTERVAL:
            self._looked = now
            if not self._is_there():
                self.reopen()
        super().pump()

    def reopen(self) -> None:
        """Opens the path anew, and makes the file if there is none. If that fails, the one that is open goes on."""
        try:
            opened = open_to_append(self._path)
        except OSError as error:
            if self._own < 0:
                self.redirect(-1, error.errno or errno.EIO)
            self._say(error)
            return
        if self._begun:
            super().pump()  # its end, if there is room for it now
        former, self._own = self._own, opened
        found = os.fstat(opened)
        self._identity = found.st_dev, found.st_ino
        self.redirect(opened)
        if former >= 0:
            os.close(former)

    def finish(self, patience: float = LAST_WORDS) -> None:
        super().finish(patience)
        if self._own >= 0:
            os.close(self._own)
            self._own = -1

    def _is_there(self) -> bool:
        try:
            found = self._path.stat()
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._identity

    def _say(self, error: OSError) -> None:
        now = time.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + SAID_EVERY
            goes_on = (
                "the file that is open goes on"
                if self._own >= 0
                else "its lines wait, and are dropped when they are many"
            )
            log.error("%s (log.path) cannot be opened: %s; %s", self._path, error.strerror, goes_on)


def open_to_append(path: Path) -> int:
    """Its descriptor. Raises OSError, for a FIFO that nobody reads (ENXIO) too."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    return os.open(path, flags, MODE)


def check(path: Path) -> None:
    """Opens it, and makes it if there is none. Raises UserError saying why that cannot be."""
    try:
        os.close(open_to_append(path))
    except OSError as error:
        raise UserError(f"log.path: {path} cannot be written: {error.strerror}") from None


def obstacle(path: Path) -> str:
    """Why it cannot be written, as far as that is seen without making it; empty: as far as that, it can."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        folder = path.parent
        if not folder.is_dir():
            return f"there is no directory {folder}"
        return "" if os.access(folder, os.W_OK | os.X_OK) else f"it cannot be made in {folder}"
    except OSError as error:
        return error.strerror or str(error)
    if stat.S_ISDIR(mode):
        return os.strerror(errno.EISDIR)
    return "" if os.access(path, os.W_OK) else os.strerror(errno.EACCES)
