"""The operational log: one line per event, within bounds, and nobody waits for whoever reads it."""

from __future__ import annotations

import json
import logging
import os
import select
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator

import pytest

from gateway.counting import counted
from gateway.observe import logs
from gateway.observe.logs import TRACEBACKS, TRACEBACKS_WITHIN
from gateway.observe.sink import PIECE, LogSink


class Stderr:
    """A pipe that is told to be descriptor 2, which pytest has its own plans for."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe()

    def lines(self) -> list[str]:
        """What has come since the last time."""
        octets = b""
        while select.select([self._reading], [], [], 0)[0]:
            octets += os.read(self._reading, 1 << 16)
        return octets.decode().splitlines()

    def close(self) -> None:
        os.close(self.writing)
        os.close(self._reading)


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stderr]:
    """Also puts back what `configure` changes in this process."""
    root = logging.getLogger()
    handlers, level, hooks = root.handlers[:], root.level, (sys.excepthook, sys.unraisablehook)
    asyncio_level = logging.getLogger("asyncio").level
    stderr = Stderr()
    monkeypatch.setattr(logs, "LogSink", lambda descriptor: LogSink({2: stderr.writing}[descriptor]))
    yield stderr
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        if isinstance(handler, logs.LogHandler):
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("asyncio").setLevel(asyncio_level)
    logging.captureWarnings(False)
    sys.excepthook, sys.unraisablehook = hooks
    logs.threading.excepthook = logs.threading.__excepthook__
    stderr.close()


log = logging.getLogger("gateway.test")


def fail() -> None:
    raise ValueError("boom")


def test_a_json_line_tells_the_event(stderr: Stderr) -> None:
    logs.configure("json", "info")
    log.warning("two\nlines of %s", "text")
    log.debug("not asked for")
    (line,) = stderr.lines()
    document = json.loads(line)
    assert document.pop("time") > 1_700_000_000
    assert document == {
        "level": "warning",
        "logger": "gateway.test",
        "pid": os.getpid(),
        "message": "two\nlines of text",
    }


def test_a_text_line_is_for_people(stderr: Stderr) -> None:
    logs.configure("text", "debug")
    log.debug("hello %d", 1)
    try:
        fail()
    except ValueError:
        log.exception("it failed")
    first, second, *traceback = stderr.lines()
    assert first.endswith("  debug   hello 1")
    assert second.endswith("  error   it failed")
    assert traceback[-1] == "ValueError: boom"


@pytest.mark.parametrize("text", ["x", "ä", "\x01", '"', "\U0001d11e"])
@pytest.mark.parametrize("length", [100, 1000, 4000, 100_000])
def test_every_json_line_fits_a_piece(stderr: Stderr, text: str, length: int) -> None:
    """Longer, it would be cut, and two workers could tear each other's."""
    logs.configure("json", "info")
    try:
        raise ValueError(text * length + "end")
    except ValueError:
        log.exception("%s", text * length)
    (line,) = stderr.lines()
    document = json.loads(line)
    assert len(line.encode()) < PIECE
    assert document["message"].startswith(text)
    assert document["traceback"].endswith("end")


def test_a_mistake_in_the_call_is_a_line(stderr: Stderr) -> None:
    logs.configure("json", "info")
    log.info("%d", "not a number")
    (line,) = stderr.lines()
    assert line.startswith("gateway.test: a line could not be made: TypeError")


def test_a_storm_of_tracebacks_is_bounded(stderr: Stderr, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bug met by every request: some of it is told, and then how much was not."""
    now = 0.0
    monkeypatch.setattr(logs.time, "monotonic", lambda: now)
    logs.configure("json", "info")

    def storm(count: int) -> None:
        for number in range(count):
            try:
                fail()
            except ValueError:
                log.exception("request %d failed", number)

    storm(500)
    assert len(stderr.lines()) == TRACEBACKS
    try:
        fail()
    except ValueError:
        log.exception("elsewhere")
    log.error("without a traceback")
    assert len(stderr.lines()) == 2
    now += TRACEBACKS_WITHIN + 1
    storm(1)
    (line,) = stderr.lines()
    assert json.loads(line)["message"] == f"request 0 failed (not logged: {500 - TRACEBACKS} more like it)"
    now += TRACEBACKS_WITHIN + 1
    storm(1)
    assert json.loads(stderr.lines()[0])["message"] == "request 0 failed"


def test_what_nobody_reads_is_dropped_counted_and_told(stderr: Stderr) -> None:
    logs.configure("json", "info")
    written = 0
    while not (lost := _sink().dropped):
        log.info("%d %s", written, "x" * 3000)
        written += 1
    lines: list[str] = []
    while logs.pump():
        lines += stderr.lines()
    lines += stderr.lines()
    messages = [json.loads(line)["message"] for line in lines]
    assert messages.pop() == f"{counted(lost, 'line')} of this log dropped: nobody read it"
    assert [int(message.split()[0]) for message in messages] == list(range(written - lost))
    log.info("on")
    assert [json.loads(line)["message"] for line in stderr.lines()] == ["on"]


def _sink() -> LogSink:
    (handler,) = [each for each in logging.getLogger().handlers if isinstance(each, logs.LogHandler)]
    return handler._sink


def _warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)  # undone by `catch_warnings`
        warnings.warn("mind the gap", stacklevel=2)


class _Fails:
    def __del__(self) -> None:
        raise ValueError("in a destructor")


def _end_a_thread() -> None:
    thread = logs.threading.Thread(target=fail, name="weaver")
    thread.start()
    thread.join()


@pytest.mark.parametrize(
    ("happens", "told"),
    [(_warn, "mind the gap"), (_Fails, "in a destructor"), (_end_a_thread, "boom")],
)
def test_what_python_would_print_is_logged(stderr: Stderr, happens: Callable[[], object], told: str) -> None:
    logs.configure("json", "info")
    happens()
    (line,) = stderr.lines()
    document = json.loads(line)
    assert told in document["message"] + document.get("traceback", "")


PROGRAM = """
from gateway.observe import logs
logs.configure("json", "info")
raise {}
"""


@pytest.mark.parametrize(("error", "is_json"), [("ValueError('boom')", True), ("KeyboardInterrupt", False)])
def test_a_bug_that_ends_the_program_is_logged(error: str, is_json: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(error)], capture_output=True, check=False, text=True, timeout=60
    )
    assert done.returncode != 0
    lines = done.stderr.splitlines()
    if is_json:
        assert json.loads(lines[0])["traceback"].endswith("ValueError: boom")
        assert len(lines) == 1
    else:
        assert lines[-1] == "KeyboardInterrupt"


def test_a_start_that_fails_says_only_what_is_wrong(stderr: Stderr) -> None:
    logs.configure("text", "info")
    with logs.held_back():
        log.info("what starts here")
    with pytest.raises(ValueError, match="why"), logs.held_back():
        log.info("what would have started")
        log.warning("something odd")
        raise ValueError("why")
    first, second = stderr.lines()
    assert "what starts here" in first
    assert "something odd" in second
