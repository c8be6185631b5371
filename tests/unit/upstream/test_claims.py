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
    for count, now in enumerate((PATIENCE, PATIENCE + AGAIN), 1):
        claimants.look(now)
        claimants.look(now + 0.01)
        assert claims.owed(connection.mark) == count


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
