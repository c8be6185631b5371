"""The file backend: a TOML table of sandboxes, read again when it changes.

    [sandboxes.demo]
    address = "fd00::5"
    generation = "2"            # optional; the address stands in for it
    ipv4 = "10.0.0.5"           # optional; looked at when the app refuses, never forwarded to
    host = "localhost:{port}"   # optional; the Host field its apps are sent, see upstream.host
    protocol = "h2c"            # optional; "auto" | "http1" | "h2c", or { default = "auto", ports = { 50051 = "h2c" } }

A broken edit never takes a sandbox away: the last good table stays in force, and one log line says what is wrong
and where. All processes know that table (`LastGood`): one may have to be replaced before the file is mended.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import tomllib
import weakref
from collections.abc import Callable, Iterable, Sized
from pathlib import Path

from gateway.counting import counted
from gateway.directory.fields import read_fields
from gateway.directory.sandbox import Sandbox, TableDirectory, WatchObserver
from gateway.errors import UserError
from gateway.hostname import is_sandbox_id

POLL_INTERVAL = 0.5
"""Seconds between two looks at the file's identity, size and time; one stat() each."""

log = logging.getLogger("gateway.directory")

_KEYS = ("address", "generation", "ipv4", "host", "protocol")

_DIGEST = hashlib.sha256().digest_size

_Stamp = tuple[int, int, int]
"""Inode, octets, and the time of the last change in nanoseconds."""


class _Unreadable(UserError):
    """What kept the file from being read may pass and leave no trace in it: rights, no descriptor left, a bad disk."""


def read_table(path: Path) -> dict[str, Sandbox]:
    """The records in `path`. Raises UserError with one sentence naming the file and the entry at fault."""
    return _table(path, _text(path))


def _text(path: Path) -> str:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise UserError(f"{path}: is no file but a device, a pipe or a socket")  # reading it may have no end
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise _Unreadable(f"{path}: {error.strerror or error}") from None
    except ValueError as error:  # no UTF-8
        raise UserError(f"{path}: not valid TOML: {error}") from None


def _table(path: Path, text: str) -> dict[str, Sandbox]:
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # of TOML, or a number of thousands of digits
        raise UserError(f"{path}: not valid TOML: {error}") from None
    unknown = document.keys() - {"sandboxes"}
    if unknown:
        raise UserError(f"{path}: {min(unknown)}: unknown key (expected [sandboxes.<id>] tables)")
    sandboxes = document.get("sandboxes", {})
    if not isinstance(sandboxes, dict):
        raise UserError(f"{path}: sandboxes: expected a table of [sandboxes.<id>]")
    return {name: _record(path, name, entry) for name, entry in sandboxes.items()}


def _record(path: Path, name: str, entry: object) -> Sandbox:
    where = f"{path}: sandboxes.{name}"
    if not is_sandbox_id(name):
        raise UserError(f"{where}: not a sandbox id (a-z, 0-9, inner hyphens, at most 57 characters)")
    if not isinstance(entry, dict):
        raise UserError(f'{where}: expected a table such as {{ address = "fd00::5" }}')
    unknown = entry.keys() - set(_KEYS)
    if unknown:
        raise UserError(f"{where}.{min(unknown)}: unknown key (expected {', '.join(_KEYS)})")
    values, wrong = read_fields(entry, _KEYS)
    for key, why in wrong.items():
        raise UserError(f"{where}.{key}: {why}")
    if values["generation"] is None:
        values["generation"] = str(values["address"])
    return Sandbox(name, **values)


class LastGood:
    """The text of the last good table, in memory that all processes of a gateway share; made before the fork."""

    def __init__(self) -> None:
        """Raises OSError."""
        self._descriptor = os.memfd_create("gateway-table", os.MFD_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)

    def keep(self, text: str) -> None:
        """Raises OSError."""
        # Without a lock: all who read the file keep the same, and what is not whole was never there.
        octets = text.encode()
        os.pwrite(self._descriptor, hashlib.sha256(octets).digest() + octets, 0)
        os.truncate(self._descriptor, _DIGEST + len(octets))

    def text(self) -> str | None:
        """What was kept last; None: nothing, or nothing whole."""
        octets = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)
        digest, octets = octets[:_DIGEST], octets[_DIGEST:]
        return octets.decode() if hashlib.sha256(octets).digest() == digest else None


class FileDirectory(TableDirectory):
    """The table in `path`, kept current by `watch`."""

    def __init__(self, path: Path, last_good: LastGood | None = None) -> None:
        """Raises UserError if the file cannot be read now, and no process has: a gateway does not start on a guess."""
        self.path = path
        self.where = str(path)
        self._last_good = last_good
        self._said = ""  # what is wrong with the file
        self._stamp = _stamp(path)  # of what was read
        try:
            super().__init__(self._read())
        except UserError as error:
            text = None if last_good is None else last_good.text()
            if text is None:
                raise
            super().__init__(_table(path, text))
            self._keep(error)

    def _read(self) -> dict[str, Sandbox]:
        text = _text(self.path)
        table = _table(self.path, text)
        if self._last_good is not None:
            try:
                self._last_good.keep(text)
            except OSError as error:
                log.warning("%s: is not kept for processes to come: %s", self.path, error.strerror)
        return table

    def _keep(self, error: UserError) -> None:
        """What was read before, and says why, once."""
        if isinstance(error, _Unreadable):
            self._stamp = None  # the next look tries again
        if self._said != str(error):
            self._said = str(error)
            log.error("%s; keeping the %s read before", error, _sandboxes(self.table))

    async def watch(self, changed: Callable[[Iterable[str]], None], observer: WatchObserver) -> None:
        """Runs until cancelled; calls `changed(ids)` after each reload with the ids whose record differs."""
        loop = asyncio.get_running_loop()
        earlier = seen = self._stamp
        while True:
            await asyncio.sleep(POLL_INTERVAL)
            # In a thread: a network file system may hang, and a large table takes long to parse.
            stamp = await loop.run_in_executor(None, _stamp, self.path)
            # Half a file may be a good table too, an empty one is: it is read when two looks have found it the same.
            # Where each look finds another file, whoever writes there puts whole ones in place, and may never rest.
            settled = stamp == seen or (_is_another(earlier, seen) and _is_another(seen, stamp))
            earlier, seen = seen, stamp
            if not settled or stamp == self._stamp:
                continue
            self._stamp = stamp
            try:
                table = await loop.run_in_executor(None, self._read)
            except UserError as error:
                self._keep(error)
                continue
            self._said = ""
            before, self.table = self.table, table
            differing = [name for name in before.keys() | table.keys() if before.get(name) != table.get(name)]
            log.info("%s: %s, %d changed", self.path, _sandboxes(table), len(differing))
            changed(differing)


def _sandboxes(table: Sized) -> str:
    return counted(len(table), "sandbox", "sandboxes")


def _is_another(before: _Stamp | None, now: _Stamp | None) -> bool:
    """Whether `now` is a file put in the place of `before`; inodes come again, so not every such is known for one."""
    return before is not None and now is not None and before[0] != now[0]


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None  # whoever reads it says why
    return status.st_ino, status.st_size, status.st_mtime_ns
