"""What a session receives of messages: heads, content, trailers, and their ends (RFC 9113 sections 5.1, 6.1 and 8.1).

A stream lives here from `adopt` or `open_stream` on. Field blocks come whole, content as its frames bring it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.counting import counted
from gateway.http.h2 import abuse
from gateway.http.h2.control import FRAME_SIZE_ERROR, PROTOCOL_ERROR, Control
from gateway.http.h2.decoder import DecodedField, Decoder, HpackError
from gateway.http.h2.errors import ConnectionFault, ErrorCode, StreamFault
from gateway.http.h2.flow import ReceiveWindow
from gateway.http.h2.frames import (
    DATA,
    DEFAULT_WINDOW,
    END_STREAM,
    HEADERS,
    MAX_STREAM_ID,
    PADDED,
    RST_STREAM,
    SELF_DEPENDENT,
    unwrapped,
    window_update,
)
from gateway.http.h2.owner import SessionOwner
from gateway.http.h2.settings import HEADER_TABLE, SessionLimits
from gateway.http.h2.states import CLOSED, HALF_CLOSED_REMOTE, OPEN, RESET, Verdict, received
from gateway.http.h2.stream import Stream

BLOCK_WORK: Final = 2
"""Units of work (`turns`) that a field block is, beside one for each `LOOK` octets of it."""
RESET_WORK: Final = 32
"""Of a stream that the peer resets: whoever uses it answers, retries or records."""
LOOK: Final = 64
HEAD_TOO_LARGE: Final = "a head that is too large"
"""The `fault` of a stream whose answer has such a head."""


class Messages(Control):
    """The part of a session that receives them."""

    __slots__ = ("_decoder", "_head_ended", "_window", "block_octets")

    def __init__(self, owner: SessionOwner, *, server: bool, limits: SessionLimits, clock: Callable[[], float]) -> None:
        super().__init__(owner, server=server, limits=limits, clock=clock)
        self._decoder = Decoder(HEADER_TABLE)
        self._head_ended = False  # the head that `request_received` is given is all of its message
        self._window = ReceiveWindow(limits.connection_window)
        self._window.left = DEFAULT_WINDOW
        self.block_octets = 0  # encoded, of the field block that is being received, or was last

    # --- streams -------------------------------------------------------------------------------------------------

    def adopt(self, stream: Stream) -> None:
        """Server: the stream of the request that was just received.

        Raises StreamFault if content is declared, and there is none.
        """
        if self._head_ended:
            if stream.expected > 0:
                stream.expect(stream.expected, True)
            stream.state = HALF_CLOSED_REMOTE
        else:
            stream.state = OPEN
        stream.head_received = True
        stream.send_window = self.peer.initial_window
        if self._early_urgency:
            stream.urgency = self._early_urgency.pop(stream.id, stream.urgency)
        self.streams[stream.id] = stream

    def fault(self, stream_id: int, code: ErrorCode, detail: str = "") -> None:
        """Resets a stream for what the peer did. If it has done so too often, the next `receive` says so."""
        self._fail(stream_id, StreamFault(code, detail))

    @property
    def can_open(self) -> bool:
        """Client: whether the peer takes one more stream."""
        return (
            not self.peer_going_away
            and len(self.streams) < self.peer.max_concurrent_streams
            and self.last_id < MAX_STREAM_ID - 1
        )

    def open_stream(self, stream: Stream, block: bytes, end: bool) -> None:
        """Client: a request, with its encoded head; only if `can_open`."""
        self.last_id = stream.id = self.last_id + 2 if self.last_id else 1
        stream.state = OPEN
        stream.send_window = self.peer.initial_window
        self.streams[stream.id] = stream
        self.send_headers(stream, block, end)

    def _judge(self, stream_id: int, kind: int) -> None:
        """A frame for a stream that it may not come for; returns if it is to be ignored."""
        state = self._state_of(stream_id)
        verdict = received(state, kind)
        if verdict is Verdict.ALL_CLOSED:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, f"HEADERS in state {state!r}")
        if verdict is Verdict.STREAM_CLOSED:
            raise StreamFault(ErrorCode.STREAM_CLOSED, f"a frame of type {kind} in state {state!r}")
        # TAKEN: of an idle stream, HEADERS would be; but not if it is for us to open it (section 5.1), or nobody can:
        # sections 6.1, 6.2 and 6.4 have "MUST be associated with a stream", which 0 is not.
        if verdict is not Verdict.IGNORED:
            raise ConnectionFault(PROTOCOL_ERROR, f"a frame of type {kind} in state {state!r}")
        what = f"frames of type {kind} for closed streams"
        if state is RESET:
            self._spend_credit(abuse.UPDATE_UNITS, what, abuse.IGNORED_DATA if kind == DATA else abuse.CONTROL)
        else:
            self._spend_credit(abuse.ANSWER_UNITS, what)

    # --- field blocks ------------------------------------------------------------------------------------------------

    def _block_received(self, stream_id: int, flags: int, block: bytes) -> None:
        """A head or trailers. Decoded whatever becomes of them, or the tables are out of step (section 4.3)."""
        self.block_octets = size = len(block)
        self.work += BLOCK_WORK + size // LOOK
        limits = self._limits
        try:
            fields = self._decoder.decode(block, limits.header_list, limits.header_fields)
        except HpackError as error:
            # "A decoding error in a field block MUST be treated as a connection error of type COMPRESSION_ERROR."
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, str(error)) from None
        if stream_id > self.last_id and self._server:
            self._open(stream_id, flags, fields)
            return
        stream = self.streams.get(stream_id)
        if stream is None or not stream.state.receives:
            self._judge(stream_id, HEADERS)
        # RFC 7540 section 5.3.1: "A stream cannot depend on itself. An endpoint MUST treat this as a stream error".
        elif flags & SELF_DEPENDENT:
            raise StreamFault(PROTOCOL_ERROR, "a stream that depends on itself")
        elif stream.head_received:
            self._trailers(stream, flags, fields)
        else:
            self._answer_head(stream, flags, fields)

    def _open(self, stream_id: int, flags: int, fields: list[DecodedField] | None) -> None:
        """Server: a request."""
        # Section 5.1.1: "Streams initiated by a client MUST use odd-numbered stream identifiers". "An endpoint that
        # receives an unexpected stream identifier MUST respond with a connection error of type PROTOCOL_ERROR."
        if not stream_id & 1:
            raise ConnectionFault(PROTOCOL_ERROR, "a request on an even stream")
        last_id = self.last_id
        self.last_id = stream_id
        if stream_id - last_id > 2 or (stream_id > 1 and not last_id):
            self._skip(last_id, stream_id)
        if 0 <= self._last_accepted < stream_id:
            self._budget.spend(abuse.REFUSED, "streams after GOAWAY")
        # Section 5.1.2: "An endpoint that receives a HEADERS frame that causes its advertised concurrent stream limit
        # to be exceeded MUST treat this as a stream error of type PROTOCOL_ERROR or REFUSED_STREAM."
        elif len(self.streams) >= self._limits.concurrent_streams:
            self.refuse(stream_id)
        elif flags & SELF_DEPENDENT:
            raise StreamFault(PROTOCOL_ERROR, "a stream that depends on itself")
        else:
            self._head_ended = ended = flags & END_STREAM > 0
            self._owner.request_received(stream_id, fields, ended)

    def refuse(self, stream_id: int) -> None:
        """Server: a stream is too many; nothing was done for it (section 8.7), so the client may ask again.

        Raises ConnectionFault(ENHANCE_YOUR_CALM) if that was so too often.
        """
        self._owner.stream_refused()
        self._send_reset(stream_id, ErrorCode.REFUSED_STREAM)
        self._budget.spend(abuse.REFUSED, "streams beyond the limit")

    def _answer_head(self, stream: Stream, flags: int, fields: list[DecodedField] | None) -> None:
        """Client: interim or final."""
        ended = flags & END_STREAM > 0
        if fields is None:
            raise StreamFault(PROTOCOL_ERROR, HEAD_TOO_LARGE)
        if not _is_interim(fields):
            stream.head_received = True
        # Section 8.1: "A HEADERS frame with the END_STREAM flag set that carries an informational status code is
        # malformed."
        elif ended:
            raise StreamFault(PROTOCOL_ERROR, "an interim response with END_STREAM")
        else:
            self._spend_credit(abuse.ANSWER_UNITS, "interim responses")
        if ended:
            self._end_received(stream)
        if not stream.released:
            stream.headers_received(fields, ended)

    def _trailers(self, stream: Stream, flags: int, fields: list[DecodedField] | None) -> None:
        # Section 8.1: "An endpoint that receives a HEADERS frame without the END_STREAM flag set after receiving the
        # HEADERS frame that opens a request or after receiving a final (non-informational) status code MUST treat the
        # corresponding request or response as malformed."
        if not flags & END_STREAM:
            raise StreamFault(PROTOCOL_ERROR, "trailers without END_STREAM")
        if fields is None:
            raise StreamFault(PROTOCOL_ERROR, "trailers that are too large")
        if stream.expected > 0:
            raise StreamFault(
                PROTOCOL_ERROR, f"content is {counted(stream.expected, 'octet')} shorter than content-length says"
            )
        self._end_received(stream)
        if not stream.released:
            stream.end_received(fields)

    # --- content and ends ----------------------------------------------------------------------------------------

    def _data(self, stream_id: int, flags: int, payload: bytes) -> None:
        size = len(payload)  # padding included (section 6.1)
        # Section 6.9: "A receiver that receives a flow-controlled frame MUST always account for its contribution
        # against the connection flow-control window". It is granted anew at once: the streams' windows bound what is
        # held.
        granted = self._window
        granted.left -= size
        if granted.left < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the connection's window allows")
        increment = granted.give(size)
        if increment:
            self.out.append(window_update(0, increment))
        stream = self.streams.get(stream_id)
        if stream is None or not stream.state.receives:
            self._judge(stream_id, DATA)
            return
        # Section 8.1: a message is "one HEADERS frame …, zero or more DATA frames …".
        if not stream.head_received:
            raise StreamFault(PROTOCOL_ERROR, "DATA before the head of the response")
        ended = flags & END_STREAM
        window = stream.content_window
        if window is None:
            stream.content_window = window = ReceiveWindow(self._initial_window)
        window.left -= size
        if window.left < 0 and size:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the stream's window allows")
        if flags & PADDED:
            payload, _ = unwrapped(payload, PADDED)
            self.consumed(stream, size - len(payload))
            size = len(payload)
        if size < abuse.TINY and not ended:
            self._budget.spend(abuse.TINY_DATA if size else abuse.EMPTY_DATA, "DATA next to empty")
        # Section 8.1.1: "A request or response is also malformed if the value of a content-length header field does not
        # equal the sum of the DATA frame payload lengths that form the content".
        left = stream.expected
        if left >= 0:
            stream.expected = left = left - size
            if left < 0 or (left and ended):
                raise StreamFault(
                    PROTOCOL_ERROR, f"content and content-length differ by {counted(abs(left), 'octet')} or more"
                )
        if size and not stream.released:
            stream.data_received(payload)
        if ended and stream.state.receives:  # it may have been reset meanwhile
            self._end_received(stream)
            if not stream.released:
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
        if stream is None or stream.state.over:
            self._judge(stream_id, RST_STREAM)
            return
        # A client may ask and ask, and drop it at once; a server drops what it was asked for, once each.
        if self._server and stream.last_header is None:
            if stream.is_young():
                self._budget.points -= abuse.RESET_RECEIVED
        else:
            self._spend_credit(abuse.ANSWER_UNITS, "RST_STREAM")
        code = int.from_bytes(payload, "big")
        released = stream.released
        self._close(stream, CLOSED)
        if not released:
            self.work += RESET_WORK
            stream.unprocessed = code == ErrorCode.REFUSED_STREAM  # section 8.7
            stream.reset_received(code)
        if self._budget.points < 0:
            self._budget.check("streams given up")


def _is_interim(fields: list[DecodedField]) -> bool:
    """Whether a response's status is 1xx; if it has none, it is for others to say so."""
    return any(field.name == b":status" and len(field.value) == 3 and field.value[:1] == b"1" for field in fields)
