"""What any worker has looked up lately, known to all: also to those that replace them and, by a snapshot, to the next
start. These are the records that may be served on while the backend is away.

A table in memory (`memfd`), made by the supervisor before the fork. A worker writes to it what a backend has answered
(13 µs), and reads it only when no answer comes. Ids are found by a keyed hash, so that nobody can choose ids that push
each other out; sixteen share a page, and when a page is full the oldest goes. Names that no backend knows take no room,
however many are asked for: what is gone is marked in the place it had, and in no other.

Writers lock a page for the microseconds of a write. None waits for another that was stopped in the middle: every record
carries its checksum, and what is not whole was never there. Times are of CLOCK_BOOTTIME, which all processes share and
nobody sets; across a restart of the machine the snapshot judges by the wall clock.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import struct
import time
import weakref
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address

import msgspec

from gateway.directory.sandbox import Sandbox

SLOT = 256
"""Octets of a record in the table. One that needs more is not shared: beside the longest id, generation and host have
110 of them together."""
WAYS = 16
"""Records of a page."""
PAGES = 8192
"""Of them 131,072 records in 32 MiB, of which only those pages are in memory that have ever been written to."""
LOCK_ATTEMPTS = 100
"""How often a page's lock is tried for before it is written without: its holder has been stopped."""
MAX_BOOKMARK = 64
"""Octets of a bookmark."""

PAGE = SLOT * WAYS
_EMPTY = bytes(PAGE)
_TABLE = PAGE  # where the pages begin; before them the header
_HEADER = struct.Struct(f"<QQq{MAX_BOOKMARK}s")
"""Answers noted, and records marked as gone, counted for the snapshot; the floor; the bookmark."""
_NOTED, _MARKED, _FLOOR, _BOOKMARK = 0, 8, 16, 24
_SLOT = struct.Struct("<16sqIHBx")
"""Hash of the id, when it was asked for (ns), checksum of all else, octets of content, kind."""
_NOTHING, _RECORD, _GONE = 0, 1, 2
EARLIEST = -(2**63)  # after a restart of the machine, what was asked before it has times below zero

log = logging.getLogger("gateway.directory")


@dataclass(frozen=True, slots=True)
class Lookup:
    """An answer that a backend gave to some worker: the record, None for none, and when it was asked
    (`SharedCache.now`)."""

    sandbox: Sandbox | None
    asked: int


class SharedCache:
    """The table. Every method is safe in any process at any time, and none raises: what cannot be shared is not."""

    def __init__(self, descriptor: int, *, key: bytes, registry: str) -> None:
        """Records of different registries never meet: `registry` is part of what is hashed. Owns `descriptor`."""
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)
        self._key = key
        self._person = blake2b(registry.encode(), digest_size=16).digest()
        self._trouble = ""  # what the last operation failed of, said once

    @classmethod
    def make(cls, registry: str) -> SharedCache:
        """An empty table. Raises OSError."""
        descriptor = os.memfd_create("gateway-known", os.MFD_CLOEXEC)
        os.truncate(descriptor, _TABLE + PAGES * PAGE)
        return cls(descriptor, key=secrets.token_bytes(32), registry=registry)

    @staticmethod
    def now() -> int:
        """Nanoseconds, for `asked`."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    # --- learning ------------------------------------------------------------------------------------------------

    def note(self, sandbox: Sandbox, asked: int) -> None:
        """A backend that was asked at `asked` has answered with this record."""
        content = encode(sandbox)
        if len(content) > SLOT - _SLOT.size:
            self.mark_gone(sandbox.id, asked)  # what is known of it is not true any more
            return
        self._write(sandbox.id, asked, _RECORD, content)

    def mark_gone(self, sandbox_id: str, asked: int) -> None:
        """There is no such record, or it is another one: what was asked before is not to be believed."""
        self._write(sandbox_id, asked, _GONE, b"")

    def forget(self) -> None:
        """Nothing that was learned before now is believed."""
        self._put(_FLOOR, struct.pack("<q", self.now()))
        self._count(_MARKED)

    # --- telling -------------------------------------------------------------------------------------------------

    def find(self, sandbox_id: str) -> Lookup | None:
        """The latest answer about this id, or None. Whether it is too old is the caller's to say."""
        name = self._hash(sandbox_id)
        page = self._page(_offset(name))
        at = _position(page, name)
        found = None if at is None else _read(page, at)
        if found is None or found.asked < self.floor:
            return None
        if found.sandbox is not None and found.sandbox.id != sandbox_id:
            return None
        return found

    def records(self) -> Iterator[Lookup]:
        """Every record there is, those that are gone left out; what changes meanwhile is seen or not."""
        floor = self.floor
        for number in range(PAGES):
            page = self._page(_TABLE + number * PAGE)
            if page == _EMPTY:
                continue
            for at in range(0, len(page), SLOT):
                found = _read(page, at)
                if found is not None and found.sandbox is not None and found.asked >= floor:
                    yield found

    @property
    def floor(self) -> int:
        """What was asked before this is not believed."""
        return self._header()[2] or EARLIEST

    @property
    def counts(self) -> tuple[int, int]:
        """How many answers were noted, and how many records marked as gone. Changes since then: when they differ."""
        noted, marked, _, _ = self._header()
        return noted, marked

    @property
    def bookmark(self) -> str:
        """How far changes have been marked here; see `WatchObserver.bookmark`."""
        text: bytes = self._header()[3]
        return text.rstrip(b"\0").decode("ascii", "replace")

    @bookmark.setter
    def bookmark(self, text: str) -> None:
        octets = text.encode("ascii", "replace")
        if len(octets) <= MAX_BOOKMARK:
            self._put(_BOOKMARK, octets.ljust(MAX_BOOKMARK, b"\0"))
            self._count(_NOTED)

    # --- the table -----------------------------------------------------------------------------------------------

    def _write(self, sandbox_id: str, asked: int, kind: int, content: bytes) -> None:
        name = self._hash(sandbox_id)
        offset = _offset(name)
        if kind == _GONE and _position(self._page(offset), name) is None:
            return  # nearly always, when a backend tells of changes: and without a lock
        locked = self._lock(offset)
        gone = False
        try:
            page = self._page(offset)
            at = _position(page, name)
            if at is not None:
                present = _read(page, at)
                gone = present is not None and present.sandbox is None
                if present is not None and (present.asked > asked or (gone and present.asked == asked)):
                    return
            elif kind == _GONE:
                return
            else:
                at = _victim(page)
            checksum = zlib.crc32(content, _seed(name, asked, kind))
            self._put(offset + at, _SLOT.pack(name, asked, checksum, len(content), kind) + content)
        finally:
            if locked:
                self._unlock(offset)
        if kind == _RECORD:
            self._count(_NOTED)
        elif not gone:  # else it is said again of what is asked for again, perhaps for ever
            self._count(_MARKED)

    def _hash(self, sandbox_id: str) -> bytes:
        return blake2b(sandbox_id.encode(), digest_size=16, key=self._key, person=self._person).digest()

    def _lock(self, offset: int) -> bool:
        for _ in range(LOCK_ATTEMPTS):
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, PAGE, offset)
            except OSError:
                os.sched_yield()
            else:
                return True
        return False

    def _unlock(self, offset: int) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, PAGE, offset)

    def _page(self, offset: int, size: int = PAGE) -> bytes:
        try:
            return os.pread(self._descriptor, size, offset)
        except OSError as error:
            self._complain(error)
            return b""

    def _put(self, offset: int, octets: bytes) -> None:
        try:
            os.pwrite(self._descriptor, octets, offset)
        except OSError as error:
            self._complain(error)

    def _header(self) -> tuple[int, int, int, bytes]:
        octets = self._page(0, _HEADER.size)
        header: tuple[int, int, int, bytes] = _HEADER.unpack(octets.ljust(_HEADER.size, b"\0"))
        return header

    def _count(self, which: int) -> None:
        # Two that count at once may count one: the snapshot wants to know whether, not how often.
        self._put(which, struct.pack("<Q", self.counts[0 if which == _NOTED else 1] + 1))

    def _complain(self, error: OSError) -> None:
        trouble = error.strerror or str(error)
        if trouble != self._trouble:
            log.error("what is looked up is not shared between workers: %s", trouble)
            self._trouble = trouble


def _offset(name: bytes) -> int:
    return _TABLE + int.from_bytes(name[:4], "little") % PAGES * PAGE


def _position(page: bytes, name: bytes) -> int | None:
    at = page.find(name)
    while at >= 0:
        if at % SLOT == 0:
            return at
        at = page.find(name, at + 1)
    return None


def _victim(page: bytes) -> int:
    """Where there is room: a slot never used, or the one that was asked for the longest ago."""
    oldest, where = 2**63, 0
    for at in range(0, len(page) - SLOT + 1, SLOT):
        _, asked, _, _, kind = _SLOT.unpack_from(page, at)
        if kind == _NOTHING:
            return at
        if asked < oldest:
            oldest, where = asked, at
    return where


def _seed(name: bytes, asked: int, kind: int) -> int:
    return zlib.crc32(b"%b%d,%d" % (name, asked, kind))


def _read(page: bytes, at: int) -> Lookup | None:
    """What is at that place; None if it is nothing, or nothing whole."""
    if len(page) < at + SLOT:
        return None
    name, asked, checksum, length, kind = _SLOT.unpack_from(page, at)
    content = page[at + _SLOT.size : at + _SLOT.size + length]
    if kind not in (_RECORD, _GONE) or zlib.crc32(content, _seed(name, asked, kind)) != checksum:
        return None
    if kind == _GONE:
        return Lookup(None, asked)
    sandbox = decode(content)
    return None if sandbox is None else Lookup(sandbox, asked)


# --- a record as octets -------------------------------------------------------------------------------------------


class _Content(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    id: str
    address: bytes
    generation: str
    ipv4: bytes
    host: str
    ttl: float | None
    lifetime: float | None
    protocol: str = ""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Content)


def encode(sandbox: Sandbox) -> bytes:
    """`sandbox` as octets, about a hundred."""
    ipv4 = b"" if sandbox.ipv4 is None else sandbox.ipv4.packed
    address, lifetime = sandbox.address.packed, sandbox.lifetime
    content = _Content(
        sandbox.id, address, sandbox.generation, ipv4, sandbox.host, sandbox.ttl, lifetime, sandbox.protocol
    )
    return _encoder.encode(content)


def decode(octets: bytes) -> Sandbox | None:
    """The inverse of `encode`; None if these are not such octets."""
    try:
        content = _decoder.decode(octets)
        ipv4 = IPv4Address(content.ipv4) if content.ipv4 else None
        address, lifetime = IPv6Address(content.address), content.lifetime
        return Sandbox(
            content.id,
            address,
            content.generation,
            ipv4,
            content.host,
            content.ttl,
            lifetime,
            protocol=content.protocol,
        )
    except (msgspec.MsgspecError, ValueError):
        return None
