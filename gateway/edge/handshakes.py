"""A fair queue of TLS handshakes, because a handshake is CPU that anybody can ask for.

While nobody waits, a handshake goes on as soon as its octets are there. Once the handshakes of one turn of the event
loop have taken `CPU_BUDGET` seconds, the others wait, in one queue per source, and the queues are served in turn:

    source a   [hello] [hello] [hello] …  --.
    source b   [hello]                    ---+--> one each, round and round; after `CPU_BUDGET` the event loop's turn
    source c   [finished] [hello]         --'

Fair is measured in CPU, not in handshakes (deficit round robin, Shreedhar and Varghese 1995): a source whose handshakes
cost ten times as much is served every tenth time. Within a queue, handshakes that have begun go first, so that no CPU
is spent on handshakes that are never finished.

Knows nothing of TLS or sockets, only that `shake_hands` takes its time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from time import thread_time
from typing import Protocol

CPU_BUDGET = 0.002
"""Seconds of CPU for handshakes in one turn of the event loop, exceeded by one at most: ten with P-256 or X25519."""
QUANTUM = 0.0005
"""Seconds of CPU that a source is granted each time round: a full handshake and a bit."""


class Handshake(Protocol):
    """A connection during its TLS handshake."""

    queued: bool
    """False at first; set by the queue, as is `buffered`."""
    buffered: int
    """Octets of a ClientHello that are counted for it while it is queued."""

    @property
    def source(self) -> Hashable:
        """What is queued together; asked only if it has to wait."""

    @property
    def has_begun(self) -> bool:
        """Whether CPU was spent on it before."""

    def shake_hands(self) -> bool:
        """Continues with what has come; False, at once, if the connection is gone."""


class _SourceQueue:
    """The waiting handshakes of one source."""

    __slots__ = ("buffered", "debt", "handshakes", "source")

    def __init__(self, source: Hashable) -> None:
        self.source = source
        self.handshakes: deque[Handshake] = deque()
        self.buffered = 0  # octets, of all of them
        self.debt = 0.0  # seconds of CPU used beyond what was granted


class HandshakeQueue:
    """One per event loop. Buffers at most `room` octets of ClientHellos, and for one source as many as are left free:
    a single source gets half of the room, two a third each (dynamic thresholds, Choudhury and Hahne 1998).
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], object], room: int) -> None:
        self._call_soon = call_soon
        self._free = room
        self._queues: dict[Hashable, _SourceQueue] = {}  # those with handshakes or debts, while anybody waits
        self._round_robin: deque[_SourceQueue] = deque()  # the same, the next one first
        self._spent = 0.0  # seconds of CPU in this turn
        self._scheduled = False  # `_turn` is
        self.waiting = 0
        self.refused = 0  # in total

    def submit(self, handshake: Handshake, octets: int) -> bool:
        """`octets` of `handshake` have come: it goes on now or in its turn. False: there is no room to buffer them."""
        if not self.waiting and self._spent < CPU_BUDGET:
            self._serve(handshake)
            self._schedule()
            return True
        source, begun = handshake.source, handshake.has_begun
        queue = self._queues.get(source)
        if not begun and octets + (queue.buffered if queue else 0) > self._free:
            self.refused += 1
            return False
        if queue is None:
            queue = self._queues[source] = _SourceQueue(source)
            self._round_robin.append(queue)
        if not begun:  # the rest of one that has begun is few octets
            handshake.buffered += octets
            queue.buffered += octets
            self._free -= octets
        if not handshake.queued:
            handshake.queued = True
            self.waiting += 1
            (queue.handshakes.appendleft if begun else queue.handshakes.append)(handshake)
            self._schedule()
        return True

    def _serve(self, handshake: Handshake) -> float:
        """Seconds of CPU that it took; wall-clock time would charge a source for a busy machine."""
        began = thread_time()
        there = handshake.shake_hands()
        took = thread_time() - began
        self._spent += took
        return took if there else 0.0

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self._turn)

    def _turn(self) -> None:
        """The next turn of the event loop, after open connections have been read and answered."""
        self._scheduled = False
        self._spent = 0.0
        try:
            self._serve_queues()
        finally:  # one connection's bug must not stop the queue
            if self.waiting:
                self._schedule()
            else:  # debts matter among those who wait only
                self._queues.clear()
                self._round_robin.clear()

    def _serve_queues(self) -> None:
        while self.waiting and self._spent < CPU_BUDGET:
            queue = self._round_robin[0]
            if queue.debt > 0:
                queue.debt -= QUANTUM
                self._round_robin.rotate(-1)
            elif not queue.handshakes:
                self._round_robin.popleft()
                del self._queues[queue.source]
            else:
                handshake = queue.handshakes.popleft()
                queue.buffered -= handshake.buffered
                self._free += handshake.buffered
                handshake.buffered = 0
                handshake.queued = False
                self.waiting -= 1
                took = self._serve(handshake)
                if took:
                    queue.debt = max(queue.debt + took - QUANTUM, -QUANTUM)  # unused grants do not add up
                    self._round_robin.rotate(-1)
