"""What of a target that refuses is remembered, and how often it is dialed, so that a dead app is no lever.

A refused request costs a task, a socket and an exception, several times what a proxied one costs, and somebody may ask
for a port where nothing listens as fast as the network allows. So a target that has refused is dialed `DIALS` times in
a `WINDOW`; who asks more often is answered with the last refusal, at most two windows old. A person, a page that loads
or a program that polls never notices: an app that has just started is found by the very next request.

What is kept are values: an exception would keep alive whatever was at work when it was raised.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.errors import Failure

if TYPE_CHECKING:
    from gateway.endpoint import Endpoint

DIALS = 8
WINDOW = 0.05
"""Seconds."""
MAX_REMEMBERED = 1024
"""Targets; of more than these the oldest are forgotten."""


class Refusal:
    """A target that has refused, and the dials it has had in this window."""

    __slots__ = ("dials", "failure", "looked", "until")

    def __init__(self, until: float, failure: Failure, dials: int) -> None:
        self.until = until
        self.dials = dials
        self.failure = failure
        self.looked = False  # `failure` says, too, what was seen when somebody looked


class RefusalCache:
    """One per worker. `clock` is the event loop's time."""

    __slots__ = ("_clock", "_refusals")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # The oldest first. A plain dict would search for it, past every one that was deleted before it.
        self._refusals: OrderedDict[Endpoint, Refusal] = OrderedDict()

    def __len__(self) -> int:
        return len(self._refusals)

    def remember(self, endpoint: Endpoint, failure: Failure, dials: int = 1) -> None:
        """A dial of `endpoint` has just been refused; `dials` were under way, itself included."""
        refusal = self._refusals.get(endpoint)
        if refusal is None:
            self._refusals[endpoint] = Refusal(self._clock() + WINDOW, failure, dials)
            if len(self._refusals) > MAX_REMEMBERED:
                self._refusals.popitem(last=False)
        elif not refusal.looked:
            refusal.failure = failure

    def explain(self, endpoint: Endpoint, failure: Failure) -> None:
        """Somebody has looked: `failure` is the refusal of `endpoint` and what was seen."""
        refusal = self._refusals.get(endpoint)
        if refusal is not None:
            refusal.failure = failure
            refusal.looked = True

    def forget(self, endpoint: Endpoint) -> None:
        """A dial of `endpoint` has succeeded."""
        self._refusals.pop(endpoint, None)

    def instead_of_dialing(self, endpoint: Endpoint) -> Refusal | None:
        """What answers for `endpoint` now, its window's dials being used up; None: it may be dialed. Counts nothing."""
        refusal = self._refusals.get(endpoint)
        if refusal is None:
            return None
        now = self._clock()
        if now >= refusal.until + WINDOW:
            del self._refusals[endpoint]
            return None
        if now >= refusal.until:
            refusal.until = now + WINDOW
            refusal.dials = 0
        return refusal if refusal.dials >= DIALS else None

    def count(self, endpoint: Endpoint) -> None:
        """A dial of `endpoint` begins."""
        refusal = self._refusals.get(endpoint)
        if refusal is not None:
            refusal.dials += 1
