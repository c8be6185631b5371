"""How the interpreters for `make test-pythons` are found and chosen; running pytest on each is left to the command."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.pythons import Interpreter, candidates, chosen, discover, look, main, summary, supported

VERSIONS = ["3.11", "3.12", "3.13", "3.14"]


def stand_in(folder: Path, name: str, release: str, *, final: bool = True, environments: bool = True) -> Path:
    """A program that answers as an interpreter would."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    answer = f'["{release}", {str(final).lower()}, {str(environments).lower()}]'
    program.write_text(f"#!/bin/sh\necho '{answer}'\n")
    program.chmod(0o755)
    return program


def interpreter(release: str) -> Interpreter:
    return Interpreter(Path("/py") / release, release, makes_environments=True)


def test_every_supported_version_is_known_from_the_classifiers() -> None:
    versions = supported()
    assert versions[0] == "3.11"
    assert len(versions) >= 3
    assert versions == sorted(versions, key=lambda version: int(version.partition(".")[2]))


def test_interpreters_are_found_on_the_path_with_pyenv_and_with_uv(tmp_path: Path) -> None:
    on_path = stand_in(tmp_path / "path", "python3", "3.12.4")
    pyenv = stand_in(tmp_path / ".pyenv" / "versions" / "3.13.0" / "bin", "python3.13", "3.13.0")
    uv = stand_in(tmp_path / ".local" / "share" / "uv" / "python" / "x" / "bin", "python3.14", "3.14.1")
    stand_in(tmp_path / ".pyenv" / "versions" / "3.10.1" / "bin", "python3", "3.10.1")
    environ = {"HOME": str(tmp_path), "PATH": str(on_path.parent)}
    paths = [path for path in candidates(VERSIONS, environ) if path.is_relative_to(tmp_path)]
    found = discover(iter(paths), VERSIONS)
    assert {version: each.path for version, each in found.items()} == {"3.12": on_path, "3.13": pyenv, "3.14": uv}


def test_the_first_of_a_version_counts_unless_it_makes_no_environments(tmp_path: Path) -> None:
    bare = stand_in(tmp_path / "a", "python3", "3.12.1", environments=False)
    whole = stand_in(tmp_path / "b", "python3", "3.12.2")
    later = stand_in(tmp_path / "c", "python3", "3.12.3")
    assert discover(iter([bare, whole, later]), VERSIONS)["3.12"].path == whole
    assert discover(iter([bare]), VERSIONS)["3.12"].path == bare


def test_what_does_not_answer_is_no_interpreter(tmp_path: Path) -> None:
    broken = stand_in(tmp_path, "python3", "3.12.1")
    broken.write_text("#!/bin/sh\nexit 127\n")
    silent = stand_in(tmp_path, "python3.13", "3.13.0")
    silent.write_text("#!/bin/sh\n")
    early = stand_in(tmp_path, "python3.14", "3.14.0rc2", final=False)
    assert [look(path) for path in (broken, silent, early, tmp_path / "nothing")] == [None] * 4


def test_this_interpreter_says_what_it_is() -> None:
    this = look(Path(sys.executable))
    assert this is not None
    assert this.version == f"3.{sys.version_info.minor}"


@pytest.mark.parametrize(
    ("releases", "own", "runs"),
    [
        (["3.11.7", "3.12.1", "3.13.0"], "3.11", ["3.13"]),
        (["3.11.7", "3.12.1", "3.13.0"], "3.12", ["3.11", "3.13"]),
        (["3.11.7", "3.12.1"], "3.12", ["3.11"]),
        (["3.12.1"], "3.12", []),
        (["3.12.1"], "3.11", ["3.12"]),
        ([], "3.12", []),
    ],
)
def test_the_ends_are_the_oldest_and_the_newest_but_not_venvs_own(
    releases: list[str], own: str, runs: list[str]
) -> None:
    found = {each.version: each for each in map(interpreter, releases)}
    assert [each.version for each in chosen(found, ends=True, own=own)] == runs
    assert list(chosen(found, ends=False, own=own)) == list(found.values())


def test_a_missing_version_is_named_with_what_brings_it() -> None:
    said = summary({"3.11": interpreter("3.11.7")}, ["3.14"])
    assert said.startswith("found 3.11.7; no 3.14 (")
    assert "python3.14-venv" in said


def test_a_machine_without_any_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.pythons.candidates", lambda versions, environ: iter(()))
    assert main(["tests/unit"]) == 1
    assert "found none" in capsys.readouterr().out


@pytest.mark.parametrize(("status", "code", "said"), [(0, 0, "passed on 3.12, 3.13"), (3, 1, "FAILED on 3.12, 3.13")])
def test_each_is_run_in_its_own_environment_and_one_failure_fails_all(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    status: int,
    code: int,
    said: str,
) -> None:
    """Each stand-in notes how it is called; called with `-m venv` it copies itself, as venv does."""
    paths = []
    for release in ("3.12.1", "3.13.0"):
        program = stand_in(tmp_path / release, "python3", release)
        program.write_text(
            f'#!{shutil.which("sh")}\necho "$0 $*" >> {tmp_path}/calls\n'
            f'case "$*" in *"-m tests.run"*) exit {status} ;; *json*) echo \'["{release}", true, true]\' ;;\n'
            f'*"-m venv"*) for last; do :; done; mkdir -p "$last/bin"; cp "$0" "$last/bin/python" ;; esac\n'
        )
        paths.append(program)
    monkeypatch.setattr("tests.pythons.candidates", lambda versions, environ: iter(paths))
    monkeypatch.setattr("tests.pythons.ROOT", tmp_path)
    monkeypatch.setattr("tests.pythons.ENVIRONMENTS", tmp_path / ".venv-pythons")
    monkeypatch.setattr("tests.pythons.supported", lambda: VERSIONS)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text("")
    assert main(["tests/unit", "-k", "x"]) == code
    assert said in capfd.readouterr().out
    calls = (tmp_path / "calls").read_text()
    for version in ("3.12", "3.13"):
        python = tmp_path / ".venv-pythons" / version / "bin" / "python"
        assert f"{python} -m pip" in calls
        assert f"{python} -m tests.run" in calls
    assert calls.count("tests/unit -k x") == 2
    assert main([]) == code
    assert (tmp_path / "calls").read_text().count("-m pip") == 2, "a second call installs nothing"
