"""The embedded registry's file: made, recognised, brought up to date. Which records it holds is `sqlite`'s business.

The file is the owner's alone (0600, in folders of 0700 where they are made here): who can write it decides where
requests go. It must be on a local disk: WAL shares memory between processes, which no network file system offers.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from gateway.directory.sqlite_companions import (
    STAMP,
    Identity,
    beside,
    copy,
    fits,
    fold,
    new_name,
    note_opened,
    put_in_place,
    real,
    set_apart,
)
from gateway.errors import UserError

APPLICATION_ID = 0x67617465
"""Marks the file as ours ("gate"), so that another program's database is never written to."""
WRITE_TIMEOUT = 5.0
"""Seconds that a writer waits for another one: the admin process, `gateway sandboxes --config`, a backup."""

FULL = "its disk is full"
ROOM = 64 * 1024
"""Octets that must be free on a disk: what SQLite shares between processes takes half of them."""
_UNEXPLAINED = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
"""Of the many causes of these SQLite names none."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        f"PRAGMA application_id = {APPLICATION_ID}",
        """CREATE TABLE sandboxes (
            id TEXT PRIMARY KEY,
            address TEXT NOT NULL,
            generation TEXT NOT NULL,
            ipv4 TEXT,
            host TEXT NOT NULL,
            expires REAL  -- Unix time; NULL: never
        ) WITHOUT ROWID""",
        "CREATE INDEX sandboxes_by_expiry ON sandboxes (expires) WHERE expires IS NOT NULL",
        # AUTOINCREMENT: a number never comes twice, whatever is deleted.
        "CREATE TABLE changes (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL)",
    ),
    STAMP,
    ("ALTER TABLE sandboxes ADD COLUMN protocol TEXT NOT NULL DEFAULT ''",),
)
"""Step n takes a file from version n to n + 1 (`PRAGMA user_version`). A step, once released, is never edited."""


def open_file(path: Path, *, timeout: float) -> tuple[sqlite3.Connection, Identity]:
    """A connection to the file, and which one it is. What lies beside it and is another one's is never mixed with it.

    Makes the file if there is none, its folders too, and brings an older one up to this version. Raises UserError if it
    is another program's, of a newer version, or on no local disk; OSError and sqlite3.Error otherwise.
    """
    _make_folder(real(path).parent)
    with alone(path):
        if not path.exists():
            # Made here and not by SQLite, because of the mode; SQLite gives the same to the files it keeps beside it.
            os.close(os.open(real(path), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        if not fits(path):
            set_apart(path)
        db = connect(path, timeout=timeout)
        try:
            if _version(path, db) < len(MIGRATIONS):
                _migrate(path, db)
            _share(path, db)
            db.execute(f"PRAGMA busy_timeout = {round(timeout * 1000)}")
            return db, note_opened(path)
        except BaseException:
            db.close()
            raise


def inspect(path: Path) -> int | None:
    """How many records there are; None: there is no file yet, and it can be made. Changes nothing.

    Raises UserError with one sentence.
    """
    try:
        if path.is_dir():
            raise UserError(f"{path}: is a folder, not a file")
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: is no file but a device, a pipe or a socket")
        if path.exists():
            # What lies beside it and is another file's will be set aside when it is opened.
            mode = "ro" if fits(path) else "ro&immutable=1"
            with closing(connect(path, timeout=WRITE_TIMEOUT, mode=mode)) as db:
                if not _version(path, db):
                    return 0
                count: int = db.execute("SELECT count(*) FROM sandboxes").fetchone()[0]
                return count
        folder = next(parent for parent in real(path).parents if parent.exists())
    except (OSError, sqlite3.Error) as error:
        raise UserError(error_text(path, error)) from None
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise UserError(f"{path}: cannot be made: {folder} is no folder that this user may write to")
    return None


def backup(path: Path, target: Path) -> int:
    """Makes `target` of all that is in `path` now, whoever writes to it; returns the number of records.

    An older backup is replaced, and nothing else. Raises UserError with one sentence.
    """
    _must_differ(path, target)
    inspect(target)
    _bring_up(path)  # with nothing of another file beside it
    return _take(path, target)


def restore(path: Path, source: Path) -> int:
    """Puts what is in `source` in the place of `path`, which may be damaged, or open; returns the number of records.

    `source` stays as it is. Raises UserError with one sentence; `path` is then as it was, or the backup already, if
    what failed is opening that.
    """
    _must_differ(path, source)
    if not source.exists():
        raise UserError(f"{source}: there is no such file")
    if inspect(source) is None or not _is_registry(source):
        raise UserError(f"{source}: is empty, and no backup of a registry")
    count = _take(source, path)
    _bring_up(path)  # before anybody needs it
    return count


def _must_differ(path: Path, other: Path) -> None:
    if path.absolute() == other.absolute() or (path.exists() and other.exists() and path.samefile(other)):
        raise UserError(f"{other}: is the registry itself")


def _is_registry(path: Path) -> bool:
    with closing(connect(path, timeout=WRITE_TIMEOUT, mode="ro")) as db:
        return _version(path, db) > 0


def _bring_up(path: Path) -> None:
    try:
        open_file(path, timeout=WRITE_TIMEOUT)[0].close()
    except (OSError, sqlite3.Error) as error:
        raise UserError(error_text(path, error)) from None


def _take(source: Path, target: Path) -> int:
    try:
        _make_folder(real(target).parent)
        with alone(target):
            new = new_name(target)
            copy(source, new, alone=not beside(source, "-wal").exists())
            try:
                count = _count_sound(source, new)
                put_in_place(new, target)
            finally:
                new.unlink(missing_ok=True)
    except (OSError, sqlite3.Error) as error:
        ours = isinstance(error, OSError) or is_full(target, error)
        raise UserError(error_text(target if ours else source, error)) from None
    return count


def _count_sound(source: Path, new: Path) -> int:
    """The number of records in `new`, the copy of `source`. Raises UserError if it is damaged."""
    with closing(connect(new, timeout=WRITE_TIMEOUT, mode="ro&immutable=1")) as db:
        [damage] = db.execute("PRAGMA integrity_check(1)").fetchone()
        if damage != "ok":
            raise UserError(f"{source}: is damaged: {' '.join(damage.split())}")
        count: int = db.execute("SELECT count(*) FROM sandboxes").fetchone()[0]
        return count


def connect(path: Path, *, timeout: float, mode: str = "rw") -> sqlite3.Connection:
    """A connection to an existing file; SQL is executed as it stands, without transactions of Python's own.

    Octets that are no UTF-8 are kept as surrogates: one odd text is not a file that cannot be read.
    """
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    db = sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None)
    db.text_factory = lambda octets: octets.decode("utf-8", "surrogateescape")
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """A write transaction from its first statement on, so that it never has to be upgraded, which could fail."""
    with db:
        db.execute("BEGIN IMMEDIATE")
        yield


def error_text(path: Path, error: OSError | sqlite3.Error) -> str:
    """`error` as a sentence that names the file, and what stands in the way where SQLite does not know it."""
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_NOTADB:
        said = 'it is not an SQLite database (for a table of sandboxes in TOML, set directory.backend = "file")'
    elif code is not None and code & 0xFF in _UNEXPLAINED and (why := obstacle(path)):
        said = f"{said}: {why}"
    return f"{path}: {said}"


def is_full(path: Path, error: OSError | sqlite3.Error) -> bool:
    """Whether `error` means that there is no room on the disk."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _UNEXPLAINED:
        return obstacle(path) == FULL
    return code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)


def obstacle(path: Path) -> str:
    """Why nothing can be written to `path`, or made there; empty: nothing that shows. Raises OSError."""
    folder = next(parent for parent in real(path).parents if parent.exists())
    disk = os.statvfs(path if path.exists() else folder)
    if disk.f_flag & os.ST_RDONLY:
        return "its file system is read-only"
    if not os.access(folder, os.W_OK | os.X_OK):  # SQLite keeps two files beside it, for readers too
        return f"this user may not write to its folder {folder}"
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        return "this user may not write to it"
    free = disk.f_bavail if os.geteuid() else disk.f_bfree
    return FULL if disk.f_blocks and free * disk.f_frsize < ROOM else ""


def _version(path: Path, db: sqlite3.Connection) -> int:
    """The file's version, 0 for an empty file. Raises UserError if it is not for us."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    [application] = db.execute("PRAGMA application_id").fetchone()
    [objects] = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or version or objects):
        raise UserError(f"{path}: is another program's SQLite database")
    if version > len(MIGRATIONS):
        raise UserError(
            f"{path}: is of version {version}, and this gateway knows versions up to {len(MIGRATIONS)} only: "
            "a newer gateway has written it"
        )
    return version


def _share(path: Path, db: sqlite3.Connection) -> None:
    """WAL, which a backup need not have; and the memory that processes share is there after that."""
    [mode] = db.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise UserError(f"{path}: its file system cannot share memory between processes: use a local disk")
    db.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _migrate(path: Path, db: sqlite3.Connection) -> None:
    _share(path, db)
    db.execute("PRAGMA synchronous = FULL")
    with transaction(db):
        # Read once more: what is known from before the transaction may be somebody else's past.
        for step in MIGRATIONS[_version(path, db) :]:
            for statement in step:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    fold(db, WRITE_TIMEOUT)


def _make_folder(folder: Path) -> None:
    for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keeps other gateways from opening `path`: SQLite's own lock does not cover what is done to it then.

    Taken on the folder, because closing any descriptor of the file itself would drop SQLite's locks on it.
    """
    descriptor = os.open(real(path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
