"""One line when the backend goes and one when it is back, whatever the number of processes."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator

import pytest

from gateway.directory import availability as module
from gateway.directory.availability import Availability, OutageReporter
from gateway.directory.sandbox import DirectoryError, RecordError

DOWN = DirectoryError("Redis at 10.0.0.2:6379: refused")


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.INFO, logger=module.log.name)
    yield


class Time:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(module, "_now", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


def test_an_outage_is_two_lines_however_many_questions_fail(clock: Time, caplog: pytest.LogCaptureFixture) -> None:
    backend = Availability("Redis at 10.0.0.2:6379")
    seen: list[str] = []
    backend.on_outage = lambda: seen.append("went")
    backend.on_recovery = lambda: seen.append("came back")
    backend.answered()
    for _ in range(5):
        backend.failed(DOWN)
    clock.now += 12.34
    assert backend.away == str(DOWN)
    for _ in range(5):
        backend.answered()
    assert not backend.away
    assert seen == ["went", "came back"]
    assert [record.getMessage() for record in caplog.records] == [
        "Redis at 10.0.0.2:6379: refused; what was looked up lately is served on until it is back",
        "Redis at 10.0.0.2:6379: back after 12.3 s",
    ]


def test_a_record_that_cannot_be_understood_is_an_answer() -> None:
    backend = Availability("Redis")
    backend.failed(RecordError("bad"))
    assert not backend.away
    backend.failed(DOWN)
    backend.failed(RecordError("bad"))
    assert not backend.away


def test_a_backend_that_flutters_is_no_flood_and_an_outage_that_lasts_is_told(
    clock: Time, caplog: pytest.LogCaptureFixture
) -> None:
    backend = Availability("Redis")
    for _ in range(100):
        backend.failed(DOWN)
        backend.answered()
        clock.now += 0.01
    assert len(caplog.records) == 2
    backend.failed(DOWN)
    clock.now += module.QUIET
    backend.failed(DOWN)
    assert len(caplog.records) == 3


class Worker:
    """A process of its own that does what it is told, and tells how many lines it wrote."""

    def __init__(self, reporter: OutageReporter) -> None:
        self._commands, self._answers = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._live(reporter)
            finally:
                os._exit(0)

    def _live(self, reporter: OutageReporter) -> None:
        lines: list[str] = []
        module.log.handlers = [_Lines(lines)]
        backend = Availability("Redis", reporter)
        while command := os.read(self._commands[0], 1):
            lines.clear()
            backend.failed(DOWN) if command == b"f" else backend.answered()
            os.write(self._answers[1], b"%d" % len(lines))

    def fails(self) -> int:
        os.write(self._commands[1], b"f")
        return int(os.read(self._answers[0], 1))

    def answers(self) -> int:
        os.write(self._commands[1], b"a")
        return int(os.read(self._answers[0], 1))

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        for descriptor in (*self._commands, *self._answers):
            os.close(descriptor)


class _Lines(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._list = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._list.append(record.getMessage())


@pytest.mark.parametrize("noticed", [True, False])
def test_one_process_speaks_for_all_and_another_when_it_is_killed(noticed: bool) -> None:
    reporter = OutageReporter(shared=True)
    workers = [Worker(reporter) for _ in range(4)]
    try:
        assert [worker.fails() for worker in workers] == [1, 0, 0, 0]
        assert [worker.fails() for worker in workers] == [0, 0, 0, 0]
        workers.pop(0).kill()
        if noticed:
            assert [worker.fails() for worker in workers] == [0, 0, 0], "it has been said"
        assert sum(worker.answers() for worker in workers) == 1, "the end is said nevertheless"
        assert [worker.fails() for worker in workers] == [0, 0, 0], "questions from before the end may fail yet"
    finally:
        for worker in workers:
            worker.kill()
