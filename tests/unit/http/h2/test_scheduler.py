"""Lanes."""

from __future__ import annotations

import pytest

from gateway.http.h2.scheduler import Lanes
from tests.support.h2_session import RecordedStream, Stage

pytestmark = pytest.mark.pure  # fakes stand in the place of what is compiled


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


def test_no_lane_starves() -> None:
    """Another sandbox's page, on the same connection, calls itself urgent for ever."""
    lanes, [urgent, usual, late] = Lanes(), streams(0, 3, 7)
    for stream in (urgent, usual, late):
        lanes.add(stream)
    taken = []
    for _ in range(640):
        stream = lanes.take()
        taken.append(stream)
        lanes.add(stream)
    assert taken[:7] == [urgent] * 7
    assert [taken.count(stream) for stream in (urgent, usual, late)] == [570, 30, 40]
