"""The gRPC app behind every proxy: HTTP/2 with prior knowledge, and one answer to every call.

It reads no field, so that it costs the load's core next to nothing; whoever asks is told `MESSAGE` and status OK when
the request has ended. `bench.upstream` hands a connection over when it begins with HTTP/2's preface.
"""

from __future__ import annotations

import asyncio
import struct

MESSAGE = b"\0\0\0\0\x21thirty-three bytes of plain text\n"
"""gRPC's length-prefixed message: not compressed, 33 octets."""
PREFACE_REST = b"SM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0x0, 0x1, 0x4, 0x6, 0x8
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
LARGEST_WINDOW = 2**31 - 1
GRANTED_AGAIN = 2**29
DEFAULT_WINDOW = 65_535
_HEADER = struct.Struct(">HBBBL")
_LONG = struct.Struct(">L")


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _HEADER.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


GREETING = _frame(SETTINGS, 0, 0, struct.pack(">HL", 0x4, LARGEST_WINDOW)) + _frame(
    WINDOW_UPDATE, 0, 0, _LONG.pack(LARGEST_WINDOW - DEFAULT_WINDOW)
)
# RFC 7541: field 8 of the static table, `:status: 200`; name 31 of it, `content-type`, with a literal; a new name.
_HEAD = b"\x88" + b"\x0f\x10\x10application/grpc"
_TRAILERS = b"\x00\x0bgrpc-status\x010"


def answer(stream: int) -> bytes:
    """Head, message and trailers."""
    return (
        _frame(HEADERS, END_HEADERS, stream, _HEAD)
        + _frame(DATA, 0, stream, MESSAGE)
        + _frame(HEADERS, END_HEADERS | END_STREAM, stream, _TRAILERS)
    )


class GrpcApp(asyncio.Protocol):
    """One connection, after the first line of its preface."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._rest = b""
        self._preface = PREFACE_REST
        self._taken = 0  # octets of content since we last granted some
        self._credit = DEFAULT_WINDOW  # octets that we may send
        self._waiting: list[int] = []  # streams whose answer has no credit yet
        transport.write(GREETING)

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        out: list[bytes] = []
        at, end = 0, len(data)
        if self._preface:
            if end < len(self._preface):
                self._rest = data
                return
            at, self._preface = len(self._preface), b""
        while end - at >= 9:
            high, low, kind, flags, stream = _HEADER.unpack_from(data, at)
            length = high << 8 | low
            if end - at < 9 + length:
                break
            at += 9
            if kind in (DATA, HEADERS):
                if kind == DATA:
                    self._taken += length
                if flags & END_STREAM:
                    self._waiting.append(stream)
            elif kind == WINDOW_UPDATE and stream == 0:
                self._credit += _LONG.unpack_from(data, at)[0]
            elif kind in (SETTINGS, PING) and not flags & ACK:
                out.append(_frame(kind, ACK, 0, data[at : at + length] if kind == PING else b""))
            at += length
        self._rest = data[at:]
        if self._taken > GRANTED_AGAIN:
            out.append(_frame(WINDOW_UPDATE, 0, 0, _LONG.pack(self._taken)))
            self._taken = 0
        while self._waiting and self._credit >= len(MESSAGE):
            self._credit -= len(MESSAGE)
            out.append(answer(self._waiting.pop(0)))
        if out:
            self._transport.write(b"".join(out))
