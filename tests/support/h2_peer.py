"""The client's end of an HTTP/2 connection without its sockets: what came, by stream, and what politeness answers.

It believes the other side nothing that matters to a test: states, windows and sizes are checked, and what breaks the
protocol raises AssertionError.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import ClassVar

from hpack import Decoder, Encoder

from tests.support.h2_frames import (
    WINDOW,
    Fields,
    Flag,
    Frame,
    Setting,
    Type,
    frame,
    frames_in,
    number,
)

MAX_FRAME = 16_384
"""What we take, having said nothing else."""


class Stream:
    """One request, as far as the answer to it has come."""

    def __init__(self, id: int) -> None:
        self.id = id
        self.interim: list[tuple[int, Fields]] = []
        self.status = 0  # 0: no final head yet
        self.fields: Fields = []
        self.body = bytearray()
        self.pieces: list[bytes] = []  # the DATA frames that had content
        self.trailers: Fields | None = None
        self.ended = False  # END_STREAM came
        self.reset: int | None = None  # its code
        self.window = 0  # octets we may send, beside what the connection allows
        self.granted = WINDOW  # octets they may send

    def __repr__(self) -> str:
        end = "ended" if self.ended else "open" if self.reset is None else f"reset {self.reset}"
        return f"<Stream {self.id} {end} {self.status} {self.fields} body={bytes(self.body[:300])!r}>"

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None

    def get(self, name: bytes) -> bytes | None:
        """The value of the only field `name`, or None."""
        values = [value for key, value in self.fields if key == name]
        assert len(values) < 2, f"{name!r} came {len(values)} times: {self.fields}"
        return values[0] if values else None

    @property
    def reason(self) -> bytes | None:
        return self.get(b"x-gateway-error")


class Peer:
    """`receive` what came; `out` is what is to be sent for it, if the client is polite."""

    acknowledges = True
    """Their SETTINGS and PINGs, at once."""
    grants = True
    """What came in DATA is granted again, at once."""

    def __init__(self) -> None:
        self.encoder, self.decoder = Encoder(), Decoder()
        self.streams: dict[int, Stream] = {}
        self.frames: list[Frame] = []  # everything that came, the content of DATA excepted
        self.settings: dict[int, int] = {}  # theirs
        self.goaway: list[Frame] = []
        self.pongs: list[bytes] = []
        self.window = WINDOW  # octets we may send, over all streams
        self.granted = WINDOW  # octets they may send
        self.initial = WINDOW  # what we have said that a stream of theirs may send
        self.acknowledged = 0  # SETTINGS of ours
        self.count: dict[int, int] = defaultdict(int)  # frames by type
        self.out: list[bytes] = []
        self._buffer = bytearray()
        self._block: tuple[int, int, bytearray] | None = None  # stream, flags and octets so far

    def receive(self, octets: bytes) -> None:
        self._buffer += octets
        for each in frames_in(self._buffer):
            assert len(each.payload) <= MAX_FRAME, f"longer than we take: {each}"
            assert self._block is None or (each.type == Type.CONTINUATION and each.stream == self._block[0]), each
            self.count[each.type] += 1
            self.frames.append(each if each.type != Type.DATA else each._replace(payload=each.payload[:16]))
            handle = self._handlers.get(each.type)
            if handle is not None:
                handle(self, each)

    @property
    def unfinished(self) -> bytes:
        """The beginning of a frame."""
        return bytes(self._buffer)

    def open(self, id: int) -> Stream:
        """A stream that we begin."""
        stream = self.streams[id] = Stream(id)
        stream.window = self.settings.get(Setting.INITIAL_WINDOW_SIZE, WINDOW)
        stream.granted = self.initial
        return stream

    def stream(self, id: int) -> Stream:
        assert id in self.streams, f"stream {id} is none of ours"
        return self.streams[id]

    # --- frames -----------------------------------------------------------------------------------------------------

    def _data(self, each: Frame) -> None:
        stream = self.stream(each.stream)
        assert stream.status and not stream.over, f"{each} on {stream}"
        self.granted -= len(each.payload)
        stream.granted -= len(each.payload)
        assert min(self.granted, stream.granted) >= 0, f"more than was granted: {each}"
        stream.body += each.content
        if each.content:
            stream.pieces.append(each.content)
        stream.ended = bool(each.flags & Flag.END_STREAM)
        if self.grants and each.payload:
            self.grant(0, len(each.payload))
            if not stream.ended:
                self.grant(stream.id, len(each.payload))

    def grant(self, id: int, octets: int) -> None:
        if id:
            self.stream(id).granted += octets
        else:
            self.granted += octets
        self.out.append(frame(Type.WINDOW_UPDATE, 0, id, number(octets)))

    def _headers(self, each: Frame) -> None:
        self._block = each.stream, each.flags, bytearray(each.content)
        self._fields(each)

    def _continuation(self, each: Frame) -> None:
        assert self._block is not None, each
        self._block[2].extend(each.payload)
        self._fields(each)

    def _fields(self, each: Frame) -> None:
        assert self._block is not None
        if not each.flags & Flag.END_HEADERS:
            return
        (id, flags, block), self._block = self._block, None
        fields: Fields = [(name, value) for name, value in self.decoder.decode(bytes(block), raw=True)]
        assert all(name == name.lower() for name, _ in fields), fields
        stream, ended = self.stream(id), bool(flags & Flag.END_STREAM)
        assert not stream.over, f"{fields} on {stream}"
        if stream.status:
            assert ended and not any(name.startswith(b":") for name, _ in fields), f"no trailers: {fields}"
            stream.trailers = fields
        else:
            (name, status), *rest = fields
            assert name == b":status" and not any(name.startswith(b":") for name, _ in rest), fields
            assert len(status) == 3 and status.isdigit(), fields
            if status < b"200":
                assert not ended and status != b"101", fields
                stream.interim.append((int(status), rest))
            else:
                stream.status, stream.fields = int(status), rest
        stream.ended = ended

    def _rst_stream(self, each: Frame) -> None:
        assert len(each.payload) == 4, each
        stream = self.stream(each.stream)
        assert stream.reset is None, f"reset twice: {each}"
        stream.reset = each.code

    def _settings(self, each: Frame) -> None:
        assert each.stream == 0 and len(each.payload) % 6 == 0, each
        if each.flags & Flag.ACK:
            self.acknowledged += 1
            return
        before = self.settings.get(Setting.INITIAL_WINDOW_SIZE, WINDOW)
        for at in range(0, len(each.payload), 6):
            value = int.from_bytes(each.payload[at + 2 : at + 6], "big")
            self.settings[int.from_bytes(each.payload[at : at + 2], "big")] = value
        for stream in self.streams.values():
            stream.window += self.settings.get(Setting.INITIAL_WINDOW_SIZE, WINDOW) - before
        self.encoder.header_table_size = min(self.settings.get(Setting.HEADER_TABLE_SIZE, 4096), 4096)
        if self.acknowledges:
            self.out.append(frame(Type.SETTINGS, Flag.ACK))

    def _ping(self, each: Frame) -> None:
        assert each.stream == 0 and len(each.payload) == 8, each
        if each.flags & Flag.ACK:
            self.pongs.append(each.payload)
        elif self.acknowledges:
            self.out.append(frame(Type.PING, Flag.ACK, 0, each.payload))

    def _goaway(self, each: Frame) -> None:
        assert each.stream == 0 and len(each.payload) >= 8, each
        self.goaway.append(each)

    def _window_update(self, each: Frame) -> None:
        assert len(each.payload) == 4, each
        octets = int.from_bytes(each.payload, "big")
        assert 0 < octets < 1 << 31, each
        if each.stream == 0:
            self.window += octets
        else:
            self.stream(each.stream).window += octets

    def _push_promise(self, each: Frame) -> None:
        raise AssertionError(f"nobody asked for {each}")

    _handlers: ClassVar[dict[int, Callable[[Peer, Frame], None]]] = {
        Type.DATA: _data,
        Type.HEADERS: _headers,
        Type.CONTINUATION: _continuation,
        Type.RST_STREAM: _rst_stream,
        Type.SETTINGS: _settings,
        Type.PING: _ping,
        Type.GOAWAY: _goaway,
        Type.WINDOW_UPDATE: _window_update,
        Type.PUSH_PROMISE: _push_promise,
    }
