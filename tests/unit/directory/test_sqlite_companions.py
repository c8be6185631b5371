"""A file put in the registry's place, however and whenever: what is opened anew is that file alone, and sound."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from gateway.directory import sqlite as sqlite_module
from gateway.directory import sqlite_file as sqlite_file_module
from gateway.directory.availability import Availability
from gateway.directory.sandbox import DirectoryError
from gateway.directory.sqlite import SqliteRegistry
from gateway.directory.sqlite_companions import beside, is_folded
from gateway.directory.sqlite_file import backup, inspect, restore
from gateway.errors import UserError
from gateway.tasks import Tasks
from tests.support.process import clean_environment
from tests.unit.directory.conftest import Make, plain_backup, sandbox

DEADLINE = 20.0


def sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def ids(store: SqliteRegistry) -> set[str]:
    return {found.id for found in await store.page("", 10_000)}


def by_rename(source: Path, path: Path) -> None:
    shutil.copyfile(source, beside(path, ".tmp"))
    beside(path, ".tmp").replace(path)


def by_copying_over(source: Path, path: Path) -> None:
    shutil.copyfile(source, path)


def by_removing_first(source: Path, path: Path) -> None:
    path.unlink()
    shutil.copyfile(source, path)


Put = Callable[[Path, Path], None]
PUT = pytest.mark.parametrize("put", [by_rename, by_copying_over, by_removing_first])


CRASH = """
import asyncio, os, signal, sqlite3, sys
from contextlib import closing
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path
from gateway.directory.sandbox import Sandbox
from gateway.directory.sqlite import SqliteRegistry

path, target, grown = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

async def main():
    store = SqliteRegistry(path)
    for number in range(20):
        await store.put(Sandbox(f"old{number}", IPv6Address("fd00::1"), ""))
    with closing(sqlite3.connect(path)) as now, closing(sqlite3.connect(target)) as then:
        now.backup(then)
    await store.put(Sandbox("later", IPv6Address("fd00::2"), ""))
    reader = sqlite3.connect(path, isolation_level=None)  # keeps what is written from being folded
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM sandboxes").fetchall()
    for number in range(grown):
        await store.put(Sandbox(f"new{number}", IPv6Address("fd00::2"), ""))
    for number in range(20):
        await store.remove(f"old{number}")
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def crash(path: Path, target: Path, grown: int = 30) -> None:
    """Leaves a registry with a -wal that holds something, and a backup from before."""
    subprocess.run(
        [sys.executable, "-c", CRASH, str(path), str(target), str(grown)], env=clean_environment(), timeout=60
    )
    assert not is_folded(path)


OLD = {f"old{number}" for number in range(20)}


# --- nobody has it open ---------------------------------------------------------------------------------------------


@PUT
@pytest.mark.parametrize("grown", [0, 200])
async def test_a_backup_beside_the_wal_of_a_crash_is_in_force_alone(
    make: Make, path: Path, tmp_path: Path, put: Put, grown: int, caplog: pytest.LogCaptureFixture
) -> None:
    crash(path, tmp_path / "backup", grown)
    put(tmp_path / "backup", path)
    assert inspect(path) == 20
    store = make()
    assert await ids(store) == OLD
    await store.put(sandbox("new"))
    assert await ids(make()) == {*OLD, "new"}
    assert sound(path)
    assert f"is kept as {path}-wal.stray" in caplog.text
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@PUT
async def test_a_backup_of_another_registry_is_in_force_alone(make: Make, path: Path, tmp_path: Path, put: Put) -> None:
    other = SqliteRegistry(tmp_path / "other.db")
    for number in range(60):
        await other.put(sandbox(f"other{number}"))
    await other.close()
    crash(path, tmp_path / "backup")
    put(tmp_path / "other.db", path)
    assert await ids(make()) == {f"other{number}" for number in range(60)}
    await make().put(sandbox("new"))
    assert sound(path)


async def test_after_a_crash_nothing_is_lost(make: Make, path: Path, tmp_path: Path) -> None:
    crash(path, tmp_path / "backup")
    moved = tmp_path / "moved" / path.name
    shutil.copytree(path.parent, moved.parent)
    shutil.copytree(path.parent, tmp_path / "halved")
    beside(tmp_path / "halved" / path.name, "-shm").unlink()
    expected = {"later", *(f"new{number}" for number in range(30))}
    for where in (path, moved, tmp_path / "halved" / path.name):
        store = SqliteRegistry(where)
        assert await ids(store) == expected
        await store.put(sandbox("more"))
        assert is_folded(where)
        await store.close()
        assert sound(where)


# --- while it is open -----------------------------------------------------------------------------------------------


@PUT
@pytest.mark.parametrize("grown", [0, 200])
async def test_a_backup_put_in_place_under_readers_and_writers_is_in_force_alone(
    make: Make, path: Path, tmp_path: Path, put: Put, grown: int
) -> None:
    first, second = make(), make()
    for name in OLD:
        await first.put(sandbox(name))
    plain_backup(path, tmp_path / "backup")
    for number in range(grown):
        await first.put(sandbox(f"new{number}"))
    await first.remove("old1")
    assert await second.fetch("old1") is None
    heard: set[str] = set()
    tasks = Tasks()
    for store in (first, second):
        tasks.spawn(store.watch(heard.update, Availability(store.where)), "watch")
    await asyncio.sleep(sqlite_module.POLL_INTERVAL)  # both have a position
    put(tmp_path / "backup", path)
    async with asyncio.timeout(DEADLINE):
        while await second.fetch("old1") is None or await first.fetch("old1") is None:
            await asyncio.sleep(0.01)
    assert heard >= OLD
    for store in (first, second, make()):
        assert await ids(store) == OLD
    for number, store in enumerate((first, second)):
        await store.put(sandbox(f"after{number}"))
    async with asyncio.timeout(DEADLINE):
        while {"after0", "after1"} - heard:
            await asyncio.sleep(0.01)
    await tasks.cancel()
    assert await ids(make()) == {*OLD, "after0", "after1"}
    assert sound(path)


@PUT
async def test_the_first_to_notice_may_be_a_writer(make: Make, path: Path, tmp_path: Path, put: Put) -> None:
    store = make()
    for name in OLD:
        await store.put(sandbox(name))
    plain_backup(path, tmp_path / "backup")
    for number in range(100):
        await store.put(sandbox(f"new{number}"))
    put(tmp_path / "backup", path)
    await store.put(sandbox("after"))
    assert await ids(make()) == {*OLD, "after"}
    assert sound(path)


async def test_who_has_not_noticed_yet_reads_the_file_it_has_open(make: Make, path: Path, tmp_path: Path) -> None:
    """And not what another connection of the same process makes of its -shm, for which SQLite takes it to be alone."""
    reader, store = make(), make()
    for name in OLD:
        await store.put(sandbox(name))
    plain_backup(path, tmp_path / "backup")
    for number in range(300):
        await store.put(sandbox(f"new{number}"))
    before = await ids(reader)
    by_rename(tmp_path / "backup", path)
    await make().put(sandbox("after"))
    assert await ids(reader) == before
    assert await ids(make()) == {*OLD, "after"}


async def test_what_is_acknowledged_is_in_the_file_that_has_the_name(
    make: Make, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is replaced between the look and the end of the transaction."""
    store = make()
    await store.put(sandbox("old"))
    plain_backup(path, tmp_path / "backup")
    await store.put(sandbox("lost"))
    done: list[str] = []

    def count_write(db: sqlite3.Connection, path: Path) -> None:
        if not done:
            by_rename(tmp_path / "backup", path)
        done.append("once more")

    monkeypatch.setattr(sqlite_module, "count_write", count_write)
    await store.put(sandbox("new"))
    assert await ids(make()) == {"old", "new"}
    assert len(done) == 2


OTHER_PROCESS = """
import asyncio, sys
from ipaddress import IPv6Address
from pathlib import Path
from gateway.directory.availability import Availability
from gateway.directory.sandbox import Sandbox
from gateway.directory.sqlite import SqliteRegistry

async def main():
    store = SqliteRegistry(Path(sys.argv[1]))
    await store.put(Sandbox("theirs", IPv6Address("fd00::9"), ""))
    await store.fetch("theirs")
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    watching = loop.create_task(store.watch(lambda names: None, Availability(store.where)))
    for line in iter(lambda: sys.stdin.readline(), ""):
        pass
    while await store.fetch("theirs") is not None:
        await asyncio.sleep(0.01)
    await store.put(Sandbox("theirs-after", IPv6Address("fd00::9"), ""))
    print(*sorted(found.id for found in await store.page("", 1000)), flush=True)

asyncio.run(main())
"""


@PUT
async def test_other_processes_notice_too(make: Make, path: Path, tmp_path: Path, put: Put) -> None:
    store = make()
    await store.put(sandbox("ours"))
    plain_backup(path, tmp_path / "backup")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OTHER_PROCESS, str(path), env=clean_environment(), stdin=-1, stdout=-1
    )
    assert process.stdin is not None and process.stdout is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline() == b"ready\n"
        for number in range(100):
            await store.put(sandbox(f"ours{number}"))
        put(tmp_path / "backup", path)
        process.stdin.close()
        assert await process.stdout.readline() == b"ours theirs-after\n"
        assert await process.wait() == 0
    await store.put(sandbox("after"))
    assert await ids(make()) == {"ours", "theirs-after", "after"}
    assert sound(path)


async def test_a_write_is_in_the_file_itself_when_it_is_acknowledged(make: Make, path: Path, tmp_path: Path) -> None:
    store, reader = make(), make()
    await reader.fetch("box")
    for number in range(5):
        await store.put(sandbox(f"box{number}"))
        assert is_folded(path)
    shutil.copyfile(path, tmp_path / "copy")
    assert inspect(tmp_path / "copy") == 5


async def test_who_reads_for_long_holds_up_no_write(make: Make, path: Path) -> None:
    store = make()
    await store.put(sandbox("box"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM sandboxes").fetchone() == (1,)
        for number in range(3):
            await store.put(sandbox(f"box{number}"))
        assert not is_folded(path)
        assert len(await ids(make())) == 4
    await store.put(sandbox("more"))
    assert is_folded(path)


async def test_each_stray_is_kept(make: Make, path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The second time, too: it is what is left of a file that may be missed."""
    strays = []
    for time in ("", ".2", ".3"):
        crash(path, tmp_path / "backup")
        held = beside(path, "-wal").read_bytes()
        shutil.copy(tmp_path / "backup", path)
        assert await ids(make()) == OLD
        strays.append((path.with_name(f"{path.name}-wal.stray{time}"), held))
        path.unlink()
    for stray, held in strays:
        assert stray.read_bytes() == held
        assert f"is kept as {stray}" in caplog.text


# --- backup and restore -----------------------------------------------------------------------------------------------


KILLED = """
import sys, time
from pathlib import Path
from gateway.directory import sqlite_file

def put_in_place(new, path):
    print(new, flush=True)
    time.sleep(60)

sqlite_file.put_in_place = put_in_place
sqlite_file.backup(Path(sys.argv[1]), Path(sys.argv[2]))
"""


async def test_what_a_killed_backup_has_left_is_removed_by_the_next(make: Make, path: Path, tmp_path: Path) -> None:
    """And while one is at work another waits, so that none takes the other's for a leftover."""
    await make().put(sandbox("box"))
    target = tmp_path / "backups" / "today"
    target.parent.mkdir()
    others = {target.with_name(name) for name in ("today.new", "today.notes.new", "yesterday.0123456789abcdef.new")}
    for other in others:
        other.write_text("somebody else's")
    command = [sys.executable, "-c", KILLED, str(path), str(target)]
    with subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        left = Path(killed.stdout.readline().strip())
        folder = os.open(target.parent, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(folder)
        killed.kill()
    assert left.exists()
    assert backup(path, target) == 1
    assert set(target.parent.iterdir()) == {target, *others}


async def test_a_backup_is_whole_and_the_owners_alone(make: Make, path: Path, tmp_path: Path) -> None:
    store = make()
    for number in range(20):
        await store.put(sandbox(f"box{number}"))
    target = tmp_path / "backups" / "today"
    assert backup(path, target) == 20
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(target.parent.iterdir()) == [target]
    await store.put(sandbox("more"))
    assert backup(path, target) == inspect(target) == 21
    assert sound(target)


async def test_restoring_is_noticed_and_keeps_no_promise_broken(make: Make, path: Path, tmp_path: Path) -> None:
    store, reader = make(), make()
    given = (await store.put(sandbox("box", "fd00::1"))).generation
    target = tmp_path / "backup"
    backup(path, target)
    before = target.read_bytes()
    generations = {given}
    for number in range(2, 12):
        generations.add((await store.put(sandbox("box", f"fd00::{number}"))).generation)
    assert await reader.fetch("box") is not None
    heard: set[str] = set()

    def changed(names: Iterable[str]) -> None:
        heard.update(names)

    tasks = Tasks()
    tasks.spawn(reader.watch(changed, Availability(reader.where)), "watch")
    assert restore(path, target) == 1
    async with asyncio.timeout(DEADLINE):
        while "box" not in heard:
            await asyncio.sleep(0.01)
    await tasks.cancel()
    found = await reader.fetch("box")
    assert found is not None and (found.generation, found.address) == (given, IPv6Address("fd00::1"))
    for number in range(2, 12):
        new = (await store.put(sandbox("box", f"fd00::{number}"))).generation
        assert new not in generations
        generations.add(new)
    assert target.read_bytes() == before
    assert sound(path)


@pytest.mark.parametrize("octets", [b"", b"no database " * 1000, b"SQLite format 3\0" + bytes(9000)])
async def test_a_damaged_registry_is_restored(path: Path, tmp_path: Path, octets: bytes) -> None:
    store = SqliteRegistry(path)
    await store.put(sandbox("box"))
    backup(path, tmp_path / "backup")
    await store.close()
    path.write_bytes(octets)
    assert restore(path, tmp_path / "backup") == 1
    path.unlink()
    assert restore(path, tmp_path / "backup") == 1
    store = SqliteRegistry(path)
    assert await ids(store) == {"box"}
    await store.close()


async def test_what_is_no_backup_is_refused_and_nothing_has_changed(path: Path, tmp_path: Path) -> None:
    store = SqliteRegistry(path)
    for number in range(200):
        await store.put(sandbox(f"box{number}"))
    backup(path, tmp_path / "damaged")
    with (tmp_path / "damaged").open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xaa" * 8192)
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("no database " * 1000)
    with closing(sqlite3.connect(tmp_path / "theirs")) as theirs:
        theirs.execute("CREATE TABLE theirs (a)")
    with closing(sqlite3.connect(tmp_path / "newer")) as newer:
        newer.execute("PRAGMA application_id = 0x67617465")
        newer.execute("PRAGMA user_version = 99")
    (tmp_path / "link").symlink_to(path)
    before = path.read_bytes()
    for name, words in {
        "damaged": "damaged|malformed",
        "empty": "is empty",
        "text": "not an SQLite database",
        "theirs": "another program's",
        "newer": "a newer gateway",
        "absent": "there is no such file",
        "link": "is the registry itself",
        ".": "is a folder",
    }.items():
        with pytest.raises(UserError, match=words) as error:
            restore(path, tmp_path / name)
        assert str(error.value).startswith(str(tmp_path / name))
        assert "\n" not in str(error.value)
    assert path.read_bytes() == before
    assert len(await ids(store)) == 200
    assert not list(path.parent.glob("*.new"))
    for name in ("text", "theirs", "link", "."):
        with pytest.raises(UserError):
            backup(path, tmp_path / name)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be made"):
        backup(path, tmp_path / "file" / "backup")
    await store.close()


@pytest.mark.parametrize("kind", ["socket", "pipe"])
async def test_what_is_no_file_is_neither_backup_nor_replaced(path: Path, tmp_path: Path, kind: str) -> None:
    store, other = SqliteRegistry(path), tmp_path / kind
    await store.put(sandbox("box"))
    await store.close()
    if kind == "pipe":
        os.mkfifo(other)
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(other))
    before = other.stat()
    for act in (backup, restore):
        with pytest.raises(UserError, match="is no file"):
            act(path, other)
    assert (other.stat().st_ino, other.stat().st_mode) == (before.st_ino, before.st_mode)
    with pytest.raises(UserError, match="is no file"):
        inspect(other)


async def test_a_disk_that_takes_no_writes_is_one_sentence(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing can be made nothing can be removed either, not even what is not there."""
    store = SqliteRegistry(path)
    await store.put(sandbox("box"))
    await store.close()
    backup(path, tmp_path / "backup")
    refusal = OSError(errno.EROFS, os.strerror(errno.EROFS))

    def refuse(*_: object, **__: object) -> None:
        raise refusal

    monkeypatch.setattr(sqlite_file_module, "copy", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    for act in (backup, restore):
        with pytest.raises(UserError, match="Read-only file system"):
            act(path, tmp_path / "backup")


async def test_a_disk_that_shares_no_memory_is_one_sentence(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As network file systems are: SQLite falls back to a journal that readers wait for."""
    store = SqliteRegistry(path)
    await store.put(sandbox("box"))
    backup(path, tmp_path / "backup")
    await store.close()
    connect = sqlite_file_module.connect

    def unshared(path: Path, *, timeout: float, mode: str = "rw") -> sqlite3.Connection:
        return connect(path, timeout=timeout, mode=f"{mode}&vfs=unix-none")

    path.unlink()
    monkeypatch.setattr(sqlite_file_module, "connect", unshared)
    for act in (backup, restore):
        with pytest.raises(UserError, match="use a local disk"):
            act(path, tmp_path / "backup")
    with pytest.raises(DirectoryError, match="use a local disk"):
        await store.put(sandbox("box"))
    await store.close()


# --- the registry is a link to a file elsewhere -----------------------------------------------------------------------


@pytest.fixture
def link(tmp_path: Path, path: Path) -> Path:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    return link


async def test_nothing_that_was_acknowledged_is_lost_through_a_link(link: Path, path: Path) -> None:
    """Somebody reads for long, so that what is written stays in the -wal, which lies beside the file."""
    store = SqliteRegistry(link)
    await store.put(sandbox("first"))
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM sandboxes").fetchall()
        for number in range(30):
            await store.put(replace(sandbox(f"box{number}"), host="h" * 1000))
        assert not is_folded(link)
        other = SqliteRegistry(link)
        assert len(await ids(other)) == 31
        await other.close()
    await store.close()
    assert link.is_symlink() and sound(path)
    assert [each.name for each in link.parent.iterdir() if each.is_file() and each != link] == []


async def test_a_backup_is_restored_to_where_a_link_leads(link: Path, make: Make, tmp_path: Path) -> None:
    store = SqliteRegistry(link)
    await store.put(sandbox("box"))
    assert backup(link, tmp_path / "backup") == 1
    await store.put(sandbox("later"))
    assert restore(link, tmp_path / "backup") == 1
    assert await ids(make()) == {"box"} and link.is_symlink()
    await store.put(sandbox("again"))
    assert await ids(make()) == {"box", "again"}
    await store.close()


# --- what goes wrong goes wrong once ----------------------------------------------------------------------------------


async def test_a_reader_writes_nothing(make: Make) -> None:
    store = make()
    await store.put(sandbox("box"))
    await store.fetch("box")
    with store._reading() as db, pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM sandboxes")
    assert await store.fetch("box") is not None


async def test_after_an_error_reading_begins_anew(make: Make) -> None:
    store = make()
    await store.put(sandbox("box"))
    await store.fetch("box")
    with pytest.raises(DirectoryError, match="no such table"), store._reading() as broken:
        broken.execute("SELECT * FROM absent")
    with store._reading() as db:
        assert db is not broken
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        broken.execute("SELECT 1")


async def test_after_an_error_writing_begins_anew(make: Make) -> None:
    store = make()
    await store.put(sandbox("box"))
    connections: list[sqlite3.Connection] = []

    def job(db: sqlite3.Connection) -> None:
        connections.append(db)
        db.execute("DELETE FROM sandboxes")
        if len(connections) == 1:
            db.execute("INSERT INTO absent VALUES (1)")

    with pytest.raises(DirectoryError, match="no such table"):
        await store._write(job)
    assert await store.fetch("box") is not None, "nothing of it was written"
    await store._write(job)
    first, second = connections
    assert first is not second
