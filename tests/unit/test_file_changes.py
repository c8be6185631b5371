"""When a few files are to be read: changed, and at rest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.file_changes import INTERVAL, RESTLESS_LOOKS, FileChanges


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "one", tmp_path / "two"
    for path in paths:
        path.write_text("a")
    return paths


@pytest.fixture
def files(paths: tuple[Path, Path]) -> FileChanges:
    """As they were read."""
    files = FileChanges(*paths)
    assert files.look(), "what was read at the start is read once more: it may have changed within a tick of the clock"
    files.mark_read()
    assert not files.look()
    return files


def replace(path: Path, text: str) -> None:
    new = path.with_name("new")
    new.write_text(text)
    new.rename(path)


def test_read_when_two_looks_have_found_the_same(files: FileChanges, paths: tuple[Path, Path]) -> None:
    replace(paths[0], "b")
    assert not files.look()
    replace(paths[1], "b")
    assert not files.look()
    assert not files.at_rest
    assert files.look()
    assert files.at_rest
    assert files.look(), "until it has been read"
    files.mark_read()
    assert not files.look()


@pytest.mark.parametrize("how", ["content", "time", "rights", "gone"])
def test_whatever_changes(files: FileChanges, paths: tuple[Path, Path], how: str) -> None:
    path = paths[1]
    before = path.stat()
    if how == "content":
        path.write_text("bb")
    elif how == "time":
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    elif how == "rights":
        path.chmod(0o400)
    else:
        path.unlink()
    assert [files.look(), files.look()] == [False, True]


def test_kept_times_and_size_hide_nothing(files: FileChanges, paths: tuple[Path, Path]) -> None:
    """cp -p, rsync and touch -r set the time of the content; that of the inode nobody sets."""
    before = paths[0].stat()
    new = paths[0].with_name("new")
    new.write_text("b")
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.rename(paths[0])
    assert [files.look(), files.look()] == [False, True]


def test_a_directory_put_in_place_by_a_link(tmp_path: Path) -> None:
    """As Kubernetes does with the volume of a secret."""
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "now").symlink_to("a")
    files = FileChanges(tmp_path / "now" / "file")
    files.look()
    files.mark_read()
    (tmp_path / "next").symlink_to("b")
    (tmp_path / "next").rename(tmp_path / "now")
    assert [files.look(), files.look()] == [False, True]


def test_what_never_rests_is_read_even_so(files: FileChanges, paths: tuple[Path, Path]) -> None:
    looks = []
    for number in range(RESTLESS_LOOKS):
        replace(paths[0], "b" * number)
        looks.append(files.look())
    assert looks == [False] * (RESTLESS_LOOKS - 1) + [True]
    assert not files.at_rest
    files.mark_read()
    replace(paths[0], "c")
    assert not files.look()


def test_a_change_while_it_is_read(files: FileChanges, paths: tuple[Path, Path]) -> None:
    replace(paths[0], "b")
    files.look()
    assert files.look()
    assert not files.have_moved_on()
    replace(paths[1], "c")
    assert files.have_moved_on()
    state = files.state
    files.look()
    assert files.state != state


def test_it_takes_less_than_three_seconds(files: FileChanges, paths: tuple[Path, Path]) -> None:
    """What docs/operate.md promises, for what was changed right after a look."""
    replace(paths[0], "b")
    looks = 1
    while not files.look():
        looks += 1
    assert looks * INTERVAL < 3
