"""A connection that speaks HTTP/2, whichever side it is on: reads in turns, gives the session what came, and writes
what the session has to say.

    data_received -> _process -> Session.receive -> streams, and methods of `SessionOwner`
                        |-> flush_received of those streams to which the read has brought something
                        |-> what had waited, as far as windows and the transport take it
                        `-> _read_worked_through

What a stream is for, how a connection begins, leaves and ends is not known here: that is its side's.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from math import inf
from typing import Final

from gateway.http.h2.errors import ConnectionFault, ErrorCode
from gateway.http.h2.session import Session, SessionOwner
from gateway.http.h2.settings import SessionLimits
from gateway.http.h2.stream import Stream
from gateway.turns import READ_WORK, SHARE, Intake, ReadingConnection

PUMPED: Final = 64 * 1024
"""Octets of frames made at a time for a connection that takes them."""
MAX_UNSENT: Final = 256 * 1024
"""Octets that wait to be written past which nothing is read: what we owe in answer comes on top of content."""


class SessionConnection(ReadingConnection, SessionOwner):
    """The protocol object of its transport, and what its streams send through."""

    __slots__ = ("_is_over", "_write_full", "clock", "deadline", "session", "touched")

    def __init__(self, intake: Intake, limits: SessionLimits, clock: Callable[[], float], *, is_server: bool) -> None:
        super().__init__(intake)
        self.clock = clock
        self.session = Session(self, server=is_server, limits=limits, clock=clock)
        self.touched: list[Stream] = []  # those to which the read under way has brought something
        self.deadline = inf  # loop time at which `expire` is due; a sweeper looks
        self._write_full = False  # the transport takes no more for now
        self._is_over = False  # nothing that comes is worked through any more

    # --- for its streams -----------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Writes what the session has to say."""
        session = self.session
        out = session.out
        if out:
            session.out = []
            if not self._is_over:  # else the last word was said, and the direction is closed
                self._transport.write(b"".join(out))  # one alone is not copied

    def room_for(self, stream: Stream) -> int:
        """Octets of its content that would leave at once."""
        window = min(stream.send_window, self.session.send_window)
        return min(window, self.room()) if window > 0 and not self._write_full else 0

    def set_deadline(self, when: float) -> None:
        self.deadline = when

    def bring_forward(self, when: float) -> None:
        self.deadline = min(self.deadline, when)

    def due_in(self, seconds: float) -> float:
        """The loop time of a deadline, at which the connection will look."""
        due = self.clock() + seconds
        if due < self.deadline:
            self.deadline = due
        return due

    # --- asyncio.BufferedProtocol --------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        self._write_full = self.session.paused = True

    def resume_writing(self) -> None:
        self._write_full = self.session.paused = False
        if self._is_over:
            return
        self._pump()
        self._resumed()
        self._set_reading()

    # --- reading -------------------------------------------------------------------------------------------------

    def _process(self, data: bytes) -> None:
        """Works through `data` as far as this turn goes; the rest is held."""
        if self._is_over:
            self._held = b""
            return
        session, code, detail = self.session, ErrorCode.NO_ERROR, ""
        try:
            self._held = session.receive(data, SHARE - self._work)
        except ConnectionFault as fault:  # not kept: it leads to this frame, and the frame would lead to it
            self._held = b""
            code, detail = fault.code, fault.detail
        work, session.work = session.work, 0
        self._work += work
        self._intake.turns.begun += work // READ_WORK
        self._unfinished = session.unfinished
        if self.touched:
            touched, self.touched = self.touched, []
            for stream in touched:
                stream.flush_received()
        if code:
            self._broken(code, detail)
            return
        if session.stalled and not self._is_over:
            self._pump()
        elif session.out:
            self.flush()
        self._read_worked_through(moved=work > 0)
        self._go_on_reading()

    def _go_on_reading(self) -> None:
        """At once, in a turn of its own, or when what is to be sent has left; or never, where it is over meanwhile."""
        if self._is_over:
            self._held = b""
        elif self._work >= SHARE and self._held:
            self._wait_turn()
        elif self._write_full or not self._reading:
            self._set_reading()

    def _go_on(self) -> None:
        try:
            self._process(self._held)
        except Exception:
            self._fault()

    def _has_room(self) -> bool:
        return not self._write_full or self._transport.get_write_buffer_size() < MAX_UNSENT

    def passable(self) -> int:
        """Of one stream that alone brings content; that of many may have to wait."""
        receiving = None
        for stream in self.session.streams.values():
            if stream.state.receives:
                if receiving is not None:
                    return 0
                receiving = stream
        return receiving.passable() if receiving is not None else 0

    # --- writing -------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Sends what waits, as far as windows and the transport take it."""
        session = self.session
        while not self._write_full and session.pump(PUMPED):
            self.flush()
        self.flush()

    # --- what a side makes of it ---------------------------------------------------------------------------------

    @abstractmethod
    def _read_worked_through(self, *, moved: bool) -> None:
        """What came was worked through, or as much of it as this turn allowed; `moved`: whole frames were."""

    @abstractmethod
    def _resumed(self) -> None:
        """The transport takes octets again; what had waited was given to it, and it may be full again."""

    @abstractmethod
    def _broken(self, code: ErrorCode, detail: str) -> None:
        """The peer has broken HTTP/2, and GOAWAY waits to be written: the connection ends."""

    @abstractmethod
    def _fault(self) -> None:
        """A bug of ours, an exception that is being handled: it is logged, and the connection ends."""
