"""Which gateways of this user run on this machine, so that a command asks the one that is meant and not another.

Each `gateway dev` leaves a file with what it serves and where its admin listener is, and holds a lock on it: a file
that nobody holds is of one that has been killed, whatever process has its number by now. Like ports, they belong to a
network namespace. Knows nothing of how a gateway is asked.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import stat
import tempfile
from pathlib import Path

import msgspec

log = logging.getLogger("gateway.process")

MOST_OCTETS = 64 * 1024
"""Of one file; whoever writes more is none of ours."""
_NETWORK = Path("/proc/self/ns/net")


class Running(msgspec.Struct, frozen=True):
    """What one gateway says of itself."""

    pid: int
    port: int
    """The public one."""
    domain: str
    admin: str
    """URL of its admin listener."""
    exposed: list[tuple[str, int]]
    """Sandbox id and port, as on its command line."""
    network: int = 0
    """The network namespace, as the kernel numbers them; 0: a system without."""

    def url(self, port: int, sandbox_id: str) -> str:
        suffix = "" if self.port == 443 else f":{self.port}"
        return f"https://{port}-{sandbox_id}.{self.domain}{suffix}/"


class Published:
    """One gateway's file; `close` takes it away, as the end of the process takes away its meaning."""

    def __init__(self, running: Running) -> None:
        self._path: Path | None = None
        self._file = -1
        try:
            self._write(running, _own_folder())
        except OSError as error:
            log.warning("other commands will not find this gateway by itself (use --admin): %s", error)

    def _write(self, running: Running, folder: Path) -> None:
        self._file, name = tempfile.mkstemp(".new", "dev-", folder)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(self._file, msgspec.json.encode(running))
            self._path = Path(name).with_suffix(".json")
            Path(name).rename(self._path)  # whoever can see it sees the lock
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise

    def close(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        if self._file >= 0:
            os.close(self._file)
        self._path, self._file = None, -1


def network() -> int:
    """The number of this process's network namespace."""
    try:
        return _NETWORK.stat().st_ino
    except OSError:
        return 0


def all_running() -> list[Running]:
    """Those of this user in this network, by port. What is left of dead ones is removed."""
    found = []
    with contextlib.suppress(OSError):
        found = [running for path in _own_folder().glob("*.json") if (running := _read(path)) is not None]
    here = network()
    return sorted((each for each in found if each.network == here), key=lambda each: each.port)


def _read(path: Path) -> Running | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # readers at once do not take each other for owners
            path.unlink(missing_ok=True)
            return None
        return msgspec.json.decode(os.read(descriptor, MOST_OCTETS), type=Running)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    finally:
        os.close(descriptor)


def _own_folder() -> Path:
    """Made if need be. Raises OSError, also if it is not this user's alone: anybody may make folders in /tmp."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and Path(runtime).is_dir():
        folder = Path(runtime, "sandbox-gateway")
    else:
        folder = Path(tempfile.gettempdir(), f"sandbox-gateway-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(f"{folder} is not a folder that only you can write to")
    return folder
