"""Lanes, and what a priority field says."""

from __future__ import annotations

import pytest

from gateway.http.h2.scheduler import Lanes, urgency_of
from tests.support.h2_session import RecordedStream, Stage


def streams(*urgencies: int) -> list[RecordedStream]:
    stage, made = Stage(), []
    for number, urgency in enumerate(urgencies):
        made.append(RecordedStream(stage, number))
        made[-1].urgency = urgency
    return made


def test_first_come_first_served_in_each_lane() -> None:
    lanes, waiting = Lanes(), streams(3, 7, 3, 0)
    for stream in waiting:
        lanes.add(stream)
    assert lanes.count == 4
    assert [lanes.take().id for _ in range(4)] == [3, 0, 2, 1]
    assert lanes.count == 0
    assert all(stream.lane is None for stream in waiting)


def test_leaving() -> None:
    lanes, [one, two] = Lanes(), streams(3, 3)
    lanes.add(one)
    lanes.add(two)
    one.urgency = 5  # it stands where it stood
    lanes.remove(one)
    lanes.remove(one)
    assert lanes.count == 1
    assert lanes.take() is two
    assert repr(lanes) == "<Lanes [0, 0, 0, 0, 0, 0, 0, 0]>"


@pytest.mark.parametrize(
    ("field", "urgency"),
    [
        (b"", 3),
        (b"u=0", 0),
        (b"u=7", 7),
        (b"i", 3),
        (b"i, u=5", 5),
        (b"u=1,i", 1),
        (b"u=2;x=1, i", 2),
        (b" \tu=4 ", 4),
        (b"u=1, u=6", 6),
        (b"u=8", 3),
        (b"u=-1", 3),
        (b"u=10", 3),
        (b"u=1.5", 3),
        (b"u", 3),
        (b"U=1", 3),
        (b"xu=1", 3),
        (b'x="u=1"', 3),
        (b"u= 1", 3),
    ],
)
def test_what_a_priority_field_says(field: bytes, urgency: int) -> None:
    """RFC 9218 section 4; what is out of range or of another type says nothing."""
    assert urgency_of(field) == urgency


def test_nonsense_is_read_in_no_time() -> None:
    assert urgency_of(b"u=1," + b" " * 100_000 + b"u") == 1
