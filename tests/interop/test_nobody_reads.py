"""Whoever reads the gateway's output may stand still, be slow or go away: no request, no signal and no worker waits."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.interop.harness import ServeProcess
from tests.support.components import require
from tests.support.disk import on_small_disk
from tests.support.process import descendants, free_port, poll

pytestmark = [pytest.mark.interop, pytest.mark.slow]

REQUESTS = 5000
CONNECTIONS = 10
ENDS_WITHIN = 20
"""Seconds from SIGTERM; a worker that hangs is killed after 15."""


class Pipe:
    """One of the gateway's two outputs, in the hands of a test."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.octets = b""
        self._thread: threading.Thread | None = None

    def fill(self) -> None:
        """As if the reader had stood still for hours."""
        os.set_blocking(self.writing, False)
        with suppress(BlockingIOError):
            while True:
                os.write(self.writing, b"\n" * 4096)
        os.set_blocking(self.writing, True)

    def read_on(self, at_once: int = 1 << 16, pause: Callable[[], object] = lambda: None) -> None:
        """Reads to the end, in a thread, `at_once` octets and then a pause."""

        def read() -> None:
            while more := os.read(self.reading, at_once):
                self.octets += more
                pause()

        self._thread = threading.Thread(target=read)
        self._thread.start()

    def lines(self) -> list[bytes]:
        """All of them, after the gateway's end."""
        if self._thread is None:
            self.read_on()
        assert self._thread is not None
        self._thread.join(30)
        return [line for line in self.octets.splitlines() if line]

    def close(self) -> None:
        for descriptor in (self.reading, self.writing):
            with suppress(OSError):
                os.close(descriptor)


class Served(ServeProcess):
    """`gateway serve`, two workers, a plain listener, logs as JSON, its outputs as they are given."""

    def __init__(self, directory: Path, level: str = "info") -> None:
        super().__init__({}, directory=directory)
        self.plain_port = free_port()
        config = directory / "gateway.toml"
        text = config.read_text().replace("[edge]\n", f'[edge]\nlisten_plain = ["[::1]:{self.plain_port}"]\n')
        config.write_text(text.replace('format = "text"', f'format = "json"\nlevel = "{level}"'))

    def run(self, stdout: int, stderr: int) -> None:
        self.process = subprocess.Popen(
            self.command, cwd=self._cwd, env=self.env, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
        )
        poll(self.is_ready, "/readyz answers 200")

    def ask(self, count: int = REQUESTS) -> int:
        """Sends requests over ten connections; how many were answered."""
        answered = [0] * CONNECTIONS

        def one(number: int) -> None:
            with socket.create_connection(("::1", self.plain_port), timeout=30) as connection:
                answers = connection.makefile("rb")
                for _ in range(count // CONNECTIONS):
                    connection.sendall(b"GET /%d HTTP/1.1\r\nHost: 1-nobody.sandbox.localhost\r\n\r\n" % number)
                    length = 0
                    while (line := answers.readline()) not in (b"\r\n", b""):
                        if line.lower().startswith(b"content-length:"):
                            length = int(line.partition(b":")[2])
                    answered[number] += len(answers.read(length)) == length > 0

        threads = [threading.Thread(target=one, args=(number,)) for number in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(answered)

    def end(self) -> None:
        assert self.process is not None
        family = descendants(self.pid)
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(ENDS_WITHIN) == 0
        assert not [pid for pid in family if Path(f"/proc/{pid}").exists()]


@pytest.fixture
def pipes() -> Iterator[tuple[Pipe, Pipe]]:
    """Standard output and standard error."""
    both = Pipe(), Pipe()
    yield both
    for pipe in both:
        pipe.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    if served.process is not None and served.process.poll() is None:
        served.process.kill()
        served.process.wait()


def run(served: Served, pipes: tuple[Pipe, Pipe]) -> None:
    served.run(*(pipe.writing for pipe in pipes))
    for pipe in pipes:
        os.close(pipe.writing)


def dropped(stderr: Pipe) -> int:
    """What the workers say, at their end at the latest, is missing in the access log; their words are whole lines."""
    said: dict[int, int] = {}
    for line in stderr.lines():
        document = json.loads(line)
        if found := re.match(r"access log: \d+ lines? dropped, (\d+) since the start", document["message"]):
            said[document["pid"]] = int(found[1])
        else:
            assert document["level"] != "error", document
    return sum(said.values())


def test_requests_go_on_when_nobody_reads_the_access_log(served: Served, pipes: tuple[Pipe, Pipe]) -> None:
    stdout, stderr = pipes
    run(served, pipes)
    assert served.ask() == REQUESTS
    assert served.ask() == REQUESTS
    served.end()
    lines = stdout.lines()
    assert all(json.loads(line)["status"] == 404 for line in lines)
    lost = dropped(stderr)
    assert lost > 0, "the pipe and what waits would have to hold all of it"
    assert len(lines) + lost == 2 * REQUESTS


def test_a_reader_that_comes_back_gets_what_waited(served: Served, pipes: tuple[Pipe, Pipe]) -> None:
    stdout, stderr = pipes
    run(served, pipes)
    assert served.ask(3000) == 3000
    stdout.read_on()
    assert served.ask(1000) == 1000
    served.end()
    assert len([json.loads(line) for line in stdout.lines()]) == 4000
    assert dropped(stderr) == 0


def test_a_slow_reader_of_two_workers_gets_whole_lines(served: Served, pipes: tuple[Pipe, Pipe]) -> None:
    stdout, stderr = pipes
    run(served, pipes)
    waiting = threading.Event()
    stdout.read_on(700, lambda: waiting.wait(0.001))
    assert served.ask() == REQUESTS
    assert served.ask() == REQUESTS
    waiting.set()
    served.end()
    assert len([json.loads(line) for line in stdout.lines()]) + dropped(stderr) == 2 * REQUESTS


def test_a_reader_that_is_gone_is_said_and_nothing_more(served: Served, pipes: tuple[Pipe, Pipe]) -> None:
    stdout, stderr = pipes
    run(served, pipes)
    os.close(stdout.reading)
    assert served.ask() == REQUESTS
    served.end()
    assert dropped(stderr) == REQUESTS


def test_a_log_of_errors_that_nobody_reads_stops_nothing(tmp_path: Path, pipes: tuple[Pipe, Pipe]) -> None:
    """Not the workers (each handshake that fails is a line here), not the supervisor, not the end."""
    stdout, stderr = pipes
    served = Served(tmp_path, level="debug")
    stderr.fill()
    stdout.read_on()
    run(served, pipes)
    for _ in range(1000):
        with socket.create_connection(("::1", served.tls_port)) as hello:
            hello.sendall(b"\x16\x03\x01\x00\x05nonsense")
    assert served.ask(1000) == 1000
    workers = descendants(served.pid)[1:]
    os.kill(workers[0], signal.SIGKILL)
    poll(lambda: workers[0] not in descendants(served.pid) and served.is_ready(), "the supervisor replaces a worker")
    assert served.ask(1000) == 1000
    stderr.read_on()
    poll(lambda: b"was killed by SIGKILL" in stderr.octets, "what waited is told once there is a reader again")
    served.end()
    assert len([json.loads(line) for line in stdout.lines()]) >= 1000
    assert json.loads(stderr.lines()[-1])["message"] == "stopped"


def test_a_full_disk_stops_no_request_and_tears_no_line(
    tmp_path: Path, served: Served, pipes: tuple[Pipe, Pipe]
) -> None:
    require("small disk")
    stderr = pipes[1]
    disk = tmp_path / "disk"
    disk.mkdir()
    served.command = on_small_disk(
        disk, "300k", ["sh", "-c", f'exec "$@" >{disk}/access.log', "sh", sys.executable, *served.command[1:]]
    )
    run(served, pipes)
    assert served.ask() == REQUESTS
    log = Path(f"/proc/{served.pid}/root{disk}/access.log").read_bytes()
    assert log.endswith(b"\n")
    paths = [json.loads(line)["path"] for line in log.splitlines()]
    assert 500 < len(paths) < REQUESTS
    served.end()
    assert len(paths) + dropped(stderr) == REQUESTS


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_descriptor_is_nobody_elses(served: Served, pipes: tuple[Pipe, Pipe], closed: str) -> None:
    """Its number would be given to the next socket that is opened, and the log written there."""
    served.command = ["sh", "-c", f'exec "$@" {closed}', "sh", *served.command]
    for pipe in pipes:
        pipe.read_on()
    run(served, pipes)
    assert served.ask(100) == 100
    for pid in descendants(served.pid):
        for number in range(3):
            kind = Path(f"/proc/{pid}/fd/{number}").readlink()
            assert str(kind) == "/dev/null" or str(kind).startswith("pipe:"), kind
    served.end()


def test_what_is_shared_with_a_shell_is_not_changed(served: Served, pipes: tuple[Pipe, Pipe]) -> None:
    """O_NONBLOCK is shared with whoever else has it open: the shell that started us would get EAGAIN."""
    run(served, pipes)
    assert served.ask(1000) == 1000
    for number in (1, 2):
        info = Path(f"/proc/{served.pid}/fdinfo/{number}").read_text()
        flags = int(info.partition("flags:")[2].split()[0], 8)
        assert not flags & os.O_NONBLOCK
    served.end()
