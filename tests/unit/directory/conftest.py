"""The embedded registry, as both of its test modules open it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from ipaddress import IPv6Address
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gateway.directory.sandbox import Sandbox
from gateway.directory.sqlite import SqliteRegistry
from tests.support.memory import in_memory

Make = Callable[[], SqliteRegistry]


def sandbox(name: str, address: str = "fd00::5") -> Sandbox:
    """What a registration says; the generation is the registry's to give."""
    return Sandbox(name, IPv6Address(address), "")


def plain_backup(path: Path, target: Path) -> None:
    """As `sqlite3 FILE .backup` makes it."""
    with closing(sqlite3.connect(path)) as now, closing(sqlite3.connect(target)) as then:
        now.backup(then)


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """A registry waits for the disk with every write."""
    with TemporaryDirectory(prefix="gateway-tests-", dir=in_memory() or tmp_path) as folder:
        yield Path(folder)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the registry's file will be."""
    return tmp_path / "var" / "sandboxes.db"


@pytest.fixture
async def make(path: Path) -> AsyncIterator[Make]:
    """Opens the registry once more, as another process would; all are closed at the end."""
    opened: list[SqliteRegistry] = []

    def make() -> SqliteRegistry:
        opened.append(SqliteRegistry(path))
        return opened[-1]

    yield make
    for store in opened:
        await store.close()
