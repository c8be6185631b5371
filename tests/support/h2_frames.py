"""HTTP/2 on the wire, for tests: frames written as one likes, right or wrong, and read as they come.

Owns no rule: what a frame may hold, and when, is for whoever is tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum, IntFlag
from typing import NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD = 9
"""Octets before a frame's payload."""
WINDOW = 65_535
"""Where every window begins."""

Fields = list[tuple[bytes, bytes]]


class Type(IntEnum):
    """RFC 9113 section 6, and what came later."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9
    ALTSVC = 10
    ORIGIN = 12
    PRIORITY_UPDATE = 16


class Flag(IntFlag):
    NONE = 0
    ACK = 0x1
    END_STREAM = 0x1
    END_HEADERS = 0x4
    PADDED = 0x8
    PRIORITY = 0x20


class Code(IntEnum):
    """RFC 9113 section 7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Setting(IntEnum):
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6
    ENABLE_CONNECT_PROTOCOL = 8
    NO_RFC7540_PRIORITIES = 9


class Frame(NamedTuple):
    type: int
    flags: int
    stream: int
    payload: bytes

    def __repr__(self) -> str:
        name = Type(self.type).name if self.type in list(Type) else f"type {self.type:#x}"
        shown = f"{self.payload[:60]!r}{'…' if len(self.payload) > 60 else ''}"
        return f"<{name} flags={self.flags:#x} stream={self.stream} {len(self.payload)}: {shown}>"

    @property
    def code(self) -> int:
        """Of RST_STREAM and GOAWAY."""
        return int.from_bytes(self.payload[-4:] if self.type == Type.RST_STREAM else self.payload[4:8], "big")

    @property
    def content(self) -> bytes:
        """The payload without padding and without the old priority."""
        begin, end = 0, len(self.payload)
        if self.type in (Type.DATA, Type.HEADERS) and self.flags & Flag.PADDED:
            begin, end = 1, end - self.payload[0]
        if self.type == Type.HEADERS and self.flags & Flag.PRIORITY:
            begin += 5
        return self.payload[begin:end]


def frame(type: int, flags: int = 0, stream: int = 0, payload: bytes = b"", *, length: int | None = None) -> bytes:
    """`length` is what its head claims, if that is not so."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([type, flags]) + stream.to_bytes(4, "big") + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    """The payload of a SETTINGS frame: in this order, and twice if it is there twice."""
    return b"".join(name.to_bytes(2, "big") + value.to_bytes(4, "big") for name, value in pairs)


def number(value: int) -> bytes:
    """The payload of WINDOW_UPDATE and RST_STREAM."""
    return value.to_bytes(4, "big")


def frames_in(buffer: bytearray) -> Iterator[Frame]:
    """Takes the whole frames off the beginning of `buffer`."""
    while len(buffer) >= HEAD and len(buffer) >= (end := HEAD + int.from_bytes(buffer[:3], "big")):
        found = Frame(buffer[3], buffer[4], int.from_bytes(buffer[5:9], "big"), bytes(buffer[HEAD:end]))
        del buffer[:end]
        yield found


# --- field blocks by hand ---------------------------------------------------------------------------------------------


def integer(value: int, bits: int, first: int = 0) -> bytes:
    """RFC 7541 section 5.1: `value` with a prefix of `bits`, in an octet that begins as `first`."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    octets, value = [first | most], value - most
    while value >= 128:
        octets.append(value % 128 | 128)
        value //= 128
    return bytes([*octets, value])


def literal(*fields: tuple[bytes, bytes]) -> bytes:
    """A block of literals without indexing: it depends on no table, leaves none behind, and says what it is given."""
    return b"".join(b"\x00" + integer(len(name), 7) + name + integer(len(value), 7) + value for name, value in fields)


def indexed(index: int) -> bytes:
    return integer(index, 7, 0x80)
