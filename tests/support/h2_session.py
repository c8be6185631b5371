"""A session of the gateway with everything around it recorded: its peer says frames, its owner writes down the calls.

    stage = Stage()
    stage.hear(request(1, end=False), data(1, b"abc"))
    assert stage.calls == [("open", 1, FIELDS, False), ("data", 1, b"abc")]
    assert stage.said() == []

The peer's octets are made by `h2_frames`, which shares nothing with the gateway.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.http.h2.decoder import DecodedField
from gateway.http.h2.errors import ConnectionFault
from gateway.http.h2.session import Session, SessionOwner
from gateway.http.h2.settings import SessionLimits
from gateway.http.h2.stream import Stream
from gateway.http.message import Fields
from tests.support.field_lines import pairs_of
from tests.support.h2_frames import (
    PREFACE,
    Code,
    Flag,
    Frame,
    Type,
    frame,
    frames_in,
    indexed,
    literal,
    number,
    settings,
)

Call = tuple[Any, ...]

FIELDS: Fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b"x", b"y")]
BLOCK = indexed(2) + indexed(6) + indexed(4) + literal((b"x", b"y"))
"""`FIELDS`, encoded."""
OK: Fields = [(b":status", b"200")]
OK_BLOCK = indexed(8)
EARLY: Fields = [(b":status", b"103")]
EARLY_BLOCK = literal((b":status", b"103"))
TRAILERS: Fields = [(b"t", b"1")]
TRAILERS_BLOCK = literal((b"t", b"1"))
EVERYTHING = 1 << 30
"""A share, or octets to pump, that nothing uses up."""
LARGEST_WINDOW = (1 << 31) - 1


# --- what the peer says ----------------------------------------------------------------------------------------------


def headers(stream: int, block: bytes = BLOCK, *, end: bool = True, whole: bool = True, flags: int = 0) -> bytes:
    flags |= (Flag.END_STREAM if end else 0) | (Flag.END_HEADERS if whole else 0)
    return frame(Type.HEADERS, flags, stream, block)


def data(stream: int, content: bytes = b"", *, end: bool = False, padding: int | None = None) -> bytes:
    flags = Flag.END_STREAM if end else Flag.NONE
    if padding is None:
        return frame(Type.DATA, flags, stream, content)
    return frame(Type.DATA, flags | Flag.PADDED, stream, bytes([padding]) + content + bytes(padding))


def trailers(stream: int) -> bytes:
    return headers(stream, TRAILERS_BLOCK)


def rst(stream: int, code: int = Code.CANCEL) -> bytes:
    return frame(Type.RST_STREAM, 0, stream, number(code))


def update(stream: int, increment: int) -> bytes:
    return frame(Type.WINDOW_UPDATE, 0, stream, number(increment))


def ping(payload: bytes = b"12345678", *, ack: bool = False) -> bytes:
    return frame(Type.PING, Flag.ACK if ack else 0, 0, payload)


def goaway(last: int, code: int = Code.NO_ERROR) -> bytes:
    return frame(Type.GOAWAY, 0, 0, number(last) + number(code))


def set(*pairs: tuple[int, int]) -> bytes:
    return frame(Type.SETTINGS, 0, 0, settings(*pairs))


SETTINGS_ACK = frame(Type.SETTINGS, Flag.ACK)


# --- what is recorded ------------------------------------------------------------------------------------------------


class RecordedStream(Stream):
    """Writes down what it is told, and consumes content at once unless its stage does not."""

    __slots__ = ("stage",)

    def __init__(self, stage: Stage, stream_id: int = 0) -> None:
        super().__init__(stream_id)
        self.stage = stage

    def headers_received(self, fields: list[DecodedField], ended: bool) -> None:
        self.stage.call("headers", self.id, pairs_of(fields), ended)

    def data_received(self, data: bytes) -> None:
        self.stage.call("data", self.id, data)
        if self.stage.consumes:
            self.stage.session.consumed(self, len(data))

    def end_received(self, trailer_fields: list[DecodedField]) -> None:
        self.stage.call("end", self.id, pairs_of(trailer_fields))

    def reset_received(self, code: int) -> None:
        self.stage.call("reset", self.id, code)

    def drained(self) -> None:
        self.stage.call("drained", self.id)

    def passable(self) -> int:
        raise AssertionError("the session knows no connection")

    def flush_received(self) -> None:
        raise AssertionError("the session knows no connection")


class Stage(SessionOwner):
    """Both roles. As a server it adopts what comes, unless `refuse` does something else."""

    def __init__(
        self, *, server: bool = True, limits: SessionLimits | None = None, greeted: bool = True, consumes: bool = True
    ) -> None:
        """`greeted`: both have said their SETTINGS and acknowledged them."""
        self.now = 0.0
        self.calls: list[Call] = []
        self.streams: dict[int, RecordedStream] = {}
        self.consumes = consumes
        self.refuse: Callable[[int], bool] | None = None
        self.hook: Callable[[Call], None] | None = None
        self.session = Session(self, server=server, limits=limits or SessionLimits(), clock=lambda: self.now)
        self.fault: ConnectionFault | None = None
        self.rest = b""
        self._said = bytearray()
        if greeted:
            self.session.start()
            self.hear((PREFACE if server else b"") + set(), SETTINGS_ACK)
            self.said()
            self.calls.clear()

    def hear(self, *octets: bytes, share: int = EVERYTHING) -> None:
        """The session receives them, and does not fail."""
        self.session.work = 0
        self.rest = self.session.receive(self.rest + b"".join(octets), share)

    def said(self) -> list[Frame]:
        """What the session has written since it was asked last; a client's preface is checked and left out."""
        self._said += b"".join(self.session.out)
        self.session.out = []
        if self._said.startswith(PREFACE):
            del self._said[: len(PREFACE)]
        frames = list(frames_in(self._said))
        assert not self._said
        return frames

    def ends(self, *octets: bytes) -> int:
        """The session receives them, and says that the connection ends: returns the code."""
        self.said()
        try:
            self.hear(*octets)
        except ConnectionFault as fault:
            self.fault = fault
        assert self.fault is not None, f"goes on, having said {self.said()}"
        last = self.said()[-1]
        assert (last.type, last.stream, last.code) == (Type.GOAWAY, 0, self.fault.code)
        return last.code

    def open(self, block: bytes = BLOCK, *, end: bool = False) -> RecordedStream:
        """Client: a request."""
        stream = RecordedStream(self)
        self.session.open_stream(stream, block, end)
        self.streams[stream.id] = stream
        return stream

    def call(self, *call: Any) -> None:
        self.calls.append(call)
        if self.hook is not None:
            self.hook(call)

    # --- SessionOwner --------------------------------------------------------------------------------------------

    def request_received(self, stream_id: int, fields: list[DecodedField] | None, ended: bool) -> None:
        if self.refuse is not None and self.refuse(stream_id):
            return
        self.streams[stream_id] = stream = RecordedStream(self, stream_id)
        self.session.adopt(stream)
        self.call("open", stream_id, None if fields is None else pairs_of(fields), ended)

    def settings_received(self) -> None:
        self.call("settings")

    def ping_acknowledged(self) -> None:
        self.call("ping")

    def going_away(self, last_stream_id: int, code: int) -> None:
        self.call("going away", last_stream_id, code)
