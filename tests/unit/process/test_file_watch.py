"""The supervisor's looks at files: once a second, and none of them can end it."""

from __future__ import annotations

import pytest

from gateway.file_changes import INTERVAL
from gateway.process import file_watch
from gateway.process.file_watch import FileWatch


class Time:
    """`time`, in the hands of a test."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(file_watch, "time", time)
    return time


def test_a_look_each_second(time: Time) -> None:
    looks: list[float] = []
    watch = FileWatch([lambda: looks.append(time.now)])
    for _ in range(12):
        watch.poll()
        assert 0 < watch.timeout() <= INTERVAL
        time.now += INTERVAL / 4
    assert looks == [101.0, 102.0]
    time.now += 60
    assert watch.timeout() == 0
    watch.poll()
    assert len(looks) == 3, "what was missed is not made up for"


def test_a_fault_is_told_once_and_the_others_are_called(time: Time, caplog: pytest.LogCaptureFixture) -> None:
    looks: list[float] = []

    def fail() -> None:
        raise RuntimeError("a fault")

    watch = FileWatch([fail, lambda: looks.append(time.now)])
    for _ in range(3):
        time.now += INTERVAL
        watch.poll()
    assert len(looks) == 3
    assert [record.getMessage() for record in caplog.records] == ["a look at a followed file failed"]
