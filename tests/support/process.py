"""Child processes of a test: started with their output collected, awaited by what they do, ended by their id.

Owns nothing about the gateway; `tests/interop/harness.py` builds its gateway and app processes on this.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tests.support.network import has_ipv6

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT = 30.0
STOP_TIMEOUT = 20.0

T = TypeVar("T")


def poll(look: Callable[[], T | None], what: str, timeout: float = START_TIMEOUT) -> T:
    """The first true value that `look()` returns. Raises TimeoutError naming `what`."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while True:
        value = look()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        pause.wait(0.02)


def _own_ports() -> Iterator[int]:
    """Ports below those that the kernel gives to connections, beginning anywhere and over and over again."""
    setting = Path("/proc/sys/net/ipv4/ip_local_port_range")
    end = int(setting.read_text().split()[0]) if setting.exists() else 32768
    ports = list(range(min(10_000, end // 2), end))
    start = random.randrange(len(ports))
    return cycle(ports[start:] + ports[:start])


_ports = _own_ports()
_runtime = tempfile.TemporaryDirectory(prefix="gateway-tests-")
"""Where gateways find each other: those of these tests, and none that somebody else has started here."""


def free_port() -> int:
    """A TCP port that nothing holds, on IPv4 or IPv6.

    It stays so for as long as a test takes, or needs to start a server there again: no connection gets it by itself,
    and who else asks begins elsewhere.
    """
    ipv6 = has_ipv6()
    for port in _ports:
        with socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_STREAM) as probe:
            if ipv6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            try:
                probe.bind(("::" if ipv6 else "0.0.0.0", port))
            except OSError:
                continue
            return port
    raise AssertionError("an endless iterator has ended")


def accepts(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=5):
            return True
    except OSError:
        return False


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without proxies and without settings of the gateway, plus `extra`.

    The project's root goes on the module path, so `-m gateway` works installed or not.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith("GATEWAY_")
    }
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    kept["PYTHONUNBUFFERED"] = "1"
    kept["XDG_RUNTIME_DIR"] = kept["XDG_DATA_HOME"] = _runtime.name
    return kept | dict(extra or {})


class Child:
    """A child process whose stdout and stderr are read into `log` as they come.

    On leaving the context it gets `stop_signal`; what does not end within STOP_TIMEOUT is killed, and
    that is an error. The log is printed, so pytest shows it beside a failure.
    """

    stop_signal = signal.SIGTERM

    def __init__(
        self, command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self.command = list(command)
        self._cwd = cwd
        self.env = clean_environment(env)
        self._lines: list[str] = []
        self._reader: threading.Thread | None = None
        self.process: subprocess.Popen[str] | None = None

    def __repr__(self) -> str:
        state = "not started" if self.process is None else f"pid {self.process.pid} {self.process.poll()}"
        return f"<{type(self).__name__} {state} {' '.join(self.command)}>"

    @property
    def log(self) -> str:
        return "".join(self._lines)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command,
            cwd=self._cwd,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # Ours alone to signal: a Ctrl-C in the terminal reaches pytest, which then stops its children.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"log of {self.process.pid}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line)

    def wait_until(self, look: Callable[[], T | None], what: str, timeout: float = START_TIMEOUT) -> T:
        """Like `poll`, and fails at once, with the log, when the process has ended."""

        def look_at_running() -> T | None:
            value = look()
            if not value and self.process is not None and self.process.poll() is not None:
                raise RuntimeError(f"ended with {self.process.returncode} before {what}\n{self}\n{self.log}")
            return value

        try:
            return poll(look_at_running, what, timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self}\n{self.log}") from None

    def stop(self) -> int:
        """Ends the process and returns its exit code. Raises TimeoutError if it had to be killed."""
        assert self.process is not None and self._reader is not None and self.process.stdout is not None
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise TimeoutError(
                f"not ended {STOP_TIMEOUT:g} s after {self.stop_signal.name}\n{self}\n{self.log}"
            ) from None
        finally:
            # A grandchild that outlives its parent keeps the pipe open: the reader may stay behind, a daemon.
            self._reader.join(STOP_TIMEOUT)
            if not self._reader.is_alive():
                self.process.stdout.close()
            sys.stdout.write(f"--- {self}\n{self.log}\n")
        return self.process.returncode

    def ready(self) -> None:
        """Returns when the process does its work; overridden by each kind of child."""

    def stopped(self, code: int) -> None:
        """Looks at how the process ended; called only when nothing else has failed."""

    def __enter__(self) -> Self:
        self.start()
        try:
            self.ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        code = self.stop()
        if error is None:
            self.stopped(code)


def descendants(pid: int) -> list[int]:
    """`pid` and every process below it, from /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:  # ended meanwhile
                continue
            # The command's name stands in parentheses and may hold some itself; the parent is two fields on.
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        current = waiting.pop()
        found.append(current)
        waiting += children.get(current, [])
    return found


def resident_bytes(pids: Sequence[int]) -> int:
    """Resident memory of all `pids` together; a process that has ended counts nothing."""
    total = 0
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * 1024
    return total
