"""Requests over HTTP/2: so many connections, so many streams open on each, a new one whenever one has ended.

    python -m bench.load.http2 --port P --host H --connections 8 --streams 16 --unlike

Everything sent is made before it counts: a connection's field blocks are a cycle of up to 1,024 (`load.hpack`). With
`--unlike` no two of a cycle, and no two connections, have the same; without, every request of a connection is the same,
as h2load's are. Blocks that come are not decoded, which would cost as much as many a proxy: that an answer is the right
one is told by its first octet, where `:status 200` stands if anywhere, and by the number of its octets.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.grpc_upstream import MESSAGE
from bench.load import browser, hpack
from bench.load.engine import PATIENCE, Connection, Deadline, Engine, arguments
from bench.load.result import ready, say
from bench.upstream import BODY

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7, 0x8
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
INITIAL_WINDOW_SIZE = 0x4
STATUS_200 = 0x88
"""An indexed field, number 8 of the static table; every peer writes it so."""
SIZE_UPDATE, SIZE_UPDATE_MASK = 0x20, 0xE0
DEFAULT_WINDOW = 65_535
FRAME = 16_384
STREAM_WINDOW, CONNECTION_WINDOW = 6 * 1024 * 1024, 15 * 1024 * 1024
"""What Chromium grants."""
CYCLE = 1024
MIXED_CYCLE = 200
SEED = 20_260_101
_HEADER = struct.Struct(">HBBBL")
_SETTING = struct.Struct(">HL")
_LONG = struct.Struct(">L")


@dataclass(frozen=True, slots=True)
class Request:
    """One of a cycle, as it is sent."""

    block: bytes
    body: bytes
    answer: int
    """Octets of the answer's content."""


@dataclass(slots=True)
class Stream:
    """One that is open."""

    left: int
    """Octets of content that have not come."""
    started: float
    unsent: memoryview
    """What the peer's windows have not let through."""
    window: int
    failed: bool = False


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    length = len(payload)
    return _HEADER.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


GREETING = (
    PREFACE
    # No push, Chromium's window, and a decoder's table that it also has.
    + frame(SETTINGS, 0, 0, _SETTING.pack(0x1, 65_536) + _SETTING.pack(0x2, 0) + _SETTING.pack(0x4, STREAM_WINDOW))
    + frame(WINDOW_UPDATE, 0, 0, _LONG.pack(CONNECTION_WINDOW - DEFAULT_WINDOW))
)


class Totals:
    """What all connections have seen together, and whether they are to go on."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.errors: dict[str, int] = {}
        self.deadline = Deadline()
        self.under_way = 0

    def note(self, error: str) -> None:
        self.errors[error] = self.errors.get(error, 0) + 1


class Session:
    """A `Handler`: one connection with its streams."""

    def __init__(self, requests: Sequence[Request], streams: int, totals: Totals) -> None:
        self._requests = requests
        self._count = streams
        self._totals = totals
        self._connection: Connection | None = None
        self._streams: dict[int, Stream] = {}
        self._next = 1
        self._rest = b""  # a frame that has not come whole
        self._window = DEFAULT_WINDOW  # that we may send, on all streams together
        self._stream_window = DEFAULT_WINDOW
        self._unacknowledged = 0  # octets of content since our last WINDOW_UPDATE
        self.settled = False
        """The peer's SETTINGS are here."""

    def opened(self, connection: Connection) -> None:
        if connection.tls.selected_alpn_protocol() != "h2":
            self.lost(connection, "it does not speak HTTP/2")
            connection.close()
            return
        self._connection = connection
        connection.send(GREETING)

    def lost(self, connection: Connection, why: str) -> None:
        self._totals.note(why)
        self._totals.under_way -= len(self._streams)
        self._streams.clear()
        self._connection = None

    def fill(self) -> None:
        """Opens as many streams as there should be."""
        out: list[bytes] = []
        while self._connection is not None and len(self._streams) < self._count:
            self._open(out, time.perf_counter())
        self._send(out)

    def _open(self, out: list[bytes], now: float) -> None:
        number = self._next
        self._next = number + 2
        request = self._requests[(number >> 1) % len(self._requests)]
        stream = Stream(request.answer, now, memoryview(request.body), self._stream_window)
        self._streams[number] = stream
        self._totals.under_way += 1
        out.append(frame(HEADERS, END_HEADERS if request.body else END_HEADERS | END_STREAM, number, request.block))
        if request.body:
            self._push_body(number, stream, out)

    def _push_body(self, number: int, stream: Stream, out: list[bytes]) -> None:
        while stream.unsent:
            size = min(FRAME, len(stream.unsent), stream.window, self._window)
            if size <= 0:
                return
            flags = END_STREAM if size == len(stream.unsent) else 0
            out.append(frame(DATA, flags, number, bytes(stream.unsent[:size])))
            stream.unsent = stream.unsent[size:]
            stream.window -= size
            self._window -= size

    def received(self, connection: Connection, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        now = time.perf_counter()
        out: list[bytes] = []
        at, end = 0, len(data)
        while end - at >= 9:
            high, low, kind, flags, number = _HEADER.unpack_from(data, at)
            length = high << 8 | low
            if end - at < 9 + length:
                break
            at += 9
            stream = self._streams.get(number)
            if stream is not None:
                if kind == DATA:
                    stream.left -= length
                    self._unacknowledged += length
                elif kind == HEADERS:
                    stream.failed |= stream.left >= 0 and not _is_answer(data, at, length, stream)
                elif kind == RST_STREAM:
                    self._totals.note(f"RST_STREAM {_LONG.unpack_from(data, at)[0]}")
                    flags = END_STREAM
                elif kind == WINDOW_UPDATE:
                    stream.window += _LONG.unpack_from(data, at)[0]
                    self._push_body(number, stream, out)
                    flags = 0
                if flags & END_STREAM:
                    self._ended(number, stream, now)
                    if not self._totals.deadline.passed(now):
                        self._open(out, now)
            elif number == 0:
                self._connection_frame(kind, flags, data[at : at + length], out)
            at += length
        self._rest = data[at:]
        if self._unacknowledged > CONNECTION_WINDOW // 2:
            out.append(frame(WINDOW_UPDATE, 0, 0, _LONG.pack(self._unacknowledged)))
            self._unacknowledged = 0
        self._send(out)

    def _ended(self, number: int, stream: Stream, now: float) -> None:
        del self._streams[number]
        self._totals.under_way -= 1
        if stream.failed:
            self._totals.note("status")
        elif stream.left:
            self._totals.note("length")
        self._totals.latencies.append(now - stream.started)

    def _connection_frame(self, kind: int, flags: int, payload: bytes, out: list[bytes]) -> None:
        if kind == SETTINGS and not flags & ACK:
            for name, value in _SETTING.iter_unpack(payload):
                if name == INITIAL_WINDOW_SIZE:
                    for stream in self._streams.values():
                        stream.window += value - self._stream_window
                    self._stream_window = value
            out.append(frame(SETTINGS, ACK, 0))
            self.settled = True
        elif kind == PING and not flags & ACK:
            out.append(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self._totals.note(f"GOAWAY {_LONG.unpack_from(payload, 4)[0]}")
        elif kind == WINDOW_UPDATE:
            self._window += _LONG.unpack(payload)[0]
        if kind in (SETTINGS, WINDOW_UPDATE):
            for number, stream in self._streams.items():
                self._push_body(number, stream, out)

    def _send(self, out: list[bytes]) -> None:
        if out and self._connection is not None:
            self._connection.send(b"".join(out))


def _is_answer(data: bytes, at: int, length: int, stream: Stream) -> bool:
    """Whether a field block of `length` octets is a head with status 200, or trailers after all that was to come."""
    end = at + length
    while at < end and data[at] & SIZE_UPDATE_MASK == SIZE_UPDATE:
        more = data[at] & 0x1F == 0x1F
        at += 1
        while more:
            more = data[at] >= 0x80
            at += 1
    return at < end and (data[at] == STATUS_200 or stream.left == 0)


def cycle_of(options: argparse.Namespace, number: int) -> list[Request]:
    """The requests of connection `number`."""
    hosts = options.hosts.split(",") if options.hosts else [options.host]
    host = hosts[number % len(hosts)]
    if options.mixed:
        return _mixed(hosts, number)
    if options.grpc:
        block = hpack.cycle([browser.call(host, "/bench.Echo/Unary")] * 2)
        return [Request(each, MESSAGE, len(MESSAGE)) for each in block]
    body = b"x" * options.body
    if options.unlike:
        paths = [(f"/own/{len(BODY)}/{number}/{each}/module.js", f"{number}.{each}") for each in range(CYCLE)]
    else:
        paths = [(options.path, "")] * CYCLE
    blocks = hpack.cycle(browser.request(host, path, tag, length=len(body)) for path, tag in paths)
    return [Request(block, body, options.answer) for block in blocks]


def _mixed(hosts: Sequence[str], number: int) -> list[Request]:
    """What load.lua deals, of all hosts over every connection: any twenty requests in a row weigh about the same."""
    chosen = random.Random(SEED + number)
    kinds = [(0, len(BODY))] * 13 + [(0, 16_384)] * 4 + [(1024, len(BODY))] * 2 + [(0, 65_536)]
    deck = [kind for _ in range(MIXED_CYCLE // len(kinds)) for kind in chosen.sample(kinds, len(kinds))]
    heads = [
        browser.request(chosen.choice(hosts), f"/own/{answer}/{number}/{each}", f"{number}.{each}", length=length)
        for each, (length, answer) in enumerate(deck)
    ]
    return [
        Request(block, b"x" * length, answer) for block, (length, answer) in zip(hpack.cycle(heads), deck, strict=True)
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--streams", type=int, default=16, help="open at a time on each connection")
    parser.add_argument("--unlike", action="store_true", help="no two requests, and no two answers, have the same head")
    parser.add_argument("--path", default="/")
    parser.add_argument("--answer", type=int, default=len(BODY), help="octets of the answer's content")
    parser.add_argument("--body", type=int, default=0, help="octets of each request's content")
    parser.add_argument("--hosts", help="A,B,…: one for each connection in turn")
    parser.add_argument("--mixed", action="store_true", help="small, large and posts of all hosts")
    parser.add_argument("--grpc", action="store_true", help="unary calls of the upstream's echo")
    options = parser.parse_args()

    engine = Engine(options.port, options.host, ("h2",))
    totals = Totals()
    sessions = [Session(cycle_of(options, number), options.streams, totals) for number in range(options.connections)]
    for session in sessions:
        engine.open(session)
    engine.run(lambda: all(session.settled for session in sessions) or bool(totals.errors), PATIENCE)
    if totals.errors or not all(session.settled for session in sessions):
        sys.exit(f"not all connections could be opened: {totals.errors or 'timeout'}")

    def flow(seconds: float) -> None:
        totals.deadline.set(seconds)
        for session in sessions:
            session.fill()
        engine.run(lambda: totals.under_way == 0, seconds + 5)
        if totals.under_way:
            totals.note("unanswered")

    flow(options.warm)
    totals.latencies.clear()
    started = ready()
    flow(options.seconds)
    say(totals.latencies, time.perf_counter() - started, totals.errors)


if __name__ == "__main__":
    main()
