"""One HTTP/2 connection, without I/O: its state machine, either role (RFC 9113).

Octets in by `receive`, octets out in `out`; in between, methods of streams and of the owner are called. The owner reads
and writes, keeps the deadlines, and knows what a stream is for; the session knows the protocol, and keeps the peer
within it:

    owner                                session                                  stream (the owner's)
      | start()                            | preface, SETTINGS -> out                 |
      | receive(octets, share) ----------->| frames, states, windows, budget          |
      |<---------- open_stream(id, fields) | a request's head                         |
      | adopt(stream) -------------------->|                                          |
      |                                    | data_received, end_received ------------>|
      |                                    |<-- consumed, send_headers, send_data, …  |
      | write(out)                         |                                          |
      | pump(octets) --------------------->| what waited -> out; drained ------------>|
      | forget(stream) ------------------->| no longer counts                         |

What a peer does wrong is a StreamFault, which ends its stream and costs points of the budget (`abuse`), or a
ConnectionFault, which ends the connection, as the RFC says with each rule. Which frames are looked at at all is decided
by three tables: before the peer's SETTINGS there is nothing else, and within a field block there are CONTINUATIONs only
(section 4.3). What a frame may do to a stream in a certain state is in `states`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from gateway.http.h2 import abuse, frames
from gateway.http.h2.decoder import Decoder, HpackError
from gateway.http.h2.errors import ConnectionFault, ErrorCode, StreamFault
from gateway.http.h2.flow import ReceiveWindow
from gateway.http.h2.frames import ACK, END_HEADERS, END_STREAM, HEADER, MAX_FRAME, PADDED, PREFACE, PRIORITIZED
from gateway.http.h2.sending import Sender
from gateway.http.h2.settings import SessionLimits
from gateway.http.h2.states import (
    CLOSED,
    HALF_CLOSED_REMOTE,
    IDLE,
    OPEN,
    RESET,
    State,
    Verdict,
    received,
)
from gateway.http.h2.stream import Stream
from gateway.http.message import Fields

PROTOCOL_ERROR = ErrorCode.PROTOCOL_ERROR
FRAME_SIZE_ERROR = ErrorCode.FRAME_SIZE_ERROR

BLOCK_WORK: Final = 2
"""Units (`turns`) of a field block, and one more for each `LOOK` octets of it."""
LOOK: Final = 64
_SELF_DEPENDENT: Final = 0x100
"""Beside the flags of a HEADERS frame: it depends on itself."""


class SessionOwner(ABC):
    """Who runs a session. Called from within `Session.receive`."""

    @abstractmethod
    def open_stream(self, stream_id: int, fields: Fields | None, ended: bool) -> None:
        """Server: a request's head; None: larger than the limits allow. `ended`: there is no content.

        Before it returns it has said `Session.adopt`, `reset` or `fault`, or raises StreamFault.
        """

    @abstractmethod
    def settings_received(self) -> None:
        """`Session.peer` has changed."""

    @abstractmethod
    def ping_acknowledged(self) -> None:
        """Each of our PINGs."""

    @abstractmethod
    def going_away(self, last_stream_id: int, code: int) -> None:
        """The peer opens no streams any more. Client: those of ours above `last_stream_id` are told afterwards that
        they are `unprocessed`."""


class Session(Sender):
    """See the module; the sending half is `Sender`."""

    __slots__ = (
        "_block",
        "_block_flags",
        "_block_id",
        "_budget",
        "_control_received",
        "_credit",
        "_decoder",
        "_expects_preface",
        "_handlers",
        "_head_ended",
        "_initial_window",
        "_owner",
        "block_octets",
        "peer_last_id",
        "settings_acknowledged",
        "unfinished",
        "work",
    )

    def __init__(self, owner: SessionOwner, *, server: bool, limits: SessionLimits, clock: Callable[[], float]) -> None:
        super().__init__(limits, server=server)
        self._owner = owner
        self._budget = abuse.Budget(clock)
        self._decoder = Decoder()
        self._handlers = _FIRST  # by type of frame
        self._expects_preface = server
        self._block: list[bytes] = []  # of a field block that is not complete
        self._block_id = 0
        self._block_flags = 0
        self._head_ended = False  # the head that `open_stream` is given is all of its message
        self._initial_window = frames.DEFAULT_WINDOW  # of streams, as the peer knows it
        self._credit = ReceiveWindow(limits.connection_window)
        self._credit.left = frames.DEFAULT_WINDOW
        self._control_received = 0  # WINDOW_UPDATEs and PINGs, the former a tenth each
        self.settings_acknowledged = False
        self.peer_last_id = frames.MAX_STREAM_ID  # the last of our streams that the peer's GOAWAY promises to serve
        self.block_octets = 0  # encoded, of the head that is being delivered
        self.unfinished = False  # what `receive` has returned is the beginning of a frame
        self.work = 0  # units of work done since the owner set it to 0

    def __repr__(self) -> str:
        role = "server" if self._server else "client"
        return f"<Session {role} streams={len(self.streams)} last={self.last_id} {self._budget!r}>"

    def start(self) -> None:
        limits = self._limits
        if not self._server:
            self.out.append(PREFACE)
        self.out.append(frames.settings(limits.announced(server=self._server)))
        more = limits.connection_window - frames.DEFAULT_WINDOW
        if more > 0:
            self.out.append(frames.window_update(0, more))
            self._credit.left += more

    # --- receiving -----------------------------------------------------------------------------------------------

    def receive(self, data: bytes, share: int) -> bytes:
        """Takes whole frames while `work` is less than `share`; returns what is left over, to be given again.

        Raises ConnectionFault, with GOAWAY in `out`: what follows is not read any more.
        """
        try:
            return self._receive(data, share)
        except ConnectionFault as fault:
            self.go_away(fault.code, detail=fault.detail.encode())
            raise

    def _receive(self, data: bytes, share: int) -> bytes:
        at, end = 0, len(data)
        if self._expects_preface:
            # Section 3.4: "Clients and servers MUST treat an invalid connection preface as a connection error of type
            # PROTOCOL_ERROR."
            if not data.startswith(PREFACE):
                if not PREFACE.startswith(data):
                    raise ConnectionFault(PROTOCOL_ERROR, "no connection preface")
                self.unfinished = True
                return data
            at = len(PREFACE)
            self._expects_preface = False
        unpack_header = frames.unpack_header
        self.unfinished = False
        while self.work < share:
            body = at + HEADER
            if body > end:
                self.unfinished = True
                break
            high, low, kind, flags, stream_id = unpack_header(data, at)
            length = high << 8 | low
            # Section 4.2: "An endpoint MUST send an error code of FRAME_SIZE_ERROR if a frame exceeds the size defined
            # in SETTINGS_MAX_FRAME_SIZE". Of the connection, whatever the type: it is not read to its end.
            if length > MAX_FRAME:
                raise ConnectionFault(FRAME_SIZE_ERROR, f"a frame of {length} octets")
            after = body + length
            if after > end:
                self.unfinished = True
                break
            self.work += 1
            try:
                # "Reserved: … MUST be ignored when receiving."
                self._handlers[kind](self, stream_id & 0x7FFFFFFF, flags, data[body:after])
            except StreamFault as fault:
                self.fault(stream_id & 0x7FFFFFFF, fault.code, fault.detail)
            at = after
        return data[at:] if at else data

    def awaits_headers(self, rest: bytes) -> bool:
        """Whether a field block has begun and its end has not come; `rest`: as `receive` returned it."""
        return self._block_id > 0 or (len(rest) > 3 and rest[3] in (frames.HEADERS, frames.CONTINUATION))

    def adopt(self, stream: Stream) -> None:
        """Server: the stream that `open_stream` was asked for."""
        if self._head_ended:
            if stream.expected > 0:
                stream.expect(stream.expected, True)
            stream.state = HALF_CLOSED_REMOTE
        else:
            stream.state = OPEN
        stream.send_window = self.peer.initial_window
        self.streams[stream.id] = stream

    def fault(self, stream_id: int, code: ErrorCode, detail: str = "") -> None:
        """Resets a stream for what the peer did; raises ConnectionFault if it has done so too often."""
        stream = self.streams.get(stream_id)
        alive = stream is not None and stream.state is not CLOSED and stream.state is not RESET
        self.reset(stream_id, code)
        if stream is not None and alive and not stream.released:
            stream.fault = detail
            stream.reset_received(code)
        self._budget.spend(abuse.RESET_CAUSED, f"a stream reset with {code.name}")

    # --- messages ------------------------------------------------------------------------------------------------

    def _headers(self, stream_id: int, flags: int, payload: bytes) -> None:
        if flags & (PADDED | PRIORITIZED):
            payload, dependency = _without_padding(payload, flags)
            if dependency == stream_id:
                flags |= _SELF_DEPENDENT
        # "If a HEADERS frame is received whose Stream Identifier field is 0x00, the recipient MUST respond with a
        # connection error of type PROTOCOL_ERROR."
        if not stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "HEADERS on stream 0")
        if flags & END_HEADERS:
            self._block_received(stream_id, flags, payload)
        else:
            self._block = [payload]
            self._block_id = stream_id
            self._block_flags = flags
            self.block_octets = len(payload)
            self._handlers = _IN_BLOCK

    def _continuation(self, stream_id: int, flags: int, payload: bytes) -> None:
        # Section 6.10: "A receiver MUST treat the receipt of any other type of frame or a frame on a different stream
        # as a connection error of type PROTOCOL_ERROR."
        if stream_id != self._block_id:
            raise ConnectionFault(PROTOCOL_ERROR, "a field block is interrupted")
        self._budget.spend(abuse.CONTROL, "CONTINUATION")
        self._block.append(payload)
        self.block_octets += len(payload)
        if len(self._block) > self._limits.continuations + 1 or self.block_octets > self._limits.block:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a field block without an end")
        if flags & END_HEADERS:
            block, self._block = b"".join(self._block), []
            self._block_id = 0
            self._handlers = _ANY
            self._block_received(stream_id, self._block_flags, block)

    def _block_received(self, stream_id: int, flags: int, block: bytes) -> None:
        """A head or trailers. Decoded whatever becomes of them: the table has to stay in step (section 4.3)."""
        stream = self.streams.get(stream_id)
        if stream is None:
            if not self._server or stream_id <= self.last_id:
                self._judge(stream_id, frames.HEADERS)
            # Section 5.1.1: "Streams initiated by a client MUST use odd-numbered stream identifiers". "An endpoint that
            # receives an unexpected stream identifier MUST respond with a connection error of type PROTOCOL_ERROR."
            elif not stream_id & 1:
                raise ConnectionFault(PROTOCOL_ERROR, "a request on an even stream")
        self.block_octets = size = len(block)
        self.work += BLOCK_WORK + size // LOOK
        limits = self._limits
        try:
            fields = self._decoder.decode(block, limits.header_list, limits.header_fields)
        except HpackError as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, str(error)) from None
        if stream is not None:
            self._more_headers(stream, flags, fields)
        elif self._server and stream_id > self.last_id:
            self._open(stream_id, flags, fields)

    def _open(self, stream_id: int, flags: int, fields: Fields | None) -> None:
        """Server: a new stream."""
        self.last_id = stream_id
        if 0 <= self._last_accepted < stream_id:
            self._budget.spend(abuse.CONTROL, "a stream after GOAWAY")
            return
        if flags & _SELF_DEPENDENT:
            raise StreamFault(PROTOCOL_ERROR, "a stream that depends on itself")
        # Section 5.1.2: "An endpoint that receives a HEADERS frame that causes its advertised concurrent stream limit
        # to be exceeded MUST treat this as a stream error of type PROTOCOL_ERROR or REFUSED_STREAM."
        if len(self.streams) >= self._limits.concurrent_streams:
            self.reset(stream_id, ErrorCode.REFUSED_STREAM)
            self._budget.spend(abuse.REFUSED, "a stream too many")
            return
        self._head_ended = ended = flags & END_STREAM > 0
        self._owner.open_stream(stream_id, fields, ended)

    def _more_headers(self, stream: Stream, flags: int, fields: Fields | None) -> None:
        """A response's head, interim ones too, or trailers."""
        state = stream.state
        if not state.receives:
            self._judge(stream.id, frames.HEADERS)
            return
        if flags & _SELF_DEPENDENT:
            raise StreamFault(PROTOCOL_ERROR, "a stream that depends on itself")
        if stream.released:
            if flags & END_STREAM:
                self._end_received(stream)
            return
        if fields is None:
            raise StreamFault(PROTOCOL_ERROR, "a field section that is too large")
        ended = flags & END_STREAM > 0
        if not self._server and not stream.head_received:
            stream.head_received = not _is_interim(fields)
            if ended:
                self._end_received(stream)
            stream.headers_received(fields, ended)
            if ended and stream.expected > 0:
                stream.expect(stream.expected, True)
            return
        # Section 8.1: a HEADERS frame without END_STREAM "after receiving the HEADERS frame that opens a request or
        # after receiving a final (non-informational) status code" is malformed.
        if not ended:
            raise StreamFault(PROTOCOL_ERROR, "trailers without END_STREAM")
        if stream.expected > 0:
            raise StreamFault(PROTOCOL_ERROR, f"{stream.expected} octets less than content-length says")
        self._end_received(stream)
        stream.end_received(fields)

    def _data(self, stream_id: int, flags: int, payload: bytes) -> None:
        size = len(payload)
        credit = self._credit
        # Section 6.9: "A receiver that receives a flow-controlled frame MUST always account for its contribution
        # against the connection flow-control window, unless the receiver treats this as a connection error."
        credit.left = left = credit.left - size
        if left < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the connection's window allows")
        # Credited on receipt: what is held is bounded by the streams' windows.
        increment = credit.give(size)
        if increment:
            self.out.append(frames.window_update(0, increment))
        stream = self.streams.get(stream_id)
        if stream is None or not stream.state.receives:
            self._judge(stream_id, frames.DATA)
            return
        ended = flags & END_STREAM
        window = stream.content_window
        if window is None:
            stream.content_window = window = ReceiveWindow(self._initial_window)
        window.left = left = window.left - size
        if left < 0:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the stream's window allows")
        if flags & PADDED:
            payload, _ = _without_padding(payload, flags & PADDED)
            padding = size - len(payload)
            size -= padding
            self.consumed(stream, padding)
        if size < abuse.TINY and not ended:
            if size:
                self._budget.spend(abuse.TINY_DATA, "tiny DATA")
            else:
                self._budget.spend(abuse.EMPTY_DATA, "empty DATA")
        expected = stream.expected
        if expected >= 0:
            stream.expected = expected = expected - size
            if expected < 0 or (ended and expected):
                raise StreamFault(PROTOCOL_ERROR, "not as much content as content-length says")
        if stream.released:
            if ended:
                self._end_received(stream)
            return
        if size:
            stream.data_received(payload)
        if ended and stream.state.receives:  # still: `data_received` may have reset it
            self._end_received(stream)
            stream.end_received([])

    def _end_received(self, stream: Stream) -> None:
        stream.state = state = stream.state.after_end_received
        if state is CLOSED and stream.released:
            self._remove(stream)

    def _rst_stream(self, stream_id: int, flags: int, payload: bytes) -> None:
        # "A RST_STREAM frame with a length other than 4 octets MUST be treated as a connection error of type
        # FRAME_SIZE_ERROR."
        if len(payload) != 4:
            raise ConnectionFault(FRAME_SIZE_ERROR, "RST_STREAM not of 4 octets")
        stream = self.streams.get(stream_id)
        state = self._state_of(stream_id) if stream is None else stream.state
        if stream is None or state is CLOSED or state is RESET:
            self._judge(stream_id, frames.RST_STREAM)
            return
        if self._server and state.sends:
            self._budget.spend(abuse.RESET_RECEIVED, "a stream given up")
        else:
            self._budget.spend(abuse.CONTROL, "RST_STREAM")
        code = int.from_bytes(payload, "big")
        released = stream.released
        self._close(stream, CLOSED)
        if not released:
            stream.unprocessed = code == ErrorCode.REFUSED_STREAM
            stream.reset_received(code)

    # --- states --------------------------------------------------------------------------------------------------

    def _state_of(self, stream_id: int) -> State:
        """Of a stream that is not in `streams`."""
        # A number of the other side's kind, of streams that nobody opens: nothing is pushed.
        if not stream_id & 1 or stream_id > self.last_id:
            return IDLE
        if stream_id in self._resets or 0 <= self._last_accepted < stream_id:
            return RESET
        return CLOSED

    def _judge(self, stream_id: int, kind: int) -> None:
        """A frame for a stream that is not open for it."""
        if not stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "a frame of a stream, on stream 0")
        stream = self.streams.get(stream_id)
        verdict = received(self._state_of(stream_id) if stream is None else stream.state, kind)
        if verdict is Verdict.CONNECTION_PROTOCOL:
            raise ConnectionFault(PROTOCOL_ERROR, "a frame on an idle stream")
        if verdict is Verdict.CONNECTION_CLOSED:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "a frame on a closed stream")
        if verdict is Verdict.STREAM_CLOSED:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "a frame after END_STREAM")
        if verdict is Verdict.IGNORED:
            self._budget.spend(abuse.TINY_DATA if kind == frames.DATA else abuse.CONTROL, "frames on closed streams")
        elif stream is None:
            raise ConnectionFault(PROTOCOL_ERROR, "a stream that only we could open")

    # --- the connection ------------------------------------------------------------------------------------------

    def _settings(self, stream_id: int, flags: int, payload: bytes) -> None:
        self._handlers = _ANY
        if stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "SETTINGS on a stream")
        self._budget.spend(abuse.CONTROL, "SETTINGS")
        if flags & ACK:
            # "Receipt of a SETTINGS frame with the ACK flag set and a length field value other than 0 MUST be treated
            # as a connection error of type FRAME_SIZE_ERROR."
            if payload:
                raise ConnectionFault(FRAME_SIZE_ERROR, "SETTINGS acknowledged with a payload")
            self._settings_acked()
            return
        if len(payload) % 6:
            raise ConnectionFault(FRAME_SIZE_ERROR, "SETTINGS not of whole entries")
        self.work += len(payload) // LOOK
        peer = self.peer
        table_size, window = peer.header_table_size, peer.initial_window
        peer.take(payload, from_server=not self._server)
        # RFC 7541 section 4.2: "This dynamic table size update MUST occur at the beginning of the first header block
        # following the change to the dynamic table size." Ours is empty, so it is 0 once and for all.
        if peer.header_table_size < table_size == 4096:
            self._table_update = b"\x20"
        self._window_changed(peer.initial_window - window)
        self.out.append(frames.SETTINGS_ACK)
        self._owner.settings_received()

    def _window_changed(self, difference: int) -> None:
        """Section 6.9.2: SETTINGS_INITIAL_WINDOW_SIZE adjusts the windows of all open streams by the difference."""
        if not difference:
            return
        for stream in self.streams.values():
            self._open_window(stream, difference)

    def _settings_acked(self) -> None:
        if self.settings_acknowledged:
            return
        self.settings_acknowledged = True
        difference = self._limits.window - self._initial_window
        self._initial_window = self._limits.window
        for stream in self.streams.values():
            if stream.content_window is not None:
                stream.content_window.size += difference
                stream.content_window.left += difference

    def _window_update(self, stream_id: int, flags: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(FRAME_SIZE_ERROR, "WINDOW_UPDATE not of 4 octets")
        self._control_received += 1
        if self._control_received > abuse.FREE_UPDATES * self._frames_sent + abuse.FREE_UPDATES:
            self._budget.spend(abuse.CONTROL, "WINDOW_UPDATE")
        increment = int.from_bytes(payload, "big") & 0x7FFFFFFF
        if not stream_id:
            if not increment:
                raise ConnectionFault(PROTOCOL_ERROR, "a window update of 0")
            self.send_window += increment
            if self.send_window > frames.MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window beyond 2^31-1")
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            self._judge(stream_id, frames.WINDOW_UPDATE)
            return
        # "A receiver MUST treat the receipt of a WINDOW_UPDATE frame with a flow-control window increment of 0 as a
        # stream error of type PROTOCOL_ERROR".
        if not increment:
            raise StreamFault(PROTOCOL_ERROR, "a window update of 0")
        if stream.send_window + increment > frames.MAX_WINDOW:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "the stream's window beyond 2^31-1")
        self._open_window(stream, increment)

    def _open_window(self, stream: Stream, increment: int) -> None:
        stream.send_window += increment
        if stream.send_window > frames.MAX_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window beyond 2^31-1")
        if stream.waiting:
            if stream.send_window <= 0:
                self._leave_lane(stream)
            elif stream.lane is None:
                self._wait_turn(stream)

    def _ping(self, stream_id: int, flags: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFault(FRAME_SIZE_ERROR, "PING not of 8 octets")
        if flags & ACK:
            if self._pings:
                self._pings -= 1
                self._owner.ping_acknowledged()
            else:
                self._budget.spend(abuse.CONTROL, "PING acknowledged and not sent")
            return
        # gRPC measures the round trip by a PING for what it receives.
        self._control_received += abuse.FREE_UPDATES
        if self._control_received > abuse.FREE_UPDATES * self._frames_sent + abuse.FREE_UPDATES:
            self._budget.spend(abuse.CONTROL, "PING")
        self.out.append(frames.ping(payload, ack=True))

    def _goaway(self, stream_id: int, flags: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise ConnectionFault(FRAME_SIZE_ERROR, "GOAWAY of less than 8 octets")
        self._budget.spend(abuse.CONTROL, "GOAWAY")
        last_id, code = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF, int.from_bytes(payload[4:8], "big")
        self.peer_last_id = last_id = min(last_id, self.peer_last_id)
        self._owner.going_away(last_id, code)
        if self._server:
            return
        for stream in [stream for stream in self.streams.values() if stream.id > last_id]:
            if stream.state is CLOSED or stream.state is RESET:
                continue
            released = stream.released
            self._close(stream, CLOSED)
            if not released:
                stream.unprocessed = True
                stream.reset_received(ErrorCode.REFUSED_STREAM)

    # --- the rest ------------------------------------------------------------------------------------------------

    def _priority(self, stream_id: int, flags: int, payload: bytes) -> None:
        if not stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "PRIORITY on stream 0")
        self._budget.spend(abuse.CONTROL, "PRIORITY")
        if len(payload) != 5:
            raise StreamFault(FRAME_SIZE_ERROR, "PRIORITY not of 5 octets")
        if int.from_bytes(payload[:4], "big") & 0x7FFFFFFF == stream_id:
            raise StreamFault(PROTOCOL_ERROR, "a stream that depends on itself")

    def _priority_update(self, stream_id: int, flags: int, payload: bytes) -> None:
        self._budget.spend(abuse.CONTROL, "PRIORITY_UPDATE")

    def _unknown(self, stream_id: int, flags: int, payload: bytes) -> None:
        """Section 4.1: "Implementations MUST ignore and discard frames of unknown types."."""
        self._budget.spend(abuse.CONTROL, "frames of unknown types")

    def _unexpected(self, stream_id: int, flags: int, payload: bytes) -> None:
        """Not now, or never: PUSH_PROMISE."""
        raise ConnectionFault(PROTOCOL_ERROR, "a frame that may not come now")

    # --- client --------------------------------------------------------------------------------------------------

    @property
    def can_open(self) -> bool:
        """Client: whether the peer takes one more stream."""
        return (
            self.peer_last_id == frames.MAX_STREAM_ID
            and len(self.streams) < self.peer.max_concurrent_streams
            and self.last_id < frames.MAX_STREAM_ID - 2
        )

    def open_stream(self, stream: Stream, block: bytes, end: bool) -> None:
        """Client: a request, with its encoded head; only if `can_open`."""
        self.last_id = stream.id = self.last_id + 2 if self.last_id else 1
        stream.state = OPEN
        stream.send_window = self.peer.initial_window
        self.streams[stream.id] = stream
        self.send_headers(stream, block, end)

    def shutdown_notice(self) -> None:
        """No more streams, please: GOAWAY without a limit yet, and a PING to know when the peer has read it."""
        self.go_away(ErrorCode.NO_ERROR, frames.MAX_STREAM_ID)
        self.ping()


def _is_interim(fields: Fields) -> bool:
    for name, value in fields:
        if name == b":status":
            return len(value) == 3 and value.startswith(b"1")
    return False


def _without_padding(payload: bytes, flags: int) -> tuple[bytes, int]:
    """The content of a DATA or HEADERS frame, and the stream it depends on, -1: none (sections 6.1 and 6.2)."""
    begin, end, dependency = 0, len(payload), -1
    if flags & PADDED:
        if not payload:
            raise ConnectionFault(FRAME_SIZE_ERROR, "a frame without its pad length")
        begin, end = 1, end - payload[0]
    if flags & PRIORITIZED:
        if len(payload) < begin + 5:
            raise ConnectionFault(FRAME_SIZE_ERROR, "a HEADERS frame without its priority")
        dependency = int.from_bytes(payload[begin : begin + 4], "big") & 0x7FFFFFFF
        begin += 5
    # "If the length of the padding is the length of the frame payload or greater, the recipient MUST treat this as a
    # connection error of type PROTOCOL_ERROR."
    if begin > end:
        raise ConnectionFault(PROTOCOL_ERROR, "more padding than payload")
    return payload[begin:end], dependency


_Handler = Callable[[Session, int, int, bytes], None]


def _table(default: _Handler, handlers: dict[int, _Handler]) -> tuple[_Handler, ...]:
    return tuple(handlers.get(kind, default) for kind in range(256))


_ANY: Final = _table(
    Session._unknown,
    {
        frames.DATA: Session._data,
        frames.HEADERS: Session._headers,
        frames.PRIORITY: Session._priority,
        frames.RST_STREAM: Session._rst_stream,
        frames.SETTINGS: Session._settings,
        # "A client cannot push." (section 8.4), and a server has been told not to.
        frames.PUSH_PROMISE: Session._unexpected,
        frames.PING: Session._ping,
        frames.GOAWAY: Session._goaway,
        frames.WINDOW_UPDATE: Session._window_update,
        frames.CONTINUATION: Session._unexpected,
        frames.PRIORITY_UPDATE: Session._priority_update,
    },
)
_FIRST: Final = _table(Session._unexpected, {frames.SETTINGS: Session._settings})
_IN_BLOCK: Final = _table(Session._unexpected, {frames.CONTINUATION: Session._continuation})
