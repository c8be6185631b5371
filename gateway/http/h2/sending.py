"""What a session sends: field blocks, content as far as windows and turns allow, and control frames.

Content goes out at once while the transport takes it, the windows are open and nobody waits. Otherwise it waits in its
stream's queue, and the streams wait in lanes by urgency (RFC 9218 section 10): `pump` gives each of the most urgent
lane one frame in turn. A stream whose own window is closed stands in no lane, so it holds up nobody.

A frame in `out` that is not written yet can still get END_STREAM: a head, content and the end of a small answer, given
one after the other, are two frames and not three.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from gateway.http.h2.errors import ErrorCode
from gateway.http.h2.flow import Growth
from gateway.http.h2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    MAX_FRAME,
    goaway,
    header_block,
    pack_header,
    ping,
    rst_stream,
    window_update,
)
from gateway.http.h2.settings import PeerSettings, SessionLimits
from gateway.http.h2.states import CLOSED, RESET, State
from gateway.http.h2.stream import Stream

URGENCIES: Final = 8
REMEMBERED_RESETS: Final = 256
"""Streams reset by us whose peer may not know it yet: what still comes for them is ignored."""
_NO_TABLE: Final = b"\x20"
"""HPACK: the dynamic table's size is 0 from here on (RFC 7541 section 6.3)."""
_PING: Final = b"gateway\x00"


class Sender:
    """The sending half of a session."""

    __slots__ = (
        "_frames_sent",
        "_growth",
        "_lanes",
        "_last_accepted",
        "_limits",
        "_pings",
        "_ready",
        "_resets",
        "_server",
        "_table_update",
        "last_id",
        "out",
        "paused",
        "peer",
        "send_window",
        "stalled",
        "streams",
    )

    def __init__(self, limits: SessionLimits, *, server: bool) -> None:
        self._limits = limits
        self._server = server
        self.out: list[bytes] = []  # to be written; the owner takes it
        self.streams: dict[int, Stream] = {}  # all that their owner has not forgotten
        self.last_id = 0  # the highest id opened: by the peer if we are the server, else by us
        self.peer = PeerSettings()
        self.paused = False  # set by the owner: the transport takes nothing now, all content waits for `pump`
        self.send_window = 65_535  # octets of content that the peer's connection window allows
        self.stalled = 0  # octets that wait, of all streams
        self._ready = 0  # streams in `_lanes`
        self._lanes: list[deque[Stream]] = [deque() for _ in range(URGENCIES)]
        self._growth = Growth(limits.growth)
        self._resets: dict[int, None] = {}  # in the order they happened
        self._frames_sent = 0  # HEADERS and DATA, ever: what entitles the peer to WINDOW_UPDATEs and PINGs
        self._table_update = b""  # has to begin the next field block
        self._pings = 0  # ours that are not acknowledged
        self._last_accepted = -1  # the last stream that GOAWAY has promised to serve, -1: none was sent

    # --- messages ------------------------------------------------------------------------------------------------

    def send_headers(self, stream: Stream, block: bytes, end: bool) -> None:
        """A head, interim or not, encoded. Nothing happens if the stream is no longer open for it."""
        if not stream.state.sends:
            return
        if self._table_update:
            block, self._table_update = self._table_update + block, b""
        self._frames_sent += 1
        length = len(block)
        if length <= MAX_FRAME:
            flags = END_HEADERS | END_STREAM if end else END_HEADERS
            stream.last_header = header = pack_header(length >> 8, length & 0xFF, HEADERS, flags, stream.id)
            self.out.append(header)
            self.out.append(block)
        else:
            self.out += header_block(stream.id, END_STREAM if end else 0, block)
        if end:
            stream.ending = True
            self._end_sent(stream)

    def send_data(self, stream: Stream, data: bytes) -> None:
        """Content. `stream.waiting` tells how much of it has to wait; `drained` follows if that is more than 0."""
        if not data or not stream.state.sends or stream.ending:
            return
        length = len(data)
        if (
            self._ready
            or self.paused
            or length > MAX_FRAME
            or length > stream.send_window
            or length > self.send_window
            or stream.waiting
        ):
            self._send_or_wait(stream, data)
            return
        self.send_window -= length
        stream.send_window -= length
        self._frames_sent += 1
        stream.last_header = header = pack_header(length >> 8, length & 0xFF, DATA, 0, stream.id)
        self.out.append(header)
        self.out.append(data)

    def end_stream(self, stream: Stream, trailers: bytes = b"") -> None:
        """Nothing follows but what waits, and `trailers`, an encoded block."""
        if not stream.state.sends or stream.ending:
            return
        stream.ending = True
        stream.trailers = trailers
        if not stream.waiting:
            self._send_end(stream)

    def reset(self, stream: Stream | int, code: ErrorCode) -> None:
        """Ends a stream in both directions at once; its owner is not told. Nothing happens if it is closed."""
        stream_id = stream if isinstance(stream, int) else stream.id
        known = self.streams.get(stream_id)
        if known is not None:
            if known.state is CLOSED or known.state is RESET:
                return
            self._close(known, RESET)
        self.out.append(rst_stream(stream_id, code))
        resets = self._resets
        resets[stream_id] = None
        if len(resets) > REMEMBERED_RESETS:
            del resets[next(iter(resets))]

    def forget(self, stream: Stream) -> None:
        """The owner's work for it has ended. What waits is still sent; who still sends to us is asked to stop."""
        stream.released = True
        state = stream.state
        if state is CLOSED or state is RESET:
            self._remove(stream)
        elif not stream.ending:
            self.reset(stream, ErrorCode.CANCEL)
        elif not state.sends:
            self._stop_peer(stream)

    # --- turns ---------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether `pump` would send something."""
        return self._ready > 0 and self.send_window > 0

    def pump(self, most: int) -> int:
        """Sends what waits, about `most` octets of it; returns how many it was."""
        sent = 0
        while self._ready and sent < most and self.send_window > 0:
            for lane in self._lanes:
                if lane:
                    sent += self._take_turn(lane.popleft())
                    break
        return sent

    def _take_turn(self, stream: Stream) -> int:
        """Sends one frame of a stream that has come to the head of its lane."""
        self._ready -= 1
        stream.lane = None
        length = min(MAX_FRAME, stream.waiting, stream.send_window, self.send_window)
        data = _take(stream, length)
        self.stalled -= length
        waiting = stream.waiting
        self._send_frame(stream, data)
        if not waiting:
            if stream.ending:
                self._send_end(stream)
            stream.drained()
        elif stream.send_window > 0:
            self._wait_turn(stream)
        return length

    def _wait_turn(self, stream: Stream) -> None:
        stream.lane = lane = self._lanes[stream.urgency]
        lane.append(stream)
        self._ready += 1

    def _leave_lane(self, stream: Stream) -> None:
        if stream.lane is not None:
            stream.lane.remove(stream)
            stream.lane = None
            self._ready -= 1

    def set_urgency(self, stream: Stream, urgency: int) -> None:
        """From now on, for what waits already, too."""
        stream.urgency = urgency
        if stream.lane is not None:
            self._leave_lane(stream)
            self._wait_turn(stream)

    def _send_or_wait(self, stream: Stream, data: bytes) -> None:
        """Content that is more than a frame, or than may be sent now."""
        if not (self._ready or self.paused or stream.waiting):
            sendable = min(len(data), stream.send_window, self.send_window)
            for at in range(0, sendable, MAX_FRAME):
                self._send_frame(stream, data[at : min(at + MAX_FRAME, sendable)])
            if sendable > 0:
                data = data[sendable:]
                if not data:
                    return
        if stream.queue is None:
            stream.queue = deque()
        stream.queue.append(data)
        stream.waiting += len(data)
        self.stalled += len(data)
        if stream.lane is None and stream.send_window > 0:
            self._wait_turn(stream)

    def _send_frame(self, stream: Stream, data: bytes) -> None:
        length = len(data)
        self.send_window -= length
        stream.send_window -= length
        self._frames_sent += 1
        stream.last_header = header = pack_header(length >> 8, length & 0xFF, DATA, 0, stream.id)
        self.out.append(header)
        self.out.append(data)

    def _send_end(self, stream: Stream) -> None:
        """END_STREAM, on the last frame if that is not written yet."""
        out = self.out
        if stream.trailers:
            self.out += header_block(stream.id, END_STREAM, stream.trailers)
        elif len(out) > 1 and out[-2] is stream.last_header:
            header = out[-2]
            out[-2] = header[:4] + bytes((header[4] | END_STREAM,)) + header[5:]
        else:
            out.append(pack_header(0, 0, DATA, END_STREAM, stream.id))
        self._end_sent(stream)

    # --- ends ----------------------------------------------------------------------------------------------------

    def _end_sent(self, stream: Stream) -> None:
        stream.state = state = stream.state.after_end_sent
        if state is CLOSED:
            if stream.released:
                self._remove(stream)
        elif stream.released:
            self._stop_peer(stream)

    def _stop_peer(self, stream: Stream) -> None:
        """Section 8.1: a server that has sent a complete response may ask the client to stop, without an error."""
        self.reset(stream, ErrorCode.NO_ERROR if self._server else ErrorCode.CANCEL)

    def _close(self, stream: Stream, state: State) -> None:
        """Ends a stream whatever it was about to do."""
        stream.state = state
        stream.ending = True
        if stream.waiting:
            self.stalled -= stream.waiting
            stream.waiting = stream.offset = 0
            stream.queue = None
            self._leave_lane(stream)
        if stream.released:
            self._remove(stream)

    def _remove(self, stream: Stream) -> None:
        if self.streams.pop(stream.id, None) is not None and stream.content_window is not None:
            self._growth.left += stream.content_window.grown

    # --- the connection ------------------------------------------------------------------------------------------

    def ping(self) -> None:
        """`SessionOwner.ping_acknowledged` follows if the peer is alive."""
        self._pings += 1
        self.out.append(ping(_PING, ack=False))

    def go_away(self, code: ErrorCode, last_id: int | None = None, detail: bytes = b"") -> None:
        """No streams are served beyond `last_id`, by default the last one that was opened."""
        if last_id is None:
            last_id = self.last_id if self._server else 0
        self._last_accepted = last_id
        self.out.append(goaway(last_id, code, detail))

    def consumed(self, stream: Stream, octets: int) -> None:
        """So much content of this stream has been passed on; its sender may send as much again."""
        window = stream.content_window
        if window is None or not stream.state.receives:
            return
        increment = window.give(octets)
        if increment:
            increment += window.grow(self._growth, self._limits.largest_window)
            self.out.append(window_update(stream.id, increment))


def _take(stream: Stream, length: int) -> bytes:
    """The next `length` octets of what waits, which is at least as much."""
    queue = stream.queue
    assert queue is not None
    stream.waiting -= length
    begin = stream.offset
    first = queue[0]
    end = begin + length
    if end < len(first):
        stream.offset = end
        return first[begin:end]
    pieces = [first[begin:]]
    length -= len(first) - begin
    queue.popleft()
    while length:
        first = queue[0]
        if length < len(first):
            pieces.append(first[:length])
            break
        pieces.append(first)
        length -= len(first)
        queue.popleft()
    stream.offset = length
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
