"""A log file is found again after it was rotated, whoever did so and however, and nothing about it is an exception."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import UserError
from gateway.observe import log_file
from gateway.observe.log_file import LOOK_INTERVAL, LogFile, check, obstacle


class Clock:
    """`time.monotonic`, in the hands of a test."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now

    def later(self, seconds: float = LOOK_INTERVAL) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(log_file.time, "monotonic", clock)
    return clock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


@pytest.fixture
def log(path: Path, clock: Clock) -> Iterator[LogFile]:
    log = LogFile(path)
    yield log
    log.finish()


def moved(path: Path) -> Path:
    return path.rename(path.with_suffix(".1"))


def test_it_is_made_and_appended_to(log: LogFile, path: Path) -> None:
    log.write(b"one\n")
    with path.open("ab") as other:  # another worker
        other.write(b"two\n")
    log.write(b"three\n")
    assert path.read_bytes() == b"one\ntwo\nthree\n"
    assert path.stat().st_mode & 0o137 == 0


def test_a_moved_file_is_left_within_a_second(log: LogFile, path: Path, clock: Clock) -> None:
    log.write(b"one\n")
    former = moved(path)
    log.write(b"two\n")
    clock.later()
    log.write(b"three\n")
    assert former.read_bytes() == b"one\ntwo\n"
    assert path.read_bytes() == b"three\n"


def test_the_path_is_looked_at_once_a_second(log: LogFile, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Path] = []
    look = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path: looked.append(path) or look(path))
    for _ in range(50):
        log.write(b"line\n")
        clock.later(LOOK_INTERVAL / 10)
    assert len(looked) == 4


def test_another_file_at_the_path_is_taken(log: LogFile, path: Path, clock: Clock) -> None:
    """Whoever rotates may have made it (logrotate's `create`)."""
    moved(path)
    path.write_bytes(b"made\n")
    clock.later()
    log.write(b"one\n")
    assert path.read_bytes() == b"made\none\n"


def test_told_to_it_is_opened_anew_at_once(log: LogFile, path: Path) -> None:
    former = moved(path)
    log.reopen()
    log.write(b"one\n")
    assert former.read_bytes() == b""
    assert path.read_bytes() == b"one\n"


def test_a_truncated_file_has_no_hole(log: LogFile, path: Path) -> None:
    log.write(b"one\n")
    os.truncate(path, 0)
    log.write(b"two\n")
    assert path.read_bytes() == b"two\n"


def test_no_descriptor_is_left_open(path: Path, clock: Clock) -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    log = LogFile(path)
    for _ in range(3):
        moved(path)
        log.reopen()
        log.write(b"line\n")
    log.finish()
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_what_cannot_be_opened_anew_goes_on(
    log: LogFile, path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    former = moved(path)
    path.mkdir()
    for _ in range(3):
        clock.later()
        log.write(b"one\n")
    assert former.read_bytes() == b"one\n" * 3
    [line] = caplog.messages
    assert line == f"{path} (log.path) cannot be opened: Is a directory; the file that is open goes on"
    path.rmdir()
    clock.later()
    log.write(b"two\n")
    assert path.read_bytes() == b"two\n"


def test_what_could_never_be_opened_waits_and_is_counted(
    path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    path.mkdir()
    log = LogFile(path, limit=8192)
    for _ in range(3):
        log.write(b"x" * 3999 + b"\n")
    assert log.dropped == 1
    assert log.trouble == os.strerror(errno.EISDIR)
    assert len(caplog.messages) == 1
    path.rmdir()
    clock.later()
    log.write(b"last\n")
    assert len(path.read_bytes().splitlines()) == 3
    assert not log.trouble
    log.finish()


def test_a_line_begun_ends_where_it_is(log: LogFile, path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that is no full disk (RLIMIT_FSIZE, a quota) may take a part of a line."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    log.write(b"one\n")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))
        log.write(b"long line\n")
        former = moved(path)
        log.reopen()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    log.write(b"two\n")
    assert former.read_bytes() == b"one\nlong"
    assert path.read_bytes() == b"two\n"
    assert log.dropped == 1


@pytest.mark.parametrize("what", ["no directory", "a directory", "a file above"])
def test_an_obstacle_is_found_without_touching_anything(tmp_path: Path, path: Path, what: str) -> None:
    assert obstacle(path) == ""
    assert not path.exists()
    if what == "no directory":
        path = tmp_path / "none" / "access.log"
    elif what == "a directory":
        path.mkdir()
    else:
        path.write_bytes(b"")
        path = path / "access.log"
    assert obstacle(path)
    with pytest.raises(UserError, match=r"^log\.path: .* cannot be written: "):
        check(path)


def test_rights_are_an_obstacle(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file.os, "access", lambda path, mode: False)  # root may do anything
    assert obstacle(path) == f"it cannot be made in {path.parent}"
    path.write_bytes(b"")
    assert obstacle(path) == "Permission denied"
