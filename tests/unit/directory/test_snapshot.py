"""What is known outlives a restart, in a file that is not believed because it is there."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from gateway.directory import snapshot
from gateway.directory.sandbox import Sandbox
from gateway.directory.shared_cache import Lookup, SharedCache
from gateway.directory.snapshot import MAGIC, SnapshotWriter, load, save
from gateway.tasks import Tasks

REGISTRY = "redis: Redis at 127.0.0.1:6379, database 0"
MAX_AGE = 600.0
SECOND = 1_000_000_000


def sandbox(sandbox_id: str = "abc") -> Sandbox:
    return Sandbox(sandbox_id, IPv6Address("fd00::5"), "7", IPv4Address("10.0.0.5"), "localhost:{port}", 30.0)


@pytest.fixture
def known() -> SharedCache:
    known = SharedCache.make(REGISTRY)
    known.note(sandbox(), known.now() - 5 * SECOND)
    known.bookmark = "17-3"
    return known


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "known-sandboxes"


def loaded(path: Path, registry: str = REGISTRY) -> SharedCache:
    known = SharedCache.make(registry)
    load(path, registry, known)
    return known


def age(found: Lookup | None) -> float:
    assert found is not None
    return (SharedCache.now() - found.asked) / SECOND


def test_what_was_known_is_known_again_and_as_old_as_it_is(known: SharedCache, path: Path) -> None:
    save(path, REGISTRY, known, MAX_AGE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    again = loaded(path)
    found = again.find("abc")
    assert found is not None and found.sandbox == sandbox()
    assert 5 <= age(found) < 30
    assert again.bookmark == "17-3"
    assert list(path.parent.iterdir()) == [path], "nothing else is left behind"


def test_what_is_gone_or_too_old_is_not_in_it(known: SharedCache, path: Path) -> None:
    known.note(sandbox("gone"), known.now())
    known.mark_gone("gone", known.now())
    known.note(sandbox("old"), known.now() - int((MAX_AGE + 1) * SECOND))
    save(path, REGISTRY, known, MAX_AGE)
    assert b"gone" not in path.read_bytes()
    again = loaded(path)
    assert [again.find(name) is not None for name in ("abc", "gone", "old")] == [True, False, False]


def test_after_a_restart_of_the_machine_the_clock_on_the_wall_judges(
    known: SharedCache, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(path, REGISTRY, known, MAX_AGE)
    monkeypatch.setattr(snapshot, "_boot", lambda: "another")
    monkeypatch.setattr(SharedCache, "now", staticmethod(lambda: 20 * SECOND))  # it has just started
    wall = time.time_ns()
    monkeypatch.setattr(snapshot.time, "time_ns", lambda: wall + 100 * SECOND)
    assert 105 <= age(loaded(path).find("abc")) < 130


def test_a_file_from_the_future_is_not_believed(
    known: SharedCache, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    save(path, REGISTRY, known, MAX_AGE)
    monkeypatch.setattr(snapshot, "_boot", lambda: "another")
    wall = time.time_ns()
    monkeypatch.setattr(snapshot.time, "time_ns", lambda: wall - 100 * SECOND)
    assert loaded(path).find("abc") is None
    assert "future" in caplog.text


def test_a_jump_of_the_clock_on_the_wall_changes_nothing_while_the_machine_runs(
    known: SharedCache, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(path, REGISTRY, known, MAX_AGE)
    wall = time.time_ns()
    for jump in (-86_400, 86_400):
        monkeypatch.setattr(snapshot.time, "time_ns", lambda jump=jump: wall + jump * SECOND)
        assert 5 <= age(loaded(path).find("abc")) < 30


# --- files that are not believed ----------------------------------------------------------------------------------


def spoilt(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(change(path.read_bytes())) and None


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def signed(content: bytes) -> Callable[[Path], None]:
    """Whole by its checksum, whatever it says."""
    return spoilt(lambda octets: MAGIC + snapshot.hashlib.sha256(content).digest() + content)


UNBELIEVABLE: dict[str, Callable[[Path], None]] = {
    "empty": spoilt(lambda octets: b""),
    "one octet": spoilt(lambda octets: octets[:1]),
    "half": spoilt(lambda octets: octets[: len(octets) // 2]),
    "one octet short": spoilt(lambda octets: octets[:-1]),
    "one octet more": spoilt(lambda octets: octets + b"\0"),
    "one bit": spoilt(lambda octets: octets[:-9] + bytes([octets[-9] ^ 1]) + octets[-8:]),
    "zeros": spoilt(lambda octets: bytes(len(octets))),
    "another program's": spoilt(lambda octets: b"SQLite format 3\0" + octets),
    "a later version": spoilt(lambda octets: octets.replace(MAGIC, b"gateway known sandboxes 3\n")),
    "well signed nonsense": signed(b"\xc1"),
    "no UTF-8": signed(b"\x96\xa2\xff\xfe\xa0\x00\x00\xa0\x90"),
    "no UTF-8 in the bookmark": signed(b"\x96\xa0\xa0\x00\x00\xa1\xff\x90"),
    "open to the group": lambda path: path.chmod(0o640),
    "writable by all": lambda path: path.chmod(0o602),
    "a link": _link,
    "a pipe": _fifo,
    "a folder": _folder,
}


@pytest.mark.parametrize("change", UNBELIEVABLE.values(), ids=UNBELIEVABLE.keys())
def test_what_is_not_whole_or_not_ours_is_not_believed_and_said_in_one_line(
    known: SharedCache, path: Path, caplog: pytest.LogCaptureFixture, change: Callable[[Path], None]
) -> None:
    save(path, REGISTRY, known, MAX_AGE)
    change(path)
    again = loaded(path)
    assert again.find("abc") is None
    assert again.bookmark == ""
    assert len(caplog.records) == 1
    assert str(path) in caplog.text


def test_a_file_of_somebody_elses_is_not_believed(
    known: SharedCache, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(path, REGISTRY, known, MAX_AGE)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)  # only root could give it away
    assert loaded(path).find("abc") is None
    assert "others" in caplog.text


def test_another_registrys_file_is_not_believed(
    known: SharedCache, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(path, REGISTRY, known, MAX_AGE)
    again = loaded(path, "redis: Redis at 127.0.0.1:6380, database 0")
    assert again.find("abc") is None
    assert "another registry" in caplog.text


def test_no_file_is_nothing_to_speak_of(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert loaded(path).find("abc") is None
    assert not caplog.records


def test_a_record_that_is_none_is_passed_over(known: SharedCache, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known.note(sandbox("other"), known.now())
    octets = {"abc": b"\x96\xa3ab\xff\xc4\x00\xa0\xc4\x00\xa0\xc0"}  # an id that is no UTF-8
    encode = snapshot.encode
    monkeypatch.setattr(snapshot, "encode", lambda sandbox: octets.get(sandbox.id) or encode(sandbox))
    save(path, REGISTRY, known, MAX_AGE)
    again = loaded(path)
    assert again.find("abc") is None
    assert again.find("other") is not None


# --- when it is written -------------------------------------------------------------------------------------------


@pytest.fixture
def keeper(known: SharedCache, path: Path) -> SnapshotWriter:
    return SnapshotWriter(path, REGISTRY, known, MAX_AGE)


def test_it_is_written_when_there_is_something_new_and_at_once_when_something_is_gone(
    known: SharedCache, path: Path, keeper: SnapshotWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(snapshot.time, "monotonic", lambda: now)

    def written() -> bool:
        before = path.stat().st_ino if path.exists() else None
        keeper.look()
        return path.exists() and path.stat().st_ino != before

    assert written()
    now += 1000
    assert not written(), "nothing has changed"
    known.note(sandbox("new"), known.now())
    assert written()
    known.note(sandbox("newer"), known.now())
    assert not written(), "not every second"
    now += snapshot.WRITE_INTERVAL
    assert written()
    known.mark_gone("new", known.now())
    assert written(), "what is gone must not come back"
    assert loaded(path).find("new") is None
    known.note(sandbox("last"), known.now())
    keeper.look(last=True)
    assert loaded(path).find("last") is not None


def test_it_is_on_the_disk_before_it_has_its_name(
    known: SharedCache, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a loss of power may leave the name, and nothing in the file."""
    steps: list[tuple[str, int]] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        fsync(descriptor)
        status = os.fstat(descriptor)
        assert status.st_size > len(MAGIC), "with all that is in it"
        steps.append(("synced", status.st_ino))

    def replaced(new: Path, target: Path) -> Path:
        steps.append(("renamed", new.stat().st_ino))
        return replace(new, target)

    monkeypatch.setattr(snapshot.os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    save(path, REGISTRY, known, MAX_AGE)
    assert steps == [("synced", path.stat().st_ino), ("renamed", path.stat().st_ino)]


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow beyond a hundred octets (EFBIG): as near to ENOSPC as one comes without a disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("how", ["full", "no folder", "read-only"])
def test_what_cannot_be_written_is_said_once(
    known: SharedCache, tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    path = tmp_path / "known"
    if how == "no folder":
        (tmp_path / "file").write_text("")
        path = tmp_path / "file" / "known"
    elif how == "read-only":
        if os.geteuid() == 0:
            path = Path("/proc/self/known")  # no mode keeps root out
        else:
            tmp_path.chmod(0o500)
    else:
        save(path, REGISTRY, known, MAX_AGE)
    keeper = SnapshotWriter(path, REGISTRY, known, MAX_AGE)
    for number in range(5):
        known.note(sandbox(f"n{number}"), known.now())
        with full_disk() if how == "full" else nullcontext():
            keeper.look(last=True)
        if how == "full":
            assert loaded(path).find("abc") is not None, "the last file is better than none"
            assert list(tmp_path.iterdir()) == [path]
    assert len(caplog.records) == 1, caplog.text
    assert str(path) in caplog.text


def test_what_is_gone_is_on_no_full_disk(known: SharedCache, path: Path, keeper: SnapshotWriter) -> None:
    """Nothing known at the next start is better than a sandbox that was deleted."""
    keeper.look(last=True)
    known.mark_gone("abc", known.now())
    with full_disk():
        keeper.look()
    assert not path.exists()
    keeper.look()
    assert path.exists()
    assert loaded(path).find("abc") is None


def test_a_file_that_cannot_even_be_removed_is_said_once(
    known: SharedCache,
    path: Path,
    keeper: SnapshotWriter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    keeper.look(last=True)
    known.mark_gone("abc", known.now())

    def refused(path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "unlink", refused)
    with full_disk():
        keeper.look()
        keeper.look()
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"], caplog.text
    assert "names sandboxes that are gone" in caplog.text


async def test_what_a_killed_writer_left_is_taken_away(path: Path, keeper: SnapshotWriter) -> None:
    path.parent.mkdir()
    left, young = path.with_name(f"{path.name}.0011223344556677.new"), path.with_name(f"{path.name}.8899.new")
    for each in (left, young):
        each.write_bytes(b"half")
    os.utime(left, (time.time() - 100, time.time() - 100))
    running = Tasks().spawn(keeper.run(), "keeper")
    async with asyncio.timeout(10):
        while left.exists():
            await asyncio.sleep(0.01)
    running.cancel()
    assert young.exists(), "somebody may be writing it"


async def test_two_gateways_at_one_file_write_whole_files_in_turn(known: SharedCache, path: Path) -> None:
    other = SharedCache.make(REGISTRY)
    other.note(sandbox("other"), other.now())
    keepers = [SnapshotWriter(path, REGISTRY, each, MAX_AGE) for each in (known, other)]
    loop = asyncio.get_running_loop()
    tasks = Tasks()

    async def write(number: int, keeper: SnapshotWriter, each: SharedCache) -> None:
        for round_ in range(20):
            each.note(sandbox(f"n{number}-{round_}"), each.now())
            await loop.run_in_executor(None, lambda: keeper.look(last=True))
            again = loaded(path)
            assert again.find("abc") or again.find("other")

    writing = [
        tasks.spawn(write(number, keeper, each), "writer")
        for number, (keeper, each) in enumerate(zip(keepers, (known, other), strict=True))
    ]
    await asyncio.wait(writing)
    for task in writing:
        task.result()
