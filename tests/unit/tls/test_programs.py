"""Other programs: bounded, without a terminal, and with a sentence when they fail."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from gateway.tls import programs
from gateway.tls.programs import Finished, find, run, shown

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def python(program: str) -> Finished:
    return run([sys.executable, "-c", program])


def test_output() -> None:
    assert python("print('hello')") == Finished(b"hello\n", None)


def test_failure_is_the_last_line() -> None:
    done = python("import sys; print('out'); sys.exit('first\\nlast')")
    assert done == Finished(b"out\n", f"{sys.executable} failed with exit code 1: last")


def test_failure_without_a_word() -> None:
    assert python("import sys; sys.exit(3)").problem == f"{sys.executable} failed with exit code 3: no message"


def test_a_program_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "TIMEOUT", 0.2)
    begin = time.monotonic()
    done = python("import threading; threading.Event().wait()")
    assert done.problem == f"{sys.executable} did not finish within 0.2 seconds"
    assert time.monotonic() - begin < 5


def test_a_program_that_cannot_start(tmp_path: Path) -> None:
    program = tmp_path / "odd"
    program.write_text("#!/nonexistent\n")
    program.chmod(0o755)
    assert run([str(program)]).problem == f"{program} could not be run (no such file or directory)"


def test_a_program_that_is_not_there() -> None:
    assert run(["no-such-program-anywhere"]).problem == "no-such-program-anywhere is not installed"


def test_nobody_can_be_asked() -> None:
    """Its own session has no terminal to open, and its input is at its end."""
    assert python("import os; print(os.getsid(0) == os.getpid(), os.read(0, 1))") == (Finished(b"True b''\n", None))


def test_programs_of_the_administrator_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "update-something"
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setattr(programs, "_SBIN", str(tmp_path))
    assert find(program.name) == str(program)


def test_shown() -> None:
    assert shown(["echo", "two words"], ["true"]) == "echo 'two words' && true"
