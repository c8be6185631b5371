"""What an HTTP/2 connection from downstream waits for, without sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.edge.http2 import SETTINGS_PATIENCE, Http2Downstream
from tests.support.h2_frames import PREFACE, Type, frame
from tests.support.seam import gateway
from tests.support.wire import Wire


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
