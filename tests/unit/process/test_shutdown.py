"""A second signal cuts a drain short; the first one told twice does not."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.process.drain import ONE_SIGNAL, Shutdown


def state(shutdown: Shutdown) -> tuple[bool, bool]:
    return shutdown.begun.is_set(), shutdown.hurried.is_set()


async def test_the_second_signal_hurries(monkeypatch: pytest.MonkeyPatch) -> None:
    shutdown, now = Shutdown(), time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert state(shutdown) == (False, False)
    shutdown.signal()
    now += 10 * ONE_SIGNAL  # a turn may last
    shutdown.signal()
    assert state(shutdown) == (True, False)
    for _ in range(3):
        await asyncio.sleep(0)
    now += ONE_SIGNAL / 2
    shutdown.signal()  # uvloop tells a signal twice that comes while it reads another
    assert state(shutdown) == (True, False)
    now += ONE_SIGNAL
    shutdown.signal()
    assert state(shutdown) == (True, True)


async def test_whoever_drains_without_a_signal_is_hurried_by_the_first() -> None:
    """A worker whose supervisor has died."""
    shutdown = Shutdown()
    shutdown.begun.set()
    shutdown.signal()
    assert state(shutdown) == (True, True)
