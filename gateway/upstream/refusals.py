"""How often a target that refuses is dialed, so that a dead app is no lever.

A refused request costs a task, a socket and an exception, several times what a proxied one costs, and somebody may ask
for a port where nothing listens as fast as the network allows. So a target that has refused is dialed `DIALS` times in
a `WINDOW`; who asks more often is answered with the last refusal, at most two windows old. A person, a page that loads
or a program that polls never notices: an app that has just started is found by the very next request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.upstream.pool import Key

DIALS = 8
WINDOW = 0.05
"""Seconds."""
MAX_REMEMBERED = 1024
"""Targets; of more than these the oldest are forgotten."""


class _Window:
    """The dials of one target that has refused."""

    __slots__ = ("dials", "last", "until")

    def __init__(self, until: float, last: GatewayError) -> None:
        self.until = until
        self.dials = 1
        self.last = last


class Refusals:
    """One per worker. `clock` is the event loop's time."""

    __slots__ = ("_clock", "_windows")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._windows: dict[Key, _Window] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self._windows)

    def remember(self, key: Key, error: GatewayError) -> None:
        """A dial of `key` has just been refused."""
        windows = self._windows
        window = windows.get(key)
        if window is not None:
            window.last = error
            return
        windows[key] = _Window(self._clock() + WINDOW, error)
        if len(windows) > MAX_REMEMBERED:
            del windows[next(iter(windows))]

    def forget(self, key: Key) -> None:
        """A dial of `key` has succeeded."""
        self._windows.pop(key, None)

    def instead_of_dialing(self, key: Key) -> GatewayError | None:
        """The refusal that answers for `key` now, or None: then dial."""
        window = self._windows.get(key)
        if window is None:
            return None
        now = self._clock()
        if now >= window.until + WINDOW:
            del self._windows[key]
            return None
        if now >= window.until:
            window.until = now + WINDOW
            window.dials = 0
        if window.dials == DIALS:
            return window.last
        window.dials += 1
        return None
