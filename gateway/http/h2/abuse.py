"""What a peer may cost us without getting anywhere: one budget per connection.

A token bucket of points, full at first. Each frame below is legitimate, and was once the whole of an attack: streams
opened and reset (CVE-2023-44487), or opened and made to be reset by us (CVE-2025-8671), floods of PING, SETTINGS,
empty and tiny frames (CVE-2019-9511 to 9518), CONTINUATIONs without an end (CVE-2024-27316). None of them is needed
often. Who has spent all points is told to calm down, and the connection ends.

The clock is looked at only when the bucket is empty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.http.h2.errors import ConnectionFault, ErrorCode

BURST: Final = 1_000
"""Points. Envoy ends a connection after 250 premature resets."""
REFILL: Final = 50
"""Points a second."""

# What things cost.
RESET_RECEIVED: Final = 4.0
"""A stream given up before we have ended it."""
RESET_CAUSED: Final = 4.0
"""A stream that we have to reset for a fault of the peer's."""
REFUSED: Final = 1.0
"""One beyond the concurrency limit: it costs its sender as much as us."""
CONTROL: Final = 1.0
"""PING, SETTINGS, PRIORITY, PRIORITY_UPDATE, CONTINUATION, unknown frames, and whatever is ignored."""
EMPTY_DATA: Final = 1.0
"""Without END_STREAM."""
TINY_DATA: Final = 0.1
"""Less than `TINY` octets, without END_STREAM. A terminal over WebSocket sends one for each key."""
TINY: Final = 64

FREE_UPDATES: Final = 10
"""WINDOW_UPDATEs a peer may send for each DATA frame it gets (Envoy's default)."""


class Budget:
    """The points of one connection."""

    __slots__ = ("_burst", "_clock", "_points", "_since")

    def __init__(self, clock: Callable[[], float], burst: float = BURST) -> None:
        self._clock = clock
        self._burst = burst
        self._points = burst
        self._since = clock()  # when `_points` was last refilled

    def __repr__(self) -> str:
        return f"<Budget {self._points:.0f} of {self._burst:.0f}>"

    def spend(self, points: float, what: str) -> None:
        """Raises ConnectionFault(ENHANCE_YOUR_CALM) if there are not that many left."""
        self._points -= points
        if self._points < 0:
            self._refill(what)

    def _refill(self, what: str) -> None:
        now = self._clock()
        self._points = min(self._points + (now - self._since) * REFILL, self._burst)
        self._since = now
        if self._points < 0:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"too much that leads nowhere, at last {what}")
