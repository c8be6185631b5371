"""Which `-wal` and `-shm` belong to which file: nothing of another one is ever mixed with a backup put in its place.

SQLite keeps what was written lately in FILE-wal, and what processes share in FILE-shm, and finds both by name alone. So
each write is folded into the file itself at once, after which the -wal is empty and the file is all there is. Where one
is not empty, after a kill -9 or while somebody else reads for long, the table `stamp` tells: the -wal has its row as
the last write left it, the file as the last fold did.

What lies beside a file and is another one's is not just taken away, for some process may have joined it already: the
file becomes a new one under the same name, which everybody notices.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import secrets
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

Identity = tuple[int, int]
"""Device and inode."""
FOLD_TIMEOUT = 0.05
"""Seconds that folding waits for readers; ours take microseconds."""

STAMP = (
    """CREATE TABLE stamp (
        lineage TEXT NOT NULL,  -- of this file and its backups
        writes INTEGER NOT NULL,  -- transactions so far
        folded INTEGER NOT NULL  -- how many of them the file itself had when its -wal was begun
    )""",
    "INSERT INTO stamp VALUES (lower(hex(randomblob(8))), 0, -1)",
)

log = logging.getLogger("gateway.directory")


@dataclass(frozen=True)
class _Stamp:
    lineage: str = ""
    writes: int = -1
    folded: int = -1


class Overwritten(Exception):
    """Somebody has copied another file over this one, under the hands of those who have it open."""


def real(path: Path) -> Path:
    """The file itself where `path` is a link to it, be it there or not. SQLite's companions lie beside that one."""
    return Path(os.path.realpath(path))


def beside(path: Path, which: str) -> Path:
    """The companion `which` ("-wal", "-shm") of `path`."""
    file = real(path)
    return file.with_name(file.name + which)


def identity(path: Path) -> Identity | None:
    """Which file it is that `path` names; None: none. A restored backup is another one."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def content(path: Path) -> tuple[int, int]:
    """What changes with every write to the file itself: its size and time."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def is_folded(path: Path) -> bool:
    """Whether everything is in the file itself."""
    try:
        return not beside(path, "-wal").stat().st_size
    except FileNotFoundError:
        return True


def fold(db: sqlite3.Connection, timeout: float) -> None:
    """Empties the -wal, unless somebody reads from it for longer than `FOLD_TIMEOUT`. `timeout` is the connection's."""
    db.execute(f"PRAGMA busy_timeout = {round(FOLD_TIMEOUT * 1000)}")
    try:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        db.execute(f"PRAGMA busy_timeout = {round(timeout * 1000)}")


def count_write(db: sqlite3.Connection, path: Path) -> None:
    """Notes one more write, in its transaction."""
    db.execute("UPDATE stamp SET folded = CASE WHEN ? THEN writes ELSE folded END", (is_folded(path),))
    db.execute("UPDATE stamp SET writes = writes + 1")


_opened: dict[Path, tuple[Identity, Identity]] = {}
"""What this process has opened last under a path: the file and its -shm. Locks are a process's: what it has open must
not be opened once more under another file's name, SQLite would believe that it is the first."""


def note_opened(path: Path) -> Identity:
    """Which file it is that has just been opened. Raises OSError if it has lost its name."""
    status = path.stat()
    file = status.st_dev, status.st_ino
    shared = identity(beside(path, "-shm"))
    if shared is not None:
        _opened[path] = file, shared
    return file


def fits(path: Path) -> bool:
    """Whether the companions are those of this very file. Changes nothing; raises OSError or sqlite3.Error."""
    shared = identity(beside(path, "-shm"))
    if shared is None and not beside(path, "-wal").exists():
        return True
    if path in _opened and shared == _opened[path][1] and identity(path) != _opened[path][0]:
        return False
    uri = path.absolute().as_uri()
    # The file as it is before and after the look at both together: writes may be going on.
    before = _alone(uri)
    with closing(sqlite3.connect(f"{uri}?mode=ro", uri=True, isolation_level=None)) as db:  # which never folds
        db.execute("BEGIN")  # what it reads from is neither written nor emptied meanwhile
        both = _stamp(db)
        if is_folded(path):
            return has_its_size(db, path)
    after = _alone(uri)
    return before.lineage in ("", both.lineage) and before.writes <= both.writes and both.folded <= after.writes


def has_its_size(db: sqlite3.Connection, path: Path) -> bool:
    """Whether what processes share is about a file of this size, if nothing is in the -wal."""
    [pages], [size] = db.execute("PRAGMA page_count").fetchone(), db.execute("PRAGMA page_size").fetchone()
    return bool(pages * size == path.stat().st_size)


def copy(source: Path, target: Path, *, alone: bool = False) -> None:
    """Makes `target`, which must not exist, of all that is in `source`; `alone`: of what is in the file itself.

    It is on the disk when this returns. Raises OSError or sqlite3.Error, of which a damaged source is one.
    """
    uri = f"{source.absolute().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as db:
            db.execute("VACUUM INTO ?", (str(target),))
        os.fsync(descriptor)
    except BaseException:
        target.unlink()
        raise
    finally:
        os.close(descriptor)


def put_in_place(new: Path, path: Path) -> None:
    """Gives `new` the name of `path`, with nothing beside it. For whoever keeps others from opening it meanwhile.

    Of a -wal that holds something a copy is kept: it is what is left of a file that may be missed. A link stays one.
    """
    path = real(path)
    with suppress(FileNotFoundError):
        status = path.stat()
        if status.st_uid != os.geteuid():
            os.chown(new, status.st_uid, status.st_gid)  # `restore` as root, of what the gateway has to write
    log_file = beside(path, "-wal")
    if not is_folded(path):
        kept = _unused(beside(path, "-wal.stray"))
        log_file.replace(kept)
        log.warning("%s: what %s held is of the file before, and is kept as %s", path, log_file, kept)
    new.replace(path)
    for each in (log_file, beside(path, "-shm")):
        each.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def new_name(path: Path) -> Path:
    """For a file that will be put in the place of `path`. For whoever keeps others from doing the same meanwhile: what
    has such a name by now was left by a process that was killed, and is removed.
    """
    file = real(path)
    left = re.compile(re.escape(file.name) + r"\.[0-9a-f]{16}\.new(-journal|-wal|-shm)?")
    for each in file.parent.iterdir():
        if left.fullmatch(each.name):
            each.unlink(missing_ok=True)
    return file.with_name(f"{file.name}.{secrets.token_hex(8)}.new")


def _unused(path: Path) -> Path:
    """`path`, or the first of path.2, path.3, … that there is not yet."""
    numbered = (path.with_name(f"{path.name}.{number}") for number in itertools.count(2))
    return next(each for each in itertools.chain([path], numbered) if not os.path.lexists(each))


def set_apart(path: Path) -> None:
    """Makes a new file of what is in `path` itself, under the same name; as `put_in_place`."""
    new = new_name(path)
    copy(path, new, alone=True)
    try:
        put_in_place(new, path)
    finally:
        new.unlink(missing_ok=True)


def _alone(uri: str) -> _Stamp:
    """What the file itself says, whatever lies beside it."""
    with closing(sqlite3.connect(f"{uri}?mode=ro&immutable=1", uri=True, isolation_level=None)) as db:
        return _stamp(db)


def _stamp(db: sqlite3.Connection) -> _Stamp:
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'stamp'").fetchone():
        return _Stamp()  # of an older version, or empty
    return _Stamp(*db.execute("SELECT lineage, writes, folded FROM stamp").fetchone())
