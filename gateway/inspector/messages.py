"""What passes inside an answer that goes on: the messages of a WebSocket, the events of an event stream.

Both readers follow octets that pass anyway, and never hold any up. What they cannot follow they say so of, once, and
look at no more of it: octets that are no frames, and a peer that makes them work (thousands of tiny frames in one read,
a kilobyte that unpacks to gigabytes). So the work of one `feed` is bounded by constants.

They begin where the first frame does, right behind the handshake, so that no boundary has to be guessed. Know no clock
and no store; `told` hears what was read.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from itertools import islice
from typing import Final

from gateway.inspector.captured import BODY_OCTETS, MESSAGE_OCTETS, Kind

Told = Callable[[Kind, int, bytes, str], None]
"""Hears of each: its kind, its size as sent, its first octets, and a note."""

MOST_FRAMES: Final = 4096
"""Frames, or events, read in one `feed`: some milliseconds of work."""
MOST_UNPACKED: Final = 256 * 1024
"""Octets that one message may unpack to …"""
MOST_UNPACKED_AT_ONCE: Final = 2 * 1024 * 1024
"""… and all of one `feed`: some milliseconds, too."""

_KINDS: Final = {0x1: Kind.TEXT, 0x2: Kind.BINARY, 0x8: Kind.CLOSE, 0x9: Kind.PING, 0xA: Kind.PONG}
_CONTINUATION: Final = 0x0
_FIN, _PACKED, _RESERVED, _MASKED, _CONTROL = 0x80, 0x40, 0x30, 0x80, 0x08
_LONGEST_HEADER: Final = 14
_TAIL: Final = b"\x00\x00\xff\xff"
"""What a packed message is sent without (RFC 7692 section 7.2.1)."""
_NO_CONTEXT: Final = {True: b"server_no_context_takeover", False: b"client_no_context_takeover"}
_EVENT_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n|\r\r\n")
_EVENT_END_OCTETS: Final = 4


class FrameReader:
    """One direction of a WebSocket (RFC 6455 section 5.2)."""

    __slots__ = (
        "_control",
        "_fin",
        "_header",
        "_inflater",
        "_is_lost",
        "_left",
        "_mask",
        "_message",
        "_offset",
        "_opcode",
        "_packed",
        "_size",
        "_told",
        "_under_way",
    )

    def __init__(self, told: Told, extensions: bytes, *, from_app: bool) -> None:
        """`extensions`: what the app's answer says in Sec-WebSocket-Extensions."""
        self._told = told
        deflate = b"permessage-deflate" in extensions
        self._inflater = _Inflater(_NO_CONTEXT[from_app] not in extensions) if deflate else None
        self._header = b""  # what has come of one that is not complete
        self._left = 0  # octets of the payload of the frame under way that are to come
        self._offset = 0  # those that have come
        self._mask = b""
        self._opcode = 0
        self._fin = True
        self._control = bytearray()  # payload of a control frame, which may stand inside a message
        self._under_way: Kind | None = None  # the kind of the message that is not complete
        self._packed = False
        self._message = bytearray()  # the first octets of its payload
        self._size = 0
        self._is_lost = False

    def feed(self, data: bytes) -> None:
        """Takes what one read has brought."""
        if self._is_lost:
            return
        if self._inflater is not None:
            self._inflater.budget = MOST_UNPACKED_AT_ONCE
        at, end = 0, len(data)
        for _ in range(MOST_FRAMES):
            if self._left:
                part = data[at : at + self._left]
                self._payload(part)
                at += len(part)
                if not self._left:
                    self._frame_ended()
            if at >= end or self._is_lost:
                return
            at = self._read_header(data, at)
        if at < end:
            self._lose("more frames at once than the inspector follows")

    def _lose(self, why: str) -> None:
        self._is_lost = True
        self._left = 0
        self._told(Kind.NOTE, 0, b"", f"{why}; the rest of this direction is not shown")

    def _read_header(self, data: bytes, at: int) -> int:
        """Where the payload begins, or the end of `data` if the header is not complete."""
        before = len(self._header)
        window = self._header + data[at : at + _LONGEST_HEADER - before]
        size = 2
        if len(window) >= size:
            first, second = window[0], window[1]
            length = second & 0x7F
            size += (length == 126) * 2 + (length == 127) * 8 + bool(second & _MASKED) * 4
        if len(window) < size:
            self._header = window
            return len(data)
        if length == 126:
            length = int.from_bytes(window[2:4], "big")
        elif length == 127:
            length = int.from_bytes(window[2:10], "big")
        self._header = b""
        self._mask = window[size - 4 : size] if second & _MASKED else b""
        self._left, self._offset = length, 0
        self._fin, self._opcode = bool(first & _FIN), first & 0x0F
        if self._is_impossible(first):
            self._lose("these octets are no WebSocket frames")
        elif not self._opcode & _CONTROL and self._opcode != _CONTINUATION:
            self._under_way, self._packed = _KINDS[self._opcode], bool(first & _PACKED)
        if not length and not self._is_lost:
            self._frame_ended()
        return at + size - before

    def _is_impossible(self, first: int) -> bool:
        if self._opcode & _CONTROL and (self._left > 125 or not self._fin or first & _PACKED):
            return True  # section 5.5
        if first & _RESERVED or (first & _PACKED and self._inflater is None):
            return True
        if self._opcode == _CONTINUATION:
            return self._under_way is None
        return self._opcode not in _KINDS or (not self._opcode & _CONTROL and self._under_way is not None)

    def _payload(self, part: bytes) -> None:
        self._left -= len(part)
        kept, most = self._message, BODY_OCTETS if self._packed else MESSAGE_OCTETS
        if self._opcode & _CONTROL:
            kept = self._control
        else:
            self._size += len(part)
        wanted = part[: most - len(kept)]
        kept += _unmasked(wanted, self._mask, self._offset) if self._mask else wanted
        self._offset += len(part)

    def _frame_ended(self) -> None:
        if self._opcode & _CONTROL:
            payload, self._control = bytes(self._control), bytearray()
            kind, note = _KINDS[self._opcode], ""
            if kind is Kind.CLOSE and len(payload) >= 2:
                note, payload = f"code {struct.unpack('!H', payload[:2])[0]}", payload[2:]
            self._told(kind, len(payload), payload, note)
        elif self._fin and self._under_way is not None:
            self._message_ended(self._under_way)

    def _message_ended(self, kind: Kind) -> None:
        octets, size, note = bytes(self._message), self._size, ""
        self._under_way, self._message, self._size = None, bytearray(), 0
        if self._packed and self._inflater is not None:
            octets, note = self._inflater.unpack(octets, is_whole=size == len(octets))
        self._told(kind, size, octets[:MESSAGE_OCTETS], note)


class _Inflater:
    """Unpacks messages (RFC 7692), whose senders may build on all that they have sent before."""

    __slots__ = ("_keeps_context", "_lost", "_stream", "budget")

    def __init__(self, keeps_context: bool) -> None:
        self._keeps_context = keeps_context
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self._lost = False
        self.budget = 0
        """Octets that may still be unpacked in this `feed`."""

    def unpack(self, packed: bytes, *, is_whole: bool) -> tuple[bytes, str]:
        """The message, and a note; packed as it came if it cannot be unpacked."""
        if self._lost or self.budget <= 0:
            self._lost |= self._keeps_context
            return packed, "compressed, and not unpacked: too much came before it"
        if not self._keeps_context:
            self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            octets = self._stream.decompress(packed + _TAIL if is_whole else packed, MOST_UNPACKED)
        except zlib.error:
            self._lost = True
            return packed, "compressed, and not valid"
        self.budget -= len(octets)
        if is_whole and not self._stream.unconsumed_tail:
            return octets, ""
        self._lost = self._keeps_context
        return octets, "compressed, and long: its beginning"


def _unmasked(data: bytes, mask: bytes, offset: int) -> bytes:
    size = len(data)
    turned = mask[offset % 4 :] + mask[: offset % 4]
    key = (turned * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


class EventReader:
    """An event stream (HTML Standard, section 9.2)."""

    __slots__ = ("_event", "_is_lost", "_size", "_tail", "_told")

    def __init__(self, told: Told) -> None:
        self._told = told
        self._event = bytearray()  # the first octets of the one under way
        self._size = 0
        self._tail = b""  # the last octets, which may be part of its end
        self._is_lost = False

    def feed(self, data: bytes) -> None:
        """Takes what one read has brought."""
        if self._is_lost:
            return
        window, before, at = self._tail + data, len(self._tail), 0
        ends = [match.end() - before for match in islice(_EVENT_END.finditer(window), MOST_FRAMES)]
        for end in ends:
            self._take(data[at:end])
            self._tell()
            at = end
        if len(ends) == MOST_FRAMES:
            self._is_lost = True
            self._told(Kind.NOTE, 0, b"", "more events at once than the inspector follows; the rest is not shown")
            return
        rest = data[at:]
        self._take(rest)
        self._tail = ((b"" if ends else self._tail) + rest)[1 - _EVENT_END_OCTETS :]

    def _take(self, part: bytes) -> None:
        self._size += len(part)
        self._event += part[: MESSAGE_OCTETS - len(self._event)]

    def _tell(self) -> None:
        event, size = bytes(self._event).strip(b"\r\n"), self._size
        self._event, self._size = bytearray(), 0
        if event:
            self._told(Kind.EVENT, size, event, "")
