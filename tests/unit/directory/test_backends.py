"""Which backend a configuration opens, and what is said about it before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config import Listen
from gateway.config.settings import Directory as DirectorySettings
from gateway.directory.backends import as_registry, check, open_directory, without_password
from gateway.errors import UserError

ONE = '[sandboxes.demo]\naddress = "fd00::5"\n'


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "sandboxes.toml"
    path.write_text(ONE)
    return path


async def test_each_name_opens_its_backend(table: Path, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str, bool]] = [
        ({"backend": "file", "path": table}, "FileDirectory", False),
        ({"backend": "sqlite", "path": tmp_path / "sandboxes.db"}, "SqliteRegistry", True),
        ({"backend": "redis", "url": "redis://127.0.0.1:1/0"}, "RedisRegistry", True),
        ({"backend": "dns", "zone": "a.internal", "nameservers": (Listen("::1", 5353),)}, "DnsDirectory", False),
    ]
    for given, name, writes in cases:
        settings = DirectorySettings(**given)
        directory = open_directory(settings)
        assert type(directory).__name__ == name
        assert (as_registry(directory) is directory) is writes
        await directory.close()
    assert not (tmp_path / "sandboxes.db").exists()


def test_checking_says_what_there_is_and_makes_nothing(table: Path, tmp_path: Path) -> None:
    assert check(DirectorySettings(backend="file", path=table)) == f"{table} names 1 sandbox"
    database = tmp_path / "var" / "sandboxes.db"
    assert check(DirectorySettings(backend="sqlite", path=database)) == f"{database} will be made"
    assert not database.parent.exists()
    said = check(DirectorySettings(backend="redis", url="redis://user:secret@127.0.0.1:1/0"))
    assert said == "sandboxes are looked up in redis://***@127.0.0.1:1/0"
    said = check(DirectorySettings(backend="dns", zone="a.internal", nameservers=(Listen("::1", 5353),)))
    assert said == "sandboxes are looked up as AAAA records of <id>.a.internal at [::1]:5353"


def test_checking_refuses_what_could_not_be_opened(table: Path, tmp_path: Path) -> None:
    for settings in (
        DirectorySettings(backend="file", path=tmp_path / "absent.toml"),
        DirectorySettings(backend="sqlite", path=table),
        DirectorySettings(backend="sqlite", path=table / "sandboxes.db"),
    ):
        with pytest.raises(UserError, match=f"^{settings.path}: "):
            check(settings)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:secret@127.0.0.1:6379/0", "redis://***@127.0.0.1:6379/0"),
        ("rediss://user:s@cret@[fd00::9]:6380/3", "rediss://***@[fd00::9]:6380/3"),
        ("unix://user:secret@/run/redis.sock?db=2", "unix://***@/run/redis.sock?db=2"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown
