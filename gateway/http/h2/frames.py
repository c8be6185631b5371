"""Frames as octets (RFC 9113 sections 4 and 6): their types, flags and sizes, and how each is written.

Of reading, only what two types have in common: each payload is taken apart where it is understood. Knows nothing of
streams and their states.

    +-----------------------------------------------+
    |                 Length (24)                   |
    +---------------+---------------+---------------+
    |   Type (8)    |   Flags (8)   |
    +-+-------------+---------------+-------------------------------+
    |R|                 Stream Identifier (31)                      |
    +=+=============================================================+
    |                   Frame Payload (0...)                      ...
    +---------------------------------------------------------------+
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from librt.strings import BytesWriter, write_i32_be

from gateway.http.h2.errors import ConnectionFault, ErrorCode

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first (section 3.4)."""

# Types (section 6; RFC 9218 section 7.1).
DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9
PRIORITY_UPDATE: Final = 0x10

# Flags.
END_STREAM: Final = 0x1  # DATA, HEADERS
ACK: Final = 0x1  # SETTINGS, PING
END_HEADERS: Final = 0x4  # HEADERS, PUSH_PROMISE, CONTINUATION
PADDED: Final = 0x8  # DATA, HEADERS, PUSH_PROMISE
PRIORITIZED: Final = 0x20  # HEADERS: the flag that section 6.2 calls PRIORITY
SELF_DEPENDENT: Final = 0x100  # none that is sent: a stream that depends on itself by its priority

HEADER: Final = 9
"""Octets of a frame's header."""
MAX_FRAME: Final = 16_384
"""Octets of payload that every endpoint takes (section 4.2), and that we take. We send no larger ones either: a stream
that waits for its turn would wait longer."""
MAX_WINDOW: Final = (1 << 31) - 1
"""Octets (section 6.9.1)."""
MAX_STREAM_ID: Final = (1 << 31) - 1
DEFAULT_WINDOW: Final = 65_535
"""Octets of every window at first (section 6.9.2)."""

unpack_setting: Final = struct.Struct(">HL").iter_unpack

_writer: Final = BytesWriter()
"""Used for each header again: a new one would be an allocation more."""


def frame_header(length: int, kind: int, flags: int, stream_id: int) -> bytes:
    """What stands before a payload of so many octets. For one thread."""
    writer = _writer
    writer.truncate(0)
    write_i32_be(writer, length << 8 | kind)
    writer.append(flags)
    write_i32_be(writer, stream_id)
    return writer.getvalue()


def parse_header(header: bytes) -> tuple[int, int, int, int]:
    """The payload's length, type, flags and stream id, for whoever reads a single frame; `Session` reads in place."""
    high, low, kind, flags, stream_id = struct.unpack(">HBBBL", header)
    return high << 8 | low, kind, flags, stream_id


SETTINGS_ACK: Final = frame_header(0, SETTINGS, ACK, 0)


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Any frame; for those that are rare enough."""
    return frame_header(len(payload), kind, flags, stream_id) + payload


def settings(pairs: Iterable[tuple[int, int]]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HL", name, value) for name, value in pairs))


def rst_stream(stream_id: int, code: int) -> bytes:
    return frame_header(4, RST_STREAM, 0, stream_id) + code.to_bytes(4, "big")


def ping(opaque: bytes, *, ack: bool) -> bytes:
    """`opaque`: eight octets, echoed."""
    return frame_header(8, PING, ACK if ack else 0, 0) + opaque


def goaway(last_stream_id: int, code: int, detail: bytes = b"") -> bytes:
    """`detail`: for whoever debugs the peer (section 6.8)."""
    return frame(GOAWAY, 0, 0, struct.pack(">LL", last_stream_id, code) + detail)


def window_update(stream_id: int, increment: int) -> bytes:
    return frame_header(4, WINDOW_UPDATE, 0, stream_id) + increment.to_bytes(4, "big")


def header_block(stream_id: int, flags: int, block: bytes) -> list[bytes]:
    """HEADERS, and as many CONTINUATIONs as `block` needs beyond one frame; `flags`: END_STREAM or 0."""
    kind, written = HEADERS, []
    while len(block) > MAX_FRAME:
        written.append(frame(kind, flags, stream_id, block[:MAX_FRAME]))
        kind, flags, block = CONTINUATION, 0, block[MAX_FRAME:]
    written.append(frame(kind, flags | END_HEADERS, stream_id, block))
    return written


def unwrapped(payload: bytes, flags: int) -> tuple[bytes, int]:
    """A frame's payload without padding and priority, and the stream it depends on, -1: none (sections 6.1, 6.2)."""
    begin, end, dependency = 0, len(payload), -1
    if flags & PADDED:
        if not payload:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame too short for its pad length")
        begin, end = 1, end - payload[0]
    if flags & PRIORITIZED:
        if begin + 5 > len(payload):
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame too short for its priority")
        dependency = int.from_bytes(payload[begin : begin + 4], "big") & MAX_STREAM_ID
        begin += 5
    # "If the length of the padding is the length of the frame payload or greater, the recipient MUST treat this as a
    # connection error of type PROTOCOL_ERROR."
    if begin > end:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "more padding than there is room for")
    return payload[begin:end], dependency
