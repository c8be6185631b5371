"""`gateway sandboxes`: records read and written, in the registry itself or through a running gateway's admin API.

Both ways take the same arguments, check a registration with the same code and give the same records; which one it is
decides nothing but who opens the backend. The API is asked with the standard library: a command is one small request.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import urlencode

import msgspec

from gateway.admin.errors import ApiError
from gateway.admin.records import BrokenRecord, Record, as_record, entity_tag, read_registration
from gateway.app_protocol import of_json
from gateway.config import Settings
from gateway.counting import counted
from gateway.directory import backends, sqlite_file
from gateway.directory.sandbox import Broken, Conflict, Directory, DirectoryError, Registry, Sandbox, TableDirectory
from gateway.errors import UserError
from gateway.printable import printable
from gateway.process.admin_client import AdminClient
from gateway.process.explain import configured_listeners
from gateway.process.text_table import aligned
from gateway.standard_streams import print_json
from gateway.upstream.policy import AddressPolicy

PAGE = 1000
"""Records asked for at a time; the API gives no more."""

T = TypeVar("T")
Given = Mapping[str, str | float]


class Records(Protocol):
    """Where the verbs find records. Every method raises UserError with one sentence."""

    def add(self, sandbox_id: str, registration: Given, expected: str | None) -> Record:
        """Creates or replaces a record; `registration` is the JSON object that the API takes."""
        ...

    def get(self, sandbox_id: str) -> Record: ...

    def remove(self, sandbox_id: str) -> None: ...

    def page(self, after: str, limit: int) -> list[Record | BrokenRecord]: ...


def every(records: Records, after: str, limit: int | None) -> Iterator[Record | BrokenRecord]:
    """The records with ids greater than `after`, in the order of their ids; at most `limit`."""
    left = sys.maxsize if limit is None else limit
    while left:
        page = records.page(after, min(left, PAGE))
        yield from page
        if len(page) < min(left, PAGE):
            return
        left -= len(page)
        after = page[-1].id


# --- the registry itself ------------------------------------------------------------------------------------------


class Local:
    """The backend of a configuration, opened for one command."""

    def __init__(self, settings: Settings) -> None:
        """Raises UserError as `backends.check` does."""
        backends.check(settings.directory)
        self._settings = settings

    def add(self, sandbox_id: str, registration: Given, expected: str | None) -> Record:
        policy = AddressPolicy(self._settings.upstream.allow, configured_listeners(self._settings))
        try:
            body, allow_ipv4 = msgspec.json.encode(registration), self._settings.upstream.allow_ipv4
            asked = read_registration(sandbox_id, body, policy, allow_ipv4)
        except ApiError as error:
            raise UserError(error.detail) from None
        return self._record(
            self._run(
                lambda directory: self._registry(directory).put(
                    asked.sandbox, expected=expected, lifetime=asked.lifetime
                )
            )
        )

    def get(self, sandbox_id: str) -> Record:
        self._look()
        sandbox = self._run(lambda directory: directory.fetch(sandbox_id))
        if sandbox is None:
            raise UserError(f"there is no sandbox {sandbox_id}")
        return self._record(sandbox)

    def remove(self, sandbox_id: str) -> None:
        self._look()
        if not self._run(lambda directory: self._registry(directory).remove(sandbox_id)):
            raise UserError(f"there is no sandbox {sandbox_id}")

    def page(self, after: str, limit: int) -> list[Record | BrokenRecord]:
        self._look()
        found = self._run(lambda directory: self._page(directory, after, limit))
        return [BrokenRecord(each.id, each.why) if isinstance(each, Broken) else self._record(each) for each in found]

    async def _page(self, directory: Directory, after: str, limit: int) -> list[Sandbox | Broken]:
        store = directory if isinstance(directory, TableDirectory) else self._registry(directory)
        return await store.page(after, limit)

    def _look(self) -> None:
        if self._settings.directory.backend == "sqlite":
            _must_exist(self._settings.directory.path)

    def _registry(self, directory: Directory) -> Registry:
        settings = self._settings.directory
        store = backends.as_registry(directory)
        if store is not None:
            return store
        if settings.backend == "file":
            raise UserError(f"the file backend is written by hand: edit {settings.path}, it is read again by itself")
        raise UserError(f"the dns backend has neither list nor writes: its records are edited in zone {settings.zone}")

    def _run(self, ask: Callable[[Directory], Awaitable[T]]) -> T:
        async def run() -> T:
            directory = backends.open_directory(self._settings.directory)
            try:
                return await ask(directory)
            finally:
                await directory.close()

        try:
            return asyncio.run(run())
        except (Conflict, DirectoryError) as error:
            raise UserError(str(error)) from None

    def _record(self, sandbox: Sandbox) -> Record:
        return as_record(sandbox, self._settings)


def _must_exist(path: Path) -> None:
    # Only a record makes a database: looking for one in the wrong folder must not leave an empty one behind.
    if not path.exists():
        raise UserError(
            f"{path}: there is no such file yet (relative paths start at the working directory); "
            "the first record makes it"
        )


def backup(settings: Settings, file: Path) -> int:
    """Copies the registry to `file`; returns the number of records. Raises UserError with one sentence."""
    path = _embedded(settings)
    _must_exist(path)
    return sqlite_file.backup(path, file)


def restore(settings: Settings, file: Path) -> int:
    """Puts the backup `file` in the place of the registry, whatever state that is in; as `backup`."""
    return sqlite_file.restore(_embedded(settings), file)


_MEANS = {
    "file": "a copy of the file",
    "redis": "BGSAVE and a copy of its dump",
    "dns": "a copy of the zone",
}


def _embedded(settings: Settings) -> Path:
    backend = settings.directory.backend
    if backend != "sqlite":
        raise UserError(
            f"the {backend} backend has its own means ({_MEANS[backend]}): only the embedded registry "
            '(directory.backend = "sqlite") is backed up and restored here'
        )
    return settings.directory.path


# --- the admin API ------------------------------------------------------------------------------------------------


class _Page(msgspec.Struct):
    sandboxes: list[Record]
    broken: list[BrokenRecord] = msgspec.field(default_factory=list)


class Remote:
    """The gateway whose admin listener is at `admin` (http://host:port)."""

    def __init__(self, admin: str, token: str = "") -> None:
        self._client = AdminClient(admin, token, "open the registry itself")

    def add(self, sandbox_id: str, registration: Given, expected: str | None) -> Record:
        condition = {} if expected is None else {"If-Match": entity_tag(expected)}
        return self._client.fetch(Record, "PUT", _path(sandbox_id), msgspec.json.encode(registration), condition)

    def get(self, sandbox_id: str) -> Record:
        return self._client.fetch(Record, "GET", _path(sandbox_id))

    def remove(self, sandbox_id: str) -> None:
        self._client.send("DELETE", _path(sandbox_id))

    def page(self, after: str, limit: int) -> list[Record | BrokenRecord]:
        query = urlencode({"limit": limit} | ({"after": after} if after else {}))
        page = self._client.fetch(_Page, "GET", f"/v1/sandboxes?{query}")
        return sorted([*page.sandboxes, *page.broken], key=lambda record: record.id)


def _path(sandbox_id: str) -> str:
    return f"/v1/sandboxes/{sandbox_id}"  # an id needs no encoding


# --- what is shown ------------------------------------------------------------------------------------------------

_COLUMNS = {
    "ID": "id",
    "ADDRESS": "address",
    "GENERATION": "generation",
    "IPV4": "ipv4",
    "HOST": "host",
    "PROTOCOL": "protocol",
    "URL": "template",
    "BROKEN": "broken",
}
"""Of a table, and the attribute that stands in each; a record may not have it."""


def _cell(value: str | Mapping[str, object] | None) -> str:
    return of_json(value) if isinstance(value, Mapping) else value or ""


def print_records(records: Iterable[Record | BrokenRecord], *, as_json: bool) -> None:
    """A table on a terminal; otherwise, or `as_json`, each record as the API gives it on a line of its own."""
    if as_json or not sys.stdout.isatty():
        for record in records:
            print_json(msgspec.json.encode(record))
    elif found := list(records):
        print(table(found))
    else:
        print("no sandboxes")


def print_removed(sandbox_id: str, *, as_json: bool) -> None:
    """What `remove` has to say when it has worked."""
    if as_json or not sys.stdout.isatty():
        print_json(msgspec.json.encode({"removed": sandbox_id}))
    else:
        print(f"removed {sandbox_id}")


def print_copied(verb: str, file: Path, count: int, *, as_json: bool) -> None:
    """What `backup` and `restore` have to say when they have worked; `verb` is "saved to" or "restored from"."""
    if as_json or not sys.stdout.isatty():
        print_json(msgspec.json.encode({verb.split()[0]: str(file), "sandboxes": count}))
    else:
        print(printable(f"{counted(count, 'sandbox', 'sandboxes')} {verb} {file}"))


def table(records: Sequence[Record | BrokenRecord]) -> str:
    """Lines for a terminal; a column that is empty for all of them is left out."""
    columns = [
        [name, *(printable(_cell(getattr(record, attribute, None))) for record in records)]
        for name, attribute in _COLUMNS.items()
        if any(getattr(record, attribute, None) for record in records)
    ]
    return "\n".join(aligned(zip(*columns, strict=True)))
