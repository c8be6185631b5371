"""The program is started anew as it was started: same command line, same directory, an environment of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from gateway.process import new_version
from gateway.process.new_version import Command, start

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="macOS has no packets on Unix sockets")

TELLS = """
import json, os, signal, socket, sys
connection = socket.socket(fileno=int(os.environ["GATEWAY_HANDOVER_FD"]))
told = {
    "pid": os.getpid(),
    "arguments": sys.argv[1:],
    "directory": os.getcwd(),
    "environ": dict(os.environ),
    "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "sockets": [os.fstat(n).st_ino for n in range(256) if os.path.exists(f"/proc/self/fd/{n}")],
}
connection.send(json.dumps(told).encode())
"""


def started(command: Command, variables: dict[str, str]) -> dict[str, object]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    try:
        pid, connection = start(command, variables)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with connection:
        connection.settimeout(30)
        told: dict[str, object] = json.loads(connection.recv(65536) or b"{}")
    _, status = os.waitpid(pid, 0)
    told["status"] = os.waitstatus_to_exitcode(status)
    assert told.get("pid", pid) == pid
    return told


def test_it_is_started_as_this_one_was(tmp_path: Path) -> None:
    command = Command(sys.executable, ("-c", TELLS, "serve", "--config", "x"), str(tmp_path), {"A": "1", "B": "2"})
    with socket.create_server(("127.0.0.1", 0)) as sock:
        told = started(command, {"B": "3", "WATCHDOG_USEC": "5"})
        inode = os.fstat(sock.fileno()).st_ino
    assert told["status"] == 0
    assert told["arguments"] == ["serve", "--config", "x"]
    assert told["directory"] == str(tmp_path)
    environ = told["environ"]
    assert isinstance(environ, dict)
    assert (environ["A"], environ["B"]) == ("1", "3")
    assert environ["WATCHDOG_PID"] == str(told["pid"])
    assert told["blocked"] == 0
    sockets = told["sockets"]
    assert isinstance(sockets, list)
    assert inode not in sockets, "nothing is passed on but over the connection"


@pytest.mark.parametrize("missing", ["directory", "executable"])
def test_what_cannot_be_started_is_said(tmp_path: Path, missing: str, capfd: pytest.CaptureFixture[str]) -> None:
    gone = str(tmp_path / "gone")
    directory, executable = (gone, sys.executable) if missing == "directory" else (str(tmp_path), gone)
    assert started(Command(executable, (), directory, {}), {}) == {"status": 1}


def test_how_this_process_was_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "gateway", "serve"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))
    command = Command.of_this_process()
    assert (command.executable, command.arguments) == (sys.executable, ("-m", "gateway", "serve"))
    assert command.directory == str(tmp_path)


def test_a_link_to_the_newest_release_stays_a_link(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    link = tmp_path / "newest"
    link.symlink_to("1")
    monkeypatch.chdir(link)
    monkeypatch.setenv("PWD", str(link))
    assert new_version._working_directory() == str(link)
    monkeypatch.setenv("PWD", str(tmp_path / "2"))
    assert new_version._working_directory() == str(tmp_path / "1")
    monkeypatch.setenv("PWD", str(tmp_path / "gone"))
    assert new_version._working_directory() == str(tmp_path / "1")
    monkeypatch.delenv("PWD")
    assert new_version._working_directory() == str(tmp_path / "1")
