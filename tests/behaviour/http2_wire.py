"""A browser over HTTP/2 in the hands of a test that is written in HTTP/1.1's spelling.

What a promise says of requests and answers does not depend on how they are framed, and neither does its test:

    browser.send(b"POST / HTTP/1.1\\r\\nHost: …\\r\\nContent-Length: 3\\r\\n\\r\\nabc")    HEADERS, DATA with END_STREAM
    await browser.answer()                                                     HEADERS, DATA, … as status line and body

Each request has a stream; answers are told in the order of the requests, as on a connection of HTTP/1.1. A body without
Content-Length is told in chunks, one for each DATA frame, a 200 to an extended CONNECT is a 101, and a stream that
breaks off is a connection that ends. `Connection: close` is the client's own business here: it leaves after the answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from gateway.http.phrases import phrase_for
from tests.behaviour.wire import Wire
from tests.support.h2_frames import PREFACE, Fields, Flag, Setting, Type, frame, settings
from tests.support.h2_peer import MAX_FRAME, Peer, Stream

_SPELLED = {
    name.lower(): name
    for name in (
        b"ETag",
        b"TE",
        b"WWW-Authenticate",
        b"Sec-WebSocket-Accept",
        b"Sec-WebSocket-Extensions",
        b"Sec-WebSocket-Protocol",
        b"Sec-WebSocket-Version",
    )
}
_OF_THE_CONNECTION = (b"host", b"connection", b"keep-alive", b"upgrade", b"sec-websocket-key")


def spelled(name: bytes) -> bytes:
    """A field's name as it is usually written."""
    return _SPELLED.get(name) or b"-".join(part.capitalize() for part in name.split(b"-"))


class _Request(NamedTuple):
    """One that was sent, as far as its answer depends on it."""

    stream: Stream
    method: bytes
    closes: bool
    tunnel: bool


class Http2Wire(Wire):
    """See the module. What `Wire` says of octets is true of those of the test's spelling."""

    def __init__(self) -> None:
        super().__init__()
        self.http2 = Peer()
        self._unsaid = bytearray()  # what the test has sent and we have not understood yet
        self._left: int | None = None  # octets to the end of the body, or of the chunk; None: no body is under way
        self._chunked = False
        self._tunnel = False
        self._stream = 0  # whose body it is
        self._next = 1
        self._waiting: deque[tuple[int, bytes, bool]] = deque()
        """DATA that was not sent yet: stream, octets, END_STREAM; of a negative stream it is trailers."""
        self._asked: list[_Request] = []  # whose answers have not been told whole
        self._told = 0  # DATA frames of the first of them
        self._interims = 0  # heads
        self._headed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        super().send(PREFACE + frame(Type.SETTINGS, 0, 0, settings((Setting.ENABLE_PUSH, 0))))

    def data_received(self, data: bytes) -> None:
        self.http2.receive(data)
        self._flush()
        self._tell()
        self._changed.set()

    # --- writing ----------------------------------------------------------------------------------------------------

    def send(self, octets: bytes) -> None:
        self._unsaid += octets
        while self._understand():
            pass
        self._flush()

    async def send_bytewise(self, octets: bytes) -> None:
        for octet in octets:
            self.send(bytes([octet]))
            await asyncio.sleep(0)

    def half_close(self) -> None:
        """Of the stream, if there is one to end."""
        if self._left is not None or self._tunnel:
            self._data(b"", True)
            self._left, self._tunnel = None, False
            self._flush()
        else:
            super().half_close()

    def handed_over(self, sent: int) -> int:
        waiting = sum(len(octets) for _, octets, _ in self._waiting)
        return super().handed_over(sent) - waiting

    def stop_reading(self) -> None:
        """Grants nothing any more."""
        self.http2.grants = False

    def read_on(self) -> None:
        http2 = self.http2
        if not http2.grants and not self.transport.is_closing():
            http2.grants = True
            for request in self._asked:
                if not request.stream.over and request.stream.granted < 65_535:
                    http2.grant(request.stream.id, 65_535 - request.stream.granted)
            if http2.granted < 65_535:
                http2.grant(0, 65_535 - http2.granted)
            self._flush()

    def _understand(self) -> bool:
        """Takes the next piece off what the test has said; False if there is none."""
        if self._tunnel:
            if self._unsaid:
                self._data(self._take_unsaid(len(self._unsaid)), False)
            return False
        if self._left is None:
            return self._head()
        if self._left:
            piece = self._take_unsaid(self._left)
            self._left -= len(piece)
            ended = not self._left and not self._chunked
            if piece:
                self._data(piece, ended)
            if ended:
                self._left = None
            return bool(piece)
        return self._chunk()

    def _take_unsaid(self, most: int) -> bytes:
        piece = bytes(self._unsaid[:most])
        del self._unsaid[:most]
        return piece

    def _chunk(self) -> bool:
        """The line before the next chunk, or what comes behind the last."""
        unsaid = self._unsaid
        if unsaid.startswith(b"\r\n"):
            del unsaid[:2]  # of the chunk before
        end = unsaid.find(b"\r\n")
        if end < 0:
            return False
        self._left = int(unsaid[:end].split(b";")[0], 16)
        if self._left:
            del unsaid[: end + 2]
            return True
        last = unsaid.find(b"\r\n\r\n", end)
        if last < 0:
            return False
        section = bytes(unsaid[end + 2 : last])
        del unsaid[: last + 4]
        self._left = None
        if section:
            self._waiting.append((-self._stream, self.http2.encoder.encode(_fields(section)), True))
        else:
            self._data(b"", True)
        return True

    def _head(self) -> bool:
        while self._unsaid.startswith(b"\r\n"):
            del self._unsaid[:2]
        end = self._unsaid.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self._take_unsaid(end + 4)[:-4]
        line, _, section = head.partition(b"\r\n")
        method, target, version = line.split(b" ")
        fields = _fields(section)
        known = dict(reversed(fields))
        self._tunnel = b"upgrade" in known.get(b"connection", b"").lower() and b"upgrade" in known
        pseudo = [(b":method", b"CONNECT" if self._tunnel else method)]
        if self._tunnel:
            pseudo.append((b":protocol", known[b"upgrade"]))
        secure = self.transport.get_extra_info("ssl_object") is not None
        pseudo += [(b":scheme", b"https" if secure else b"http"), (b":path", target)]
        if b"host" in known:
            pseudo.append((b":authority", known[b"host"]))
            fields.remove((b"host", known[b"host"]))
        self._chunked = known.get(b"transfer-encoding") == b"chunked"
        left = [
            (name, value)
            for name, value in fields
            if (name not in _OF_THE_CONNECTION or name == b"host")
            and (name, value) != (b"transfer-encoding", b"chunked")
        ]
        length = int(known[b"content-length"]) if known.get(b"content-length", b"").isdigit() else 0
        self._left = length if length else 0 if self._chunked else None
        self._stream, self._next = self._next, self._next + 2
        stream = self.http2.open(self._stream)
        closes = b"close" in known.get(b"connection", b"").lower() or version == b"HTTP/1.0"
        self._asked.append(_Request(stream, method, closes, self._tunnel))
        ends = self._left is None and not self._tunnel
        flags = Flag.END_HEADERS | (Flag.END_STREAM if ends else 0)
        super().send(_block(self._stream, self.http2.encoder.encode([*pseudo, *left]), flags))
        return True

    def _data(self, octets: bytes, ended: bool) -> None:
        self._waiting.append((self._stream, octets, ended))

    def _flush(self) -> None:
        """Sends what politeness answers, and DATA as far as the windows allow."""
        http2 = self.http2
        out, http2.out = http2.out, []
        while self._waiting:
            id, octets, ended = self._waiting[0]
            stream = http2.streams[abs(id)]
            if stream.over:
                self._waiting.popleft()
            elif id < 0:
                out.append(_block(-id, octets, Flag.END_HEADERS | Flag.END_STREAM))
                self._waiting.popleft()
            else:
                room = min(http2.window, stream.window, MAX_FRAME)
                if octets and room <= 0:
                    break
                piece, rest = octets[: max(room, 0)], octets[max(room, 0) :]
                http2.window -= len(piece)
                stream.window -= len(piece)
                out.append(frame(Type.DATA, Flag.END_STREAM if ended and not rest else 0, id, piece))
                if rest:
                    self._waiting[0] = id, rest, ended
                else:
                    self._waiting.popleft()
        self.writable = not self._waiting
        if out:
            super().send(b"".join(out))

    # --- reading ----------------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        while self._asked and self._tell_first(self._asked[0]):
            request = self._asked.pop(0)
            self._told = self._interims = 0
            self._headed = False
            if request.closes or (request.stream.reset is not None and not request.stream.ended) or request.tunnel:
                self._leave()

    def _leave(self) -> None:
        """The other side has ended what would be a connection."""
        self.end = self.end or "eof"
        self.transport.close()

    def _tell_first(self, request: _Request) -> bool:
        """More of the answer that is next; True if that was all."""
        stream = request.stream
        for status, fields in stream.interim[self._interims :]:
            self._interims += 1
            self._say_head(status, fields)
        if not stream.status:
            return stream.reset is not None
        tunnel = request.tunnel and stream.status == 200
        bare = request.method == b"HEAD" or stream.status in (204, 304)
        chunked = not (tunnel or bare) and stream.get(b"content-length") is None
        if not self._headed:
            self._headed = True
            self._say_head(101 if tunnel else stream.status, stream.fields, chunked=chunked, tunnel=tunnel)
        for piece in stream.pieces[self._told :]:
            self._told += 1
            self.received += b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
        if stream.ended and chunked:
            trailers = b"".join(b"%b: %b\r\n" % (spelled(name), value) for name, value in stream.trailers or [])
            self.received += b"0\r\n%b\r\n" % trailers
        return stream.over

    def _say_head(self, status: int, fields: Fields, *, chunked: bool = False, tunnel: bool = False) -> None:
        lines = [b"HTTP/1.1 %d %b" % (status, phrase_for(status))]
        if tunnel:
            lines += [b"Connection: Upgrade", b"Upgrade: websocket"]
        lines += [b"%b: %b" % (spelled(name), value) for name, value in fields]
        if chunked:
            lines.append(b"Transfer-Encoding: chunked")
        self.received += b"\r\n".join([*lines, b"", b""])


def _fields(section: bytes) -> Fields:
    lines = [line.partition(b":") for line in section.split(b"\r\n") if line]
    return [(name.lower(), value.strip(b" \t")) for name, _, value in lines]


def _block(stream: int, block: bytes, flags: int) -> bytes:
    """A field block in as many frames as it takes."""
    pieces = [block[at : at + MAX_FRAME] for at in range(0, len(block), MAX_FRAME)] or [b""]
    out = []
    for position, piece in enumerate(pieces):
        last = position == len(pieces) - 1
        kind = Type.CONTINUATION if position else Type.HEADERS
        given = (flags & ~Flag.END_STREAM if position else flags) & ~(0 if last else Flag.END_HEADERS)
        out.append(frame(kind, given, stream, piece))
    return b"".join(out)
