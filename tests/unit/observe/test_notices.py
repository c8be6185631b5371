"""A flood leaves a line a second, with counts that add up, and a single refusal leaves one, too."""

from __future__ import annotations

import logging

import pytest

from gateway.observe.notices import Notices


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "gateway.notices")
    return caplog


def test_a_flood_is_a_line_a_second_and_no_count_is_lost(lines: pytest.LogCaptureFixture) -> None:
    notices = Notices()
    notice = notices.add(logging.WARNING, "refused %d, the last from %s")
    for tick in range(50):  # five seconds, swept ten times a second
        for number in range(100):
            notice.happened(number)
        notices.tell(1000 + tick / 10)
    notices.tell_rest()
    counts = [record.args[0] for record in lines.records if isinstance(record.args, tuple)]
    assert sum(map(int, map(str, counts))) == 50 * 100
    assert len(counts) <= 5 + 1 + 1
    assert lines.messages[-1] == "refused 900, the last from 99"


def test_once_is_told_and_silence_is_not(lines: pytest.LogCaptureFixture) -> None:
    notices = Notices()
    one, _ = notices.add(logging.INFO, "met %d of %s"), notices.add(logging.WARNING, "never %d %s")
    notices.tell(0.0)
    one.happened("this")
    notices.tell(0.1)
    notices.tell(5.0)
    notices.tell_rest()
    assert lines.messages == ["met 1 of this"]


def test_an_example_becomes_text_only_where_it_is_told(lines: pytest.LogCaptureFixture) -> None:
    class Example:
        shown = 0

        def __str__(self) -> str:
            Example.shown += 1
            return "it"

    notices = Notices()
    notice = notices.add(logging.WARNING, "%d of %s")
    for _ in range(1000):
        notice.happened(Example())
    assert Example.shown == 0
    notices.tell(1.0)
    assert lines.messages == ["1000 of it"]
