"""Starts the program anew beside this process: the same command line, from the same directory, whatever stands there
now. It gets one end of a Unix socket, over which it takes the listening sockets (handover.py).
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.process.predecessor import VARIABLE

log = logging.getLogger("gateway.process")


@dataclass(frozen=True, slots=True)
class Command:
    """How a program was started."""

    executable: str
    arguments: tuple[str, ...]
    directory: str
    environ: Mapping[str, str]

    @classmethod
    def of_this_process(cls) -> Command:
        """As long as nothing has changed the directory or the environment."""
        return cls(sys.executable, tuple(sys.orig_argv[1:]), _working_directory(), dict(os.environ))


def start(command: Command, variables: Mapping[str, str]) -> tuple[int, socket.socket]:
    """The new process's id, and our end of the socket; `variables` go into its environment. Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        pid = os.fork()
    except OSError:
        ours.close()
        theirs.close()
        raise
    if pid == 0:
        _become(command, theirs, variables)
    theirs.close()
    return pid, ours


def _become(command: Command, connection: socket.socket, variables: Mapping[str, str]) -> None:
    """In the forked process; never returns. Every other descriptor but the standard streams is closed by exec."""
    try:
        os.chdir(command.directory)
        connection.set_inheritable(True)
        environ = {**command.environ, **variables, VARIABLE: str(connection.fileno())}
        if "WATCHDOG_USEC" in variables:
            environ["WATCHDOG_PID"] = str(os.getpid())
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(command.executable, [command.executable, *command.arguments], environ)  # noqa: S606 (no shell)
    except BaseException as error:
        log.error("%s cannot be started in %s: %s", command.executable, command.directory, error)
        logging.shutdown()
    finally:
        os._exit(1)


def _working_directory() -> str:
    """As the shell has it, so that a symbolic link to the newest release leads to what it is then."""
    try:
        here = Path.cwd()
    except OSError:  # it is gone
        return "."
    told = Path(os.environ.get("PWD") or here)
    return str(told if told.exists() and told.samefile(here) else here)
