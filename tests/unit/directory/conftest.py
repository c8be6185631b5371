"""The embedded registry, as both of its test modules open it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from gateway.directory.sandbox import Sandbox
from gateway.directory.sqlite import SqliteRegistry

Make = Callable[[], SqliteRegistry]


def sandbox(name: str, address: str = "fd00::5") -> Sandbox:
    """What a registration says; the generation is the registry's to give."""
    return Sandbox(name, IPv6Address(address), "")


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
