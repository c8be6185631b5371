"""Whether files have changed since they were read, and have come to rest.

What is replaced in place is half written for a moment, and what consists of several files (a certificate and its key)
is out of step between two replacements. So files are read when two looks in a row have found the same. Links are
followed, because many put whole directories in place by changing one (Kubernetes' volumes, certbot's `live`).
"""

from __future__ import annotations

from pathlib import Path

INTERVAL = 1.0
"""Seconds between two looks; each takes one stat(2) per file."""
RESTLESS_LOOKS = 5
"""After so many looks that each have found something else, files are read although they do not rest."""

Stamp = tuple[int, int, int, int, int]
"""Device, inode, octets, and the times of the last change of content and of inode (rights, owner) in nanoseconds."""


class FileChanges:
    """Of a few files that are read together. Made before they are read for the first time."""

    __slots__ = ("_current", "_paths", "_read", "_restless")

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self._current = self._stamps()
        self._read: tuple[Stamp | None, ...] = ()  # not yet, or to be read again
        self._restless = 0  # looks in a row that have found another state than the one before

    def look(self) -> bool:
        """Whether the files are to be read now."""
        before, self._current = self._current, self._stamps()
        self._restless = self._restless + 1 if self._current != before else 0
        if self._restless >= RESTLESS_LOOKS:
            return True
        return self.at_rest and self._current != self._read

    @property
    def at_rest(self) -> bool:
        """Whether the last look has found what the one before had: what the files hold now is meant so."""
        return not self._restless

    @property
    def state(self) -> object:
        """Equal as long as the files are the same."""
        return self._current

    def have_moved_on(self) -> bool:
        """Whether the files are others than those of the last look, and so perhaps of two moments."""
        return self._stamps() != self._current

    def mark_read(self) -> None:
        """The files of the last look need not be read again."""
        self._read = self._current
        self._restless = 0

    def _stamps(self) -> tuple[Stamp | None, ...]:
        return tuple([_stamp(path) for path in self._paths])


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None  # whoever reads it says why
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
