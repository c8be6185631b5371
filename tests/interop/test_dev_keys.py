"""Keys in the terminal of `gateway dev`, pressed in a real one (a pseudo-terminal)."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop.harness import curl
from tests.support.process import clean_environment, free_port, poll

pytestmark = pytest.mark.interop

READY = "Requests ("


class _Terminal:
    def __init__(self, directory: Path) -> None:
        self.port, self.admin, self.app = free_port(), free_port(), free_port()
        self.browsed = directory / "browsed"
        browser = directory / "browser"
        browser.write_text(f'#!/bin/sh\nprintf "%s" "$1" > "{self.browsed}"\n')
        browser.chmod(0o755)
        self._master, slave = pty.openpty()
        self.before = termios.tcgetattr(slave)
        command = [sys.executable, "-m", "gateway", "dev", str(self.app), "--listen-port", str(self.port)]
        env = {"BROWSER": f"{browser} %s", "GATEWAY_ADMIN__LISTEN": f"127.0.0.1:{self.admin}", "NO_COLOR": "1"}
        self.process = subprocess.Popen(
            [*command, "--certs", str(directory / "certs")],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=clean_environment(env),
            start_new_session=True,
            preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # makes it the session's terminal
        )
        self.slave = slave
        self.shown = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.ca = directory / "certs" / "ca.pem"

    def _read(self) -> None:
        while True:
            try:
                octets = os.read(self._master, 65536)
            except OSError:
                return
            self.shown += octets.decode("utf-8", "replace")

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def sees(self, text: str) -> None:
        poll(lambda: text in self.shown, f"{text!r} is shown; there is {self.shown}")

    @property
    def url(self) -> str:
        return f"https://{self.app}-local.sandbox.localhost:{self.port}/"

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.slave)
        self._reader.join(10)
        os.close(self._master)


@contextmanager
def _opened(directory: Path) -> Iterator[_Terminal]:
    terminal = _Terminal(directory)
    try:
        terminal.sees(READY)
        yield terminal
    finally:
        terminal.close()


def test_each_key_does_what_help_says(tmp_path: Path) -> None:
    with _opened(tmp_path) as terminal:
        terminal.press("h")
        for line in (
            "o  open the app",
            "i  open the inspector",
            "e  explain the last",
            "c  clear",
            "q  quit",
            "h  help",
        ):
            terminal.sees(line)
        terminal.press("e")
        terminal.sees("nothing has failed in the gateway yet")
        assert curl(f"{terminal.url}failing", terminal.ca).status == 502
        terminal.sees("/failing  connection_refused")
        terminal.press("e\n")  # whoever is used to Enter
        terminal.sees(f"{terminal.url}failing\r\n")
        terminal.sees("✗ dial")
        for key, url in (("o", terminal.url), ("i", f"http://127.0.0.1:{terminal.admin}")):
            terminal.browsed.unlink(missing_ok=True)
            terminal.press(key)
            assert poll(lambda: terminal.browsed.exists() and terminal.browsed.read_text(), "a browser").startswith(url)
        terminal.press("c")
        terminal.sees("\x1b[2J\x1b[3J\x1b[H")
        terminal.press("quit: this is pasted text\n")
        helped = terminal.shown.count("q  quit")

        def helps() -> bool:
            terminal.press("h")  # the first may be read together with the pasted text
            threading.Event().wait(0.2)
            return terminal.shown.count("q  quit") > helped

        poll(helps, "it goes on")
        terminal.press("q")
        assert terminal.process.wait(20) == 0
        assert termios.tcgetattr(terminal.slave) == terminal.before


def test_ctrl_c_still_ends_it(tmp_path: Path) -> None:
    with _opened(tmp_path) as terminal:
        terminal.press("\x03")
        assert terminal.process.wait(20) == 0
        assert termios.tcgetattr(terminal.slave) == terminal.before


def test_keys_come_back_after_it_was_stopped(tmp_path: Path) -> None:
    """As Ctrl-Z and `fg` do, where a shell is there to continue it."""
    with _opened(tmp_path) as terminal:
        os.kill(terminal.process.pid, signal.SIGSTOP)
        poll(lambda: _state(terminal.process.pid) == "T", "it has stopped")
        termios.tcsetattr(terminal.slave, termios.TCSANOW, terminal.before)  # which a shell does
        os.kill(terminal.process.pid, signal.SIGCONT)
        poll(lambda: not termios.tcgetattr(terminal.slave)[3] & termios.ICANON, "keys come at once again")
        terminal.press("q")
        assert terminal.process.wait(20) == 0


def test_without_a_terminal_there_are_none(tmp_path: Path) -> None:
    """Its output goes to a file: nobody would see what a key has done, and the terminal stays as it is."""
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    command = [sys.executable, "-m", "gateway", "dev", str(free_port()), "--listen-port", str(free_port())]
    with (
        (tmp_path / "log").open("w+") as log,
        subprocess.Popen(
            [*command, "--certs", str(tmp_path / "certs")], stdin=slave, stdout=log, stderr=log, env=clean_environment()
        ) as process,
    ):
        poll(lambda: READY in Path(log.name).read_text(), "it is ready")
        assert termios.tcgetattr(slave) == before
        assert "h shows" not in Path(log.name).read_text()
        process.terminate()
        assert process.wait(20) == 0
    os.close(slave)
    os.close(master)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
