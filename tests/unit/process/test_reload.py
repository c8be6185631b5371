"""Reloads as they are asked for, judged, rolled and told; what a generation and a roll are is played here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from gateway.config import Process, Settings
from gateway.errors import UserError
from gateway.process import reload as reloading
from gateway.process.children import Children
from gateway.process.generation import Generation, Wiring
from gateway.process.reload import PAUSE, Reloads
from gateway.process.reload_state import ReloadState
from gateway.process.shared_metrics import SharedMetrics


class Made:
    """A generation."""

    def __init__(self, settings: Settings, before: Made | None = None) -> None:
        self.settings = settings
        self.number = before.number + 1 if before else 1

    def worker(self, number: int, wiring: object) -> str:
        return f"worker {number}"

    def admin(self, wiring: object) -> str:
        return "admin"


class Played:
    """A roll that goes on when the test says so."""

    def __init__(self, children: object, programs: object) -> None:
        self.done, self.failure = False, ""

    def poll(self) -> None:
        pass

    def timeout(self) -> float:
        return 60.0

    def end(self, failure: str = "") -> None:
        self.done, self.failure = True, failure

    abandon = end


class Kept:
    """The children: which generations drain."""

    def __init__(self) -> None:
        self.draining: set[int] = set()

    def draining_generations(self) -> set[int]:
        return self.draining


class House:
    """Reloads, and all that they know."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wrong = ""
        self.read = 0
        self.state = ReloadState()
        self.children = Kept()
        wiring = Wiring(cast(Any, None), [], 0, self.state, SharedMetrics(1))
        first = cast(Generation, Made(Settings(process=Process(max_draining=1))))
        self.reloads = Reloads(self._read, first, wiring, cast(Children, self.children), [cast(Any, None)] * 2)

    def _read(self) -> Settings:
        self.read += 1
        if self.wrong:
            raise UserError(self.wrong)
        return Settings(process=Process(max_draining=1))

    @property
    def roll(self) -> Played:
        roll = self.reloads._roll
        assert roll is not None, "nothing rolls"
        return cast(Played, cast(object, roll))

    def hup(self, wrong: str = "") -> None:
        """One that is judged at once: the last one was long ago."""
        self.now += 2 * PAUSE
        self.wrong = wrong
        self.reloads.request()

    def told(self) -> tuple[int, str, bool, str]:
        last = self.state.read()
        return last.requested, last.state, last.successful, last.error


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(reloading, "Generation", Made)
    monkeypatch.setattr(reloading, "Roll", Played)
    monkeypatch.setattr(reloading.preflight, "warn", lambda settings: None)
    house = House()

    class Clock:
        monotonic: Callable[[], float] = staticmethod(lambda: house.now)
        time: Callable[[], float] = staticmethod(lambda: house.now)

    monkeypatch.setattr(reloading, "time", Clock)
    return house


def test_one_after_the_other(house: House) -> None:
    house.hup()
    assert house.told() == (1, "rolling", True, "")
    house.roll.end()
    house.reloads.poll()
    assert house.told() == (1, "done", True, "")
    house.hup("no")
    assert house.told() == (2, "refused", False, "no")
    house.hup()
    house.roll.end("died")
    house.reloads.poll()
    assert house.told() == (3, "failed", False, "died")


def test_a_bug_of_ours_refuses_it_and_ends_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(settings: Settings) -> None:
        raise LookupError("a bug of ours")

    monkeypatch.setattr(reloading.preflight, "warn", broken)
    house.hup()
    assert house.told() == (1, "refused", False, "an unexpected error, logged with a traceback")
    assert "a bug of ours" in caplog.text


def test_a_flood_of_them_is_read_now_and_then(house: House) -> None:
    """The first at once; one for all that come until the next is due."""
    for _ in range(1000):
        house.reloads.request()
    assert house.read == 1
    assert 0 < house.reloads.timeout() <= PAUSE
    house.now += PAUSE
    house.reloads.poll()
    assert house.read == 2
    house.now += PAUSE
    house.reloads.poll()
    assert house.read == 2


def test_the_end_of_a_roll_is_not_that_of_the_one_that_waits(house: House) -> None:
    house.hup()
    house.hup()
    assert house.told() == (2, "waiting", True, "")
    house.children.draining = {1}
    house.roll.end()
    house.reloads.poll()
    assert house.told() == (2, "waiting", True, ""), "whoever asked for it is still to wait"
    house.children.draining = set()
    house.reloads.poll()
    assert house.told() == (2, "rolling", True, "")


def test_one_that_is_refused_stays_so_though_an_earlier_one_succeeds(house: House) -> None:
    """The configuration as it is now is invalid: that has to be seen until it is mended."""
    house.hup()
    house.hup("no")
    house.roll.end()
    house.reloads.poll()
    assert house.told() == (2, "refused", False, "no")
    assert house.state.read().generation == 2
    house.hup()
    house.roll.end()
    house.reloads.poll()
    assert house.told() == (3, "done", True, "")


def test_one_that_waits_when_the_gateway_stops_is_told_as_failed(house: House) -> None:
    house.children.draining = {1}
    house.hup()
    assert house.told()[1] == "waiting"
    house.reloads.abandon("the gateway stops")
    assert house.told() == (1, "failed", False, "the gateway stops")
    house.children.draining = set()
    house.reloads.poll()
    assert house.reloads._roll is None
