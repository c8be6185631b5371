"""What a session sends: field blocks, content as far as windows and turns allow, and the ends of streams.

Content goes out at once while the transport takes it, the windows are open and nobody waits. Otherwise it waits in its
stream's outbox, and the stream, once its own window is open, for its turn (`scheduler`). `pump` gives turns of a frame
each. A frame in `out` that is not written yet can still get END_STREAM: a head, content and the end of a small answer,
given one after the other, are two frames and not three.
"""

from __future__ import annotations

from typing import Final

from gateway.http.h2.abuse import CREDIT, TINY
from gateway.http.h2.errors import ErrorCode
from gateway.http.h2.flow import Growth
from gateway.http.h2.frames import (
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    MAX_FRAME,
    MAX_STREAM_ID,
    frame_header,
    goaway,
    header_block,
    ping,
    rst_stream,
    window_update,
)
from gateway.http.h2.outbox import Outbox
from gateway.http.h2.scheduler import Lanes
from gateway.http.h2.settings import PeerSettings, SessionLimits
from gateway.http.h2.states import CLOSED, RESET, State
from gateway.http.h2.stream import Stream

REMEMBERED_RESETS: Final = 1024
"""Streams reset by us whose peer may not know it yet: what still comes for them is ignored."""
PING_PAYLOAD: Final = b"gateway\x00"
NO_HEADER: Final = b""
"""Of a frame that cannot get END_STREAM any more."""


class Sender:
    """The sending half of a session. All of it may be called at any time, and does nothing where it is too late."""

    __slots__ = (
        "_credit",
        "_growth",
        "_lanes",
        "_last_accepted",
        "_limits",
        "_pings",
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
        "turned",
    )

    def __init__(self, limits: SessionLimits, *, server: bool) -> None:
        self._limits = limits
        self._server = server
        self.out: list[bytes] = []  # to be written; the owner takes it
        self.streams: dict[int, Stream] = {}  # all that their owner has not forgotten
        self.last_id = 0  # the highest one opened: by the peer if we are the server, else by us
        self.peer = PeerSettings()
        self.paused = False  # set by the owner: the transport takes nothing now, so all content waits
        self.send_window = DEFAULT_WINDOW  # octets of content that the peer's connection window allows
        self.stalled = 0  # octets of content that wait, of all streams
        self.turned = 0  # octets of content that have waited and had their turn, of all streams
        self._lanes = Lanes()
        self._growth = Growth(limits.growth)
        self._resets: dict[int, None] = {}  # as a set, in the order they happened
        self._credit = CREDIT  # units of what is free for the peer (`abuse`)
        self._table_update = b""  # what the next field block has to begin with
        self._pings = 0  # ours, not acknowledged yet
        self._last_accepted = -1  # the last stream that our GOAWAY promises to serve, -1: none was sent

    # --- messages ------------------------------------------------------------------------------------------------

    def send_headers(self, stream: Stream, block: bytes, end: bool) -> None:
        """A head, interim or final, encoded."""
        if not stream.state.sends or stream.ending:
            return
        if self._table_update:
            block = self._table_update + block
            self._table_update = b""
        self._credit += CREDIT
        length = len(block)
        if length <= MAX_FRAME:
            flags = END_HEADERS | END_STREAM if end else END_HEADERS
            stream.last_header = header = frame_header(length, HEADERS, flags, stream.id)
            out = self.out
            out.append(header)
            out.append(block)
        else:
            stream.last_header = NO_HEADER
            self.out += header_block(stream.id, END_STREAM if end else 0, block)
        if end:
            stream.ending = True
            self._end_sent(stream)

    def send_data(self, stream: Stream, data: bytes) -> None:
        """Content. `stream.waiting` tells how much has to wait; if that is more than 0, `drained` follows."""
        length = len(data)
        if (
            length > MAX_FRAME
            or length > stream.send_window
            or length > self.send_window
            or self._lanes.count
            or self.paused
            or stream.waiting
            or not length
            or stream.ending
            or not stream.state.sends
        ):
            self._send_or_wait(stream, data)
            return
        # As _send_frame, without the call.
        self.send_window -= length
        stream.send_window -= length
        self._credit += CREDIT
        stream.last_header = header = frame_header(length, DATA, 0, stream.id)
        out = self.out
        out.append(header)
        out.append(data)

    def end_stream(self, stream: Stream, trailers: bytes = b"") -> None:
        """Nothing follows but what waits, and `trailers`, an encoded block."""
        if not stream.state.sends or stream.ending:
            return
        stream.ending = True
        stream.trailers = trailers
        if not stream.waiting:
            self._send_end(stream)

    def reset(self, stream: Stream | int, code: int) -> None:
        """Ends a stream in both directions at once. Its owner, who wants it so, is not told."""
        stream_id = stream if isinstance(stream, int) else stream.id
        known = self.streams.get(stream_id)
        if known is not None:
            if known.state.over:
                return
            self._close(known, RESET)
        elif not stream_id:
            return  # was never opened
        self._credit += CREDIT
        self._send_reset(stream_id, code)

    def forget(self, stream: Stream) -> None:
        """The owner's work for it has ended, and it no longer counts. What waits, if `end_stream` was said, is still
        sent; a peer that has not ended its message is asked to stop."""
        stream.released = True
        if stream.state.over:
            self._remove(stream)
        elif not stream.ending:
            self.reset(stream, ErrorCode.CANCEL)
        elif not stream.state.sends:
            self._stop_peer(stream)

    # --- turns ---------------------------------------------------------------------------------------------------

    def pump(self, most: int) -> int:
        """Sends of what waits, until it was `most` octets or more; returns how many it was."""
        sent = 0
        lanes = self._lanes
        while lanes.count and sent < most and self.send_window > 0:
            sent += self._take_turn(lanes.take())
        return sent

    def set_urgency(self, stream: Stream, urgency: int) -> None:
        """… of what waits already, too; while nothing waits, `stream.urgency` can be set by itself."""
        stream.urgency = urgency
        if stream.lane is not None:
            self._lanes.remove(stream)
            self._lanes.add(stream)

    def _take_turn(self, stream: Stream) -> int:
        length = min(MAX_FRAME, stream.waiting, stream.send_window, self.send_window)
        outbox = stream.outbox
        assert outbox is not None  # it waits
        self._send_frame(stream, outbox.take(length))
        self.stalled -= length
        self.turned += length
        stream.waiting -= length
        if not stream.waiting:
            if stream.ending:
                self._send_end(stream)
            stream.drained()
        else:
            if stream.send_window > 0:
                self._lanes.add(stream)
            if length < TINY:
                self._credit -= CREDIT  # a window opened by a few octets pays for no other such frame
        return length

    def _send_or_wait(self, stream: Stream, data: bytes) -> None:
        """Content that is more than a frame, or more than may be sent now; or none, or too late."""
        if not data or stream.ending or not stream.state.sends:
            return
        if not (self._lanes.count or self.paused or stream.waiting):
            sendable = min(len(data), stream.send_window, self.send_window)
            if sendable > 0:
                for at in range(0, sendable, MAX_FRAME):
                    self._send_frame(stream, data[at : min(at + MAX_FRAME, sendable)])
                if sendable == len(data):
                    return
                data = data[sendable:]
        if stream.outbox is None:
            stream.outbox = Outbox()
        stream.outbox.add(data)
        stream.waiting += len(data)
        self.stalled += len(data)
        if stream.lane is None and stream.send_window > 0:
            self._lanes.add(stream)

    def _send_frame(self, stream: Stream, data: bytes) -> None:
        length = len(data)
        self.send_window -= length
        stream.send_window -= length
        self._credit += CREDIT
        stream.last_header = header = frame_header(length, DATA, 0, stream.id)
        self.out.append(header)
        self.out.append(data)

    # --- ends ----------------------------------------------------------------------------------------------------

    def _send_end(self, stream: Stream) -> None:
        """END_STREAM; on the last frame, if that is not written yet."""
        out = self.out
        if stream.trailers:
            self._credit += CREDIT
            out += header_block(stream.id, END_STREAM, self._table_update + stream.trailers)
            self._table_update = b""
        elif len(out) > 1 and out[-2] is stream.last_header:
            header = out[-2]
            length = len(out[-1])
            out[-2] = frame_header(length, header[3], header[4] | END_STREAM, stream.id)
        else:
            out.append(frame_header(0, DATA, END_STREAM, stream.id))
        self._end_sent(stream)

    def _end_sent(self, stream: Stream) -> None:
        stream.state = state = stream.state.after_end_sent
        if stream.released:
            if state is CLOSED:
                self._remove(stream)
            else:
                self._stop_peer(stream)

    def _stop_peer(self, stream: Stream) -> None:
        """Section 8.1: a server that has sent a complete response may ask the client to stop, without an error."""
        self.reset(stream, ErrorCode.NO_ERROR if self._server else ErrorCode.CANCEL)

    def _send_reset(self, stream_id: int, code: int) -> None:
        self.out.append(rst_stream(stream_id, code))
        resets = self._resets
        resets[stream_id] = None
        if len(resets) > REMEMBERED_RESETS:
            del resets[next(iter(resets))]

    def _close(self, stream: Stream, state: State) -> None:
        """By RST_STREAM, whatever it was about to do."""
        stream.state = state
        stream.ending = True
        if stream.waiting:
            self.stalled -= stream.waiting
            stream.waiting = 0
            stream.outbox = None
            self._lanes.remove(stream)
        if stream.released:
            self._remove(stream)

    def _remove(self, stream: Stream) -> None:
        if self.streams.pop(stream.id, None) is not None and stream.content_window is not None:
            self._growth.left += stream.content_window.grown

    # --- the connection ------------------------------------------------------------------------------------------

    def consumed(self, stream: Stream, octets: int) -> None:
        """So much of this stream's content has been passed on: its sender may send as much again, or more."""
        window = stream.content_window
        if window is None or not stream.state.receives:
            return
        increment = window.give(octets)
        if increment:
            increment += window.grow(increment, self._growth, self._limits.largest_window)
            self.out.append(window_update(stream.id, increment))

    def ping(self) -> None:
        """`SessionOwner.ping_acknowledged` follows, if the peer is alive."""
        self._pings += 1
        self.out.append(ping(PING_PAYLOAD, ack=False))

    def go_away(self, code: ErrorCode, last_id: int | None = None, detail: bytes = b"") -> None:
        """No streams are served beyond `last_id`, by default the last one that was opened."""
        if last_id is None:
            last_id = self.last_id if self._server else 0
        # Section 6.8: "Endpoints MUST NOT increase the value they send in the last stream identifier".
        if 0 <= self._last_accepted < last_id:
            last_id = self._last_accepted
        self._last_accepted = last_id
        self.out.append(goaway(last_id, code, detail))

    def shutdown_notice(self) -> None:
        """No more streams, please: GOAWAY that refuses none yet, and a PING to learn when the peer has read it."""
        self.go_away(ErrorCode.NO_ERROR, MAX_STREAM_ID)
        self.ping()
