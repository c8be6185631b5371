"""`log.path`: rotated by whoever it is, no line is lost; a full disk stops nothing; what cannot be written is told."""

from __future__ import annotations

import getpass
import grp
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import __version__ as version
from tests.support.components import program, require
from tests.support.disk import on_small_disk
from tests.support.process import ROOT, poll
from tests.support.serving import App, Serving, descriptors

pytestmark = [pytest.mark.interop, pytest.mark.slow]

STANZA = ROOT / "config" / "deploy" / "logrotate.conf"
WORKERS = 2


class Logged(Serving):
    """With a log file; every connection brings one line."""

    def __init__(self, directory: Path, app: App, path: Path) -> None:
        super().__init__(directory, app, workers=WORKERS)
        self.path = path
        self.config = directory / "gateway.toml"
        self.asked = 0
        self.set(path)

    def set(self, path: Path) -> None:
        before, _, _ = self.config.read_text().partition("[log]\n")
        self.config.write_text(f"{before}[log]\npath = {json.dumps(str(path))}\n")

    def visit(self, count: int = 20) -> None:
        """Some requests; every worker has many of them, sooner or later."""
        for _ in range(count):
            with self.connect() as connection:
                self.ask(connection, f"/{self.asked}")
                assert self.answer(connection).startswith(b"HTTP/1.1 200")
            self.asked += 1

    def opened(self) -> list[str]:
        """What each worker has open of the log's directory."""
        here = str(self.path.parent)
        return [
            target for pid in self.workers() for target in descriptors(pid).values() if target.startswith(f"{here}/")
        ]

    def logged(self, *files: Path) -> list[int]:
        """The numbers of requests in `files`, in their order."""
        lines = [line for file in files if file.exists() for line in file.read_bytes().splitlines()]
        return sorted(int(json.loads(line)["path"][1:]) for line in lines)

    def all_are_in(self, *files: Path) -> None:
        poll(lambda: len(self.logged(*files)) == self.asked, "every line is written")
        assert self.logged(*files) == list(range(self.asked))


@pytest.fixture
def app() -> Iterator[App]:
    with App() as app:
        yield app


@pytest.fixture
def gateway(tmp_path: Path, app: App) -> Iterator[Logged]:
    folder = tmp_path / "log"
    folder.mkdir()
    with Logged(tmp_path, app, folder / "access.log") as gateway:
        gateway.ready()
        yield gateway


def test_the_first_line_says_what_starts(gateway: Logged) -> None:
    line = json.loads(gateway.log.partition("\n")[0])
    assert line["message"].startswith(f"gateway {version}")
    assert line["version"] == version
    assert line["workers"] == WORKERS
    [expires] = line["certificates"].values()
    assert expires > "2026"
    command = [sys.executable, "-m", "gateway", "check", "--json", "--config", str(gateway.config)]
    checked = subprocess.run(command, cwd=gateway.config.parent, env=gateway.env, capture_output=True, check=True)
    assert json.loads(checked.stdout)["configuration"] == line["configuration"]


def test_sigusr1_opens_it_anew_in_every_worker(gateway: Logged) -> None:
    gateway.visit()
    former = gateway.path.rename(gateway.path.with_suffix(".1"))
    gateway.tell(signal.SIGUSR1)
    poll(lambda: gateway.opened() == [str(gateway.path)] * WORKERS, "every worker has opened the new one")
    gateway.says("log files are opened anew")
    gateway.visit()
    gateway.all_are_in(former, gateway.path)
    assert gateway.logged(gateway.path)
    lines = former.read_bytes().splitlines() + gateway.path.read_bytes().splitlines()
    assert {json.loads(line)["worker"] for line in lines} <= set(range(WORKERS))


def test_a_reload_takes_another_path(gateway: Logged) -> None:
    gateway.visit()
    gateway.set(gateway.path.parent / "none" / "access.log")
    gateway.tell(signal.SIGHUP)
    gateway.says(
        f"not reloaded, nothing has changed: log.path: {gateway.path.parent}/none/access.log cannot be written"
    )
    other = gateway.path.with_name("other-access.log")
    gateway.set(other)
    gateway.tell(signal.SIGHUP)
    gateway.says("reloaded: generation 2 serves")
    gateway.visit()
    gateway.all_are_in(gateway.path, other)
    assert gateway.logged(other)


@pytest.mark.parametrize("how", ["as shipped", "copytruncate"])
def test_logrotate_loses_no_line(gateway: Logged, tmp_path: Path, how: str) -> None:
    """The stanza that is shipped, with another path and user; twice, so that one is compressed."""
    require("logrotate")
    group = grp.getgrgid(os.getgid()).gr_name
    stanza = STANZA.read_text().replace("/var/log/gateway/access.log", str(gateway.path))
    stanza = stanza.replace("su gateway gateway", f"su {getpass.getuser()} {group}")
    if how == "copytruncate":
        stanza = stanza.replace("nocreate", "copytruncate")
    config = tmp_path / "logrotate.conf"
    config.write_text(stanza)
    config.chmod(0o644)
    logrotate = program("logrotate")
    assert logrotate is not None
    for _ in range(2):
        gateway.visit()
        gateway.all_are_in(gateway.path, gateway.path.with_name("access.log.1"))
        command = [logrotate, "--force", "--state", str(tmp_path / "state"), str(config)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        poll(lambda: gateway.visit(2) or gateway.path.exists(), "the file is made anew")
    packed = gateway.path.with_name("access.log.2.gz")
    subprocess.run(["gunzip", str(packed)], check=True)
    gateway.all_are_in(*gateway.path.parent.iterdir())
    assert b"\0" not in gateway.path.read_bytes(), "a hole: it was not appended to"


def test_a_full_disk_drops_and_counts_and_is_left_again(tmp_path: Path, app: App) -> None:
    require("small disk")
    folder = tmp_path / "log"
    folder.mkdir()
    gateway = Logged(tmp_path, app, folder / "access.log")
    gateway.command = on_small_disk(folder, "256k", [sys.executable, *gateway.command[1:]])
    with gateway:
        gateway.ready()
        seen = Path(f"/proc/{gateway.pid}/root{folder}")
        (seen / "other").write_bytes(b"x" * 250 * 1024)
        gateway.visit()
        with socket.create_connection(("::1", gateway.plain_port)) as connection:
            connection.sendall(b"GET /20 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(64).startswith(b"HTTP/1.1 421")
        gateway.asked += 1
        assert (seen / "access.log").read_bytes() == b""
        (seen / "other").unlink()
        gateway.visit()  # what waited goes with the next lines, worker by worker
        poll(lambda: gateway.visit(2) or len(gateway.logged(seen / "access.log")) >= gateway.asked - 4, "it is written")


def test_what_cannot_be_written_is_told_by_check_and_at_the_start(tmp_path: Path, app: App) -> None:
    folder = tmp_path / "none"
    gateway = Logged(tmp_path, app, folder / "access.log")
    command = [sys.executable, "-m", "gateway"]
    told = {}
    for verb in ("check", "serve"):
        done = subprocess.run(
            [*command, verb, "--config", str(gateway.config)],
            cwd=tmp_path, env=gateway.env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
        told[verb] = done.stdout + done.stderr
    why = f"log.path: {folder}/access.log cannot be written: "
    assert f"{why}there is no directory {folder}" in told["check"]
    assert f"{why}No such file or directory" in told["serve"]
    assert "Traceback" not in "".join(told.values())
    assert not folder.exists()
