"""Who waits while our own idle connections keep an app busy.

Python's HTTPServer, Perl's HTTP::Daemon and small thread pools stay with a connection until it closes. While one of
ours lies idle there, whoever comes by another is not even accepted. From outside that looks like an app that takes its
time, so time decides: a fresh connection without an octet for `PATIENCE` claims a connection of the same target, and
one more every `AGAIN` as long as it waits and no more are owed than there are who wait. Any worker's will do: one that
lies idle is closed, and if there is none, the next that would. An app that is slow for another reason, or polls long,
costs so many dials and no more; and so do the claims of a worker that was killed, which nobody withdraws.

What is claimed stands in memory that all workers share. Nothing is locked: a claim that is lost is made again, and one
too many costs a dial. Knows marks and times; no sockets.
"""

from __future__ import annotations

import mmap
from itertools import takewhile
from typing import Protocol

PATIENCE = 0.1
"""Seconds: a person does not notice less, and to an app that needs more for its answers a dial is cheap."""
AGAIN = 0.25
"""Seconds. Whoever was closed for it may have been followed by others, which were there before."""
INTERVAL = 0.1
"""Seconds between two looks at what is claimed, by a worker that has anything to give or to wait for."""

PLACES = 4096
_MARK_BITS, _COUNT = 32, 0xFFFFFFFF


class Mark:
    """A target, as it stands in the table: equal for equal keys in all processes that share a fork."""

    __slots__ = ("digest", "number", "place")

    def __init__(self, key: object) -> None:
        self.digest = hash(key)  # keyed by a secret of the process that was forked: nobody aims at another's place
        self.place = self.digest % PLACES
        self.number = self.digest >> 12 & _COUNT


class Claims:
    """The table. One per gateway, made before the fork: for each place the number of a target and what is owed to it.

    Two targets at one place take it from each other, claim by claim.
    """

    __slots__ = ("table",)

    def __init__(self) -> None:
        self.table = memoryview(mmap.mmap(-1, (PLACES + 1) * 8)).cast("Q")  # the last one counts all claims

    @property
    def made(self) -> int:
        """How many, ever: who has seen the same number before has seen all."""
        return self.table[PLACES]

    def owed(self, mark: Mark) -> int:
        """How many connections of the target are to be closed."""
        cell = self.table[mark.place]
        return cell & _COUNT if cell >> _MARK_BITS == mark.number else 0

    def claim(self, mark: Mark, count: int = 1) -> None:
        self._set(mark, min(self.owed(mark) + count, _COUNT))
        self.table[PLACES] = (self.made + count) & (1 << 64) - 1

    def settle(self, mark: Mark, count: int = 1) -> None:
        """So many have been closed, or are not wanted any more."""
        if owed := self.owed(mark):
            self._set(mark, max(owed - count, 0))

    def _set(self, mark: Mark, owed: int) -> None:
        self.table[mark.place] = mark.number << _MARK_BITS | owed if owed else 0


class Claimant(Protocol):
    """A connection that has been dialed."""

    mark: Mark

    def awaits_first_octet(self) -> bool:
        """Whether nothing has come over it yet, ever."""


class _Crowd:
    """One worker's fresh connections to one target."""

    __slots__ = ("due", "made", "mark")

    def __init__(self, mark: Mark) -> None:
        self.mark = mark
        self.due: dict[Claimant, float] = {}  # when each claims next, in the order they came
        self.made = 0  # claims since somebody has waited here


class Claimants:
    """One worker's fresh connections."""

    __slots__ = ("_claims", "_crowds")

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self._crowds: dict[int, _Crowd] = {}  # by the digest of the target; no empty ones

    def __len__(self) -> int:
        """Of how many targets."""
        return len(self._crowds)

    def add(self, connection: Claimant, now: float) -> None:
        crowd = self._crowds.get(connection.mark.digest)
        if crowd is None:
            self._crowds[connection.mark.digest] = crowd = _Crowd(connection.mark)
        crowd.due[connection] = now + PATIENCE

    def look(self, now: float) -> None:
        """Claims what is due; withdraws what was claimed for targets where nobody waits any more."""
        for crowd in list(self._crowds.values()):
            due = crowd.due
            for connection in [each for each in due if not each.awaits_first_octet()]:
                del due[connection]
            if due:
                self._claim(crowd, now)
            else:
                self._withdraw(crowd)

    def _claim(self, crowd: _Crowd, now: float) -> None:
        due = crowd.due
        late = [each for each, when in due.items() if when <= now]
        # What is owed already could not be given yet: more of the same would only be given later, to nobody.
        late = late[: max(len(due) - self._claims.owed(crowd.mark), 0)]
        if late:
            for connection in late:
                due[connection] = now + AGAIN
            crowd.made += len(late)
            self._claims.claim(crowd.mark, len(late))

    def withdraw_if_over(self, mark: Mark) -> None:
        """Withdraws what was claimed for `mark` if nobody waits there any more: to find one who does is enough."""
        crowd = self._crowds.get(mark.digest)
        if crowd is None:
            return
        due = crowd.due
        for connection in list(takewhile(lambda each: not each.awaits_first_octet(), due)):
            del due[connection]
        if not due:
            self._withdraw(crowd)

    def withdraw_all(self) -> None:
        """Nobody waits here any more."""
        for crowd in list(self._crowds.values()):
            self._withdraw(crowd)

    def _withdraw(self, crowd: _Crowd) -> None:
        del self._crowds[crowd.mark.digest]
        self._claims.settle(crowd.mark, crowd.made)
