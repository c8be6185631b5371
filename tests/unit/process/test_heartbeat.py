"""The heartbeat: a stuck process is found by checks, and checks alone."""

from __future__ import annotations

import asyncio
import os

from gateway.process.heartbeat import CHECKS, Heartbeat, Stage, Watchdog, start_heartbeat


def serving() -> tuple[Heartbeat, Watchdog]:
    heartbeat = Heartbeat()
    heartbeat.stage = Stage.SERVING
    return heartbeat, Watchdog(os.getpid(), heartbeat)


def test_what_one_side_says_the_other_reads() -> None:
    heartbeat = Heartbeat()
    assert (heartbeat.beats, heartbeat.stage, heartbeat.stopping) == (0, Stage.STARTING, False)
    heartbeat.beat()
    heartbeat.stage = Stage.LISTENERS_CLOSED
    heartbeat.stopping = True
    assert (heartbeat.beats, heartbeat.stage, heartbeat.stopping) == (1, Stage.LISTENERS_CLOSED, True)
    assert (heartbeat.is_last, heartbeat.hurried) == (False, False)
    heartbeat.is_last = True
    assert (heartbeat.is_last, heartbeat.hurried) == (True, False)
    assert repr(heartbeat) == "<Heartbeat LISTENERS_CLOSED beats=1 stopping is_last>"
    heartbeat.hurried = True
    assert heartbeat.hurried
    child = os.fork()
    if child == 0:
        heartbeat.beat()
        os._exit(0)
    os.waitpid(child, 0)
    assert heartbeat.beats == 2
    heartbeat.close()


def test_no_progress_in_all_checks_is_stuck() -> None:
    _, watchdog = serving()
    assert [watchdog.is_stuck() for _ in range(CHECKS)] == [False] * (CHECKS - 1) + [True]


def test_one_beat_is_enough() -> None:
    heartbeat, watchdog = serving()
    for _ in range(3):
        assert not any(watchdog.is_stuck() for _ in range(CHECKS - 1))
        heartbeat.beat()


def test_after_a_break_all_checks_are_made_anew() -> None:
    _, watchdog = serving()
    assert not any(watchdog.is_stuck() for _ in range(CHECKS - 1))
    watchdog.reset()
    assert not any(watchdog.is_stuck() for _ in range(CHECKS - 1))
    assert watchdog.is_stuck()


async def test_a_loop_that_turns_beats() -> None:
    heartbeat, _ = serving()
    start_heartbeat(heartbeat, 0.012)  # a beat every millisecond
    before = heartbeat.beats
    while heartbeat.beats < before + 3:
        await asyncio.sleep(0)
