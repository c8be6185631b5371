"""What a peer may cost us without getting anywhere: one budget per connection.

Every frame here is legitimate, and was once the whole of an attack: streams opened and reset (CVE-2023-44487), or
opened and made to be reset by us (CVE-2025-8671), floods of PING, SETTINGS, PRIORITY, empty and tiny frames
(CVE-2019-9511 to 9518), CONTINUATIONs without an end (CVE-2024-27316). So each costs points of a token bucket, which is
full at first. Who has spent them all is told to calm down, and the connection ends.

What well-behaved peers do in proportion to what they get is free in that proportion: WINDOW_UPDATEs for content, the
PINGs by which gRPC measures round trips, streams dropped that we have begun to answer, what was on its way when we
reset its stream. Each HEADERS, DATA and RST_STREAM frame that we send of our own accord pays for `CREDIT` units of it.

The clock is looked at only when the bucket is empty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.http.h2.errors import ConnectionFault, ErrorCode

BURST: Final = 1_000.0
"""Points. Envoy ends a connection after 250 premature resets."""
REFILL: Final = 50.0
"""Points a second."""

# What things cost, in points.
RESET_RECEIVED: Final = 4.0
"""A stream given up before we have begun to answer, and young."""
YOUNG: Final = 0.25
"""Seconds. Who has waited for so long has a right to leave, as whoever reloads a page that does not come does again and
again, of hundreds of files; and since they count until their work has ended, it is so many streams in so long, at most.
With Envoy a reset is premature for one second."""
RESET_CAUSED: Final = 4.0
"""A stream that we reset for a fault of the peer's."""
REFUSED: Final = 1.0
"""A stream beyond the limit, or after GOAWAY."""
CONTROL: Final = 1.0
"""SETTINGS, PRIORITY, CONTINUATION, GOAWAY, unknown types, and whatever has no credit."""
IGNORED_DATA: Final = 0.1
"""DATA for a stream that we have reset, without credit: a large window full of it may be on its way."""
EMPTY_DATA: Final = 10.0
"""Without END_STREAM. Nobody needs them (Envoy allows one)."""
TINY_DATA: Final = 0.002
"""Less than `TINY` octets, without END_STREAM: an app may stream 25,000 messages a second (each is `work`, too)."""
TINY: Final = 64
"""Octets."""

# What is free while there is credit for it, in units.
CREDIT: Final = 10
"""For each frame that pays."""
UPDATE_UNITS: Final = 1
"""WINDOW_UPDATE (ten for each DATA frame, as Envoy has it), and frames for streams that we have reset."""
ANSWER_UNITS: Final = 10
"""PING, PRIORITY_UPDATE, RST_STREAM, an interim response: one for each frame of ours."""
MOST_CREDIT: Final = 10_000
"""Units that can be saved up: a large download does not pay for a flood after it."""

CANCELLED_AT_ONCE: Final = 1.1
"""All streams that may be open can be cancelled at once, and a few more: that is what leaving a page is."""


class Budget:
    """The points of one connection."""

    __slots__ = ("_burst", "_clock", "_since", "points")

    def __init__(self, clock: Callable[[], float], streams: int) -> None:
        """`streams`: how many may be open."""
        self._clock = clock
        self._burst = max(BURST, RESET_RECEIVED * CANCELLED_AT_ONCE * streams)
        self._since = clock()  # when `points` were last refilled
        self.points = self._burst  # below 0: to be refilled, or the end

    def __repr__(self) -> str:
        return f"<Budget {self.points:.0f} of {self._burst:.0f}>"

    def spend(self, points: float, what: str) -> None:
        """Raises ConnectionFault(ENHANCE_YOUR_CALM) if there are not that many left."""
        self.points -= points
        if self.points < 0:
            self.check(what)

    def check(self, what: str) -> None:
        """Refills; raises ConnectionFault(ENHANCE_YOUR_CALM) if that is not enough."""
        now = self._clock()
        self.points = min(self.points + (now - self._since) * REFILL, self._burst)
        self._since = now
        if self.points < 0:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"too much that leads nowhere, last of all {what}")
