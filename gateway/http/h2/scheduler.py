"""Whose turn it is to send: lanes by urgency, first come, first served in each (RFC 9218 section 10).

A stream stands in its lane while it has content and its own window is open. It goes to the end of the lane after each
frame, so streams of one urgency share the connection equally, and hardly any waits for one that is less urgent: a
connection carries pages of several sandboxes, and none may starve another's by calling itself urgent. So one turn in
eight begins its search at the next lane in rotation.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from gateway.http.h2.stream import Stream
from gateway.http.priority import URGENCIES

FAIR: Final = 8
"""One of so many turns goes by rotation."""


class Lanes:
    """The streams of a session that can send more."""

    __slots__ = ("_lanes", "_turns", "count")

    def __init__(self) -> None:
        self._lanes: tuple[deque[Stream], ...] = tuple(deque() for _ in range(URGENCIES))
        self._turns = 0
        self.count = 0  # streams in all lanes

    def __repr__(self) -> str:
        return f"<Lanes {[len(lane) for lane in self._lanes]}>"

    def add(self, stream: Stream) -> None:
        """`stream` is in no lane."""
        stream.lane = lane = self._lanes[stream.urgency]
        lane.append(stream)
        self.count += 1

    def remove(self, stream: Stream) -> None:
        """Wherever it is, if anywhere."""
        if stream.lane is not None:
            stream.lane.remove(stream)
            stream.lane = None
            self.count -= 1

    def take(self) -> Stream:
        """The next; there is one."""
        lanes = self._lanes
        self._turns = turns = self._turns + 1
        if turns % FAIR == 0:
            first = turns // FAIR % URGENCIES
            lanes = (*lanes[first:], *lanes[:first])
        for lane in lanes:
            if lane:
                break
        stream = lane.popleft()
        stream.lane = None
        self.count -= 1
        return stream
