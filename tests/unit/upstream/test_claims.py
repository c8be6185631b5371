"""Who claims what of whom; the clock is the test's."""

from __future__ import annotations

import os

from gateway.upstream.claims import AGAIN, PATIENCE, PLACES, Claimants, Claims, Mark


class Connection:
    def __init__(self, key: object) -> None:
        self.mark = Mark(key)
        self.waits = True

    def awaits_first_octet(self) -> bool:
        return self.waits


def test_nothing_is_claimed_before_its_time() -> None:
    claims = Claims()
    claimants = Claimants(claims)
    connection = Connection("a")
    claimants.add(connection, 0.0)
    claimants.look(PATIENCE - 0.01)
    assert claims.owed(connection.mark) == 0
    for now in (PATIENCE, PATIENCE + AGAIN):
        claimants.look(now)
        assert claims.owed(connection.mark) == 1
        claims.settle(connection.mark)
        claimants.look(now + 0.01)
        assert claims.owed(connection.mark) == 0, "whoever was before it may be done in a moment"


def test_no_more_is_owed_than_there_are_who_wait() -> None:
    """However long: who was killed meanwhile withdraws nothing, and every one of them would cost a dial."""
    claims = Claims()
    claimants = Claimants(claims)
    waiting = [Connection("a") for _ in range(3)]
    for connection in waiting:
        claimants.add(connection, 0.0)
    for tick in range(1000):
        claimants.look(PATIENCE + tick * AGAIN)
    assert claims.owed(waiting[0].mark) == 3


def test_who_leaves_withdraws_everything() -> None:
    claims = Claims()
    claimants = Claimants(claims)
    for key in ("a", "a", "b"):
        claimants.add(Connection(key), 0.0)
    claimants.look(PATIENCE)
    claimants.withdraw_all()
    assert not any(claims.table[:PLACES])


def test_a_thousand_who_wait_are_not_all_asked_for_each_that_has_heard() -> None:
    asked = 0

    class Counted(Connection):
        def awaits_first_octet(self) -> bool:
            nonlocal asked
            asked += 1
            return super().awaits_first_octet()

    claimants = Claimants(Claims())
    waiting = [Counted("a") for _ in range(1000)] + [Counted("b") for _ in range(1000)]
    for connection in waiting:
        claimants.add(connection, 0.0)
    for connection in waiting[:100]:
        connection.waits = False
        claimants.withdraw_if_over(connection.mark)
    assert asked == 200, "each that has heard, and one that waits"
    for connection in waiting[:1000]:
        connection.waits = False
    claimants.withdraw_if_over(waiting[0].mark)
    assert len(claimants) == 1


def test_who_has_heard_something_claims_nothing_any_more() -> None:
    claims = Claims()
    claimants = Claimants(claims)
    first, second, quick = [Connection("a") for _ in range(3)]
    for connection in (first, second, quick):
        claimants.add(connection, 0.0)
    quick.waits = False
    claimants.look(PATIENCE)
    assert claims.owed(first.mark) == 2
    first.waits = False
    claimants.look(PATIENCE)
    assert claims.owed(first.mark) == 2, "whom it was given to, nobody can tell"
    second.waits = False
    claimants.look(PATIENCE)
    assert (claims.owed(first.mark), len(claimants)) == (0, 0)


def test_targets_at_one_place_are_told_apart() -> None:
    claims = Claims()
    one = Mark("a")
    other = Mark("b")
    other.place, other.number = one.place, one.number + 1
    claims.claim(one)
    assert (claims.owed(one), claims.owed(other)) == (1, 0)
    claims.settle(other)
    assert claims.owed(one) == 1
    claims.claim(other)
    assert (claims.owed(one), claims.owed(other)) == (0, 1)


def test_targets_of_one_number_wait_apart() -> None:
    """Among 20,000 targets there is such a pair with every twentieth start."""
    claims = Claims()
    claimants = Claimants(claims)
    one, other = Connection("a"), Connection("b")
    other.mark.number, other.mark.place = one.mark.number, (one.mark.place + 1) % PLACES
    for connection in (one, other):
        claimants.add(connection, 0.0)
    claimants.look(PATIENCE)
    assert (claims.owed(one.mark), claims.owed(other.mark)) == (1, 1)


def test_what_is_settled_twice_is_settled() -> None:
    claims = Claims()
    mark = Mark("a")
    claims.claim(mark)
    claims.settle(mark)
    claims.settle(mark)
    assert claims.owed(mark) == 0
    assert not any(claims.table[:PLACES])


def test_processes_of_one_fork_see_the_same() -> None:
    claims = Claims()
    pid = os.fork()
    if pid == 0:
        claims.claim(Mark((("box", "1", "::1"), 80)))
        os._exit(0)
    os.waitpid(pid, 0)
    assert claims.made == 1
    assert claims.owed(Mark((("box", "1", "::1"), 80))) == 1
