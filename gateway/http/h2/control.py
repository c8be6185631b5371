"""The frames that are not messages: SETTINGS, PING, GOAWAY, WINDOW_UPDATE, and priorities (RFC 9113 section 6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.http.h2 import abuse
from gateway.http.h2.encoder import TABLE_SIZE_ZERO
from gateway.http.h2.errors import ConnectionFault, ErrorCode, StreamFault
from gateway.http.h2.frames import (
    ACK,
    DEFAULT_WINDOW,
    MAX_STREAM_ID,
    MAX_WINDOW,
    SETTINGS_ACK,
    ping,
)
from gateway.http.h2.owner import SessionOwner
from gateway.http.h2.sending import PING_PAYLOAD, Sender
from gateway.http.h2.settings import HEADER_TABLE, SessionLimits
from gateway.http.h2.states import CLOSED, IDLE, RESET, SKIPPED, State
from gateway.http.h2.stream import Stream
from gateway.http.priority import urgency_of

PROTOCOL_ERROR: Final = ErrorCode.PROTOCOL_ERROR
FRAME_SIZE_ERROR: Final = ErrorCode.FRAME_SIZE_ERROR

SETTINGS_IN_A_UNIT: Final = 8
STREAMS_IN_A_UNIT: Final = 8
"""What a unit of work (`turns`) is of a SETTINGS frame, and of the streams whose windows it changes."""
MAX_PRIORITY: Final = 256
"""Octets of a PRIORITY_UPDATE that are looked at."""
EARLY_PRIORITIES: Final = 256
"""Streams whose priority is kept before they are opened."""
REMEMBERED_GAPS: Final = 16
"""Runs of numbers that the client has skipped. What is not remembered counts as closed."""


class Control(Sender):
    """The part of a session that receives them; each method is given stream, flags and payload."""

    __slots__ = (
        "_budget",
        "_early_urgency",
        "_gaps",
        "_initial_window",
        "_owner",
        "peer_going_away",
        "peer_last_id",
        "settings_acknowledged",
        "work",
    )

    def __init__(self, owner: SessionOwner, *, server: bool, limits: SessionLimits, clock: Callable[[], float]) -> None:
        super().__init__(limits, server=server)
        self._owner = owner
        self._budget = abuse.Budget(clock, limits.concurrent_streams)
        self._early_urgency: dict[int, int] = {}  # by the number of a stream that is not open yet
        self._gaps: list[range] = []  # of stream numbers, the latest ones
        self._initial_window = DEFAULT_WINDOW  # of streams to us, as the peer knows it
        self.settings_acknowledged = False
        self.peer_going_away = False  # it has sent GOAWAY: no more streams
        self.peer_last_id = MAX_STREAM_ID  # … and serves ours up to this one
        self.work = 0  # units of work done since the owner set it to 0

    # --- states --------------------------------------------------------------------------------------------------

    def _state_of(self, stream_id: int) -> State:
        """Of any stream; 0 is idle for ever."""
        stream = self.streams.get(stream_id)
        if stream is not None:
            return stream.state
        # Even numbers are the server's, and nobody pushes.
        if not stream_id & 1 or stream_id > self.last_id:
            return IDLE
        # Section 6.8: "After sending a GOAWAY frame, the sender can discard frames for streams initiated by the
        # receiver with identifiers higher than the identified last stream."
        if stream_id in self._resets or (self._server and 0 <= self._last_accepted < stream_id):
            return RESET
        return SKIPPED if any(stream_id in gap for gap in self._gaps) else CLOSED

    def _skip(self, last_id: int, stream_id: int) -> None:
        """All odd numbers between them: never opened, and too late for it now."""
        self._gaps.append(range(last_id + 2 if last_id else 1, stream_id, 2))
        del self._gaps[:-REMEMBERED_GAPS]

    def _fail(self, stream_id: int, fault: StreamFault) -> None:
        """A stream error: RST_STREAM, and whose stream it is is told."""
        state = self._state_of(stream_id)
        if state is IDLE:  # section 6.4: "RST_STREAM frames MUST NOT be sent for a stream in the "idle" state"
            raise ConnectionFault(fault.code, fault.detail)
        self._budget.points -= abuse.RESET_CAUSED
        stream = self.streams.get(stream_id)
        if stream is not None and not state.over:
            stream.fault = fault.detail
            self._close(stream, RESET)
            self._send_reset(stream_id, fault.code)
            if not stream.released:
                stream.reset_received(fault.code)
        elif state is not RESET:  # "an endpoint SHOULD NOT send more than one RST_STREAM frame for any stream"
            if stream is not None:
                stream.state = RESET
            self._send_reset(stream_id, fault.code)

    def _spend_credit(self, units: int, what: str, points: float = abuse.CONTROL) -> None:
        """For what is free in proportion to what we have sent, and costs `points` beyond."""
        self._credit = left = min(self._credit, abuse.MOST_CREDIT) - units
        if left < 0:
            self._credit = 0
            self._budget.spend(points, what)

    # --- SETTINGS ------------------------------------------------------------------------------------------------

    def _settings(self, stream_id: int, flags: int, payload: bytes) -> None:
        # "If an endpoint receives a SETTINGS frame whose Stream Identifier field is anything other than 0x00, the
        # endpoint MUST respond with a connection error of type PROTOCOL_ERROR."
        if stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "SETTINGS on a stream")
        self._budget.spend(abuse.CONTROL, "SETTINGS")
        if flags & ACK:
            # "Receipt of a SETTINGS frame with the ACK flag set and a length field value other than 0 MUST be treated
            # as a connection error of type FRAME_SIZE_ERROR."
            if payload:
                raise ConnectionFault(FRAME_SIZE_ERROR, "SETTINGS acknowledged with a payload")
            self._settings_acknowledged()
            return
        # "A SETTINGS frame with a length other than a multiple of 6 octets MUST be treated as a connection error of
        # type FRAME_SIZE_ERROR."
        if len(payload) % 6:
            raise ConnectionFault(FRAME_SIZE_ERROR, "SETTINGS not of whole entries")
        self.work += len(payload) // (6 * SETTINGS_IN_A_UNIT)
        peer = self.peer
        table, window = peer.header_table_size, peer.initial_window
        peer.take(payload, from_server=not self._server)
        # Section 4.3.1: who acknowledges a smaller table "MUST start the next field block with a Dynamic Table Size
        # Update instruction". Our encoder has no use for any, so it says 0, once and for all.
        if peer.header_table_size < table == HEADER_TABLE:
            self._table_update = TABLE_SIZE_ZERO
        difference = peer.initial_window - window
        if difference:
            self._move_windows(difference)
        self.out.append(SETTINGS_ACK)
        self._owner.settings_received()

    def _move_windows(self, difference: int) -> None:
        """Section 6.9.2: "a receiver MUST adjust the size of all stream flow-control windows that it maintains"."""
        self.work += len(self.streams) // STREAMS_IN_A_UNIT
        for stream in self.streams.values():
            # "An endpoint MUST treat a change to SETTINGS_INITIAL_WINDOW_SIZE that causes any flow-control window to
            # exceed the maximum size as a connection error of type FLOW_CONTROL_ERROR."
            if stream.state.sends and stream.send_window + difference > MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window beyond 2^31-1")
            self._move_window(stream, difference)

    def _move_window(self, stream: Stream, difference: int) -> None:
        stream.send_window += difference
        if stream.waiting:
            if stream.send_window <= 0:
                self._lanes.remove(stream)
            elif stream.lane is None:
                self._lanes.add(stream)

    def _settings_acknowledged(self) -> None:
        if self.settings_acknowledged:
            return  # there was one SETTINGS frame to acknowledge; `_budget` counts the others
        self.settings_acknowledged = True
        difference = self._limits.window - self._initial_window
        self._initial_window = self._limits.window
        for stream in self.streams.values():
            if stream.content_window is not None:
                stream.content_window.resize(difference)

    # --- WINDOW_UPDATE -------------------------------------------------------------------------------------------

    def _window_update(self, stream_id: int, flags: int, payload: bytes) -> None:
        # "A WINDOW_UPDATE frame with a length other than 4 octets MUST be treated as a connection error of type
        # FRAME_SIZE_ERROR."
        if len(payload) != 4:
            raise ConnectionFault(FRAME_SIZE_ERROR, "WINDOW_UPDATE not of 4 octets")
        self._spend_credit(abuse.UPDATE_UNITS, "WINDOW_UPDATE")
        increment = int.from_bytes(payload, "big") & MAX_WINDOW
        # "A receiver MUST treat the receipt of a WINDOW_UPDATE frame with a flow-control window increment of 0 as a
        # stream error of type PROTOCOL_ERROR; errors on the connection flow-control window MUST be treated as a
        # connection error." So with a window beyond 2^31-1, of type FLOW_CONTROL_ERROR (section 6.9.1).
        if not stream_id:
            if not increment:
                raise ConnectionFault(PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
            self.send_window += increment
            if self.send_window > MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window beyond 2^31-1")
            return
        stream = self.streams.get(stream_id)
        if stream is None or stream.state.over:
            if self._state_of(stream_id) is IDLE:
                raise ConnectionFault(PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream")
            return  # "A receiver MUST NOT treat this as an error"
        if not increment:
            raise StreamFault(PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
        if stream.state.sends:
            if stream.send_window + increment > MAX_WINDOW:
                raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "the stream's window beyond 2^31-1")
            self._move_window(stream, increment)

    # --- PING and GOAWAY -----------------------------------------------------------------------------------------

    def _ping(self, stream_id: int, flags: int, payload: bytes) -> None:
        # "If a PING frame is received with a Stream Identifier field value other than 0x00, the recipient MUST respond
        # with a connection error of type PROTOCOL_ERROR. Receipt of a PING frame with a length field value other than 8
        # MUST be treated as a connection error of type FRAME_SIZE_ERROR."
        if stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFault(FRAME_SIZE_ERROR, "PING not of 8 octets")
        if flags & ACK and self._pings and payload == PING_PAYLOAD:
            self._pings -= 1
            self._owner.ping_acknowledged()
            return
        self._spend_credit(abuse.ANSWER_UNITS, "PING")
        if not flags & ACK:
            self.out.append(ping(payload, ack=True))

    def _goaway(self, stream_id: int, flags: int, payload: bytes) -> None:
        # "An endpoint MUST treat a GOAWAY frame with a stream identifier other than 0x00 as a connection error of type
        # PROTOCOL_ERROR."
        if stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise ConnectionFault(FRAME_SIZE_ERROR, "GOAWAY of less than 8 octets")
        self._budget.spend(abuse.CONTROL, "GOAWAY")
        code = int.from_bytes(payload[4:8], "big")
        # It must not grow (section 6.8).
        last_id = min(int.from_bytes(payload[:4], "big") & MAX_STREAM_ID, self.peer_last_id)
        self.peer_last_id = last_id
        self.peer_going_away = True
        self._owner.going_away(last_id, code)
        if self._server:
            return
        never_taken = [each for each in self.streams.values() if each.id > last_id and not each.state.over]
        for stream in never_taken:
            self._close(stream, CLOSED)
            stream.unprocessed = True
        self._owner.never_taken([each for each in never_taken if not each.released])

    # --- priorities ----------------------------------------------------------------------------------------------

    def _priority(self, stream_id: int, flags: int, payload: bytes) -> None:
        """Section 5.3.2: the tree of RFC 7540 is deprecated, and we say so by SETTINGS_NO_RFC7540_PRIORITIES."""
        # "If a PRIORITY frame is received with a stream identifier of 0x00, the recipient MUST respond with a
        # connection error of type PROTOCOL_ERROR." "A PRIORITY frame with a length other than 5 octets MUST be treated
        # as a stream error of type FRAME_SIZE_ERROR."
        if not stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "PRIORITY on stream 0")
        self._budget.spend(abuse.CONTROL, "PRIORITY")
        if len(payload) != 5:
            raise StreamFault(FRAME_SIZE_ERROR, "PRIORITY not of 5 octets")
        # RFC 7540 section 5.3.1: "A stream cannot depend on itself. An endpoint MUST treat this as a stream error".
        if int.from_bytes(payload[:4], "big") & MAX_STREAM_ID == stream_id:
            raise StreamFault(PROTOCOL_ERROR, "a stream that depends on itself")

    def _priority_update(self, stream_id: int, flags: int, payload: bytes) -> None:
        """RFC 9218 section 7.1: it overrides what a request says itself, also one that is yet to come."""
        # "Clients … that receive a PRIORITY_UPDATE frame MUST treat it as a connection error of type PROTOCOL_ERROR",
        # and so must a server if it comes on a stream, or for stream 0.
        if not self._server or stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "PRIORITY_UPDATE where it may not come")
        if len(payload) < 4:
            raise ConnectionFault(FRAME_SIZE_ERROR, "PRIORITY_UPDATE of less than 4 octets")
        prioritized = int.from_bytes(payload[:4], "big") & MAX_STREAM_ID
        if not prioritized:
            raise ConnectionFault(PROTOCOL_ERROR, "PRIORITY_UPDATE for stream 0")
        self._spend_credit(abuse.ANSWER_UNITS, "PRIORITY_UPDATE")
        urgency = urgency_of(payload[4 : 4 + MAX_PRIORITY])
        stream = self.streams.get(prioritized)
        if stream is not None:
            self.set_urgency(stream, urgency)
        elif self._state_of(prioritized) is IDLE:
            early = self._early_urgency
            early[prioritized] = urgency
            if len(early) > EARLY_PRIORITIES:
                del early[next(iter(early))]

    def _unknown(self, stream_id: int, flags: int, payload: bytes) -> None:
        """Section 4.1: "Implementations MUST ignore and discard frames of unknown types."."""
        self._budget.spend(abuse.CONTROL, "frames of unknown types")
