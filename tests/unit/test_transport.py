"""Writes leave together, in order, and before anything that would overtake them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway.transport import AT_ONCE, CLOSED_TRANSPORT, LARGE, GatheringTransport, WriteBatcher, undelivered


class Below(asyncio.Transport):
    """Remembers what was done to it, in order."""

    def __init__(self, log: list[object]) -> None:
        super().__init__()
        self.log = log
        self.closing = False

    def write(self, data: Any) -> None:
        self.log.append(data)

    def write_eof(self) -> None:
        self.log.append("eof")

    def close(self) -> None:
        self.log.append("close")
        self.closing = True

    def abort(self) -> None:
        self.log.append("abort")
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 1000

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Turn:
    """An event loop whose turn ends when the test says so."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[], None]] = []
        self.log: list[object] = []
        self.write_batcher = WriteBatcher(self.callbacks.append)

    def transport(self) -> GatheringTransport:
        return GatheringTransport(Below(self.log), self.write_batcher)

    def end(self) -> None:
        callbacks, self.callbacks[:] = self.callbacks[:], []
        for callback in callbacks:
            callback()


@pytest.fixture
def turn() -> Turn:
    return Turn()


def test_what_is_written_in_a_turn_leaves_at_its_end(turn: Turn) -> None:
    first, second = turn.transport(), turn.transport()
    first.write(b"a")
    second.write(b"b")
    first.write(b"c")
    assert turn.log == []
    assert len(turn.callbacks) == 1
    turn.end()
    assert turn.log == [b"ac", b"b"], "one write each"
    second.write(b"d")
    turn.end()
    assert turn.log == [b"ac", b"b", b"d"]
    turn.end()
    assert turn.log == [b"ac", b"b", b"d"], "once"


def test_what_is_large_does_not_wait(turn: Turn) -> None:
    transport = turn.transport()
    transport.write(b"a")
    transport.write(bytes(LARGE))
    assert turn.log == [b"a" + bytes(LARGE)]
    turn.end()
    assert len(turn.log) == 1


def test_nobody_waits_for_more_than_a_few_others(turn: Turn) -> None:
    for number in range(AT_ONCE):
        assert turn.log == []
        turn.transport().write(b"%d" % number)
    assert turn.log == [b"%d" % number for number in range(AT_ONCE)]
    turn.transport().write(b"and one more")
    turn.end()
    assert len(turn.log) == AT_ONCE + 1


@pytest.mark.parametrize(("end", "name"), [(GatheringTransport.write_eof, "eof"), (GatheringTransport.close, "close")])
def test_no_orderly_end_overtakes_what_was_written(
    turn: Turn, end: Callable[[GatheringTransport], None], name: str
) -> None:
    transport = turn.transport()
    transport.write(b"last words")
    end(transport)
    assert turn.log == [b"last words", name]
    turn.end()
    assert turn.log == [b"last words", name]


def test_an_abort_loses_what_was_not_written_yet(turn: Turn) -> None:
    transport = turn.transport()
    transport.write(b"not any more")
    transport.abort()
    turn.end()
    assert turn.log == ["abort"]
    assert transport.get_write_buffer_size() == 1000


def test_one_transport_that_fails_does_not_silence_the_others(
    turn: Turn, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(data: object) -> None:
        raise RuntimeError("the handler is closed")

    below = Below(turn.log)
    monkeypatch.setattr(below, "write", write, raising=False)
    GatheringTransport(below, turn.write_batcher).write(b"a")
    turn.transport().write(b"b")
    turn.end()
    assert turn.log == ["abort", b"b"]
    assert "the handler is closed" in caplog.text


def test_a_transport_that_closed_meanwhile_is_not_written_to(turn: Turn) -> None:
    below = Below(turn.log)
    transport = GatheringTransport(below, turn.write_batcher)
    transport.write(b"to whom?")
    below.closing = True
    assert transport.is_closing()
    turn.end()
    assert turn.log == []


def test_what_is_gathered_counts_as_undelivered(turn: Turn) -> None:
    transport = turn.transport()
    transport.write(b"12345")
    assert transport.get_write_buffer_size() == 1005
    assert undelivered(transport) == 1005
    turn.end()
    assert undelivered(transport) == 1000


def test_nothing_is_gathered_for_nobody() -> None:
    CLOSED_TRANSPORT.write(b"hello?")
    CLOSED_TRANSPORT.flush()
    CLOSED_TRANSPORT.close()
    CLOSED_TRANSPORT.abort()
    assert CLOSED_TRANSPORT.is_closing()
    assert not CLOSED_TRANSPORT.can_write_eof()
    assert undelivered(CLOSED_TRANSPORT) == 0
