"""Which backend `[directory]` asks for: checked before anything starts, opened in the process that uses it.

The only place that knows all of them; each is imported when it is asked for, so that nobody pays for the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.config import Directory as DirectorySettings
from gateway.counting import counted
from gateway.directory.sandbox import Directory, Registry

if TYPE_CHECKING:
    from gateway.directory.file import LastGood


def open_directory(settings: DirectorySettings, last_good: LastGood | None = None) -> Directory:
    """The backend, for the event loop of this process; whoever opens it runs `watch` and closes it.

    Connects to nothing yet. Raises UserError for what `check` would have found, unless `last_good` is there.
    """
    match settings.backend:
        case "file":
            from gateway.directory.file import FileDirectory

            return FileDirectory(settings.path, last_good)
        case "sqlite":
            from gateway.directory.sqlite import SqliteRegistry

            return SqliteRegistry(settings.path)
        case "redis":
            from gateway.directory.redis import RedisRegistry

            return RedisRegistry(settings.url)
        case "dns":
            from gateway.directory.dns import DnsDirectory

            return DnsDirectory(settings.zone, [str(server) for server in settings.nameservers])


def as_registry(directory: Directory) -> Registry | None:
    """`directory`, if its records can be written and listed; None: they cannot."""
    return directory if isinstance(directory, Registry) else None


def check(settings: DirectorySettings) -> str:
    """What there is to say about the backend without asking any network, in one sentence. Changes nothing.

    Raises UserError: a file that cannot be read, is broken, cannot be made, or was written by a newer version.
    """
    match settings.backend:
        case "file":
            from gateway.directory.file import read_table

            return f"{settings.path} names {counted(len(read_table(settings.path)), 'sandbox', 'sandboxes')}"
        case "sqlite":
            from gateway.directory.sqlite_file import inspect, obstacle

            count, why = inspect(settings.path), obstacle(settings.path)
            there = "will be made" if count is None else f"holds {counted(count, 'sandbox', 'sandboxes')}"
            return f"{settings.path} {there}" + (f"; nothing can be written to it: {why}" if why else "")
        case "redis":
            open_directory(settings)
            return f"sandboxes are looked up in {without_password(settings.url)}"
        case "dns":
            open_directory(settings)
            servers = ", ".join(map(str, settings.nameservers)) or "the system's nameservers"
            return f"sandboxes are looked up as AAAA records of <id>.{settings.zone} at {servers}"


def without_password(url: str) -> str:
    """`url` as it may be shown to anybody."""
    parts = urlsplit(url)
    _, at, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"***@{host}" if at else host).geturl()
