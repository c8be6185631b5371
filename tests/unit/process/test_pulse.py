"""The pulse: who stands still is found by looks, and looks alone."""

from __future__ import annotations

import asyncio
import os

from gateway.process.pulse import LOOKS, Pulse, Stage, Watch, start_beating


def serving() -> tuple[Pulse, Watch]:
    pulse = Pulse()
    pulse.stage = Stage.SERVING
    return pulse, Watch(os.getpid(), pulse)


def test_what_one_side_says_the_other_reads() -> None:
    pulse = Pulse()
    assert (pulse.beats, pulse.stage, pulse.closing) == (0, Stage.STARTING, False)
    pulse.beat()
    pulse.stage = Stage.LEFT
    pulse.closing = True
    assert (pulse.beats, pulse.stage, pulse.closing) == (1, Stage.LEFT, True)
    assert repr(pulse) == "<Pulse LEFT beats=1 closing>"
    child = os.fork()
    if child == 0:
        pulse.beat()
        os._exit(0)
    os.waitpid(child, 0)
    assert pulse.beats == 2
    pulse.close()


def test_still_for_all_looks_is_stuck() -> None:
    _, watch = serving()
    assert [watch.look() for _ in range(LOOKS)] == [False] * (LOOKS - 1) + [True]


def test_one_beat_is_enough() -> None:
    pulse, watch = serving()
    for _ in range(3):
        assert not any(watch.look() for _ in range(LOOKS - 1))
        pulse.beat()


def test_after_a_break_all_looks_are_taken_anew() -> None:
    _, watch = serving()
    assert not any(watch.look() for _ in range(LOOKS - 1))
    watch.forget()
    assert not any(watch.look() for _ in range(LOOKS - 1))
    assert watch.look()


async def test_a_loop_that_turns_beats() -> None:
    pulse, _ = serving()
    start_beating(pulse, 0.012)  # a beat every millisecond
    before = pulse.beats
    while pulse.beats < before + 3:
        await asyncio.sleep(0)
