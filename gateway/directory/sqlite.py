"""The embedded registry: one SQLite file on a local disk, read by every worker, written by the admin process.

Reading happens in the event loop itself: a record of 100,000 is there in 30 µs, an absent one is known to be in 9 µs
(half of the 30 make the Sandbox), and a thread would add 100 µs of CPU time and a wait of milliseconds whenever the
machine is busy. In WAL mode a reader never waits for a writer. What can hold it up is the disk, for pages that are in
nobody's memory, and a network file system, which is not supported. Writing waits for the disk by design (a few ms: an
acknowledged record has been synced to it, and survives a crash), so it happens in a thread of its own.

Every process opens its own connections at their first use: a registry may be made before a fork, and used after it.
A file that is replaced under its name, or written over, by a backup, is noticed and opened anew; what a -wal beside it
holds of the file before is never mixed with it: `sqlite_companions`.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from gateway.directory.sandbox import (
    Broken,
    DirectoryError,
    Expected,
    RecordError,
    Sandbox,
    WatchObserver,
    WriteError,
    expect,
)
from gateway.directory.sqlite_companions import (
    Identity,
    Overwritten,
    content,
    count_write,
    fold,
    has_its_size,
    identity,
    is_folded,
    set_apart,
)
from gateway.directory.sqlite_file import (
    WRITE_TIMEOUT,
    alone,
    error_text,
    is_full,
    obstacle,
    open_file,
    transaction,
)
from gateway.directory.stored import TEXTS, read_sandbox
from gateway.errors import UserError
from gateway.hostname import is_sandbox_id

POLL_INTERVAL = 0.2
"""Seconds between two looks for changes: one stat() and one PRAGMA that compares a number in shared memory."""
READ_TIMEOUT = 0.01
"""Seconds that a reader waits for a lock. Only recovery after a crash takes one that keeps readers out."""
TEND_PAUSE = 1.0
"""Seconds between two looks for records whose lifetime has ended."""
BATCH = 1000
"""Changes reported at a time, so that no number of them holds up the event loop."""
KEPT_CHANGES = 100_000
"""Changes remembered. A watcher that is further behind, a process stopped for long, is told of every id there is."""

T = TypeVar("T")

_Row = tuple[Any, Any, Any, Any, Any, Any, Any]
"""id, address, generation, ipv4, host, protocol, expires: texts and a number, or whatever somebody has put there."""
_FETCH = """
    SELECT id, address, generation, ipv4, host, protocol, expires FROM sandboxes
    WHERE id = ? AND coalesce(expires > ?, 1)"""
_PAGE = """
    SELECT id, address, generation, ipv4, host, protocol, expires FROM sandboxes
    WHERE id > ? AND coalesce(expires > ?, 1) ORDER BY id"""
_NEXT = "SELECT id FROM sandboxes WHERE id > CAST(? AS TEXT) AND typeof(id) = 'text' ORDER BY id LIMIT ?"
_EXPIRED = "SELECT 1 FROM sandboxes WHERE expires <= ? LIMIT 1"
_TRIM = "DELETE FROM changes WHERE seq <= (SELECT max(seq) FROM changes) - ?"
_PUT = """
    INSERT OR REPLACE INTO sandboxes (id, address, generation, ipv4, host, protocol, expires)
    VALUES (?, ?, ?, ?, ?, ?, ?)"""


class SqliteRegistry:
    """A `Registry`. Its methods belong to one event loop; other processes, and other registries, may use the same file.

    A record with a lifetime carries what is left of it, so that the cache in front drops it in time; it is deleted, and
    reported, by the next write, or by `tend`.
    """

    reports_changes = True
    at_once = 64  # in fact one: an answer is there before the next one can ask

    def __init__(self, path: Path) -> None:
        """Opens nothing."""
        self.path = path
        self.where = str(path)
        self._reader: sqlite3.Connection | None = None  # the event loop's
        self._writer: sqlite3.Connection | None = None  # the thread's, and touched there only
        self._thread: ThreadPoolExecutor | None = None
        self._read_file: Identity | None = None  # what the reader, or the one before it, was opened on
        self._written_file: Identity | None = None
        self._folded: tuple[int, tuple[int, int]] | None = None  # PRAGMA data_version and content after the last fold
        # How far watching has come. Set when the reader is opened, so that nothing read through it is older.
        self._seen = 0  # the last change that was reported, or made before
        self._version: int | None = None  # the reader's PRAGMA data_version when there was nothing left to report
        self._content = (0, 0)  # of the file then
        self._telling_all: str | None = None  # while every id there is has to be reported: the last one that was

    # --- reading -------------------------------------------------------------------------------------------------

    async def fetch(self, sandbox_id: str) -> Sandbox | None:
        """As `Directory.fetch`."""
        now = time.time()
        with self._reading() as db:
            row: _Row | None = db.execute(_FETCH, (sandbox_id, now)).fetchone()
        if row is None:
            return None
        record = _record(row, now)
        if isinstance(record, Broken):
            raise RecordError(f"{self.path}: {record.why}")
        return record

    async def page(self, after: str, limit: int) -> list[Sandbox | Broken]:
        """As `Registry.page`."""
        now = time.time()
        found: list[Sandbox | Broken] = []
        with self._reading() as db:
            for row in db.execute(_PAGE, (after, now)):
                if isinstance(row[0], str) and is_sandbox_id(row[0]):  # else nobody can ask for it
                    found.append(_record(row, now))
                if len(found) == limit:
                    break
        return found

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with _translated_errors(self.path):
            if self._reader is None:
                self._open_reader()
                assert self._reader is not None
            try:
                yield self._reader
            except sqlite3.Error:
                self._close_reader()  # whatever it was, the next one begins anew
                raise

    def _open_reader(self) -> None:
        db, file = open_file(self.path, timeout=READ_TIMEOUT)
        try:
            db.execute("PRAGMA query_only = 1")
            [oldest, newest] = db.execute("SELECT min(seq), max(seq) FROM changes").fetchone()
        except BaseException:
            db.close()
            raise
        if self._read_file is None:
            self._seen = newest or 0
        elif file != self._read_file:
            self._tell_all(oldest)
        self._reader, self._read_file, self._version = db, file, None

    def _close_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    # --- watching ------------------------------------------------------------------------------------------------

    async def watch(self, changed: Callable[[Iterable[str]], None], observer: WatchObserver) -> None:
        """As `Directory.watch`; within `POLL_INTERVAL` of the write.

        Who has fallen behind `KEPT_CHANGES`, or finds that a backup was restored, is told of every id there is. What
        cannot be named then, a record removed in the time that nothing is known of, is told to the observer as missed.
        """
        resumed = False
        while True:
            names: list[str] = []
            try:
                if not resumed:
                    self._resume(observer.bookmark)
                resumed = True
                names = self._news(observer)
            except DirectoryError as error:
                observer.failed(error)
            else:
                if names:
                    changed([name for name in names if is_sandbox_id(name)])
                if self._telling_all is None and observer.bookmark != str(self._seen):
                    observer.bookmark = str(self._seen)
                observer.answered()
            await asyncio.sleep(POLL_INTERVAL if len(names) < BATCH else 0)

    def _resume(self, bookmark: str) -> None:
        """Goes on where an earlier watch has come to, so that nothing between the two is missed."""
        if bookmark.isdecimal() and len(bookmark) < 19:
            with self._reading():
                self._seen, self._version = int(bookmark), None

    def _news(self, observer: WatchObserver) -> list[str]:
        """At most `BATCH` ids that may differ from what was read before; fewer: that is all for now."""
        with _translated_errors(self.path):
            if self._reader is not None:
                self._look_at_file()
        with self._reading() as db:
            if self._telling_all is None:
                # Read before the changes: what is committed in between changes it once more.
                now = content(self.path)
                [version] = db.execute("PRAGMA data_version").fetchone()
                if version == self._version:
                    return []
                self._content = now
                oldest, newest = db.execute("SELECT min(seq), max(seq) FROM changes").fetchone()
                # Numbers start at 1; fewer than were seen: a backup has been restored into the file.
                if (oldest or 1) <= self._seen + 1 <= (newest or 0) + 1:
                    return self._next_changes(db, version)
                self._tell_all(oldest)
            if not self._telling_all:  # it begins
                observer.missed()  # which records were removed cannot be told
            return self._next_of_all(db)

    def _look_at_file(self) -> None:
        """Closes the reader if `path` names another file, or the same one with other content."""
        assert self._reader is not None and self._read_file is not None
        now = identity(self.path)
        if now is None:
            return  # a file that was removed is read on from: the next write makes a new one
        if now != self._read_file:
            self._close_reader()
        elif self._version is not None and content(self.path) != self._content and is_folded(self.path):
            # What a write changes shows in the version before it is folded.
            [version] = self._reader.execute("PRAGMA data_version").fetchone()
            if version == self._version:
                self._close_reader()
                self._read_file = (0, 0)  # it is none that was known

    def _next_changes(self, db: sqlite3.Connection, version: int) -> list[str]:
        rows = db.execute(
            "SELECT seq, CAST(id AS TEXT) FROM changes WHERE seq > ? ORDER BY seq LIMIT ?", (self._seen, BATCH)
        ).fetchall()
        if rows:
            self._seen = rows[-1][0]
        if len(rows) < BATCH:
            self._version = version
        return [name for _, name in rows]

    def _tell_all(self, oldest: int | None) -> None:
        """Every record, and then every change that is remembered: some of them removed what is no record now."""
        self._telling_all = ""
        self._seen = 0 if oldest is None else oldest - 1

    def _next_of_all(self, db: sqlite3.Connection) -> list[str]:
        # A number or octets are no id, and octets of a text that are no UTF-8 cannot be asked with as a text.
        last = (self._telling_all or "").encode("utf-8", "surrogateescape")
        rows = db.execute(_NEXT, (last, BATCH))
        names: list[str] = [name for [name] in rows]
        self._telling_all = names[-1] if len(names) == BATCH else None
        return names

    # --- writing -------------------------------------------------------------------------------------------------

    async def put(self, sandbox: Sandbox, *, expected: Expected = None, lifetime: float | None = None) -> Sandbox:
        """As `Registry.put`. Cancelled, it may have been written nevertheless."""
        return await self._write(partial(_put, sandbox=sandbox, expected=expected, lifetime=lifetime))

    async def remove(self, sandbox_id: str, *, expected: Expected = None) -> bool:
        """As `Registry.remove`. Cancelled, it may have been written nevertheless."""
        return await self._write(partial(_remove, sandbox_id=sandbox_id, expected=expected))

    async def tend(self) -> float:
        """As `Registry.tend`; the watchers are told of what has ended."""
        with self._reading() as db:
            ended = db.execute(_EXPIRED, (time.time(),)).fetchone() is not None
        if ended:
            await self._write(lambda db: _remove_expired(db, time.time()))
        return TEND_PAUSE

    async def obstacle(self) -> str:
        """As `Registry.obstacle`."""
        with _translated_errors(self.path):
            why = obstacle(self.path)
        return f"{self.path}: {why}" if why else ""

    async def _write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "sqlite-writer")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, job)

    def _transact(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `job` in one transaction; when this returns, it is on the disk, in the file that `path` names."""
        with _translated_errors(self.path, writing=True):
            try:
                while True:
                    db = self._open_writer()
                    try:
                        result = self._write_once(db, job)
                    except Overwritten:
                        self._close_writer()
                        with alone(self.path):
                            set_apart(self.path)
                        continue
                    if identity(self.path) == self._written_file:
                        self._fold(db)
                        return result
            except sqlite3.Error:
                self._close_writer()
                raise

    def _write_once(self, db: sqlite3.Connection, job: Callable[[sqlite3.Connection], T]) -> T:
        with transaction(db):
            if is_folded(self.path):
                [version] = db.execute("PRAGMA data_version").fetchone()
                touched = (
                    self._folded is not None and self._folded[0] == version and self._folded[1] != content(self.path)
                )
                if touched or not has_its_size(db, self.path):
                    raise Overwritten
            before = db.total_changes
            result = job(db)
            if db.total_changes != before:
                count_write(db, self.path)
            return result

    def _fold(self, db: sqlite3.Connection) -> None:
        """What was written is on the disk already; if this fails, the next write will say why."""
        self._folded = None
        try:
            fold(db, WRITE_TIMEOUT)
            if is_folded(self.path):
                [version] = db.execute("PRAGMA data_version").fetchone()
                self._folded = version, content(self.path)
        except (OSError, sqlite3.Error):
            self._close_writer()

    def _open_writer(self) -> sqlite3.Connection:
        # What is written to a file that has lost its name would be lost with it.
        if self._writer is not None and identity(self.path) != self._written_file:
            self._close_writer()
        if self._writer is None:
            self._folded = None
            self._writer, self._written_file = open_file(self.path, timeout=WRITE_TIMEOUT)
            self._writer.execute("PRAGMA synchronous = FULL")
        return self._writer

    def _close_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    async def close(self) -> None:
        """As `Directory.close`; waits for the writes under way."""
        self._close_reader()
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._close_writer)
            thread.shutdown()


def _record(row: _Row, now: float) -> Sandbox | Broken:
    name, *texts, expires = row
    left = expires - now if isinstance(expires, int | float) else expires
    return read_sandbox(name, f"the record of {name}", dict(zip(TEXTS, texts, strict=True), lifetime=left))


def _generation(record: Sandbox | Broken | None) -> str | None:
    """As `Conflict` has it."""
    if record is None:
        return None
    return record.generation if isinstance(record, Sandbox) else ""


# --- in the writer's transaction ----------------------------------------------------------------------------------


def _put(db: sqlite3.Connection, sandbox: Sandbox, expected: Expected, lifetime: float | None) -> Sandbox:
    now = time.time()
    _remove_expired(db, now)
    before: _Row | None = db.execute(_FETCH, (sandbox.id, now)).fetchone()
    record = None if before is None else _record(before, now)
    expect(_generation(record), expected)
    address, ipv4 = str(sandbox.address), None if sandbox.ipv4 is None else str(sandbox.ipv4)
    expires = None if lifetime is None else now + lifetime
    # An end that comes later is nothing that watchers have to be told: they ask again at the one they know.
    same = (
        before is not None
        and isinstance(record, Sandbox)
        and (address, ipv4, sandbox.host, sandbox.protocol) == (before[1], *before[3:6])
        and _end(expires) >= _end(before[6])
    )
    if not same:
        _report(db, sandbox.id)
    # Random: when the file was lost, or an older one was put in its place, nothing in it says what was given out.
    kept = isinstance(record, Sandbox) and record.address == sandbox.address
    generation = _generation(record) if kept else None
    generation = generation or secrets.token_hex(8)
    after: _Row = (sandbox.id, address, generation, ipv4, sandbox.host, sandbox.protocol, expires)
    if after != before:  # else it is not worth a wait for the disk
        db.execute(_PUT, after)
    return replace(sandbox, generation=generation, lifetime=lifetime)


def _remove(db: sqlite3.Connection, sandbox_id: str, expected: Expected) -> bool:
    now = time.time()
    _remove_expired(db, now)
    row: _Row | None = db.execute(_FETCH, (sandbox_id, now)).fetchone()
    record = None if row is None else _record(row, now)
    expect(_generation(record), expected)
    if record is None:
        return False
    db.execute("DELETE FROM sandboxes WHERE id = ?", (sandbox_id,))
    _report(db, sandbox_id)
    return True


def _end(expires: float | None) -> float:
    return math.inf if expires is None else expires


def _report(db: sqlite3.Connection, sandbox_id: str) -> None:
    """Notes a change for the watchers."""
    db.execute("INSERT INTO changes (id) VALUES (?)", (sandbox_id,))
    db.execute(_TRIM, (KEPT_CHANGES,))


def _remove_expired(db: sqlite3.Connection, now: float) -> None:
    if db.execute(_EXPIRED, (now,)).fetchone() is None:
        return
    db.execute("INSERT INTO changes (id) SELECT id FROM sandboxes WHERE expires <= ?", (now,))
    db.execute("DELETE FROM sandboxes WHERE expires <= ?", (now,))
    db.execute(_TRIM, (KEPT_CHANGES,))


@contextmanager
def _translated_errors(path: Path, *, writing: bool = False) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        if writing:
            raise WriteError(error_text(path, error), full=is_full(path, error)) from error
        raise DirectoryError(error_text(path, error)) from error
    except UserError as error:
        raise DirectoryError(str(error)) from error
