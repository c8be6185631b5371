"""Counters are integers under names that stay, and several workers' can be added."""

from __future__ import annotations

import msgspec

from gateway.observe.counters import Counters, summed


def test_counters_of_several_workers_are_added_name_by_name() -> None:
    one, other = Counters(health_checks=1), Counters(health_checks=2)
    one.connections_refused.connections += 3
    other.connections_refused.connections += 4
    total = summed(msgspec.to_builtins(each) for each in (one, other))
    expected = Counters(health_checks=3)
    expected.connections_refused.connections = 7
    assert total == msgspec.to_builtins(expected)


def test_a_sum_leaves_what_it_adds_alone_and_keeps_names_it_does_not_know() -> None:
    reports = [{"refused": {"a": 1}}, {"refused": {"a": 2, "b": 3}, "new": 4}]
    assert summed(reports) == {"refused": {"a": 3, "b": 3}, "new": 4}
    assert reports == [{"refused": {"a": 1}}, {"refused": {"a": 2, "b": 3}, "new": 4}]
    assert summed([]) == {}


def test_workers_do_not_share_counters() -> None:
    one, other = Counters(), Counters()
    one.connections_refused.connections += 1
    assert other.connections_refused.connections == 0
