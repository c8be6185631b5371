"""The embedded registry: its file, what survives a kill, who hears of a change and how soon, what is never repeated."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from gateway.directory import sqlite as sqlite_module
from gateway.directory import sqlite_file
from gateway.directory.availability import Availability
from gateway.directory.sandbox import Broken, Conflict, DirectoryError, Presence, RecordError, WatchObserver
from gateway.directory.shared_cache import SharedCache
from gateway.directory.sqlite import SqliteRegistry
from gateway.directory.sqlite_file import MIGRATIONS, WRITE_TIMEOUT, inspect, open_file
from gateway.errors import UserError
from gateway.tasks import Tasks
from tests.support.components import require
from tests.support.disk import on_small_disk
from tests.support.process import clean_environment
from tests.unit.directory.conftest import Make, plain_backup, sandbox

DEADLINE = 20.0
"""Seconds until a test that waits for something gives up."""


def prepare(path: Path) -> None:
    open_file(path, timeout=1.0)[0].close()


def sql(path: Path, statement: str) -> list[tuple[object, ...]]:
    """What `statement` gives on the file, from outside."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        return db.execute(statement).fetchall()


@asynccontextmanager
async def watching(store: SqliteRegistry, observer: WatchObserver | None = None) -> AsyncIterator[asyncio.Queue[str]]:
    """Every id that `store` reports while the block runs."""
    heard: asyncio.Queue[str] = asyncio.Queue()

    def changed(names: Iterable[str]) -> None:
        for name in names:
            heard.put_nowait(name)

    tasks = Tasks()
    tasks.spawn(store.watch(changed, observer or Availability(store.where)), "watch")
    yield heard
    assert len(tasks) == 1, "watching never ends by itself"
    await tasks.cancel()


async def hear(heard: asyncio.Queue[str], *names: str) -> list[str]:
    """Waits until all `names` were reported; returns everything that was, in order."""
    told: list[str] = []
    async with asyncio.timeout(DEADLINE):
        while not set(names) <= set(told):
            told.append(await heard.get())
    return told


# --- the file -----------------------------------------------------------------------------------------------------


async def test_the_file_is_made_for_its_owner_alone(make: Make, path: Path) -> None:
    await make().put(sandbox("demo"))
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert sql(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert sql(path, "PRAGMA journal_mode") == [("wal",)]


async def test_nothing_is_opened_until_it_is_used(make: Make, path: Path) -> None:
    store = make()
    assert not path.parent.exists()
    assert await store.fetch("demo") is None
    assert path.exists()


async def test_an_older_file_is_brought_up_to_date_once(
    make: Make, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make().put(sandbox("demo"))
    step = ("ALTER TABLE sandboxes ADD COLUMN note TEXT", "UPDATE sandboxes SET note = 'new'")
    monkeypatch.setattr(sqlite_file, "MIGRATIONS", (*MIGRATIONS, step))
    for _ in range(2):
        prepare(path)
    assert sql(path, "PRAGMA user_version") == [(len(MIGRATIONS) + 1,)]
    assert sql(path, "SELECT id, note FROM sandboxes") == [("demo", "new")]
    assert await make().fetch("demo") is not None


async def test_a_step_that_fails_leaves_the_file_as_it_was(
    make: Make, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make().put(sandbox("demo"))
    monkeypatch.setattr(sqlite_file, "MIGRATIONS", (*MIGRATIONS, ("DROP TABLE changes", "NONSENSE")))
    with pytest.raises(DirectoryError, match=f"{path}: .*syntax error"):
        await make().fetch("demo")
    assert sql(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert sql(path, "SELECT id FROM changes") == [("demo",)]


async def test_a_newer_file_is_refused_and_left_alone(make: Make, path: Path) -> None:
    prepare(path)
    sql(path, f"PRAGMA user_version = {len(MIGRATIONS) + 7}")
    before = path.read_bytes()
    for look in (prepare, inspect):
        with pytest.raises(UserError) as error:
            look(path)
        assert f"version {len(MIGRATIONS) + 7}" in str(error.value)
        assert f"up to {len(MIGRATIONS)} only" in str(error.value)
    for attempt in (make().fetch("demo"), make().put(sandbox("demo")), make().page("", 1)):
        with pytest.raises(DirectoryError, match="a newer gateway has written it"):
            await attempt
    assert path.read_bytes() == before


def test_another_programs_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    sql(path, "CREATE TABLE theirs (a)")
    before = path.read_bytes()
    for look in (prepare, inspect):
        with pytest.raises(UserError, match="another program's"):
            look(path)
    assert path.read_bytes() == before


def test_a_table_of_sandboxes_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "sandboxes"
    path.write_text('[sandboxes.demo]\naddress = "fd00::5"\n' * 100)
    with pytest.raises(UserError) as error:
        inspect(path)
    assert str(error.value).startswith(f"{path}: it is not an SQLite database")
    assert 'directory.backend = "file"' in str(error.value)


async def test_inspecting_counts_and_changes_nothing(make: Make, path: Path) -> None:
    assert inspect(path) is None
    assert not path.parent.exists()
    store = make()
    for name in ("a", "b"):
        await store.put(sandbox(name))
    assert inspect(path) == 2


def test_a_file_that_cannot_be_made_is_told_before_it_is_needed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be made"):
        inspect(tmp_path / "file" / "sandboxes.db")
    with pytest.raises(UserError, match="is a folder"):
        inspect(tmp_path)


async def test_two_processes_may_make_the_file_at_once(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from gateway.directory.sqlite_file import open_file\n"
    code += (
        "sys.stdin.readline()\nfor n in range(20): open_file(Path(sys.argv[1]) / str(n) / 'sandboxes.db', timeout=5)"
    )
    with ExitStack() as stack:
        children = [stack.enter_context(child(code, str(tmp_path))) for _ in range(3)]
        for each in children:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        assert [each.wait(DEADLINE) for each in children] == [0, 0, 0]
    for number in range(20):
        assert inspect(tmp_path / str(number) / "sandboxes.db") == 0


# --- other processes ----------------------------------------------------------------------------------------------


@contextmanager
def child(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Python in a process of its own, with pipes; killed at the end of the block."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, env=clean_environment(), stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


REGISTER = """
import asyncio, sys
from ipaddress import IPv6Address
from pathlib import Path
from gateway.directory.sandbox import Sandbox
from gateway.directory.sqlite import SqliteRegistry

async def main():
    store = SqliteRegistry(Path(sys.argv[1]))
    for number in range(1000):
        stored = await store.put(Sandbox(f"s{number}", IPv6Address(0xfd << 120 | number), ""))
        print(number, stored.generation, flush=True)

asyncio.run(main())
"""


async def test_what_was_acknowledged_survives_kill_9(make: Make, path: Path) -> None:
    acknowledged: dict[str, str] = {}
    with child(REGISTER, str(path)) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            number, generation = line.split()
            acknowledged[f"s{number}"] = generation
            if len(acknowledged) == 300:
                writer.kill()  # in the middle of the next one; what is in the pipe by then is acknowledged too
    assert 300 <= len(acknowledged) < 1000
    store = make()
    for name, generation in acknowledged.items():
        found = await store.fetch(name)
        assert found is not None, f"{name} was acknowledged and is not there"
        assert (found.generation, found.address) == (generation, IPv6Address(0xFD << 120 | int(name[1:])))
    more = await store.put(sandbox("more"))
    assert more.generation not in acknowledged.values()


WATCH = """
import asyncio, sys, time
from pathlib import Path
from gateway.directory.availability import Availability
from gateway.directory.sqlite import SqliteRegistry

async def main():
    store = SqliteRegistry(Path(sys.argv[1]))
    await store.fetch("demo")
    print("ready", flush=True)
    changed = lambda names: print(time.monotonic(), *names, flush=True)
    await store.watch(changed, Availability(store.where))

asyncio.run(main())
"""


async def test_readers_in_other_processes_hear_of_a_change_within_a_second(make: Make, path: Path) -> None:
    store = make()
    await store.put(sandbox("demo"))
    with ExitStack() as stack:
        readers = [stack.enter_context(child(WATCH, str(path))) for _ in range(2)]
        outputs = [reader.stdout for reader in readers]
        for output in outputs:
            assert output is not None
            assert output.readline() == "ready\n"
        late: list[float] = []
        for number in range(3):
            await store.put(sandbox("demo", f"fd00::1{number}"))
            written = time.monotonic()  # the same clock for all processes of a machine
            for output in outputs:
                assert output is not None
                seen, *names = output.readline().split()
                assert names == ["demo"]
                late.append(float(seen) - written)
        # The machine may have stood still for a moment, not for most of them.
        assert sorted(late)[len(late) // 2] < 1.0, late


# --- what is reported ---------------------------------------------------------------------------------------------


async def test_only_what_differs_is_reported(make: Make) -> None:
    store, watcher = make(), make()
    await store.put(sandbox("same"))
    await store.put(sandbox("alive"), lifetime=60.0)
    await watcher.fetch("same")
    async with watching(watcher) as heard:
        await store.put(sandbox("same"))
        await store.put(sandbox("alive"), lifetime=90.0)
        with pytest.raises(Conflict):
            await store.put(sandbox("same", "fd00::9"), expected="?")
        await store.remove("absent")
        await store.put(sandbox("other"))
        assert await hear(heard, "other") == ["other"]


async def test_a_watcher_in_the_writing_process_hears_too(make: Make) -> None:
    store = make()
    await store.fetch("demo")
    async with watching(store) as heard:
        await store.put(sandbox("demo"))
        assert await hear(heard, "demo") == ["demo"]


async def test_a_change_between_the_first_read_and_watching_is_not_missed(make: Make) -> None:
    store, reader = make(), make()
    assert await reader.fetch("demo") is None
    await store.put(sandbox("demo"))
    async with watching(reader) as heard:
        assert await hear(heard, "demo") == ["demo"]


async def test_a_change_between_two_readers_of_the_same_registry_is_not_missed(make: Make) -> None:
    """A connection that failed is closed, and another one opened at the next look."""
    store, reader = make(), make()
    assert await reader.fetch("demo") is None
    await reader.close()
    await store.put(sandbox("demo"))
    async with watching(reader) as heard:
        assert await hear(heard, "demo") == ["demo"]


async def test_many_changes_come_in_bounded_batches(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "BATCH", 3)
    store, reader = make(), make()
    await reader.fetch("demo")
    names = [f"s{number}" for number in range(10)]
    for name in names:
        await store.put(sandbox(name))
    batches: list[list[str]] = []
    tasks = Tasks()
    tasks.spawn(reader.watch(lambda changed: batches.append(list(changed)), Availability(reader.where)), "watch")
    async with asyncio.timeout(DEADLINE):
        while sum(map(len, batches)) < len(names):
            await asyncio.sleep(0)
    await tasks.cancel()
    assert batches == [names[0:3], names[3:6], names[6:9], names[9:]]


async def test_who_fell_behind_is_told_of_everything(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "KEPT_CHANGES", 4)
    monkeypatch.setattr(sqlite_module, "BATCH", 3)
    store, reader = make(), make()
    names = {f"s{number}" for number in range(8)}
    for name in names:
        await store.put(sandbox(name))
    await store.put(sandbox("gone"))
    await reader.fetch("s0")
    for number in range(6):
        await store.put(sandbox("busy", f"fd00::1{number}"))
    await store.remove("gone")
    async with watching(reader) as heard:
        assert set(await hear(heard, *names, "busy", "gone")) == {*names, "busy", "gone"}
        await store.put(sandbox("later"))
        assert (await hear(heard, "later"))[-1] == "later"


async def test_changes_are_trimmed(make: Make, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "KEPT_CHANGES", 5)
    store = make()
    for number in range(20):
        await store.put(sandbox("demo", f"fd00::1{number}"))
    assert sql(path, "SELECT count(*), max(seq) FROM changes") == [(5, 20)]


async def test_generations_never_repeat_whatever_is_forgotten(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "KEPT_CHANGES", 0)
    seen: list[str] = []
    for _ in range(5):
        store = make()  # a new process knows no more than the file
        seen.append((await store.put(sandbox("demo"))).generation)
        assert await store.remove("demo")
        await store.close()
    assert len(set(seen)) == 5


@pytest.mark.parametrize("what", ["lost", "replaced by an older backup", "written over by an older backup"])
async def test_generations_never_repeat_whatever_becomes_of_the_file(
    make: Make, path: Path, tmp_path: Path, what: str
) -> None:
    """Else an old If-Match is that of another machine."""
    store, backup = make(), tmp_path / "backup.db"
    kept = (await store.put(sandbox("kept"))).generation
    plain_backup(path, backup)
    seen = [(await store.put(sandbox(f"s{number}"))).generation for number in range(5)]
    if what == "written over by an older backup":
        plain_backup(backup, path)
    else:
        await store.close()
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
        if what == "replaced by an older backup":
            backup.replace(path)
        store = make()
    if what != "lost":
        found = await store.fetch("kept")
        assert found is not None and found.generation == kept, "what is in the backup is what it was"
    seen += [(await store.put(sandbox(f"s{number}", "fd00::9"))).generation for number in range(5)]
    for old in (kept, *seen[:5]):
        with pytest.raises(Conflict):
            await store.put(sandbox("s0"), expected=old)
    assert len({kept, *seen}) == 11


# --- lifetimes ----------------------------------------------------------------------------------------------------


async def test_the_next_write_removes_and_reports_what_has_expired(make: Make, path: Path) -> None:
    store, watcher = make(), make()
    await store.put(sandbox("short"), lifetime=0.05)
    async with asyncio.timeout(DEADLINE):
        while await watcher.fetch("short") is not None:
            await asyncio.sleep(0.01)
    async with watching(watcher) as heard:
        await store.put(sandbox("demo"))
        assert await hear(heard, "short", "demo") == ["short", "demo"]
    assert sql(path, "SELECT id FROM sandboxes") == [("demo",)]


# --- trouble ------------------------------------------------------------------------------------------------------


async def test_a_writer_keeps_no_reader_waiting_and_another_writer_only_for_a_while(
    make: Make, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_module, "WRITE_TIMEOUT", 0.05)
    store = make()
    await store.put(sandbox("demo"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM sandboxes")
        assert await make().fetch("demo") is not None
        with pytest.raises(DirectoryError, match=f"{path}: database is locked"):
            await make().put(sandbox("more"))
        other.execute("ROLLBACK")
    await store.put(sandbox("more"))


async def test_a_restored_backup_is_noticed(make: Make, path: Path, tmp_path: Path) -> None:
    backup = SqliteRegistry(tmp_path / "backup.db")
    await backup.put(sandbox("old", "fd00::1"))
    await backup.close()  # which leaves everything in the one file
    store = make()
    await store.put(sandbox("new"))
    assert await store.fetch("old") is None
    known = SharedCache.make("test")
    known.note(sandbox("new"), known.now())
    async with watching(store, Availability("the file", cache=known)) as heard:
        (tmp_path / "backup.db").replace(path)
        for beside in ("-wal", "-shm"):
            path.with_name(path.name + beside).unlink(missing_ok=True)
        await hear(heard, "old")
        assert known.find("new") is None, "nothing tells what is not in the backup, so nothing from before is believed"
        assert await store.fetch("old") is not None
        assert await store.fetch("new") is None
        await store.put(sandbox("newer"))
        await hear(heard, "newer")
    assert inspect(path) == 2


async def test_a_backup_restored_into_the_file_is_noticed(make: Make, path: Path, tmp_path: Path) -> None:
    """As `sqlite3 FILE .restore` does: the file is the same one, and its numbers go on from where they were then."""
    store, reader = make(), make()
    await store.put(sandbox("old", "fd00::1"))
    with closing(sqlite3.connect(path)) as now, closing(sqlite3.connect(tmp_path / "backup.db")) as then:
        now.backup(then)
        await store.put(sandbox("old", "fd00::2"))
        await store.remove("old")
        await reader.fetch("old")
        async with watching(reader) as heard:
            then.backup(now)
            await hear(heard, "old")
            found = await reader.fetch("old")
            assert found is not None and found.address == IPv6Address("fd00::1")
            await store.put(sandbox("new"))
            await hear(heard, "new")


async def test_a_removed_file_is_read_on_and_made_anew_by_the_next_write(make: Make, path: Path) -> None:
    store = make()
    await store.put(sandbox("demo"))
    assert await store.fetch("demo") is not None
    async with watching(store) as heard:
        for file in list(path.parent.iterdir()):
            file.unlink()
        assert await store.fetch("demo") is not None
        await store.put(sandbox("other"))
        await hear(heard, "other")
        assert await store.fetch("demo") is None
    assert inspect(path) == 1


async def test_watching_outlives_a_file_that_cannot_be_read_and_says_so_once(
    make: Make, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sqlite_module, "POLL_INTERVAL", 0.001)
    store = make()
    await store.fetch("demo")
    caplog.set_level(logging.INFO, "gateway.directory")
    async with watching(store) as heard:
        bad = tmp_path / "bad"
        bad.write_text("no database " * 1000)
        kept = tmp_path / "kept.db"
        path.rename(kept)
        bad.replace(path)
        await said(caplog, "not an SQLite database")
        for _ in range(3):
            with pytest.raises(DirectoryError, match="not an SQLite database"):
                await store.fetch("demo")
            await asyncio.sleep(0)
        kept.replace(path)
        await said(caplog, "back after")
        await make().put(sandbox("demo"))
        await hear(heard, "demo")
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


async def said(caplog: pytest.LogCaptureFixture, words: str) -> None:
    async with asyncio.timeout(DEADLINE):
        while not any(words in record.getMessage() for record in caplog.records):
            await asyncio.sleep(0.001)


async def test_a_record_somebody_has_spoilt_is_told_by_its_name(make: Make, path: Path) -> None:
    store = make()
    await store.put(sandbox("demo"))
    sql(path, "UPDATE sandboxes SET address = 'nowhere'")
    with pytest.raises(RecordError, match="the record of demo has the address"):
        await store.fetch("demo")


@pytest.mark.parametrize(
    "odd",
    [
        "address = CAST(x'ff' AS TEXT)",
        "generation = CAST(x'ff' AS TEXT)",
        "host = CAST(x'ff' AS TEXT)",
        "address = x'fd000000000000000000000000000005'",
        "address = 5",
        "generation = x''",
        "ipv4 = 'fd00::5'",
        "host = '{name}'",
        "expires = 'later'",
        "generation = printf('%2000d', 1)",
    ],
)
async def test_a_record_that_nobody_can_read_is_broken_and_can_be_replaced_and_removed(
    make: Make, path: Path, odd: str
) -> None:
    store = make()
    for name in ("a", "demo", "z"):
        await store.put(sandbox(name))
    spoil = f"UPDATE sandboxes SET {odd} WHERE id = 'demo'"
    sql(path, spoil)
    with pytest.raises(RecordError, match="demo"):
        await store.fetch("demo")
    first, broken, last = await store.page("", 10)
    assert isinstance(broken, Broken)
    assert (first.id, broken.id, last.id) == ("a", "demo", "z")
    stored = await store.put(sandbox("demo"))
    stored.generation.encode()
    assert await store.fetch("demo") == stored
    sql(path, spoil)
    with pytest.raises(Conflict):
        await store.remove("demo", expected=stored.generation)
    assert await store.remove("demo", expected=Presence.PRESENT)
    assert await store.fetch("demo") is None


async def test_an_id_that_is_none_is_passed_over(
    make: Make, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In the table, among the changes, and when every id there is has to be told."""
    monkeypatch.setattr(sqlite_module, "BATCH", 1)
    store, reader = make(), make()
    await store.put(sandbox("a"))
    odd = ("x'ff'", "CAST(x'ff' AS TEXT)", "'A'", "CAST(x'61ff' AS TEXT)")
    for name in odd:
        sql(
            path,
            f"INSERT INTO sandboxes SELECT {name}, address, generation, ipv4, host, 1, '' FROM sandboxes"
            " WHERE id = 'a'",
        )
        sql(path, f"INSERT INTO changes (id) VALUES ({name})")
    sql(path, "UPDATE sandboxes SET expires = NULL WHERE id = 'A'")
    await store.put(sandbox("b"))
    await reader.fetch("a")
    assert [each.id for each in await store.page("", 10)] == ["a", "b"]
    async with watching(reader) as heard:
        for name in odd:
            sql(path, f"INSERT INTO changes (id) VALUES ({name})")
        await store.put(sandbox("c"))
        assert await hear(heard, "c") == ["c"]
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            # In one: nobody who watches has seen it.
            db.executescript("BEGIN; INSERT INTO changes (id) VALUES ('e'); DELETE FROM changes; COMMIT;")
        await store.put(sandbox("d"))
        assert set(await hear(heard, "a", "b", "c", "d")) == {"a", "b", "c", "d"}
    assert not caplog.records


async def test_what_has_ended_is_deleted_and_told_although_nobody_writes(make: Make, path: Path) -> None:
    store, reader = make(), make()
    await store.put(sandbox("demo"), lifetime=0.01)
    await reader.fetch("demo")
    async with watching(reader) as heard, asyncio.timeout(DEADLINE):
        while sql(path, "SELECT id FROM sandboxes"):
            await store.tend()
        assert await hear(heard, "demo") == ["demo"]


# --- a disk that is full, or read-only ------------------------------------------------------------------------------

PREAMBLE = """
import asyncio, os, shutil, subprocess, sys
from ipaddress import IPv6Address
from pathlib import Path
from gateway.directory.backends import check
from gateway.config import Directory
from gateway.directory.sandbox import Sandbox, DirectoryError, WriteError
from gateway.directory.sqlite import SqliteRegistry
from gateway.errors import UserError

disk = Path(sys.argv[1])
box = Sandbox("box", IPv6Address("fd00::5"), "")

def refused(awaitable, kind):
    async def ask():
        try:
            await awaitable
        except kind as error:
            return error
        raise AssertionError("not refused")
    return ask()

def fill():
    with (disk / "other").open("wb", buffering=0) as other:
        try:
            while True:
                other.write(bytes(4096))
        except OSError:
            pass

async def main():
    path = disk / "sandboxes.db"
    registry = SqliteRegistry(path)
"""


def on_disk(tmp_path: Path, program: str) -> None:
    """Runs the rest of `main` where the registry's folder is a small disk of its own."""
    require("small disk")
    body = textwrap.indent(program.strip(), "    ")
    command = [sys.executable, "-c", f"{PREAMBLE}{body}\nasyncio.run(main())", str(tmp_path)]
    done = subprocess.run(
        on_small_disk(tmp_path, "2m", command), env=clean_environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_a_full_disk_refuses_writes_by_its_name_and_nothing_else(tmp_path: Path) -> None:
    on_disk(
        tmp_path,
        """
await registry.put(box)
fill()
async def until_full():
    for number in range(1000):
        await registry.put(Sandbox(f"box{number}", IPv6Address("fd00::5"), ""))
error = await refused(until_full(), WriteError)
assert error.full and str(error) == f"{path}: database or disk is full", error
assert await registry.fetch("box")
assert "its disk is full" in await registry.obstacle()
(disk / "other").unlink()
await registry.put(Sandbox("later", IPv6Address("fd00::5"), ""))
assert await registry.obstacle() == ""
await registry.close()
""",
    )


def test_a_process_that_starts_on_a_full_disk_is_told(tmp_path: Path) -> None:
    """It cannot even read: SQLite has no room for the memory that processes share."""
    on_disk(
        tmp_path,
        """
await registry.put(box)
await registry.close()
fill()
registry = SqliteRegistry(path)
error = await refused(registry.put(box), WriteError)
assert error.full and "its disk is full" in str(error), error
error = await refused(registry.fetch("box"), DirectoryError)
assert "its disk is full" in str(error), error
try:
    check(Directory(path=path))
except UserError as error:
    assert "its disk is full" in str(error), error
else:
    raise AssertionError("not refused")
await registry.close()
""",
    )


def test_a_read_only_file_system_is_named(tmp_path: Path) -> None:
    on_disk(
        tmp_path,
        """
await registry.put(box)
crashed = disk / "crashed"  # with the files that are beside the database while somebody has it open
crashed.mkdir()
for file in disk.glob("sandboxes.db*"):
    shutil.copy(file, crashed)
await registry.close()
path = crashed / "sandboxes.db"
registry = SqliteRegistry(path)
subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
assert check(Directory(path=path)).endswith("; nothing can be written to it: its file system is read-only")
error = await refused(registry.put(Sandbox("other", IPv6Address("fd00::5"), "")), WriteError)
assert not error.full and "its file system is read-only" in str(error), error
assert (await registry.obstacle()).endswith("its file system is read-only")
assert await registry.fetch("box")
await registry.close()
""",
    )


def test_a_read_only_file_system_that_nobody_had_open_is_named(tmp_path: Path) -> None:
    """SQLite cannot make the files that it keeps beside the database: the gateway does not start, and says why."""
    on_disk(
        tmp_path,
        """
await registry.put(box)
await registry.close()
subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
try:
    check(Directory(path=path))
except UserError as error:
    assert "its file system is read-only" in str(error), error
else:
    raise AssertionError("not refused")
""",
    )


def test_what_stands_in_the_way(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sqlite_file.obstacle(path) == ""
    denied: list[Path] = [path.parent.parent]
    monkeypatch.setattr(sqlite_file.os, "access", lambda where, mode: where not in denied)
    assert sqlite_file.obstacle(path) == f"this user may not write to its folder {path.parent.parent}"
    path.parent.mkdir()
    path.touch()
    assert sqlite_file.obstacle(path) == ""
    denied.append(path)
    assert sqlite_file.obstacle(path) == "this user may not write to it"


def test_who_opens_an_empty_file_waits_no_longer_than_it_may(tmp_path: Path) -> None:
    """A worker opens it in its event loop; it may have been emptied under others, who hold locks."""
    path = tmp_path / "sandboxes.db"
    path.touch()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            open_file(path, timeout=0.01)
        assert time.monotonic() - began < WRITE_TIMEOUT / 2
