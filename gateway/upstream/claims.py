"""Who waits while our own idle connections keep an app busy.

Python's HTTPServer, Perl's HTTP::Daemon and small thread pools stay with a connection until it closes. While one of
ours lies idle there, whoever comes by another is not even accepted. From outside that looks like an app that takes its
time, so time decides: a fresh connection without an octet for `FIRST_OCTET_TIMEOUT` claims a connection of the same
target, and one more every `CLAIM_INTERVAL` as long as it waits and no more are owed than there are who wait. Any
worker's will do: one that lies idle is closed, and if there is none, the next that would. An app that is slow for
another reason, or polls long, costs so many dials and no more; and so do the claims of a worker that was killed, which
nobody withdraws.

What is claimed stands in memory that all workers share. Nothing is locked: a claim that is lost is made again, and one
too many costs a dial. Knows keys and times; no sockets.
"""

from __future__ import annotations

import mmap
from itertools import takewhile
from typing import Final, Protocol

FIRST_OCTET_TIMEOUT: Final = 0.1
"""Seconds: a person does not notice less, and to an app that needs more for its answers a dial is cheap."""
CLAIM_INTERVAL: Final = 0.25
"""Seconds. Whoever was closed for it may have been followed by others, which were there before."""
CHECK_INTERVAL: Final = 0.1
"""Seconds between two looks at what is claimed, by a worker that has anything to give or to wait for."""

SLOTS: Final = 4096
_TAG_SHIFT, _COUNT_MASK = 32, 0xFFFFFFFF


class ClaimKey:
    """A target, as it stands in the table: equal for equal targets in all processes that share a fork."""

    __slots__ = ("digest", "slot", "tag")

    def __init__(self, target: object) -> None:
        self.digest = hash(target)  # keyed by a secret of the process that was forked: nobody aims at another's slot
        self.slot = self.digest % SLOTS
        self.tag = self.digest >> 12 & _COUNT_MASK


class Claims:
    """The table. One per gateway, made before the fork: for each slot the tag of a target and what is owed to it.

    Two targets at one slot take it from each other, claim by claim.
    """

    __slots__ = ("table",)

    def __init__(self) -> None:
        self.table = memoryview(mmap.mmap(-1, (SLOTS + 1) * 8)).cast("Q")  # the last one counts all claims

    @property
    def made(self) -> int:
        """How many, ever: who has seen the same number before has seen all."""
        return self.table[SLOTS]

    def owed(self, key: ClaimKey) -> int:
        """How many connections of the target are to be closed."""
        cell = self.table[key.slot]
        return cell & _COUNT_MASK if cell >> _TAG_SHIFT == key.tag else 0

    def claim(self, key: ClaimKey, count: int = 1) -> None:
        self._set(key, min(self.owed(key) + count, _COUNT_MASK))
        self.table[SLOTS] = (self.made + count) & (1 << 64) - 1

    def settle(self, key: ClaimKey, count: int = 1) -> None:
        """So many have been closed, or are not wanted any more."""
        if owed := self.owed(key):
            self._set(key, max(owed - count, 0))

    def _set(self, key: ClaimKey, owed: int) -> None:
        self.table[key.slot] = key.tag << _TAG_SHIFT | owed if owed else 0


class Claimant(Protocol):
    """A connection that has been dialed."""

    claim_key: ClaimKey

    def awaits_first_octet(self) -> bool:
        """Whether nothing has come over it yet, ever."""


class _Waiters:
    """One worker's fresh connections to one target."""

    __slots__ = ("due", "key", "made")

    def __init__(self, key: ClaimKey) -> None:
        self.key = key
        self.due: dict[Claimant, float] = {}  # when each claims next, in the order they came
        self.made = 0  # claims since somebody has waited here


class Claimants:
    """One worker's fresh connections."""

    __slots__ = ("_claims", "_waiters")

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self._waiters: dict[int, _Waiters] = {}  # by the digest of the target; no empty ones

    def __len__(self) -> int:
        """Of how many targets."""
        return len(self._waiters)

    def add(self, connection: Claimant, now: float) -> None:
        waiters = self._waiters.get(connection.claim_key.digest)
        if waiters is None:
            self._waiters[connection.claim_key.digest] = waiters = _Waiters(connection.claim_key)
        waiters.due[connection] = now + FIRST_OCTET_TIMEOUT

    def check(self, now: float) -> None:
        """Claims what is due; withdraws what was claimed for targets where nobody waits any more."""
        for waiters in list(self._waiters.values()):
            due = waiters.due
            for connection in [each for each in due if not each.awaits_first_octet()]:
                del due[connection]
            if due:
                self._claim(waiters, now)
            else:
                self._withdraw(waiters)

    def _claim(self, waiters: _Waiters, now: float) -> None:
        due = waiters.due
        late = [each for each, when in due.items() if when <= now]
        # What is owed already could not be given yet: more of the same would only be given later, to nobody.
        late = late[: max(len(due) - self._claims.owed(waiters.key), 0)]
        if late:
            for connection in late:
                due[connection] = now + CLAIM_INTERVAL
            waiters.made += len(late)
            self._claims.claim(waiters.key, len(late))

    def withdraw_if_over(self, key: ClaimKey) -> None:
        """Withdraws what was claimed for `key` if nobody waits there any more: to find one who does is enough."""
        waiters = self._waiters.get(key.digest)
        if waiters is None:
            return
        due = waiters.due
        for connection in list(takewhile(lambda each: not each.awaits_first_octet(), due)):
            del due[connection]
        if not due:
            self._withdraw(waiters)

    def withdraw_all(self) -> None:
        """Nobody waits here any more."""
        for waiters in list(self._waiters.values()):
            self._withdraw(waiters)

    def _withdraw(self, waiters: _Waiters) -> None:
        del self._waiters[waiters.key.digest]
        self._claims.settle(waiters.key, waiters.made)
