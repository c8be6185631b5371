"""Fair scheduling: no connection works longer than its share while others wait, and nothing that concerns many at once
is told to all of them at once.

A ready socket is read up to 32 times before the event loop polls another (libuv), and a read of 64 KiB may hold a
thousand things to do. So work is counted, in units of about a microsecond: chunks, pipelined heads, records, whatever
costs time without making content that backpressure would stop. A connection that has worked its `SHARE` stops reading
and joins the worker's queue, with what it has read. The count begins anew with its turn and not with the event
loop's, so nothing is gained by working in small steps.

A thousand sockets may be ready at once, each with little to do. So when the event loop's turn has lasted `TURN_LIMIT`,
what is read is put off: each connection holds its one read, reads no more, and joins a queue as well. Octets keep their
order, and who comes in a later turn waits for none of them, as they do not for those that have worked their share. Only
the middle of a large message is read in any case: backpressure stops that, and it would be read in smaller pieces.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from mypy_extensions import mypyc_attr

from gateway.transport import CLOSED_TRANSPORT, LARGE, room

log: Final = logging.getLogger("gateway.turns")

SHARE: Final = 128
"""Units of work between two turns. A hundred connections that come at once block the event loop for a dozen ms."""
HEAD_WORK: Final = 32
"""Units of a head that costs no exchange with the other side: one more in a read, or an interim one."""
READ_WORK: Final = 8
"""Units of work of HTTP/2 that count as much as a read (see `Turns.has_time`): a request's."""
SMALL_HEAD: Final = 2048
"""Octets of a head up to which parsing it is not counted beside that; beyond, it is, by `LOOK`."""
LAST_WORK: Final = 1024
"""Units after the end of a connection, when it gets no other turn."""
LOOK: Final = 64
"""Octets parsed in one unit: unfinished lines and sections, large heads."""
RECORD: Final = 16 * 1024
"""Octets of content in a TLS record at most (RFC 8446 section 5.1)."""
READ: Final = 40 * 1024
"""Octets of one read by default: what it brings may have to wait for a slow reader."""
WIDE_READ: Final = 256 * 1024
"""Octets of one read at most, if all of them can be passed on at once: saves a third of the CPU of a large body."""
WIDE_READS: Final = 16
"""How many reads may be as large after two that have filled their buffer."""
PORTION: Final = 16
"""Of many who are to be told something, those who are told at once in one turn of the event loop, and in each turn of
the queue."""
PACE: Final = 32
"""Tasks that go on in one turn of the event loop where many have waited for the same: 6 ms, if each makes a page."""
TURN_LIMIT: Final = 0.006
"""Seconds of a turn of the event loop in which it is worked on what is read, after those who wait; the rest is put off.
As long as 120 requests take, compiled: of 128 connections that ask all the time, one read in thirty is put off."""
ROUND_LIMIT: Final = 0.004
"""Of these those of the queues, whose rest continues in the next turn."""


class Schedulable(Protocol):
    """What has worked its share."""

    def take_turn(self) -> None:
        """Go on; never raises."""


class Turns:
    """What is done in one turn of the event loop, and the queues of those for whom it is over; one per event loop."""

    __slots__ = ("_allowance", "_call_soon", "_late", "_queue", "_scheduled", "_until", "begun", "untold")

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._queue: deque[Schedulable] = deque()  # who has worked a share
        self._late: deque[Schedulable] = deque()  # whose reads were put off
        self._scheduled = False  # `_turn` is, which renews the rest
        self._allowance = PORTION  # of whom may still be told at once, in this turn of the event loop
        self.begun = 0
        """Reads that were worked on, or as much work as so many."""
        self._until = 0.0  # the end of this turn's time; 0: nobody has looked at the clock
        self.untold = 0
        """`Portions` in the queue: whoever has something to tell meanwhile tells it behind them."""

    @property
    def busy(self) -> bool:
        """Whether somebody waits who has worked a share."""
        return bool(self._queue)

    def wait(self, connection: Schedulable, *, late: bool = False) -> None:
        """Enqueues `connection`, which is in no queue yet; `late`: it waits for nobody's second share."""
        if late:
            self._late.append(connection)
        else:
            self._queue.append(connection)
            self.begun += PORTION
        self._schedule()

    def allow(self, count: int) -> int:
        """How many of `count` may be told something at once, whoever asks: a portion in a turn of the event loop."""
        allowed = 0 if self.untold else min(count, self._allowance)
        if allowed:
            self._schedule()
            self._allowance -= allowed
        return allowed

    def has_time(self) -> bool:
        """Whether what a read has brought is worked on in this turn of the event loop; else it is put off.

        The first `PORTION` always are, and for them nobody looks at the clock: that is more turns than one, as a rule.
        """
        self.begun = begun = self.begun + 1
        return begun <= PORTION or self._is_in_time()

    def _is_in_time(self) -> bool:
        now = time.perf_counter()
        if not self._until:
            self._until = now + TURN_LIMIT
            self._schedule()
        return now < self._until

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self._turn)

    def _turn(self) -> None:
        """The event loop's next turn: first one for each who waits, or for as many as there is time for, of both queues
        alternately.
        """
        self._scheduled = False
        self._allowance = PORTION
        self.begun = 0
        self._until = 0.0
        queue, late = self._queue, self._late
        left = max(len(queue), len(late))
        if not left:
            return
        began = time.perf_counter()
        while left:
            left -= 1
            if late:
                self._give_turn(late.popleft())
            if queue:
                self._give_turn(queue.popleft())
            if time.perf_counter() >= began + ROUND_LIMIT:
                break
        if queue or late:
            self._until = began + TURN_LIMIT
            self._schedule()

    def _give_turn(self, connection: Schedulable) -> None:
        try:
            connection.take_turn()
        except Exception:  # one connection's bug must not stop all others
            log.exception("%r failed in its turn", connection)


T = TypeVar("T")


class Portions(Generic[T]):
    """Tells each of many something, some at once, as far as `Turns.allow` goes, the others in turns: a thousand
    exchanges whose connection has ended take 50 ms, because each answers, retries or records.

    A thousand events that concern one each are such a crowd, too, like connections that are reset together. So what has
    come earlier is told earlier, and all of a connection's in order.
    """

    __slots__ = ("_and_then", "_left", "_tell", "_turns")

    def __init__(
        self, turns: Turns, everybody: list[T], tell: Callable[[T], None], and_then: Callable[[], None] | None = None
    ) -> None:
        """`tell` must bear that meanwhile more has happened to whom it is given. `and_then` is called when all are
        told.
        """
        self._turns = turns
        self._left = everybody
        self._tell = tell
        self._and_then = and_then
        self._tell_some(turns.allow(len(everybody)))
        if self._left:
            turns.untold += 1
            turns.wait(self)
        elif and_then is not None:
            and_then()

    def take_turn(self) -> None:
        self._tell_some(PORTION)
        if self._left:
            self._turns.wait(self)
            return
        self._turns.untold -= 1
        if self._and_then is not None:
            self._and_then()

    def _tell_some(self, count: int) -> None:
        portion, self._left = self._left[:count], self._left[count:]
        for each in portion:
            try:
                self._tell(each)
            except Exception:  # a bug met with one must not leave the others waiting for ever
                log.exception("telling %r failed", each)


class Pace:
    """Lets tasks go on that have waited for one and the same thing: the first at once, the others in later turns of the
    event loop. A thousand requests whose target, or whose directory, is found dead at once would hold it for 50 ms.
    """

    __slots__ = ("_call_soon", "_most", "_passed", "_waiting")

    def __init__(self, call_soon: Callable[[Callable[[], None]], object], most: int = PACE) -> None:
        """`most` go on in one turn."""
        self._call_soon = call_soon
        self._most = most
        self._passed = 0  # in this turn of the event loop
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def keep(self) -> None:
        """Returns when the caller's turn has come."""
        if not self._passed:
            self._call_soon(self._next_turn)
        if self._passed < self._most:
            self._passed += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    def _next_turn(self) -> None:
        self._passed = 0
        while self._waiting and self._passed < self._most:
            waiter = self._waiting.popleft()
            if not waiter.done():  # cancelled: whoever it was has left
                waiter.set_result(None)
                self._passed += 1
        if self._passed:
            self._call_soon(self._next_turn)


class Intake:
    """What all reading connections of a worker share: the buffer where every read lands, the turns, and how much of
    `limits.buffer_bytes` is whose.

    What waits for one connection in one direction is one read; what was gathered for this turn's write, less than
    `transport.LARGE`; and the beginning of a record whose end is still on its way. While any of it waits to be written
    nothing is read, unless `limits.buffer_bytes` is large.
    """

    __slots__ = ("_buffer", "ahead", "may_wait", "turns", "view")

    def __init__(self, call_soon: Callable[[Callable[[], None]], object], buffer_bytes: int) -> None:
        read = min(max(buffer_bytes - LARGE, RECORD), READ)
        self._buffer = memoryview(bytearray(WIDE_READ))
        self.view = self._buffer[:read]
        """Where reads land, as a rule."""
        self.turns = Turns(call_soon)
        self.ahead = max(buffer_bytes - read, 0)
        """Octets held for a paused receiver that do not keep a connection from reading once more."""
        # Twice: what is partly written is held as a whole until all of it is.
        self.may_wait = max(buffer_bytes - LARGE - 2 * read, 0)
        """Octets that wait to be written and do not keep the other side from reading once more."""

    def view_of(self, room: int) -> memoryview:
        """Where the next read lands if `room` octets can be passed on at once.

        A read can hold more work than a share, and then waits. So all reads are of the default size while the queue is
        not empty.
        """
        return self._buffer[:room] if room > self.view.nbytes and not self.turns.busy else self.view


@mypyc_attr(allow_interpreted_subclasses=True)
class WideReading:
    """A buffered protocol, by what it can do (see `transport.StreamTransport`).

    Reads of a large message are as large as what can be passed on at once; all others of the default size.

    Subclasses declare the attributes: one that is also a transport can inherit no slots.
    """

    __slots__ = tuple[str, ...]()  # (written so, type checkers do not look for the attributes here)

    _intake: Intake
    _view: memoryview
    """Where the read under way lands."""
    _wide: int
    """How many reads may be large if there is room; below zero, how many must fill their buffer first."""
    _sure: int
    """Octets that can be passed on at once, as last asked."""

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._wide > 0:
            self._widen()
        return self._view

    def _was_full(self) -> None:
        """A read has filled its buffer, and there is more where that came from."""
        self._wide = WIDE_READS if self._wide >= 0 else self._wide + 1

    def _widen(self) -> None:
        """Chooses where the next read lands: as large as can be passed on at once.

        One answer of `passable` serves several reads.
        """
        self._sure -= self._view.nbytes + RECORD  # at most, with all framing
        if self._sure < WIDE_READ:
            self._sure = self.passable()
        self._view = self._intake.view_of(self._sure)
        if self._view is self._intake.view:
            self._wide = -WIDE_READS  # a slow reader, or others wait for their turns
            self._sure = 0  # unknown: reads meanwhile are not counted
        else:
            self._wide -= 1
            if not self._wide:
                self._narrow()

    def _narrow(self) -> None:
        """Back to the default size, when a message begins: most are too short for `passable`, which is two system
        calls."""
        self._wide = -1
        self._sure = 0
        self._view = self._intake.view

    def passable(self) -> int:
        """How many more octets of what is being read can be passed on at once, without being held here."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class ReadingConnection(WideReading):
    """A connection that reads while it has room, and in its turn.

    A buffered protocol, reading into the worker's one buffer: a plain one gets up to 250 KiB at once, and all of it
    may have to wait for a slow reader.
    """

    __slots__ = (
        "_held",
        "_intake",
        "_queued",
        "_reading",
        "_sure",
        "_transport",
        "_unfinished",
        "_view",
        "_wide",
        "_work",
    )

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._view = intake.view
        self._wide = -1
        self._sure = 0
        self._transport = CLOSED_TRANSPORT  # the real one from connection_made to connection_lost
        self._held = b""  # octets not processed yet
        self._unfinished = False  # … because more of them are needed first
        self._work = 0  # units since its last turn
        self._queued = False  # for its turn
        self._reading = True  # the transport reads

    def buffer_updated(self, nbytes: int) -> None:
        if nbytes >= READ:
            self._was_full()
        # Copied at once: the buffer is shared, and what is read may be kept or written later.
        data = self._view[:nbytes].tobytes()
        if self._intake.turns.has_time() or self._wide > 0 or not self._put_off(data):
            self.data_received(data)
        else:
            self._unfinished = False
            self._wait_turn(late=True)

    def room(self) -> int:
        """How many octets can be written to this connection at once."""
        return room(self._transport)

    def data_received(self, data: bytes) -> None:
        """Takes what one read brought."""
        raise NotImplementedError

    def _put_off(self, data: bytes) -> bool:
        """Holds what one read brought, for `_go_on`; False: it has to be taken now."""
        raise NotImplementedError

    def _has_room(self) -> bool:
        """Whether more may be read, as far as this connection itself is concerned."""
        raise NotImplementedError

    def _go_on(self) -> None:
        """Processes what is held."""
        raise NotImplementedError

    def _wait_turn(self, *, late: bool = False) -> None:
        """Continues in its next turn, and reads nothing meanwhile; `late` as of `Turns.wait`."""
        if not self._queued:
            self._queued = True
            self._intake.turns.wait(self, late=late)
        self._set_reading()

    def take_turn(self) -> None:
        self._queued = False
        self._work = 0
        if self._held and not self._unfinished:
            self._go_on()
        self._set_reading()

    def _set_reading(self) -> None:
        """Reads on, or pauses the transport."""
        reads = not self._queued and self._has_room()
        if reads is not self._reading and not self._transport.is_closing():
            self._reading = reads
            if reads:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()
