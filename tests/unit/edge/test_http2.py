"""What an HTTP/2 connection from downstream waits for, without sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.edge.exchange import Exchange
from gateway.edge.http2 import SETTINGS_PATIENCE, Http2Downstream
from gateway.edge.http2_stream import Http2Stream
from gateway.http.h2.frames import HEADER
from gateway.turns import READ, WIDE_READ
from tests.support.h2_frames import PREFACE, Flag, Type, frame
from tests.support.seam import gateway
from tests.support.wire import Wire

pytestmark = pytest.mark.pure  # fakes stand in the place of what is compiled


class Slow(Wire):
    """Takes nothing."""

    waiting = 1000

    def get_write_buffer_size(self) -> int:
        return self.waiting


@pytest.fixture
async def slow() -> AsyncIterator[tuple[Http2Downstream, Slow]]:
    async with gateway() as g:
        wire, connection = Slow(), Http2Downstream(g.edge, g.peer, lambda: None)
        connection.connection_made(wire)
        connection.data_received(PREFACE + frame(Type.SETTINGS) + frame(Type.SETTINGS, 1))
        g.edge.write_batcher.flush()
        connection.expire(connection.clock() + SETTINGS_PATIENCE + 1.0)  # acknowledged: nothing of it is due any more
        connection.pause_writing()
        yield connection, wire
        connection.connection_lost(None)


async def test_a_slow_reader_has_its_time_whoever_else_is_late(slow: tuple[Http2Downstream, Slow]) -> None:
    connection, wire = slow
    now, patience = connection.clock(), connection.timeouts.body_idle
    connection.expire(now + 1.0)  # for another of its deadlines
    assert not wire.closing
    assert connection.deadline <= now + patience + 1.0
    wire.waiting -= 1
    connection.expire(now + patience + 1.0)
    assert not wire.closing, "slow, but alive"
    connection.expire(now + 2 * patience + 2.0)
    assert wire.closing


async def test_a_new_stream_does_not_prolong_it(slow: tuple[Http2Downstream, Slow]) -> None:
    connection, _ = slow
    due = connection.deadline
    block = b"\x82\x86\x84\x41\x01x"  # GET http / of x
    connection.data_received(frame(Type.HEADERS, 5, 1, block))
    assert connection.deadline <= due


class Upload:
    """Requests with content by one connection, whose app takes as much as comes."""

    def __init__(self, connection: Http2Downstream) -> None:
        self.connection = connection

    def begins(self, stream_id: int) -> None:
        self._reads(frame(Type.HEADERS, Flag.END_HEADERS, stream_id, b"\x83\x86\x84\x41\x01x"))

    def ends(self, stream_id: int) -> None:
        self._reads(frame(Type.DATA, Flag.END_STREAM, stream_id))

    def goes_on(self, stream_id: int) -> int:
        """A read that fills its buffer with frames of content; the octets of the next one at most."""
        size = self.connection.get_buffer(-1).nbytes
        pieces, left = b"", size
        while left:
            length = min(left, 16 * 1024) - HEADER
            pieces += frame(Type.DATA, 0, stream_id, bytes(length))
            left -= length + HEADER
        self._reads(pieces)
        return self.connection.get_buffer(-1).nbytes

    def _reads(self, octets: bytes) -> None:
        self.connection.get_buffer(-1)[: len(octets)] = octets
        self.connection.buffer_updated(len(octets))


@pytest.fixture
async def upload(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Upload]:
    monkeypatch.setattr(Exchange, "begin", lambda exchange: None)
    monkeypatch.setattr(Exchange, "request_body", lambda exchange, data: None)
    monkeypatch.setattr(Exchange, "request_room", lambda exchange: 10 * WIDE_READ)
    async with gateway() as g:
        connection = Http2Downstream(g.edge, g.peer, lambda: None)
        connection.connection_made(Wire())
        connection.data_received(PREFACE + frame(Type.SETTINGS) + frame(Type.SETTINGS, 1))
        yield Upload(connection)
        connection.connection_lost(None)


async def test_an_upload_that_fills_its_reads_is_read_in_larger_ones(upload: Upload) -> None:
    upload.begins(1)
    assert upload.goes_on(1) == READ
    assert upload.goes_on(1) == WIDE_READ
    upload.begins(3)
    assert upload.connection.get_buffer(-1).nbytes == READ, "most requests are short"


async def test_what_may_have_to_wait_is_read_in_small_pieces(upload: Upload) -> None:
    connection = upload.connection
    upload.begins(1)
    assert connection.passable() == 10 * WIDE_READ
    upload.begins(3)
    assert connection.passable() == 0, "of two uploads one may be paused"
    upload.ends(3)
    assert connection.passable() == 10 * WIDE_READ, "an answer that is awaited brings nothing from here"
    (stream, _) = connection.session.streams.values()
    assert isinstance(stream, Http2Stream)
    stream.pause()
    assert connection.passable() == 0
