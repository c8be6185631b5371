"""The access log: one bounded line per exchange, nothing secret or alive in it, and no request lost to its faults."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.observe import access_log
from gateway.observe.access_log import (
    FLUSH_DELAY,
    MAX_BATCH,
    MAX_TEXT,
    AccessRecord,
    LineLog,
    NoLog,
    json_lines,
    shown,
    text_line,
    text_lines,
)


def record(**known: Any) -> AccessRecord:
    """An ordinary exchange, with what a test knows better."""
    ordinary: dict[str, Any] = {
        "time": 1_700_000_000.123,
        "request_id": "9f86d081884c-00002a",
        "remote": "2001:db8::7",
        "method": "GET",
        "host": "5000-abc123.example.dev",
        "path": "/path",
        "status": 200,
        "duration_ms": 12.3,
        "received": 0,
        "sent": 33,
        "sandbox": "abc123",
        "port": 5000,
    }
    return AccessRecord(**{**ordinary, **known})


def json_line(each: AccessRecord) -> bytes:
    return json_lines([each])


def plain(line: bytes) -> str:
    return re.sub(r"\x1b\[[0-9]*m", "", line.decode())


# --- JSON ---------------------------------------------------------------------------------------------------------


def test_a_json_line_tells_the_exchange() -> None:
    line = json_line(record(reused=True, received=7))
    assert line.endswith(b"}\n")
    assert json.loads(line) == {
        "time": 1_700_000_000.123,
        "request_id": "9f86d081884c-00002a",
        "remote": "2001:db8::7",
        "method": "GET",
        "host": "5000-abc123.example.dev",
        "path": "/path",
        "status": 200,
        "duration_ms": 12.3,
        "received": 7,
        "sent": 33,
        "sandbox": "abc123",
        "port": 5000,
        "reused": True,
    }


def test_a_json_line_leaves_out_what_is_not_known() -> None:
    document = json.loads(json_line(record(sandbox="", port=0, path="", host="-", method="-")))
    assert not {"sandbox", "port", "reused", "upgraded", "reason", "detail"} & document.keys()
    assert document["path"] == ""


def test_a_json_line_says_why() -> None:
    document = json.loads(json_line(record(reason="connection_refused", detail="refused", status=502, upgraded=True)))
    assert (document["reason"], document["detail"], document["upgraded"]) == ("connection_refused", "refused", True)


# --- text ---------------------------------------------------------------------------------------------------------

DURATIONS = [
    (0.0, "0.0 ms"),
    (0.4, "0.4 ms"),
    (999.4, "999.4 ms"),
    (1000.0, "1.0 s"),
    (99_940.0, "99.9 s"),
    (3_600_000.0, "3600 s"),
]
SIZES = [
    (0, "0 B"),
    (1023, "1023 B"),
    (1024, "1.0 KiB"),
    (1536, "1.5 KiB"),
    (1024 * 999, "999.0 KiB"),
    (1024 * 1024, "1.0 MiB"),
    (1024**3, "1.0 GiB"),
    (5 * 1024**4, "5120.0 GiB"),
]


@pytest.mark.parametrize(("ms", "expected"), DURATIONS)
def test_a_text_line_shows_the_duration(ms: float, expected: str) -> None:
    assert f" {expected} " in text_line(record(duration_ms=ms)).decode()


@pytest.mark.parametrize(("octets", "expected"), SIZES)
def test_a_text_line_shows_the_size(octets: int, expected: str) -> None:
    assert f" {expected}  5000-" in text_line(record(sent=octets)).decode()


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("status", [0, 101, 200, 304, 404, 499, 502, 599, 600, 999])
def test_a_text_line_is_for_people(status: int, colour: bool) -> None:
    line = text_line(record(status=status, reason="connection_refused", detail="refused"), colour=colour)
    assert (b"\x1b[" in line) is colour
    assert re.fullmatch(
        rf"\d\d:\d\d:\d\d  GET     {status} +12\.3 ms +33 B  5000-abc123\.example\.dev/path"
        r"  connection_refused: refused\n",
        plain(line),
    )
    if colour:
        assert line.decode().count("\x1b[0m") >= 2, "what is coloured ends"


def test_a_text_line_shows_an_upgrade() -> None:
    assert b"  GET+ws  101 " in text_line(record(status=101, upgraded=True))


def test_a_text_line_may_quote() -> None:
    line = text_line(record(reason="http_protocol_error", detail="the answer begins with “SSH-2.0…”"))
    assert "“SSH-2.0…”\n" in line.decode()


def test_text_lines_are_one_for_each() -> None:
    assert text_lines([record(), record(status=404)]).count(b"\n") == 2


# --- neither alive nor long: what may quote foreign octets ----------------------------------------------------------

ESCAPES = [
    b"\x1b[2J",
    b"\x1b]0;title\x07",
    b"\r",
    b"\n",
    b"\0",
    b"\x08",
    b"\x9b31m",
    b"\x85",
    b"\x7f",
    b"\xe2\x80\xa8",
    b"\xff",
]


@pytest.mark.parametrize("octets", ESCAPES)
def test_no_terminal_sequence_survives(octets: bytes) -> None:
    text = shown("detail" + octets.decode("latin-1"))
    assert text.startswith("detail")
    assert text.isprintable()


def test_a_detail_is_bounded() -> None:
    assert shown("d" * 10_000) == "d" * MAX_TEXT


# --- writing ------------------------------------------------------------------------------------------------------


@dataclass
class Disk:
    """A file descriptor that takes what it is told to take."""

    written: list[bytes] = field(default_factory=list)
    takes: int = 1 << 30
    error: OSError | None = None

    def write(self, descriptor: int, data: memoryview) -> int:
        assert descriptor == 7
        if self.error is not None:
            raise self.error
        taken = bytes(data[: self.takes])
        self.written.append(taken)
        return len(taken)

    @property
    def lines(self) -> list[bytes]:
        return b"".join(self.written).splitlines()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk()
    monkeypatch.setattr(access_log.os, "write", disk.write)
    yield disk
    monkeypatch.undo()


class Later:
    """`call_later` of an event loop that stands still."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, delay: float, callback: Callable[[], None]) -> None:
        self.calls.append((delay, callback))


def name_lines(records: list[AccessRecord]) -> bytes:
    return b"".join(each.request_id.encode() + b"\n" for each in records)


@pytest.fixture
def later() -> Later:
    return Later()


@pytest.fixture
def log(later: Later) -> LineLog:
    return LineLog(name_lines, later, 7)


def named(first: int, last: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, last)]


def put(log: LineLog, first: int, last: int) -> None:
    for number in range(first, last):
        log.record(record(request_id=str(number)))


def test_lines_are_written_together_a_moment_later(log: LineLog, later: Later, disk: Disk) -> None:
    put(log, 0, 10)
    assert disk.written == []
    assert [delay for delay, _ in later.calls] == [FLUSH_DELAY]
    later.calls[0][1]()
    assert len(disk.written) == 1
    assert disk.lines == named(0, 10)
    put(log, 10, 11)
    assert len(later.calls) == 2
    later.calls[1][1]()
    assert disk.lines == named(0, 11)


def test_a_busy_worker_does_not_gather_without_end(log: LineLog, later: Later, disk: Disk) -> None:
    put(log, 0, MAX_BATCH - 1)
    assert disk.written == []
    put(log, MAX_BATCH - 1, MAX_BATCH)
    assert disk.lines == named(0, MAX_BATCH)
    put(log, MAX_BATCH, 3 * MAX_BATCH + 5)
    assert disk.lines == named(0, 3 * MAX_BATCH)
    for _, callback in later.calls:
        callback()
    assert disk.lines == named(0, 3 * MAX_BATCH + 5)


def test_flushing_nothing_writes_nothing(log: LineLog, disk: Disk) -> None:
    log.flush()
    assert disk.written == []


def test_a_descriptor_that_takes_a_little_at_a_time_gets_it_all(log: LineLog, disk: Disk) -> None:
    disk.takes = 3
    put(log, 0, 100)
    log.flush()
    assert disk.lines == named(0, 100)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE, errno.EAGAIN, errno.EIO])
def test_what_cannot_be_written_is_counted_and_told_once(
    log: LineLog, disk: Disk, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    disk.error = OSError(number, os.strerror(number))
    with caplog.at_level(logging.WARNING, "gateway.access"):
        for batch in range(5):
            put(log, batch, batch + 3)
            log.flush()
        assert log.lost == 15
        assert [each.getMessage() for each in caplog.records] == [
            f"access log: {os.strerror(number)}; lines are lost until it works again"
        ]
        caplog.clear()
        disk.error = None
        put(log, 100, 102)
        log.flush()
        assert disk.lines == named(100, 102)
        assert log.lost == 0
        assert [each.getMessage() for each in caplog.records] == ["access log: works again, 15 lines were lost"]
        caplog.clear()
        put(log, 102, 103)
        log.flush()
        assert not caplog.records


def test_a_closed_pipe_reaches_nobody_who_is_served(caplog: pytest.LogCaptureFixture) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    log = LineLog(name_lines, Later(), writing)
    try:
        put(log, 0, 2 * MAX_BATCH)
        assert log.lost == 2 * MAX_BATCH
    finally:
        os.close(writing)
    assert len(caplog.records) == 1


def test_lines_reach_a_descriptor() -> None:
    reading, writing = os.pipe()
    try:
        log = LineLog(json_lines, Later(), writing)
        log.record(record(request_id="a"))
        log.record(record(request_id="b"))
        log.flush()
        lines = os.read(reading, 65536).splitlines()
    finally:
        os.close(reading)
        os.close(writing)
    assert [json.loads(line)["request_id"] for line in lines] == ["a", "b"]


def test_no_log_is_a_log(capfd: pytest.CaptureFixture[str]) -> None:
    log = NoLog()
    log.record(record())
    log.flush()
    assert capfd.readouterr() == ("", "")
