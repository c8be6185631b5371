"""SETTINGS: what we tell the peer, and what it tells us (RFC 9113 section 6.5; RFC 8441, RFC 9218 section 2.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.http.h2 import frames
from gateway.http.h2.errors import ConnectionFault, ErrorCode

HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6
ENABLE_CONNECT_PROTOCOL: Final = 0x8
NO_RFC7540_PRIORITIES: Final = 0x9

HEADER_TABLE: Final = 4096
"""Octets of the dynamic table by default (section 6.5.2), and of ours."""


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What one connection may have of us."""

    concurrent_streams: int = 256
    window: int = 64 * 1024
    """Octets of a stream that its sender may be ahead of its reader, at first."""
    largest_window: int = 2 * 1024 * 1024
    """…, and at most, after it has grown: 40 MB/s with a round trip of 50 ms, of which a busy core leaves half."""
    growth: int = 8 * 1024 * 1024
    """Octets by which all windows of a connection may have grown."""
    connection_window: int = 16 * 1024 * 1024
    header_list_told: int = 16 * 1024
    """Octets of a decoded field section, as section 6.5.2 counts them, that the peer is told of."""
    header_list: int = 16 * 1024
    """…, and that are decoded: what is somewhat too large can be answered well if it can be read."""
    header_fields: int = 100
    """Fields of one section, crumbs of a cookie and references to the table included (HPACK bomb)."""
    block: int = 64 * 1024
    """Octets of an encoded one, over all its frames."""
    continuations: int = 64
    """CONTINUATION frames of one field block."""

    def announced(self, *, server: bool) -> list[tuple[int, int]]:
        """What is told to the peer; what is not has its default value."""
        pairs = [
            (INITIAL_WINDOW_SIZE, self.window),
            (MAX_HEADER_LIST_SIZE, self.header_list_told),
        ]
        if not server:
            return [(ENABLE_PUSH, 0), *pairs]
        return [
            *pairs,
            (MAX_CONCURRENT_STREAMS, self.concurrent_streams),
            (NO_RFC7540_PRIORITIES, 1),
            (ENABLE_CONNECT_PROTOCOL, 1),
        ]


class PeerSettings:
    """What the peer has told, as far as we heed it; the defaults before (section 6.5.2)."""

    __slots__ = (
        "connect_protocol",
        "header_table_size",
        "initial_window",
        "max_concurrent_streams",
    )

    def __init__(self) -> None:
        self.header_table_size = HEADER_TABLE  # the least it has asked for so far, if less than that
        self.max_concurrent_streams = frames.MAX_STREAM_ID  # no limit
        self.initial_window = frames.DEFAULT_WINDOW
        self.connect_protocol = False

    def take(self, payload: bytes, *, from_server: bool) -> None:
        """Checks and takes one SETTINGS frame's payload. The last value of each counts: nothing happens in between."""
        for name, value in frames.unpack_setting(payload):
            if name == INITIAL_WINDOW_SIZE:
                # "Values above the maximum flow-control window size of 2^31-1 MUST be treated as a connection error
                # of type FLOW_CONTROL_ERROR."
                if value > frames.MAX_WINDOW:
                    raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1")
                self.initial_window = value
            elif name == MAX_CONCURRENT_STREAMS:
                self.max_concurrent_streams = value
            elif name == HEADER_TABLE_SIZE:
                self.header_table_size = min(self.header_table_size, value)
            elif name == MAX_FRAME_SIZE:
                if not frames.MAX_FRAME <= value < 1 << 24:
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS_MAX_FRAME_SIZE out of range")
            elif name == ENABLE_PUSH:
                # "A client MUST treat receipt of a SETTINGS frame with SETTINGS_ENABLE_PUSH set to 1 as a connection
                # error of type PROTOCOL_ERROR."
                if value > 1 or (value and from_server):
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS_ENABLE_PUSH out of range")
            elif name == ENABLE_CONNECT_PROTOCOL:
                # RFC 8441 section 3: "A sender MUST NOT send a SETTINGS_ENABLE_CONNECT_PROTOCOL parameter with the
                # value of 0 after previously sending a value of 1."
                if value > 1 or value < self.connect_protocol:
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS_ENABLE_CONNECT_PROTOCOL out of range")
                self.connect_protocol = value == 1
            elif name == NO_RFC7540_PRIORITIES and value > 1:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS_NO_RFC7540_PRIORITIES out of range")
