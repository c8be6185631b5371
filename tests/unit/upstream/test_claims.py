"""Who claims what of whom; the clock is the test's."""

from __future__ import annotations

import os

from gateway.upstream.claims import CLAIM_INTERVAL, FIRST_OCTET_TIMEOUT, SLOTS, Claimants, ClaimKey, Claims


class Connection:
    def __init__(self, key: object) -> None:
        self.claim_key = ClaimKey(key)
        self.waits = True

    def awaits_first_octet(self) -> bool:
        return self.waits


def test_nothing_is_claimed_before_its_time() -> None:
    claims = Claims()
    claimants = Claimants(claims)
    connection = Connection("a")
    claimants.add(connection, 0.0)
    claimants.check(FIRST_OCTET_TIMEOUT - 0.01)
    assert claims.owed(connection.claim_key) == 0
    for now in (FIRST_OCTET_TIMEOUT, FIRST_OCTET_TIMEOUT + CLAIM_INTERVAL):
        claimants.check(now)
        assert claims.owed(connection.claim_key) == 1
        claims.settle(connection.claim_key)
        claimants.check(now + 0.01)
        assert claims.owed(connection.claim_key) == 0, "whoever was before it may be done in a moment"


def test_no_more_is_owed_than_there_are_who_wait() -> None:
    """However long: who was killed meanwhile withdraws nothing, and every one of them would cost a dial."""
    claims = Claims()
    claimants = Claimants(claims)
    waiting = [Connection("a") for _ in range(3)]
    for connection in waiting:
        claimants.add(connection, 0.0)
    for tick in range(1000):
        claimants.check(FIRST_OCTET_TIMEOUT + tick * CLAIM_INTERVAL)
    assert claims.owed(waiting[0].claim_key) == 3


def test_who_leaves_withdraws_everything() -> None:
    claims = Claims()
    claimants = Claimants(claims)
    for key in ("a", "a", "b"):
        claimants.add(Connection(key), 0.0)
    claimants.check(FIRST_OCTET_TIMEOUT)
    claimants.withdraw_all()
    assert not any(claims.table[:SLOTS])


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
        claimants.withdraw_if_over(connection.claim_key)
    assert asked == 200, "each that has heard, and one that waits"
    for connection in waiting[:1000]:
        connection.waits = False
    claimants.withdraw_if_over(waiting[0].claim_key)
    assert len(claimants) == 1


def test_who_has_heard_something_claims_nothing_any_more() -> None:
    claims = Claims()
    claimants = Claimants(claims)
    first, second, quick = [Connection("a") for _ in range(3)]
    for connection in (first, second, quick):
        claimants.add(connection, 0.0)
    quick.waits = False
    claimants.check(FIRST_OCTET_TIMEOUT)
    assert claims.owed(first.claim_key) == 2
    first.waits = False
    claimants.check(FIRST_OCTET_TIMEOUT)
    assert claims.owed(first.claim_key) == 2, "whom it was given to, nobody can tell"
    second.waits = False
    claimants.check(FIRST_OCTET_TIMEOUT)
    assert (claims.owed(first.claim_key), len(claimants)) == (0, 0)


def test_targets_at_one_place_are_told_apart() -> None:
    claims = Claims()
    one = ClaimKey("a")
    other = ClaimKey("b")
    other.slot, other.tag = one.slot, one.tag + 1
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
    other.claim_key.tag, other.claim_key.slot = one.claim_key.tag, (one.claim_key.slot + 1) % SLOTS
    for connection in (one, other):
        claimants.add(connection, 0.0)
    claimants.check(FIRST_OCTET_TIMEOUT)
    assert (claims.owed(one.claim_key), claims.owed(other.claim_key)) == (1, 1)


def test_what_is_settled_twice_is_settled() -> None:
    claims = Claims()
    key = ClaimKey("a")
    claims.claim(key)
    claims.settle(key)
    claims.settle(key)
    assert claims.owed(key) == 0
    assert not any(claims.table[:SLOTS])


def test_processes_of_one_fork_see_the_same() -> None:
    claims = Claims()
    pid = os.fork()
    if pid == 0:
        claims.claim(ClaimKey((("box", "1", "::1"), 80)))
        os._exit(0)
    os.waitpid(pid, 0)
    assert claims.made == 1
    assert claims.owed(ClaimKey((("box", "1", "::1"), 80))) == 1
