"""The compiled build that is measured is made of the sources as they are, once for each state of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import compiled
from bench.site import Unable

COMPILER = """\
import pathlib
root = pathlib.Path(__file__).parents[2]
(root / "gateway" / "hot.so").write_text((root / "gateway" / "hot.py").read_text())
with (root.parent / "runs").open("a") as runs:
    runs.write("x")
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout whose compiler copies."""
    found = tmp_path / "checkout"
    for part in compiled.PARTS:
        (found / part).parent.mkdir(parents=True, exist_ok=True)
        if part.endswith(".toml"):
            (found / part).touch()
        else:
            (found / part).mkdir()
    (found / "gateway" / "hot.py").write_text("one")
    (found / "config" / "build" / "compile.py").write_text(COMPILER)
    return found


def test_it_is_compiled_once_for_each_state_of_the_sources(root: Path, tmp_path: Path) -> None:
    tree, runs = tmp_path / "tree", tmp_path / "runs"
    compiled.build(root, tree)
    compiled.build(root, tree)
    assert (tree / "gateway" / "hot.so").read_text() == "one"
    assert runs.read_text() == "x"
    (root / "gateway" / "hot.py").write_text("two")
    compiled.build(root, tree)
    assert (tree / "gateway" / "hot.so").read_text() == "two"
    assert runs.read_text() == "xx"


def test_extensions_of_the_checkout_are_not_taken_along(root: Path, tmp_path: Path) -> None:
    (root / "gateway" / "stale.so").touch()
    compiled.build(root, tmp_path / "tree")
    assert not (tmp_path / "tree" / "gateway" / "stale.so").exists()


def test_what_the_compiler_says_is_told_and_the_next_run_tries_again(root: Path, tmp_path: Path) -> None:
    (root / "config" / "build" / "compile.py").write_text("raise SystemExit('hot.py:3: no such name')")
    for _ in range(2):
        with pytest.raises(Unable, match=r"hot\.py:3: no such name"):
            compiled.build(root, tmp_path / "tree")
