"""The access log: one bounded line per exchange, nothing secret or alive in it, and no request lost to its faults."""

from __future__ import annotations

import json
import os
import re
import select
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway.observe import access_log
from gateway.observe.access_log import (
    MAX_TEXT,
    SAID_EVERY,
    AccessRecord,
    LineLog,
    NoLog,
    json_lines,
    shown,
    text_line,
    text_lines,
)
from gateway.observe.grpc_call import GrpcOutcome
from gateway.observe.sink import PIECE, LogSink
from gateway.observe.telemetry import MAX_BATCH


def record(**known: Any) -> AccessRecord:
    """An ordinary exchange, with what a test knows better."""
    ordinary: dict[str, Any] = {
        "time": 1_700_000_000.123,
        "request_id": "9f86d081884c-00002a",
        "remote": "2001:db8::7",
        "method": "GET",
        "host": "5000-abc123.example.dev",
        "path": "/path",
        "protocol": "HTTP/1.1",
        "status": 200,
        "duration_ms": 12.3,
        "first_byte_ms": 4.5,
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
        "protocol": "HTTP/1.1",
        "status": 200,
        "duration_ms": 12.3,
        "first_byte_ms": 4.5,
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
        rf"\d\d:\d\d:\d\d  h1   GET     {status} +12\.3 ms +33 B  5000-abc123\.example\.dev/path"
        r"  connection_refused: refused\n",
        plain(line),
    )
    if colour:
        assert line.decode().count("\x1b[0m") >= 2, "what is coloured ends"


def test_a_text_line_shows_an_upgrade() -> None:
    assert b"  GET+ws  101 " in text_line(record(status=101, upgraded=True))


@pytest.mark.parametrize(
    ("outcome", "reason", "said", "tint"),
    [
        (GrpcOutcome(0), "", "  grpc-status 0 OK\n", "32"),
        (GrpcOutcome(5, "no such user"), "", "  grpc-status 5 NOT_FOUND: no such user\n", "33"),
        (GrpcOutcome(14, "told"), "refused", "  grpc-status 14 UNAVAILABLE  refused: why\n", "31"),
    ],
)
def test_a_text_line_shows_how_a_call_has_ended(outcome: GrpcOutcome, reason: str, said: str, tint: str) -> None:
    known = record(reason=reason, detail="why")
    assert text_line(known, call=outcome).decode().endswith(said)
    line = text_line(known, colour=True, call=outcome)
    assert plain(line).endswith(said)
    assert f"\x1b[{tint}m200".encode() in line


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


# --- handing over: what a sink does with it is told in test_sink.py --------------------------------------------


class Reader:
    """The other end of a pipe."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()

    def lines(self) -> list[bytes]:
        """What has come since the last time."""
        if not select.select([self.reading], [], [], 0)[0]:
            return []
        return os.read(self.reading, 1 << 20).splitlines()

    def all_lines(self) -> list[bytes]:
        """What comes until the other end closes."""
        os.close(self.writing)
        self.writing = -1
        octets = b""
        while more := os.read(self.reading, 1 << 20):
            octets += more
        return octets.splitlines()

    def go(self) -> None:
        os.close(self.reading)
        self.reading = -1

    def close(self) -> None:
        for descriptor in (self.reading, self.writing):
            if descriptor >= 0:
                os.close(descriptor)


@pytest.fixture
def reader() -> Iterator[Reader]:
    reader = Reader()
    yield reader
    reader.close()


class Later:
    """`call_later` of an event loop that stands still."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, delay: float, callback: Callable[[], None]) -> None:
        self.calls.append((delay, callback))

    def passes(self) -> None:
        calls, self.calls = self.calls, []
        for _, callback in calls:
            callback()


def name_lines(records: list[AccessRecord]) -> bytes:
    return b"".join(each.request_id.encode() + b"\n" for each in records)


@pytest.fixture
def later() -> Later:
    return Later()


@pytest.fixture
def log(later: Later, reader: Reader) -> Iterator[LineLog]:
    sink = LogSink(reader.writing, limit=8192)
    yield LineLog(name_lines, later, sink)
    sink.finish(0)


def named(first: int, last: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, last)]


def put(log: LineLog, first: int, last: int) -> None:
    """As telemetry hands them over: many at once."""
    records = [record(request_id=str(number)) for number in range(first, last)]
    for begin in range(0, len(records), MAX_BATCH):
        log.write(records[begin : begin + MAX_BATCH])


def fill(log: LineLog) -> int:
    """Records lines that nobody reads until one is dropped; how many."""
    number = 0
    while not log.dropped:
        put(log, number, number + MAX_BATCH)
        number += MAX_BATCH
    return number


def test_the_last_lines_are_written_at_the_end(log: LineLog, reader: Reader) -> None:
    put(log, 0, 3)
    log.close()
    assert reader.lines() == named(0, 3)
    assert log.dropped == 0


def test_what_nobody_reads_is_dropped_and_counted(log: LineLog, reader: Reader) -> None:
    recorded = fill(log)
    put(log, recorded, recorded + 3 * MAX_BATCH)
    recorded += 3 * MAX_BATCH
    log.close()
    lines = reader.all_lines()
    assert lines == named(0, len(lines)), "the oldest are kept, each whole"
    assert len(lines) + log.dropped == recorded


def test_lines_that_would_be_dropped_are_not_even_made(later: Later, reader: Reader) -> None:
    made: list[int] = []

    def lines(records: list[AccessRecord]) -> bytes:
        made.append(len(records))
        return name_lines(records)

    sink = LogSink(reader.writing, limit=8192)
    log = LineLog(lines, later, sink)
    fill(log)
    before = len(made)
    put(log, 0, 4 * MAX_BATCH)
    assert len(made) == before
    assert log.dropped >= 4 * MAX_BATCH
    sink.finish(0)


def test_lost_lines_are_told_at_once_and_then_once_a_minute(
    log: LineLog, later: Later, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(access_log.time, "monotonic", lambda: now)
    fill(log)
    later.passes()
    first = log.dropped
    assert [each.getMessage() for each in caplog.records] == [
        f"access log: {first} lines dropped, {first} since the start: nobody reads it"
    ]
    caplog.clear()
    for _ in range(50):
        put(log, 0, MAX_BATCH)
        now += 1.0
    assert not caplog.records
    delays = [delay for delay, _ in later.calls]
    assert len(delays) == 1 and 50 < delays[0] <= SAID_EVERY, "told later although nothing more is asked"
    now += 10.0
    later.passes()
    assert [each.getMessage() for each in caplog.records] == [
        f"access log: {50 * MAX_BATCH} lines dropped, {first + 50 * MAX_BATCH} since the start: nobody reads it"
    ]


def test_the_end_tells_of_every_lost_line(log: LineLog, caplog: pytest.LogCaptureFixture, reader: Reader) -> None:
    fill(log)
    reader.go()
    put(log, 0, 3)
    caplog.clear()
    log.close()
    assert f"{log.dropped} since the start" in caplog.records[-1].getMessage()


def test_lines_reach_a_descriptor(later: Later, reader: Reader) -> None:
    sink = LogSink(reader.writing)
    log = LineLog(json_lines, later, sink)
    log.write([record(request_id="a"), record(request_id="b")])
    assert [json.loads(line)["request_id"] for line in reader.lines()] == ["a", "b"]
    sink.finish(0)


def test_the_longest_line_fits_a_piece() -> None:
    """Else it would be cut, and not be JSON any more."""
    worst = record(
        request_id="x" * 128,
        remote="2001:db8:ffff:ffff:ffff:ffff:255.255.255.255",
        method="M" * MAX_TEXT,
        host='"' * MAX_TEXT,
        path='"' * MAX_TEXT,
        sandbox="x" * 64,
        port=65535,
        reused=True,
        upgraded=True,
        reason="http_response_header_section_size",
        detail="\U0001d11e" * MAX_TEXT,
    )
    assert len(json_line(worst)) <= PIECE


def test_no_log_is_a_log(capfd: pytest.CaptureFixture[str]) -> None:
    log = NoLog()
    log.write([record()])
    log.close()
    assert capfd.readouterr() == ("", "")
