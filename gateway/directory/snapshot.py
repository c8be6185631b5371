"""The shared cache as a file that outlives a restart of all: the admin process writes it, the supervisor reads it.

Written whole and renamed into place, so there is never half a file; and nothing in it is believed because it is there:
it has to be the user's own and nobody else's to read or write, whole by its checksum, of this version and about this
registry. Workers never touch it: a disk that hangs holds up nobody's requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import secrets
import stat
import threading
import time
from pathlib import Path

import msgspec

from gateway.directory.shared_cache import SharedCache, decode, encode

MAGIC = b"gateway known sandboxes 2\n"
MAX_SIZE = 64 * 1024 * 1024
"""Octets of a file that is read at all; a full table takes half."""
CHECK_INTERVAL = 1.0
"""Seconds between two looks whether something is gone that the file still has."""
WRITE_INTERVAL = 10.0
"""Seconds between two files when nothing is gone and something was learned."""

LEFTOVER_AGE = 60.0
"""Seconds after which a file that was never finished is nobody's."""

_DIGEST = hashlib.sha256().digest_size

log = logging.getLogger("gateway.directory")


class _Snapshot(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    registry: str
    boot: str
    """Which run of which machine the times are of."""
    written: int
    """CLOCK_BOOTTIME, in nanoseconds as all times."""
    written_wall: int
    bookmark: str
    records: list[tuple[int, bytes]]
    """When each was asked for, and what was answered."""


class Refused(Exception):
    """The file is not believed; the text says why."""


def load(path: Path, registry: str, cache: SharedCache) -> None:
    """Fills `cache` with what was known when `path` was written; one line in the log if there is something to say.

    A file that is not believed is left where it is until the next one takes its place.
    """
    try:
        snapshot = _read(path, registry)
        now = cache.now()
        since = _age(snapshot, now)
    except FileNotFoundError:
        return
    except (OSError, Refused) as error:
        why = getattr(error, "strerror", None) or error
        log.warning("%s: %s; what was known before this start is not known now", path, why)
        return
    cache.bookmark = snapshot.bookmark
    for asked, octets in snapshot.records:
        sandbox, age = decode(octets), since + max(0, snapshot.written - asked)
        if sandbox is not None:
            cache.note(sandbox, now - age)


def save(path: Path, registry: str, cache: SharedCache, max_age: float) -> None:
    """Writes what is known, but for what is older than `max_age` seconds. Raises OSError."""
    bookmark = cache.bookmark  # before the records: what changes meanwhile is told again
    now = cache.now()
    oldest = now - int(max_age * 1e9)
    records = [
        (found.asked, encode(found.sandbox))
        for found in cache.records()
        if found.sandbox is not None and found.asked >= oldest
    ]
    octets = msgspec.msgpack.encode(_Snapshot(registry, _boot(), now, time.time_ns(), bookmark, records))
    path.absolute().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")  # ours alone, should another gateway write here too
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(MAGIC + hashlib.sha256(octets).digest() + octets)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise


class SnapshotWriter:
    """Decides when a file is due. Of the admin process."""

    def __init__(self, path: Path, registry: str, cache: SharedCache, max_age: float) -> None:
        self.path = path
        self._registry = registry
        self._cache = cache
        self._max_age = max_age
        self._written = (0, 0)  # the table's counts then
        self._at = float("-inf")
        self._failing = False
        self._stuck = False  # it can neither be written nor removed
        self._alone = threading.Lock()

    async def run(self) -> None:
        """Looks until cancelled; in a thread, because it waits for the disk."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._tidy)
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            await loop.run_in_executor(None, self.look)

    def look(self, *, last: bool = False) -> None:
        """Writes the file if it is due, or has anything changed at all and it is the last chance."""
        with self._alone:  # whoever was cancelled may still be writing
            self._look(last)

    def _withdraw(self) -> None:
        """Takes the file away that still has what is gone: better nothing known at the next start. Needs no room."""
        try:
            self.path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            self._stuck = False
        except OSError as error:
            if not self._stuck:
                log.error(
                    "%s: %s; it names sandboxes that are gone, remove it before the gateway starts again",
                    self.path,
                    error.strerror,
                )
            self._stuck = True
        else:
            self._stuck = False

    def _tidy(self) -> None:
        """Takes away what a process that was killed while writing has left."""
        with contextlib.suppress(OSError):
            for left in self.path.parent.glob(f"{self.path.name}.*.new"):
                if time.time() - left.stat().st_mtime > LEFTOVER_AGE:
                    left.unlink()

    def _look(self, last: bool) -> None:
        counts, now = self._cache.counts, time.monotonic()
        if counts == self._written:
            return
        if not last and counts[1] == self._written[1] and now - self._at < WRITE_INTERVAL:
            return
        self._at = now
        try:
            save(self.path, self._registry, self._cache, self._max_age)
        except OSError as error:
            gone = counts[1] != self._written[1]
            if not self._failing:
                log.warning(
                    "%s: %s; what is known would not survive a restart of the gateway", self.path, error.strerror
                )
            self._failing = True
            if gone:
                self._withdraw()
            return
        if self._failing:
            log.info("%s: can be written again", self.path)
        self._failing = self._stuck = False
        self._written = counts


def _read(path: Path, registry: str) -> _Snapshot:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Refused("is no file")
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise Refused("belongs, or is open, to others than this user (it has to be the owner's alone, mode 0600)")
        octets = file.read(MAX_SIZE + 1)
    if not octets.startswith(MAGIC) or len(octets) > MAX_SIZE:
        raise Refused("is not of this version of the gateway")
    content = octets[len(MAGIC) + _DIGEST :]
    if hashlib.sha256(content).digest() != octets[len(MAGIC) : len(MAGIC) + _DIGEST]:
        raise Refused("is damaged")
    try:
        snapshot = msgspec.msgpack.decode(content, type=_Snapshot)
    except (msgspec.MsgspecError, ValueError):  # ValueError: of octets that are not UTF-8
        raise Refused("is not of this version of the gateway") from None
    if snapshot.registry != registry:
        raise Refused(f"is about another registry ({snapshot.registry})")
    return snapshot


def _age(snapshot: _Snapshot, now: int) -> int:
    """Nanoseconds since it was written. Raises Refused if that is yet to come."""
    age = now - snapshot.written
    if snapshot.boot != _boot():  # of another clock; the one on the wall may have been set back
        age = time.time_ns() - snapshot.written_wall
    if age < 0:
        raise Refused("comes from the future")
    return age


def _boot() -> str:
    """Names this run of this machine and whose clock it is: containers may have one of their own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = f"unknown to {os.getpid()} at {time.time_ns()}"  # equal to none
    with contextlib.suppress(OSError):  # a kernel without has one clock for all
        boot += f" {Path('/proc/self/ns/time').readlink()}"
    return boot
