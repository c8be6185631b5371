"""What is kept is bounded: in number, in octets, and for each exchange."""

from __future__ import annotations

from gateway.inspector.captured import BODY_OCTETS, MESSAGES, MESSAGES_OCTETS, OWN_COST, Body, Captured, Kind, Message
from gateway.inspector.store import Store


def begin(store: Store, *, ended: bool = True) -> Captured:
    captured = store.begin(None, None, 1.0)
    captured.request, captured.response = Body(), Body()
    if ended:
        end(store, captured)
    return captured


def end(store: Store, captured: Captured) -> None:
    captured.ended = 2.0
    store.end(captured)


def message(number: int, octets: bytes = b"") -> Message:
    return Message(number, 1.0, True, Kind.TEXT, len(octets), octets)


def test_the_last_ones_are_kept_oldest_first() -> None:
    store = Store(3)
    for _ in range(5):
        begin(store)
    assert [each.number for each in store] == [3, 4, 5]
    assert (store.get(2), store.octets) == (None, 3 * OWN_COST)


def test_what_is_under_way_stays_longer() -> None:
    store = Store(3)
    tunnel = begin(store, ended=False)
    for _ in range(9):
        begin(store)
    assert [each.number for each in store] == [1, 9, 10]
    end(store, tunnel)
    begin(store)
    assert [each.number for each in store] == [1, 10, 11]  # it has ended last


def test_those_under_way_are_bounded_too() -> None:
    store = Store(3)
    for _ in range(9):
        begin(store, ended=False)
    assert [each.number for each in store] == [7, 8, 9]


def test_octets_are_bounded_and_what_was_let_go_of_keeps_nothing() -> None:
    store = Store(500, 10 * (OWN_COST + BODY_OCTETS))
    exchanges = [begin(store, ended=False) for _ in range(20)]
    for _ in range(3):
        for each in exchanges:
            for body in (each.request, each.response):
                store.grow(each, body.take(b"x" * BODY_OCTETS))
            assert store.octets <= 10 * (OWN_COST + BODY_OCTETS)
    assert store.octets == sum(each.cost for each in store)
    kept = [body for each in exchanges for body in (each.request, each.response)]
    assert sum(len(body.octets) for body in kept) <= 10 * BODY_OCTETS
    assert exchanges[0].response.size == 3 * BODY_OCTETS  # still counted
    for each in exchanges:
        end(store, each)
    assert store.octets == sum(each.cost for each in store)


def test_messages_are_bounded() -> None:
    store = Store()
    captured = begin(store, ended=False)
    for number in range(2 * MESSAGES):
        store.add_message(captured, message(number))
    assert [each.number for each in captured.extras.messages] == [*range(MESSAGES, 2 * MESSAGES)]
    for number in range(100):
        store.add_message(captured, message(number, b"x" * 10_000))
    assert sum(len(each.octets) for each in captured.extras.messages) <= MESSAGES_OCTETS
    assert store.octets == captured.cost == OWN_COST + captured.extras.messages_octets


def test_who_looks_is_told_what_has_changed() -> None:
    store = Store()
    first, second = begin(store, ended=False), begin(store)
    seen = store.version
    store.touch(first)
    assert store.changed_since(seen) == [first]
    assert store.changed_since(0) == [first, second]


def test_clearing_leaves_what_is_under_way() -> None:
    store = Store()
    live = begin(store, ended=False)
    begin(store)
    seen = store.version
    store.clear()
    assert list(store) == [live]
    assert (store.octets, store.version > seen) == (OWN_COST, True)
