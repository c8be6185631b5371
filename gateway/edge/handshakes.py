"""Whose handshake is next: a fair queue, because a handshake is CPU that anybody can ask for.

With nobody waiting, a handshake goes on as soon as its octets are there. Once those of one turn of the event loop have
taken `TURN` seconds, everybody else waits, in one line for each source, and the lines are served in turn:

    source a   [hello] [hello] [hello] …  --.
    source b   [hello]                    ---+--> one each, round and round; after `TURN` seconds the event loop's turn
    source c   [finished] [hello]         --'

Fair is measured in CPU, not in handshakes (deficit round robin, Shreedhar and Varghese 1995): a source that asks for
what takes ten times as long is served every tenth time. In its line, who has begun goes before who has not, so that no
CPU is spent on handshakes that are never finished.

Knows nothing of TLS or sockets, only that `shake_hands` takes its time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from time import thread_time
from typing import Protocol

TURN = 0.002
"""Seconds of CPU in one turn of the event loop, and the handshake that exceeds them: ten with P-256 or X25519."""
QUANTUM = 0.0005
"""Seconds of CPU that a source is granted each time round: a full handshake and a bit."""


class Visitor(Protocol):
    """A connection that is not secure yet."""

    waits: bool
    """Whether it stands in a line; False at first, and the queue's to change, as is `held`."""
    held: int
    """Octets of a ClientHello that are counted for it while it waits."""

    @property
    def source(self) -> Hashable:
        """Who counts as one; asked only if it has to wait."""

    @property
    def has_begun(self) -> bool:
        """Whether CPU was spent on it before."""

    def shake_hands(self) -> bool:
        """Goes on with what has come; False, at once, if the connection is gone."""


class _Line:
    """Those of one source."""

    __slots__ = ("debt", "held", "source", "visitors")

    def __init__(self, source: Hashable) -> None:
        self.source = source
        self.visitors: deque[Visitor] = deque()
        self.held = 0  # octets, of all who wait in it
        self.debt = 0.0  # seconds of CPU that it took beyond what it was granted


class Handshakes:
    """The lines of one event loop. Holds at most `room` octets of ClientHellos, and of one source as many as are left
    free: one alone gets half of the room, two a third each (dynamic thresholds, Choudhury and Hahne 1998).
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], object], room: int) -> None:
        self._call_soon = call_soon
        self._free = room
        self._lines: dict[Hashable, _Line] = {}  # those with visitors or debts, while anybody waits
        self._round: deque[_Line] = deque()  # the same, the next one first
        self._spent = 0.0  # seconds of CPU in this turn
        self._turn_ends = False  # `_turn` is scheduled
        self.waiting = 0
        self.refused = 0  # ever

    def come(self, visitor: Visitor, octets: int) -> bool:
        """`octets` of a handshake have come: it goes on now, or when it is its turn. False: no room for them."""
        if not self.waiting and self._spent < TURN:
            self._serve(visitor)
            self._schedule()
            return True
        source, begun = visitor.source, visitor.has_begun
        line = self._lines.get(source)
        if not begun and octets + (line.held if line else 0) > self._free:
            self.refused += 1
            return False
        if line is None:
            line = self._lines[source] = _Line(source)
            self._round.append(line)
        if not begun:  # what was begun is few octets, and paid for
            visitor.held += octets
            line.held += octets
            self._free -= octets
        if not visitor.waits:
            visitor.waits = True
            self.waiting += 1
            (line.visitors.appendleft if begun else line.visitors.append)(visitor)
            self._schedule()
        return True

    def _serve(self, visitor: Visitor) -> float:
        """Seconds of CPU that it took; not of time, or whoever is served while the machine is busy would pay for it."""
        began = thread_time()
        there = visitor.shake_hands()
        took = thread_time() - began
        self._spent += took
        return took if there else 0.0

    def _schedule(self) -> None:
        if not self._turn_ends:
            self._turn_ends = True
            self._call_soon(self._turn)

    def _turn(self) -> None:
        """The next turn of the event loop: what was read meanwhile by connections that are open has been answered."""
        self._turn_ends = False
        self._spent = 0.0
        try:
            self._serve_lines()
        finally:  # whatever happens to one connection, those that wait get their turn
            if self.waiting:
                self._schedule()
            else:  # nobody to be fair to
                self._lines.clear()
                self._round.clear()

    def _serve_lines(self) -> None:
        while self.waiting and self._spent < TURN:
            line = self._round[0]
            if line.debt > 0:
                line.debt -= QUANTUM
                self._round.rotate(-1)
            elif not line.visitors:
                self._round.popleft()
                del self._lines[line.source]
            else:
                visitor = line.visitors.popleft()
                line.held -= visitor.held
                self._free += visitor.held
                visitor.held = 0
                visitor.waits = False
                self.waiting -= 1
                took = self._serve(visitor)
                if took:
                    line.debt = max(line.debt + took - QUANTUM, -QUANTUM)  # what is not used is not saved up
                    self._round.rotate(-1)
