"""The queue of handshakes on a clock that the handshakes themselves move, each by its own cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable

import pytest

from gateway.edge import handshakes as queue_module
from gateway.edge.handshakes import CPU_BUDGET, QUANTUM, HandshakeQueue

MS = 0.001
ROOM = 1000


class World:
    """A processor, and an event loop that turns when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cpu = 0.0
        self.soon: list[Callable[[], None]] = []
        self.served: list[Hashable] = []  # sources, in order
        self.spent: Counter[Hashable] = Counter()
        self.queue = HandshakeQueue(self.soon.append, ROOM)
        monkeypatch.setattr(queue_module, "thread_time", lambda: self.cpu)

    def turn(self) -> int:
        """One turn of the event loop; how many were served in it."""
        before = len(self.served)
        soon, self.soon[:] = self.soon[:], []
        for callback in soon:
            callback()
        return len(self.served) - before

    def settle(self) -> None:
        while self.soon:
            self.turn()

    def crowd(self, count: int, source: Hashable, **options: float) -> list[Handshake]:
        handshakes = [Handshake(self, source, **options) for _ in range(count)]
        for handshake in handshakes:
            assert handshake.come(), "there is room"
        return handshakes


class Handshake:
    def __init__(self, world: World, source: Hashable, cost: float = 0.2 * MS) -> None:
        self.world = world
        self.source = source
        self.cost = cost
        self.has_begun = False
        self.there = True
        self.queued = False
        self.buffered = 0

    def come(self, octets: int = 1) -> bool:
        return self.world.queue.submit(self, octets)

    def shake_hands(self) -> bool:
        if self.there:
            self.world.cpu += self.cost
            self.world.served.append(self.source)
            self.world.spent[self.source] += self.cost
        return self.there


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_with_nobody_waiting_it_goes_on_at_once(world: World) -> None:
    for _ in range(3):
        world.crowd(1, "a")
        assert world.queue.waiting == 0
        world.turn()
    assert world.served == ["a"] * 3
    world.settle()
    assert world.turn() == 0, "and nothing is left to do in any later turn"


def test_a_turn_is_over_after_its_time(world: World) -> None:
    world.crowd(35, "a", cost=0.25 * MS)
    assert len(world.served) == CPU_BUDGET / (0.25 * MS)
    assert len(world.soon) == 1, "one wake-up, however many wait"
    turns = 0
    while world.queue.waiting:
        assert 0 < world.turn() <= CPU_BUDGET / (0.25 * MS)
        turns += 1
    assert turns == 4
    assert len(world.served) == 35


def test_one_alone_is_not_held_back(world: World) -> None:
    """Every turn is used to the full, and the next one follows at once."""
    world.crowd(100, "a", cost=0.25 * MS)
    while world.queue.waiting > 8:
        assert world.turn() >= 4


def test_a_neighbour_is_next(world: World) -> None:
    world.crowd(500, "flood")
    served = len(world.served)
    world.crowd(1, "neighbour")
    world.turn()
    assert "neighbour" in world.served[served : served + 2]


def test_every_source_has_its_turn(world: World) -> None:
    world.crowd(20, "first")  # more than a turn
    del world.served[:]
    for source in "abcdefgh":
        world.crowd(50, source)
    world.settle()
    beginning = Counter(world.served[:80])
    assert all(abs(beginning[source] - 80 / 9) <= 2 for source in "abcdefgh"), beginning


def test_fair_is_cpu_and_not_number(world: World) -> None:
    """P-384 costs ten times what X25519 costs; who asks for it is served a tenth as often."""
    world.crowd(20, "first")
    world.crowd(100, "dear", cost=5 * MS)
    world.crowd(400, "cheap", cost=0.5 * MS)
    while "cheap" in {queue.source for queue in world.queue._queues.values() if queue.handshakes}:
        world.turn()
    assert world.spent["dear"] <= world.spent["cheap"] * 1.2
    assert world.spent["dear"] >= world.spent["cheap"] * 0.5


def test_debts_are_not_forgotten_by_leaving_the_line(world: World) -> None:
    """Who comes with one dear handshake at a time pays for the last one before the next."""
    world.crowd(20, "first")
    world.crowd(400, "cheap", cost=QUANTUM)
    sly = Handshake(world, "sly", cost=10 * QUANTUM)
    while world.queue.waiting:
        if not sly.queued:
            sly.come()
        world.turn()
        if world.served.count("cheap") == 400:
            break
    assert world.served.count("sly") <= 400 / 10 + 3


def test_who_comes_back_while_others_wait_is_served(world: World) -> None:
    world.crowd(20, "first")
    world.crowd(100, "others", cost=CPU_BUDGET)
    for _ in range(5):
        before = world.served.count("guest")
        world.crowd(1, "guest", cost=QUANTUM / 2)
        for _ in range(4):
            world.turn()
        assert world.served.count("guest") == before + 1
    assert world.queue.waiting


def test_nothing_saved_up_is_spent_at_once(world: World) -> None:
    """What costs less than its grant is no credit for what comes later."""
    world.crowd(20, "first")
    world.crowd(50, "a", cost=0.01 * MS)
    world.crowd(300, "b", cost=QUANTUM)
    while world.served.count("a") < 50:
        world.turn()
    world.crowd(20, "a", cost=5 * MS)
    del world.served[:]
    while world.queue.waiting and len(world.served) < 60:
        world.turn()
    assert world.served.count("a") <= 60 / 10 + 2


def test_who_has_begun_goes_first_in_its_line(world: World) -> None:
    world.crowd(20, "a")
    first = Handshake(world, "a")
    first.has_begun = True
    assert first.come()
    last = world.queue._queues["a"].handshakes[0]
    assert last is first
    world.settle()


def test_a_source_gets_as_much_room_as_it_leaves(world: World) -> None:
    world.crowd(10, "first", cost=CPU_BUDGET)
    flood = [Handshake(world, "flood") for _ in range(200)]
    assert [handshake.come(10) for handshake in flood].count(True) == pytest.approx(ROOM / 2 / 10, abs=1)
    assert world.queue.refused == 200 - world.queue._queues["flood"].buffered / 10
    another = [Handshake(world, "another") for _ in range(200)]
    assert [handshake.come(10) for handshake in another].count(True) == pytest.approx(ROOM / 4 / 10, abs=1)
    assert Handshake(world, "neighbour").come(100), "and there is always some left"
    world.settle()
    assert world.queue._free == ROOM


def test_who_grows_while_waiting_is_counted(world: World) -> None:
    """One octet first, and the rest when the place in the queue is taken."""
    world.crowd(10, "first", cost=CPU_BUDGET)
    handshake = Handshake(world, "flood")
    assert handshake.come(1)
    assert handshake.come(300)
    assert handshake.buffered == 301
    assert not handshake.come(400), "more than is left free"
    handshake.there = False  # it was cut off
    before = world.queue.waiting
    assert Handshake(world, "flood").come(1)
    assert world.queue.waiting == before + 1, "it waits once, however often it grows"
    world.settle()
    assert world.queue._free == ROOM


def test_who_has_begun_needs_no_room(world: World) -> None:
    """CPU was spent on it: to refuse it now would waste that."""
    world.crowd(10, "first", cost=CPU_BUDGET)
    handshake = Handshake(world, "a")
    handshake.has_begun = True
    assert handshake.come(ROOM * 10)
    assert world.queue._free == ROOM - 9


def test_who_is_gone_costs_no_turn(world: World) -> None:
    world.crowd(12, "a")
    gone = world.crowd(300, "a")
    for handshake in gone:
        handshake.there = False
    world.crowd(1, "a")
    served = len(world.served)
    world.turn()
    assert len(world.served) - served == 3, "past all of them in one turn"
    assert not world.queue.waiting


def test_one_failure_stops_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.crowd(12, "a")
    broken = world.crowd(1, "b")[0]
    world.crowd(12, "c")

    def fail() -> bool:
        raise RuntimeError("a bug")

    monkeypatch.setattr(broken, "shake_hands", fail)
    with pytest.raises(RuntimeError):
        world.settle()
    world.settle()
    assert world.served.count("a") == world.served.count("c") == 12
    assert not world.queue.waiting


def test_nothing_is_kept_of_who_was_here(world: World) -> None:
    for source in range(100):
        world.crowd(3, source)
    world.settle()
    assert not world.queue._queues and not world.queue._round_robin
