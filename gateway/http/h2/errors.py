"""What goes wrong in HTTP/2 (RFC 9113 sections 5.4 and 7): the codes, and how far a fault reaches.

A fault is the peer's unless it says otherwise. Which of the two it is, is never a matter of taste: the RFC says so with
each rule. What cannot be said to one stream alone, because the connection's own state may have been lost with it (its
framing, the dynamic table, the windows), ends the connection.
"""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class ErrorCode(IntEnum):
    """RFC 9113 section 7. A peer may send any other number: what is received stays an int."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD

    @staticmethod
    def name_of(code: int) -> str:
        """For people: `CANCEL`, or `0x2a` for a code nobody has registered."""
        try:
            return ErrorCode(code).name
        except ValueError:
            return hex(code)


class _Fault(Exception):
    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code.name}: {self.detail}"


class ConnectionFault(_Fault):
    """Ends the connection, by GOAWAY (section 5.4.1)."""


class StreamFault(_Fault):
    """Ends one stream, by RST_STREAM (section 5.4.2)."""
