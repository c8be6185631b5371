"""The budget: each flood ends its connection within the numbers of the table, and what peers need ends none."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from gateway.http.h2 import abuse
from gateway.http.h2.abuse import Budget
from gateway.http.h2.errors import ConnectionFault, ErrorCode
from gateway.http.h2.settings import SessionLimits
from tests.support.h2_frames import Code, Flag, Setting, Type, frame, number
from tests.support.h2_session import (
    EARLY_BLOCK,
    EVERYTHING,
    LARGEST_WINDOW,
    OK_BLOCK,
    SETTINGS_ACK,
    Stage,
    data,
    goaway,
    headers,
    ping,
    rst,
    set,
    trailers,
    update,
)

pytestmark = pytest.mark.pure  # fakes stand in the place of what is compiled

Flood = Callable[[int], bytes]
LIMITS = SessionLimits(concurrent_streams=200)
"""Few enough for the bucket to hold its 1,000 points."""


def lasts(stage: Stage, flood: Flood, most: int = 20_000) -> int:
    """How often the peer can say it, with an owner that does what it ought to."""
    for turn in range(most):
        try:
            stage.hear(flood(turn))
        except ConnectionFault as fault:
            assert fault.code is ErrorCode.ENHANCE_YOUR_CALM
            assert stage.said()[-1].code == Code.ENHANCE_YOUR_CALM
            return turn
        for stream in [*stage.session.streams.values()]:
            if stream.state.over:
                stage.session.forget(stream)
        stage.session.out.clear()
    return most


def head(turn: int) -> bytes:
    return headers(3 + 2 * turn, end=False)


def too_much(turn: int) -> bytes:
    stream = 3 + 2 * turn
    return head(turn) + data(stream, bytes(16_384)) * 4 + data(stream, b"x")


def continued(turn: int) -> bytes:
    stream = 3 + 2 * turn
    end = frame(Type.CONTINUATION, Flag.END_HEADERS, stream)
    return headers(stream, whole=False) + frame(Type.CONTINUATION, 0, stream) * 10 + end


FLOODS: dict[str, tuple[Flood, int]] = {
    # CVE-2023-44487, and what makes us do the same (CVE-2025-8671, its six ways).
    "rapid reset": (lambda n: head(n) + rst(3 + 2 * n), 250),
    "made to reset: update by 0": (lambda n: head(n) + update(3 + 2 * n, 0), 200),
    "made to reset: update too large": (lambda n: head(n) + update(3 + 2 * n, LARGEST_WINDOW), 200),
    "made to reset: DATA after the end": (lambda n: headers(3 + 2 * n) + data(3 + 2 * n, b"x"), 250),
    "made to reset: HEADERS after the end": (lambda n: headers(3 + 2 * n) * 2, 250),
    "made to reset: priority": (lambda n: head(n) + frame(Type.PRIORITY, 0, 3 + 2 * n, bytes(4)), 200),
    "made to reset: depends on itself": (lambda n: headers(3 + 2 * n, number(3 + 2 * n) + b"\0", flags=0x20), 250),
    "made to reset: more than its window": (too_much, 250),
    "trailers that do not end": (lambda n: head(n) * 2, 250),
    # CVE-2019-9512, 9515, 9513, 9518; CVE-2024-27316.
    "PING": (lambda n: ping(), 1_000),
    "PING that nobody has asked for": (lambda n: ping(ack=True), 1_000),
    "SETTINGS": (lambda n: set(), 1_000),
    "SETTINGS acknowledged": (lambda n: SETTINGS_ACK, 1_000),
    "PRIORITY": (lambda n: frame(Type.PRIORITY, 0, 5, number(3) + b"\0"), 1_000),
    "PRIORITY_UPDATE": (lambda n: frame(Type.PRIORITY_UPDATE, 0, 0, number(5) + b"u=1"), 1_000),
    "WINDOW_UPDATE": (lambda n: update(0, 1), 1_000),
    "WINDOW_UPDATE of a stream": (lambda n: update(1, 1), 1_000),
    "WINDOW_UPDATE of a closed stream": (lambda n: (rst(1) if n == 0 else b"") + update(1, 1), 1_000),
    "GOAWAY": (lambda n: goaway(0), 1_000),
    "unknown types": (lambda n: frame(0xFE), 1_000),
    "empty DATA": (lambda n: data(1), 100),
    "padding": (lambda n: data(1, padding=255), 100),
    "CONTINUATION": (continued, 91),
    "RST_STREAM of a closed stream": (lambda n: rst(1), 1_000),
}  # fmt: skip


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_its_connection(name: str) -> None:
    flood, points = FLOODS[name]
    stage = Stage(limits=LIMITS, consumes=False)
    stage.hear(headers(1, end=False))
    assert points * 0.9 - 3 <= lasts(stage, flood) <= points * 1.05 + 15


def test_tiny_content_is_nearly_free() -> None:
    """An app that streams small messages: 25,000 a second for ever."""
    stage = Stage(limits=LIMITS)
    stage.hear(headers(1, end=False))
    stage.session._budget.points = 10.0
    assert 49 <= lasts(stage, lambda n: data(1, b"x") * 100) <= 51


@pytest.mark.parametrize("name", ["PING", "empty DATA", "rapid reset", "DATA for what we have reset"])
def test_what_comes_slowly_is_no_flood(name: str) -> None:
    """Fifty points a second."""
    stage = Stage(limits=LIMITS)
    stage.hear(headers(1, end=False))
    flood, each = {
        "PING": (ping() * 50, 50),
        "empty DATA": (data(1) * 5, 50),
        "rapid reset": (b"", 48),
        "DATA for what we have reset": (data(1) * 500, 50),
    }[name]
    numbers = count(3, 2)
    if name.startswith("DATA"):
        stage.session.forget(stage.streams[1])
    for second in range(100):
        stage.now = second
        if name == "rapid reset":
            flood = b"".join(headers(stream) + rst(stream) for stream in (next(numbers) for _ in range(each // 4)))
        stage.hear(flood)
        for stream in [*stage.session.streams.values()]:
            if stream.state.over:
                stage.session.forget(stream)


def test_all_streams_may_be_cancelled_at_once() -> None:
    """A page is left; a deadline of gRPC has come. Twice, if it has been a while."""
    stage = Stage(limits=SessionLimits(concurrent_streams=1_000))
    for begin in (1, 2_001):
        streams = range(begin, begin + 2_000, 2)
        stage.hear(*map(headers, streams))
        stage.hear(*map(rst, streams))
        for stream in streams:
            stage.session.forget(stage.streams[stream])
        stage.now += 90
    assert len(stage.calls) == 4_000


def test_updates_that_content_pays_for_are_free() -> None:
    stage = Stage(limits=LIMITS)
    stage.hear(headers(1), update(0, 1 << 30), update(1, 1 << 30))
    for _ in range(1_000):
        stage.session.send_data(stage.streams[1], bytes(16_384))
        stage.hear(update(0, 8_192), update(1, 8_192), update(0, 8_192), update(1, 8_192))
        stage.session.out.clear()
    before = stage.session._budget.points
    stage.hear(update(1, 1))
    assert stage.session._budget.points == before


def test_credit_is_not_saved_up_for_a_flood() -> None:
    stage = Stage(limits=LIMITS)
    stage.hear(headers(1), update(0, 1 << 30), update(1, 1 << 30))
    for _ in range(5_000):
        stage.session.send_data(stage.streams[1], b"x")
    stage.session.out.clear()
    assert 1_900 < lasts(stage, lambda n: ping()) < 2_010


def test_windows_opened_by_an_octet_pay_for_none() -> None:
    """CVE-2019-9511: content is asked for octet by octet."""
    stage = Stage(limits=LIMITS)
    stage.hear(set((Setting.INITIAL_WINDOW_SIZE, 0)), headers(1))
    stage.session.send_data(stage.streams[1], bytes(100_000))

    def drip(_: int) -> bytes:
        stage.session.pump(EVERYTHING)
        return update(1, 1)

    assert lasts(stage, drip) < 1_050


def test_grpc_is_no_flood() -> None:
    """A thousand calls a second: PING for what was received, RST_STREAM after an early status, updates, and what is
    cancelled half-way."""
    stage = Stage(limits=SessionLimits(concurrent_streams=1_000))
    session = stage.session
    for stream in range(1, 6_001, 2):
        stage.hear(headers(stream, end=False), data(stream, bytes(20)))
        answer = stage.streams[stream]
        session.send_headers(answer, OK_BLOCK, end=False)
        session.send_data(answer, bytes(20))
        if stream % 3:
            session.end_stream(answer, OK_BLOCK)
            stage.hear(rst(stream, Code.NO_ERROR), update(0, 20), ping())
        else:
            stage.hear(rst(stream), update(0, 20), ping())
        session.forget(answer)
        session.out.clear()
    assert session._budget.points > 900


def test_a_client_of_grpc_is_no_flood() -> None:
    """The same, as its app: early statuses, cancelled calls whose answers are under way, refused ones."""
    stage = Stage(server=False)
    session = stage.session
    for stream in range(1, 6_001, 2):
        call = stage.open(end=False)
        session.send_data(call, bytes(20))
        if stream % 3 == 0:
            session.forget(call)
            stage.hear(headers(stream, OK_BLOCK, end=False), data(stream, bytes(20)), trailers(stream), rst(stream))
        elif stream % 3 == 1:
            stage.hear(headers(stream, OK_BLOCK), rst(stream, Code.NO_ERROR), ping(), update(0, 60))
        else:
            stage.hear(rst(stream, Code.REFUSED_STREAM), ping())
        session.forget(call)
        session.out.clear()
    assert not session.streams
    assert session._budget.points > 900


def test_interim_responses_without_end() -> None:
    stage = Stage(server=False)
    stage.open()
    assert 200 < lasts(stage, lambda n: headers(1, EARLY_BLOCK, end=False)) < 1_150


def test_streams_that_are_refused_cost_little() -> None:
    stage = Stage(limits=SessionLimits(concurrent_streams=1))
    stage.hear(headers(1))
    assert 990 <= lasts(stage, lambda n: headers(3 + 2 * n)) <= 1_010


def test_what_the_owner_finds_wrong_counts_too() -> None:
    stage = Stage(limits=LIMITS)

    def refuse(stream_id: int) -> bool:
        stage.session.fault(stream_id, ErrorCode.PROTOCOL_ERROR, "no method")
        return True

    stage.refuse = refuse
    assert 245 <= lasts(stage, head) <= 255


def test_the_clock_is_asked_only_when_the_bucket_is_empty() -> None:
    asked: list[float] = []

    def clock() -> float:
        asked.append(1.0 * len(asked))
        return asked[-1]

    budget = Budget(clock, streams=1)
    for _ in range(int(abuse.BURST)):
        budget.spend(1.0, "nothing")
    assert len(asked) == 1
    budget.spend(1.0, "nothing")
    assert len(asked) == 2
    assert budget.points == abuse.REFILL - 1


def test_the_bucket_does_not_overflow() -> None:
    now = [0.0]
    budget = Budget(lambda: now[0], streams=1)
    budget.spend(abuse.BURST, "nothing")
    now[0] = 1e6
    budget.spend(1.0, "nothing")
    assert budget.points == abuse.BURST
