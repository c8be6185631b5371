"""Checks of ports: who asks for the same joins, and what has gone unanswered longest makes room for who comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import IPv6Address

import pytest

from gateway.admin import port_checks as module
from gateway.admin.port_checks import PortChecks
from gateway.admin.ports import PortState
from gateway.directory.sandbox import Sandbox
from gateway.errors import GatewayError, Reason
from gateway.tasks import Tasks

LISTENING = PortState("listening", "it accepts connections")
REFUSED = PortState("refused", "it refuses")


class Machines:
    """Each answers once it has an outcome, and is asked by one look at a time."""

    def __init__(self) -> None:
        self.outcomes: dict[str, PortState | GatewayError] = {}
        self.dialed: list[str] = []
        self.ended: list[str] = []
        self._changed = asyncio.Event()

    async def look(self, sandbox: Sandbox, port: int) -> PortState:
        self.dialed.append(sandbox.id)
        try:
            while sandbox.id not in self.outcomes:
                await self._changed.wait()
        finally:
            self.ended.append(sandbox.id)
        outcome = self.outcomes[sandbox.id]
        if isinstance(outcome, GatewayError):
            raise outcome
        return outcome

    def answer(self, name: str, outcome: PortState | GatewayError) -> None:
        self.outcomes[name] = outcome
        self._changed.set()
        self._changed = asyncio.Event()


class Stage:
    def __init__(self) -> None:
        self.tasks, self.machines = Tasks(), Machines()
        self.checks = PortChecks(self.machines.look, self.tasks)
        self.askers = Tasks()

    def ask(self, name: str) -> asyncio.Task[PortState]:
        return self.askers.spawn(self.checks.at(Sandbox(name, IPv6Address("fd00::5"), "1"), 5000), f"ask {name}")

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    monkeypatch.setattr(module, "MAX_DIALS", 4)
    stage = Stage()
    yield stage
    await stage.askers.cancel()
    await stage.tasks.cancel()
    await stage.settle()
    looks = stage.checks
    assert (looks._waiting, looks._unawaited, looks._dialing) == ({}, {}, set())


async def test_who_asks_for_the_same_joins(stage: Stage) -> None:
    first, second = stage.ask("a"), stage.ask("a")
    await stage.settle()
    stage.machines.answer("a", REFUSED)
    assert [await first, await second] == [REFUSED, REFUSED]
    assert stage.machines.dialed == ["a"]
    assert await stage.ask("a") == REFUSED
    assert stage.machines.dialed == ["a", "a"], "a refusal may be over any moment"


async def test_who_has_waited_longest_is_told_first(stage: Stage) -> None:
    first, second, third = stage.ask("a"), stage.ask("b"), stage.ask("c")
    told = await first
    assert (told.state, "connect to [fd00::5]:5000: no answer within 0.0" in told.detail) == ("timeout", True)
    await stage.settle()
    assert not second.done()
    assert not third.done()
    assert not stage.machines.ended, "its dial goes on"


async def test_a_dial_goes_on_for_who_asks_again(stage: Stage) -> None:
    asked = [stage.ask(name) for name in "abc"]
    await asked[0]
    again = stage.ask("a")
    assert (await asked[1]).state == "timeout"
    stage.machines.answer("a", LISTENING)
    assert await again == LISTENING
    assert stage.machines.dialed == ["a", "b", "c"]


async def test_good_news_waits_for_who_asks_again(stage: Stage) -> None:
    asked = [stage.ask(name) for name in "abc"]
    await asked[0]
    stage.machines.answer("a", LISTENING)
    await stage.settle()
    assert await stage.ask("a") == LISTENING
    assert stage.machines.dialed == ["a", "b", "c"]
    stage.ask("a")
    await stage.settle()
    assert stage.machines.dialed == ["a", "b", "c", "a"], "it is told once"


async def test_good_news_does_not_keep(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESULT_KEPT", 0.0)
    asked = [stage.ask(name) for name in "abc"]
    await asked[0]
    stage.machines.answer("a", LISTENING)
    await stage.settle()
    assert len(stage.checks._known) == 2
    await stage.ask("a")
    assert stage.machines.dialed == ["a", "b", "c", "a"]


async def test_the_dial_that_nobody_has_waited_for_longest_ends(stage: Stage) -> None:
    for name in "abcdef":
        stage.ask(name)
        await stage.settle()
    assert stage.machines.dialed == list("abcdef")
    assert stage.machines.ended == ["a", "b"]
    assert len(stage.checks._dialing) == 4


async def test_one_that_listens_is_found_behind_any_number(stage: Stage) -> None:
    stage.machines.answer("there", LISTENING)
    for number in range(200):
        stage.ask(f"boots{number}")
    assert await stage.ask("there") == LISTENING


async def test_a_failure_is_told_to_all_and_logged_by_nobody(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    first, second = stage.ask("a"), stage.ask("a")
    await stage.settle()
    stage.machines.answer("a", GatewayError(Reason.OVERLOADED, "Too many open files"))
    await asyncio.wait((first, second))
    for task in (first, second):
        with pytest.raises(GatewayError, match="Too many open files"):
            await task
    assert "look at port" not in caplog.text


async def test_one_asker_that_leaves_takes_nothing_from_the_other(stage: Stage) -> None:
    first, second = stage.ask("a"), stage.ask("a")
    await stage.settle()
    first.cancel()
    await stage.settle()
    stage.machines.answer("a", LISTENING)
    assert await second == LISTENING


async def test_another_machine_under_the_same_name_is_another_look(stage: Stage) -> None:
    stage.ask("a")
    await stage.settle()
    moved = stage.checks.at(Sandbox("a", IPv6Address("fd00::6"), "2"), 5000)
    stage.askers.spawn(moved, "ask moved")
    await stage.settle()
    assert stage.machines.dialed == ["a", "a"]
