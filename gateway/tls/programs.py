"""The machine's own programs: found, run, or written down for somebody to paste.

Owns the rules for starting another program: no shell, no terminal, an end to every wait, and a sentence
instead of an exception. It must not know what the programs do; `trust` does.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.tls.errors import cause_of

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT = 30.0
"""Seconds for one program: `certutil` takes milliseconds, `update-ca-certificates` some seconds."""

_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"  # where Debian keeps update-ca-certificates; not on a user's PATH


@dataclass(frozen=True, slots=True)
class Finished:
    """What a program printed. `problem` is None when it succeeded, else one line for a person."""

    output: bytes
    problem: str | None


def run(command: Sequence[str]) -> Finished:
    """Runs a program to its end, silent and bounded. Raises nothing: what went wrong is in `problem`."""
    program = find(command[0])
    if program is None:
        return Finished(b"", f"{command[0]} is not installed")
    try:
        done = subprocess.run(  # noqa: S603 - a list, hence no shell; every program stands in `trust`
            [program, *command[1:]],
            # Its own session, hence no terminal: certutil asks /dev/tty for a protected database's password.
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        return Finished(b"", f"{command[0]} did not finish within {TIMEOUT:g} seconds")
    except OSError as error:
        return Finished(b"", f"{command[0]} could not be run ({cause_of(error)})")
    if done.returncode == 0:
        return Finished(done.stdout, None)
    said = done.stderr.strip() or done.stdout.strip()  # keytool complains on its standard output
    lines = said.decode(errors="replace").splitlines() or ["no message"]
    return Finished(done.stdout, f"{command[0]} failed with exit code {done.returncode}: {lines[-1]}")


def find(program: str) -> str | None:
    """Where `program` is, or None."""
    return shutil.which(program) or shutil.which(program, path=_SBIN)


def as_root(command: Sequence[str]) -> list[str]:
    """The command as this user has to type it to have root's rights."""
    return [*command] if os.geteuid() == 0 else ["sudo", *command]


def shown(*commands: Sequence[str]) -> str:
    """One line for any shell, which runs `commands` until one fails."""
    return " && ".join(shlex.join(command) for command in commands)
