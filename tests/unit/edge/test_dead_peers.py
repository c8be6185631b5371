"""A few connections are looked at in each turn of the sweeper, and all of them in a third of the time."""

from __future__ import annotations

import pytest

from gateway.edge.dead_peers import DeadPeerDetector


class Connection:
    def __init__(self) -> None:
        self.patiences: list[float] = []

    def end_if_dead(self, patience: float) -> None:
        self.patiences.append(patience)


class Broken(Connection):
    def end_if_dead(self, patience: float) -> None:
        super().end_if_dead(patience)
        raise RuntimeError("a bug")


def test_all_are_looked_at_once_in_a_third_of_the_time() -> None:
    silence = DeadPeerDetector(45.0, 1.0)
    connections = [Connection() for _ in range(300)]
    looked = 0
    for turn in range(1, 16):
        silence.look(connections[:100], connections[100:])
        before, looked = looked, sum(len(each.patiences) for each in connections)
        assert looked - before <= 21, "a few in each turn"
        if turn == 15:
            assert looked == 300
    assert all(each.patiences == [90.0] for each in connections)
    for _ in range(15):
        silence.look(connections)
    assert all(len(each.patiences) == 2 for each in connections)


def test_with_a_short_setting_all_are_looked_at_in_every_turn() -> None:
    silence = DeadPeerDetector(1.0, 1.0)
    connections = [Connection() for _ in range(10)]
    silence.look(connections)
    assert all(each.patiences == [2.0] for each in connections)


def test_nobody_is_looked_at_if_nobody_is_asked() -> None:
    connection = Connection()
    DeadPeerDetector(0.0, 1.0).look([connection])
    assert not connection.patiences


def test_one_connections_bug_does_not_save_the_others(caplog: pytest.LogCaptureFixture) -> None:
    connections = [Broken(), Connection(), Broken()]
    DeadPeerDetector(1.0, 1.0).look(connections)
    assert all(each.patiences for each in connections)
    assert caplog.text.count("RuntimeError: a bug") == 2
