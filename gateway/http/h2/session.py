"""One HTTP/2 connection, without I/O: its state machine, either role (RFC 9113).

Octets in by `receive`, octets out in `out`; in between, methods of streams and of the owner are called. The owner reads
and writes, keeps the deadlines, and knows what a stream is for; the session knows the protocol, and keeps the peer
within it:

    owner                                session                                  stream (the owner's)
      | start()                            | preface, SETTINGS -> out                 |
      | receive(octets, share) ----------->| frames, states, windows, budget          |
      |<----- request_received(id, fields) | a request's head                         |
      | adopt(stream) -------------------->|                                          |
      |                                    | data_received, end_received ------------>|
      |                                    |<-- consumed, send_headers, send_data, …  |
      | write(out)                         |                                          |
      | pump(octets) --------------------->| what waited -> out; drained ------------>|
      | forget(stream) ------------------->| no longer counts                         |

What a peer does wrong is a StreamFault, which ends its stream and costs points of the budget (`abuse`), or a
ConnectionFault, which ends the connection, as the RFC says with each rule. Which types of frame may come at all is said
by three tables at the end: the peer's SETTINGS first, then everything, and within a field block nothing but
CONTINUATIONs (section 4.3). What a frame may do to a stream in its state is said by `states`. Frames that are not
messages are taken by `control`, those that are by `messages`, and what is sent is written by `sending`: parts of one
class, which together are its state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from librt.strings import read_i32_be
from mypy_extensions import i64

from gateway.http.h2 import abuse
from gateway.http.h2.control import FRAME_SIZE_ERROR, PROTOCOL_ERROR
from gateway.http.h2.errors import ConnectionFault, ErrorCode, StreamFault
from gateway.http.h2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    GOAWAY,
    HEADER,
    HEADERS,
    MAX_FRAME,
    MAX_STREAM_ID,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    PRIORITY,
    PRIORITY_UPDATE,
    PUSH_PROMISE,
    RST_STREAM,
    SELF_DEPENDENT,
    SETTINGS,
    WINDOW_UPDATE,
    settings,
    unwrapped,
    window_update,
)
from gateway.http.h2.messages import Messages
from gateway.http.h2.owner import NOBODY, SessionOwner
from gateway.http.h2.settings import SessionLimits

__all__ = ["Session", "SessionOwner"]


class Session(Messages):
    """One connection; see the module."""

    __slots__ = (
        "_block",
        "_block_flags",
        "_block_id",
        "_expects_preface",
        "_handlers",
        "unfinished",
    )

    def __init__(self, owner: SessionOwner, *, server: bool, limits: SessionLimits, clock: Callable[[], float]) -> None:
        super().__init__(owner, server=server, limits=limits, clock=clock)
        self._expects_preface = server
        self._handlers = _FIRST  # by type of frame
        self._block: list[bytes] = []  # the fragments of a field block that is not complete
        self._block_id = 0  # … its stream, 0: there is none
        self._block_flags = 0  # … and the flags of its HEADERS
        self.unfinished = False  # what `receive` has returned is the beginning of a frame

    def __repr__(self) -> str:
        role = "server" if self._server else "client"
        return f"<Session {role} streams={len(self.streams)} last={self.last_id} {self._budget!r}>"

    def over(self) -> None:
        """The connection is lost, and nothing is received any more. The owner leads here and is let go of: they would
        keep each other."""
        self._owner = NOBODY

    def start(self) -> None:
        """Our preface."""
        limits, out = self._limits, self.out
        if not self._server:
            out.append(PREFACE)
        out.append(settings(limits.announced(server=self._server)))
        more = limits.connection_window - DEFAULT_WINDOW
        if more > 0:
            out.append(window_update(0, more))
            self._window.left += more

    # --- frames --------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, share: int) -> bytes:
        """Takes whole frames while `work` is less than `share`; returns what is left over, to be given again.

        Raises ConnectionFault, with GOAWAY in `out`: what follows is not read any more.
        """
        try:
            if self._budget.points < 0:  # `fault` does not look at it
                self._budget.check("faulty streams")
            return self._receive(data, share)
        except ConnectionFault as fault:
            self.go_away(fault.code, detail=fault.detail.encode())
            raise

    def _receive(self, data: bytes, share: int) -> bytes:
        at: i64 = 0
        end: i64 = len(data)
        self.unfinished = True
        if self._expects_preface:
            # Section 3.4: "Clients and servers MUST treat an invalid connection preface as a connection error of type
            # PROTOCOL_ERROR."
            if not data.startswith(PREFACE):
                if not PREFACE.startswith(data):
                    raise ConnectionFault(PROTOCOL_ERROR, "no connection preface")
                return data
            at = len(PREFACE)
            self._expects_preface = False
        while True:
            if self.work >= share:
                self.unfinished = False
                break
            begin: i64 = at + HEADER
            if begin > end:
                break
            # Its first four octets and its last four, as numbers; the compiler takes them from where they are.
            first: int = read_i32_be(data, at)
            length: i64 = first >> 8 & 0xFFFFFF
            # Section 4.2: "An endpoint MUST send an error code of FRAME_SIZE_ERROR if a frame exceeds the size defined
            # in SETTINGS_MAX_FRAME_SIZE". Whatever its type: it is not read to its end.
            if length > MAX_FRAME:
                raise ConnectionFault(FRAME_SIZE_ERROR, f"a frame of {length} octets")
            after: i64 = begin + length
            if after > end:
                break
            # Section 4.1: the reserved bit "MUST be ignored when receiving".
            last: int = read_i32_be(data, at + 5)
            stream_id = last & MAX_STREAM_ID
            flags = data[at + 4]
            at = after
            self.work += 1
            try:
                self._handlers[first & 0xFF](self, stream_id, flags, data[begin:after])
            except StreamFault as fault:
                self._fail(stream_id, fault)
                if self._budget.points < 0:
                    self._budget.check(f"a stream reset: {fault.detail}")
        return data[at:] if at else data

    @property
    def open_block(self) -> int:
        """The stream whose field block has begun and not ended; 0: none's."""
        return self._block_id

    def awaits_headers(self, rest: bytes) -> bool:
        """Whether a field block has begun and not ended; `rest` is what `receive` has returned."""
        return self._block_id > 0 or (self.unfinished and len(rest) > 3 and rest[3] in (HEADERS, CONTINUATION))

    # --- field blocks --------------------------------------------------------------------------------------------

    def _headers(self, stream_id: int, flags: int, payload: bytes) -> None:
        if not stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "HEADERS on stream 0")
        if flags & (PADDED | PRIORITIZED):
            payload, dependency = unwrapped(payload, flags)
            if dependency == stream_id:
                flags |= SELF_DEPENDENT
        if flags & END_HEADERS:
            self._block_received(stream_id, flags, payload)
        else:
            self._block = [payload]
            self._block_id = stream_id
            self._block_flags = flags
            self.block_octets = len(payload)
            self._handlers = _IN_BLOCK

    def _continuation(self, stream_id: int, flags: int, payload: bytes) -> None:
        # "A receiver MUST treat the receipt of any other type of frame or a frame on a different stream as a connection
        # error of type PROTOCOL_ERROR."
        if stream_id != self._block_id:
            raise ConnectionFault(PROTOCOL_ERROR, "a field block is interrupted by another")
        self._budget.spend(abuse.CONTROL, "CONTINUATION")
        block = self._block
        block.append(payload)
        self.block_octets += len(payload)
        if len(block) > self._limits.continuations + 1 or self.block_octets > self._limits.block:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a field block without an end")
        if flags & END_HEADERS:
            self._block = []
            self._block_id = 0
            self._handlers = _ANY
            self._block_received(stream_id, self._block_flags, b"".join(block))

    def _first_settings(self, stream_id: int, flags: int, payload: bytes) -> None:
        """Section 3.4: the preface "MUST be followed by a SETTINGS frame", or is one; not an acknowledgement."""
        if flags & ACK:
            raise ConnectionFault(PROTOCOL_ERROR, "no SETTINGS in the preface")
        self._handlers = _ANY
        self._settings(stream_id, flags, payload)

    def _unexpected(self, stream_id: int, flags: int, payload: bytes) -> None:
        raise ConnectionFault(PROTOCOL_ERROR, "a frame of a type that may not come now")


_Handler = Callable[[Session, int, int, bytes], None]


def _table(handlers: dict[int, _Handler], others: _Handler) -> tuple[_Handler, ...]:
    return tuple(handlers.get(kind, others) for kind in range(256))


_FIRST: Final = _table({SETTINGS: Session._first_settings}, Session._unexpected)
_ANY: Final = _table(
    {
        DATA: Session._data,
        HEADERS: Session._headers,
        PRIORITY: Session._priority,
        RST_STREAM: Session._rst_stream,
        SETTINGS: Session._settings,
        PUSH_PROMISE: Session._unexpected,  # "A client cannot push" (section 8.4); a server is told not to
        PING: Session._ping,
        GOAWAY: Session._goaway,
        WINDOW_UPDATE: Session._window_update,
        CONTINUATION: Session._unexpected,
        PRIORITY_UPDATE: Session._priority_update,
    },
    Session._unknown,
)
_IN_BLOCK: Final = _table({CONTINUATION: Session._continuation}, Session._unexpected)
