"""Whose turn it is, what may wait, and where reads land."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable

import pytest

from gateway.tasks import Tasks
from gateway.transport import LARGE, GatheringTransport, WriteBatcher
from gateway.turns import (
    PACE,
    PORTION,
    READ,
    RECORD,
    ROUND_LIMIT,
    SHARE,
    TURN_LIMIT,
    WIDE_READ,
    WIDE_READS,
    Intake,
    Pace,
    Portions,
    ReadingConnection,
    Turns,
)


class Loop:
    """An event loop whose turns the test makes."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def turn(self) -> int:
        """Runs what is due; how much that was."""
        due, self.soon[:] = self.soon[:], []
        for callback in due:
            callback()
        return len(due)


class Busy:
    """Somebody with so many turns' work to do."""

    def __init__(self, name: str, turns: Turns, order: list[str], work: int, takes: float = 0.0) -> None:
        self.name = name
        self._turns, self._order, self._left, self._takes = turns, order, work, takes

    def take_turn(self) -> None:
        self._order.append(self.name)
        self._left -= 1
        until = time.perf_counter() + self._takes
        while time.perf_counter() < until:
            pass
        if self._left:
            self._turns.wait(self)


@pytest.fixture
def loop() -> Loop:
    return Loop()


def test_turns_go_round(loop: Loop) -> None:
    order: list[str] = []
    turns = Turns(loop.soon.append)
    for name in "abc":
        turns.wait(Busy(name, turns, order, 3))
    assert len(loop.soon) == 1
    rounds = 0
    while loop.turn():
        rounds += 1
    assert "".join(order) == "abcabcabc"
    assert rounds == 3, "one turn each, then everybody else's"


def test_what_takes_long_takes_several_turns_of_the_loop(loop: Loop) -> None:
    order: list[str] = []
    turns = Turns(loop.soon.append)
    for name in "abcdef":
        turns.wait(Busy(name, turns, order, 1, takes=ROUND_LIMIT))
    loop.turn()
    assert order == ["a"]
    while loop.turn():
        pass
    assert "".join(order) == "abcdef"


def test_one_that_fails_does_not_end_the_others_turns(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def take_turn(self) -> None:
            raise RuntimeError("a bug")

    order: list[str] = []
    turns = Turns(loop.soon.append)
    turns.wait(Broken())
    turns.wait(Busy("a", turns, order, 2))
    while loop.turn():
        pass
    assert order == ["a", "a"]
    assert "a bug" in caplog.text


class Below(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.reads = True

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def is_closing(self) -> bool:
        return False


class Connection(ReadingConnection):
    """Each octet is a unit of work."""

    def __init__(self, intake: Intake, below: Below) -> None:
        super().__init__(intake)
        self.below = below
        self._transport = GatheringTransport(below, WriteBatcher(lambda callback: None))
        self.full = False
        self.is_urgent = False
        self.worked: list[int] = []
        self.sure = 0

    def data_received(self, data: bytes) -> None:
        data = self._held + data
        now, self._held = data[: SHARE - self._work], data[SHARE - self._work :]
        self._work += len(now)
        self.worked.append(len(now))
        if self._work >= SHARE:
            self._wait_turn()

    def _put_off(self, data: bytes) -> bool:
        if self.is_urgent:
            return False
        self._held += data
        return True

    def _has_room(self) -> bool:
        return not self.full

    def _go_on(self) -> None:
        self.data_received(b"")

    def passable(self) -> int:
        return self.sure

    def read(self, count: int) -> int:
        """As the event loop does; how much there was room for."""
        count = min(count, self.get_buffer(-1).nbytes)
        self.buffer_updated(count)
        return count


def connection(loop: Loop, buffer_bytes: int = 64 * 1024) -> tuple[Connection, Below]:
    below = Below()
    return Connection(Intake(loop.soon.append, buffer_bytes), below), below


def test_a_share_is_worked_and_then_it_is_others_turn(loop: Loop) -> None:
    busy, below = connection(loop)
    busy.read(3 * SHARE)
    assert (busy.worked, below.reads) == ([SHARE], False)
    loop.turn()
    assert (busy.worked, below.reads) == ([SHARE] * 2, False)
    loop.turn()
    loop.turn()
    assert (busy.worked[:3], below.reads) == ([SHARE] * 3, True)


def test_small_steps_gain_nothing(loop: Loop) -> None:
    busy, below = connection(loop)
    for number in range(SHARE):
        assert below.reads, number
        busy.read(1)
    assert not below.reads
    loop.turn()
    assert below.reads


def test_who_has_no_room_does_not_read_after_its_turn_either(loop: Loop) -> None:
    busy, below = connection(loop)
    busy.read(SHARE)
    busy.full = True
    loop.turn()
    assert not below.reads
    busy.full = False
    busy._set_reading()
    assert below.reads


def test_what_is_of_no_use_without_more_is_not_looked_at_again(loop: Loop) -> None:
    busy, below = connection(loop)
    busy.read(SHARE + 1)
    busy._unfinished = True
    worked = list(busy.worked)
    loop.turn()
    assert (busy.worked, below.reads) == (worked, True)


@pytest.mark.parametrize("kib", [1, 16, 32, 40, 48, 64, 100, 128, 256, 1024])
def test_what_may_wait_is_within_the_buffer(kib: int) -> None:
    buffer_bytes = kib * 1024
    intake = Intake(lambda callback: None, buffer_bytes)
    read = intake.view.nbytes
    least = max(buffer_bytes, RECORD + LARGE)
    assert RECORD <= read <= READ
    assert intake.may_wait + read + LARGE <= least, "written, and gathered before that"
    assert intake.ahead + read <= least, "held"


class Careless(Connection):
    """Does not mind how much it gets."""

    def data_received(self, data: bytes) -> None: ...


@pytest.fixture
def careless(loop: Loop) -> Careless:
    return Careless(Intake(loop.soon.append, 64 * 1024), Below())


def test_a_read_is_as_large_as_is_sure_to_leave(careless: Careless) -> None:
    careless.sure = 10 * WIDE_READ
    assert [careless.read(WIDE_READ) for _ in range(2)] == [READ] * 2, "nothing is known yet"
    assert careless.read(WIDE_READ) == WIDE_READ
    careless.sure = 0
    assert [careless.read(WIDE_READ) for _ in range(20)].count(WIDE_READ) == 8, (
        "what was sure before is no more than that"
    )


def test_a_slow_one_gets_small_reads(careless: Careless) -> None:
    careless.sure = READ - 1
    assert {careless.read(WIDE_READ) for _ in range(100)} == {READ}


def test_small_reads_are_worth_no_question(careless: Careless) -> None:
    careless.sure = 10 * WIDE_READ
    for _ in range(100):
        assert careless.get_buffer(-1).nbytes == READ
        careless.read(1000)


def test_reads_are_small_while_anybody_waits_for_a_turn(loop: Loop) -> None:
    busy, _ = connection(loop)
    careless = Careless(busy._intake, Below())
    careless.sure = 10 * WIDE_READ
    busy.read(SHARE + 1)
    assert {careless.read(WIDE_READ) for _ in range(4)} == {READ}
    loop.turn()
    loop.turn()
    assert [careless.read(WIDE_READ) for _ in range(WIDE_READS + 2)][-1] == WIDE_READ, "and large again afterwards"


def test_what_was_sure_before_others_waited_is_so_no_longer(loop: Loop) -> None:
    """Ordinary reads are not counted, and there may be any number of them before the next large one."""
    busy, _ = connection(loop)
    careless = Careless(busy._intake, Below())
    careless.sure = 10 * WIDE_READ
    assert [careless.read(WIDE_READ) for _ in range(3)][-1] == WIDE_READ
    busy.read(SHARE + 1)
    assert careless.read(WIDE_READ) == READ
    careless.sure = 0
    loop.turn()
    loop.turn()
    assert {careless.read(WIDE_READ) for _ in range(3 * WIDE_READS)} == {READ}


class Clock:
    """Stands still."""

    now = 1.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    return clock


def ready(loop: Loop, count: int) -> list[Connection]:
    """So many connections of one worker."""
    intake = Intake(loop.soon.append, 64 * 1024)
    return [Connection(intake, Below()) for _ in range(count)]


def worked(connections: list[Connection]) -> int:
    return sum(len(each.worked) for each in connections)


def test_what_is_read_when_the_time_is_up_is_put_off(loop: Loop, clock: Clock) -> None:
    crowd = ready(loop, 4 * PORTION)
    for each in crowd[: 2 * PORTION]:
        each.read(1)
    assert worked(crowd) == 2 * PORTION, "there is time"
    clock.now += TURN_LIMIT
    for each in crowd[2 * PORTION :]:
        each.read(2)
    assert worked(crowd) == 2 * PORTION
    assert all(not each.below.reads for each in crowd[2 * PORTION :])
    loop.turn()
    assert [each.worked for each in crowd] == [[1]] * 2 * PORTION + [[2]] * 2 * PORTION
    assert all(each.below.reads for each in crowd)


def test_nobody_looks_at_the_clock_for_a_portion(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = ready(loop, 2)
    monkeypatch.setattr(time, "perf_counter", None)
    for _ in range(PORTION // 2):
        for each in crowd:
            each.read(1)
    assert not loop.soon


def test_those_put_off_have_their_turns_in_time_and_others_go_on(
    loop: Loop, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = ready(loop, 4 * PORTION)

    def takes_long(each: Connection) -> None:
        Connection.data_received(each, b"")
        clock.now += ROUND_LIMIT / 2

    monkeypatch.setattr(Connection, "_go_on", takes_long)
    crowd[0]._intake.turns.begun = PORTION
    crowd[0]._intake.turns.has_time()
    clock.now += TURN_LIMIT
    for each in crowd[: 2 * PORTION]:
        each.read(1)
    assert worked(crowd) == 0
    loop.turn()
    assert worked(crowd) == 2, "as many as there is time for"
    for each in crowd[2 * PORTION :]:
        each.read(1)
    assert worked(crowd) == 2 + 2 * PORTION, "who comes later does not wait, while there is time"
    clock.now += TURN_LIMIT - ROUND_LIMIT
    crowd[-1].read(1)
    assert worked(crowd) == 2 + 2 * PORTION, "and then behind them"
    while loop.turn():
        pass
    assert worked(crowd) == 4 * PORTION + 1
    assert len(crowd[-1].worked) == 2


def test_those_put_off_wait_for_nobodys_second_share(loop: Loop, clock: Clock) -> None:
    order: list[str] = []
    [late] = ready(loop, 1)
    turns = late._intake.turns

    class TakesLong(Busy):
        def take_turn(self) -> None:
            super().take_turn()
            clock.now += ROUND_LIMIT

    for name in "abc":
        turns.wait(TakesLong(name, turns, order, 1))
    assert not turns._until and turns.has_time()
    clock.now += TURN_LIMIT
    late.read(1)
    assert not late.worked, "a share is as much as a portion, and the clock runs"
    loop.turn()
    assert (order, late.worked) == (["a"], [1])


def test_what_cannot_wait_does_not(loop: Loop, clock: Clock) -> None:
    crowd = ready(loop, PORTION + 2)
    crowd[-1].is_urgent = True
    for each in crowd[:-2]:
        each.read(1)
    crowd[-2].read(1)
    clock.now += TURN_LIMIT
    for each in crowd[-2:]:
        each.read(1)
    assert (len(crowd[-2].worked), len(crowd[-1].worked)) == (1, 1)


def test_the_middle_of_a_large_message_is_not_put_off(loop: Loop, clock: Clock) -> None:
    careless = Careless(Intake(loop.soon.append, 64 * 1024), Below())
    careless.sure = 10 * WIDE_READ
    for _ in range(PORTION + 1):
        careless.read(WIDE_READ)
    clock.now += TURN_LIMIT
    assert careless.read(WIDE_READ) == WIDE_READ
    assert careless._reading
    careless._narrow()
    careless.read(1)
    assert not careless._reading


def test_many_are_told_in_portions(loop: Loop) -> None:
    turns = Turns(loop.soon.append)
    told: list[int] = []
    order: list[str] = []
    Portions(turns, list(range(3 * PORTION - 1)), told.append)
    assert told == list(range(PORTION)), "the first at once"
    turns.wait(Busy("other", turns, order, 1))
    loop.turn()
    assert (len(told), order) == (2 * PORTION, ["other"]), "others have their turns"
    while loop.turn():
        pass
    assert told == list(range(3 * PORTION - 1))


def test_a_bug_met_with_one_is_not_the_others_loss(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    turns = Turns(loop.soon.append)
    told: list[int] = []

    def tell(number: int) -> None:
        told.append(number)
        if number == PORTION:
            raise RuntimeError("of one of them")

    Portions(turns, list(range(3 * PORTION)), tell)
    while loop.turn():
        pass
    assert told == list(range(3 * PORTION))
    assert [record.getMessage() for record in caplog.records] == [f"telling {PORTION} failed"]


def test_what_came_earlier_is_told_earlier(loop: Loop) -> None:
    turns = Turns(loop.soon.append)
    told: list[int] = []
    for number in range(PORTION + 2):
        Portions(turns, [number], told.append)
    assert len(told) == PORTION
    turns._allowance = PORTION  # as in the event loop's next turn, before the queue's
    Portions(turns, [PORTION + 2], told.append)
    assert len(told) == PORTION, "others are before it"
    while loop.turn():
        pass
    assert told == list(range(PORTION + 3))


@pytest.mark.parametrize("count", [0, 1, 3 * PORTION])
def test_when_all_are_told_that_is_told(loop: Loop, count: int) -> None:
    turns = Turns(loop.soon.append)
    told: list[int] = []
    ended: list[int] = []
    Portions(turns, list(range(count)), told.append, lambda: ended.append(len(told)))
    while loop.turn():
        pass
    assert ended == [count]
    Portions(turns, [count], told.append)
    assert told[-1] == count, "nobody is before it"


def test_many_who_have_something_to_tell_share_a_portion_at_once(loop: Loop) -> None:
    turns = Turns(loop.soon.append)
    told: list[int] = []
    for _ in range(5):
        Portions(turns, list(range(PORTION - 1)), told.append)
    assert len(told) == PORTION
    while loop.turn():
        pass
    assert len(told) == 5 * (PORTION - 1)
    Portions(turns, list(range(PORTION)), told.append)
    assert len(told) == 5 * (PORTION - 1) + PORTION, "in a later turn there is a portion again"


async def test_tasks_that_waited_for_the_same_keep_the_pace() -> None:
    loop = asyncio.get_running_loop()
    pace, passed = Pace(loop.call_soon), 0

    async def go_on() -> None:
        nonlocal passed
        await pace.keep()
        passed += 1

    owner = Tasks()
    tasks = [owner.spawn(go_on(), "waits") for _ in range(4 * PACE)]
    await asyncio.sleep(0)
    assert passed == PACE
    for task in tasks[PACE : 2 * PACE]:
        task.cancel()  # who have left take nobody's place
    seen = [passed]
    while passed < 3 * PACE:
        await asyncio.sleep(0)
        seen.append(passed)
    assert max(after - before for before, after in itertools.pairwise(seen)) <= PACE
    assert len(seen) < 20
    await asyncio.wait(tasks)
    await pace.keep()
