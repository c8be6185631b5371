"""SETTINGS, PING, GOAWAY, WINDOW_UPDATE and priorities."""

from __future__ import annotations

import pytest

from gateway.http.h2.abuse import MOST_CREDIT
from gateway.http.h2.control import EARLY_PRIORITIES, REMEMBERED_GAPS
from gateway.http.h2.errors import ErrorCode
from gateway.http.h2.settings import SessionLimits
from tests.support.h2_frames import WINDOW, Code, Flag, Setting, Type, frame, number
from tests.support.h2_session import (
    BLOCK,
    EVERYTHING,
    FIELDS,
    LARGEST_WINDOW,
    OK_BLOCK,
    SETTINGS_ACK,
    TRAILERS_BLOCK,
    Stage,
    data,
    goaway,
    headers,
    ping,
    rst,
    set,
    update,
)

pytestmark = pytest.mark.pure  # fakes stand in the place of what is compiled

CONNECTION_FAULTS = {
    "SETTINGS on a stream": (frame(Type.SETTINGS, 0, 1), Code.PROTOCOL_ERROR),
    "SETTINGS of 5 octets": (frame(Type.SETTINGS, 0, 0, bytes(5)), Code.FRAME_SIZE_ERROR),
    "SETTINGS acknowledged with a payload": (frame(Type.SETTINGS, Flag.ACK, 0, bytes(6)), Code.FRAME_SIZE_ERROR),
    "PING on a stream": (frame(Type.PING, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    "PING of 6 octets": (frame(Type.PING, 0, 0, bytes(6)), Code.FRAME_SIZE_ERROR),
    "PING acknowledged by 9 octets": (frame(Type.PING, Flag.ACK, 0, bytes(9)), Code.FRAME_SIZE_ERROR),
    "GOAWAY on a stream": (frame(Type.GOAWAY, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    "GOAWAY of 7 octets": (frame(Type.GOAWAY, 0, 0, bytes(7)), Code.FRAME_SIZE_ERROR),
    "WINDOW_UPDATE of 3 octets": (frame(Type.WINDOW_UPDATE, 0, 0, bytes(3)), Code.FRAME_SIZE_ERROR),
    "WINDOW_UPDATE of 5 octets on a stream": (frame(Type.WINDOW_UPDATE, 0, 1, bytes(5)), Code.FRAME_SIZE_ERROR),
    "WINDOW_UPDATE by 0": (update(0, 0), Code.PROTOCOL_ERROR),
    "WINDOW_UPDATE by 0 and the reserved bit": (update(0, 1 << 31), Code.PROTOCOL_ERROR),
    "WINDOW_UPDATE beyond 2^31-1": (update(0, LARGEST_WINDOW - WINDOW + 1), Code.FLOW_CONTROL_ERROR),
    "PRIORITY on stream 0": (frame(Type.PRIORITY, 0, 0, number(1) + b"\0"), Code.PROTOCOL_ERROR),
    "PRIORITY of 4 octets on an idle stream": (frame(Type.PRIORITY, 0, 9, bytes(4)), Code.FRAME_SIZE_ERROR),
    "an idle stream that depends on itself": (frame(Type.PRIORITY, 0, 9, number(9) + b"\0"), Code.PROTOCOL_ERROR),
    "PRIORITY_UPDATE on a stream": (frame(Type.PRIORITY_UPDATE, 0, 1, number(1)), Code.PROTOCOL_ERROR),
    "PRIORITY_UPDATE for stream 0": (frame(Type.PRIORITY_UPDATE, 0, 0, number(0)), Code.PROTOCOL_ERROR),
    "PRIORITY_UPDATE of 3 octets": (frame(Type.PRIORITY_UPDATE, 0, 0, bytes(3)), Code.FRAME_SIZE_ERROR),
    "PUSH_PROMISE": (frame(Type.PUSH_PROMISE, Flag.END_HEADERS, 1, number(2) + BLOCK), Code.PROTOCOL_ERROR),
    "CONTINUATION after nothing": (frame(Type.CONTINUATION, Flag.END_HEADERS, 1, BLOCK), Code.PROTOCOL_ERROR),
}


@pytest.mark.parametrize("name", CONNECTION_FAULTS)
def test_what_ends_the_connection(name: str) -> None:
    octets, code = CONNECTION_FAULTS[name]
    stage = Stage()
    stage.hear(headers(1, end=False))
    stage.calls.clear()
    assert stage.ends(octets) == code
    assert not stage.calls


STREAM_FAULTS = {
    "WINDOW_UPDATE by 0": (update(1, 0), Code.PROTOCOL_ERROR),
    "WINDOW_UPDATE beyond 2^31-1": (update(1, LARGEST_WINDOW - WINDOW + 1), Code.FLOW_CONTROL_ERROR),
    "PRIORITY of 4 octets": (frame(Type.PRIORITY, 0, 1, bytes(4)), Code.FRAME_SIZE_ERROR),
    "PRIORITY of 6 octets": (frame(Type.PRIORITY, 0, 1, bytes(6)), Code.FRAME_SIZE_ERROR),
    "depends on itself": (frame(Type.PRIORITY, 0, 1, number(0x80000001) + b"\0"), Code.PROTOCOL_ERROR),
}


@pytest.mark.parametrize("name", STREAM_FAULTS)
def test_what_ends_one_stream(name: str) -> None:
    octets, code = STREAM_FAULTS[name]
    stage = Stage()
    stage.hear(headers(1, end=False))
    stage.calls.clear()
    stage.hear(octets, ping())
    said = stage.said()
    assert [(frame.type, frame.stream) for frame in said] == [(Type.RST_STREAM, 1), (Type.PING, 0)]
    assert said[0].code == code
    assert stage.calls == [("reset", 1, code)]
    assert stage.streams[1].fault


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_stream_that_is_over_can_still_fail(forgotten: bool) -> None:
    stage = Stage()
    stage.hear(headers(1))
    stage.session.end_stream(stage.streams[1])
    if forgotten:
        stage.session.forget(stage.streams[1])
    stage.said()
    stage.hear(frame(Type.PRIORITY, 0, 1, bytes(4)), frame(Type.PRIORITY, 0, 1, bytes(4)))
    assert [(frame.type, frame.code) for frame in stage.said()] == [(Type.RST_STREAM, Code.FRAME_SIZE_ERROR)]
    assert [call[0] for call in stage.calls] == ["open"]


# --- SETTINGS -------------------------------------------------------------------------------------------------------


def test_settings_are_applied_and_acknowledged() -> None:
    stage = Stage()
    stage.hear(set((Setting.MAX_CONCURRENT_STREAMS, 7), (0xABCD, 1), (Setting.INITIAL_WINDOW_SIZE, 100)))
    assert [(frame.type, frame.flags, frame.payload) for frame in stage.said()] == [(Type.SETTINGS, Flag.ACK, b"")]
    assert stage.calls == [("settings",)]
    assert stage.session.peer.max_concurrent_streams == 7
    stage.hear(headers(1))
    assert stage.streams[1].send_window == 100


def test_ours_are_acknowledged_once() -> None:
    stage = Stage(greeted=False)
    stage.session.start()
    stage.hear(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", set())
    assert not stage.session.settings_acknowledged
    stage.hear(SETTINGS_ACK)
    assert stage.session.settings_acknowledged
    stage.hear(SETTINGS_ACK)


def test_windows_move_with_the_initial_size_below_zero_too() -> None:
    """Section 6.9.2, its example."""
    stage = Stage()
    stage.hear(headers(1))
    session, stream = stage.session, stage.streams[1]
    stage.session.send_headers(stream, OK_BLOCK, end=False)
    session.send_data(stream, bytes(60_000))
    stage.said()
    stage.hear(set((Setting.INITIAL_WINDOW_SIZE, 16_384)))
    stage.said()
    assert stream.send_window == 16_384 - 60_000
    session.send_data(stream, b"abc")
    stage.hear(update(1, 60_000 - 16_384))
    assert (session.pump(EVERYTHING), stage.said()) == (0, [])
    stage.hear(update(1, 1))
    session.pump(EVERYTHING)
    assert [frame.payload for frame in stage.said()] == [b"a"]
    stage.hear(set((Setting.INITIAL_WINDOW_SIZE, 16_386)))
    stage.said()
    session.pump(EVERYTHING)
    assert [frame.payload for frame in stage.said()] == [b"bc"]
    assert session.send_window == WINDOW - 60_003, "the connection's does not move"


def test_a_stream_whose_window_closes_while_it_waits_gives_up_its_turn() -> None:
    stage = Stage()
    stage.hear(headers(1))
    session = stage.session
    session.paused = True
    session.send_data(stage.streams[1], b"abc")
    stage.hear(set((Setting.INITIAL_WINDOW_SIZE, 0)))
    assert session.pump(EVERYTHING) == 0
    stage.hear(set((Setting.INITIAL_WINDOW_SIZE, 2)))
    assert session.pump(EVERYTHING) == 2


def test_no_window_moves_beyond_the_largest() -> None:
    stage = Stage()
    stage.hear(headers(1), update(1, 10))
    assert stage.ends(set((Setting.INITIAL_WINDOW_SIZE, LARGEST_WINDOW - 9))) == Code.FLOW_CONTROL_ERROR
    stage = Stage()
    stage.hear(headers(1), update(1, 10))
    stage.session.end_stream(stage.streams[1])
    stage.hear(set((Setting.INITIAL_WINDOW_SIZE, LARGEST_WINDOW)))


def test_a_smaller_table_is_answered_once_in_the_next_block() -> None:
    """RFC 7541 section 4.2."""
    stage = Stage()
    stage.hear(headers(1), headers(3), headers(5))
    stage.hear(set((Setting.HEADER_TABLE_SIZE, 8192)))
    stage.hear(set((Setting.HEADER_TABLE_SIZE, 4096)))
    stage.hear(set((Setting.HEADER_TABLE_SIZE, 100), (Setting.HEADER_TABLE_SIZE, 4096)))
    stage.hear(set((Setting.HEADER_TABLE_SIZE, 0)))
    stage.said()
    for stream in stage.streams.values():
        stage.session.send_headers(stream, OK_BLOCK, end=True)
    assert [frame.payload for frame in stage.said()] == [b"\x20" + OK_BLOCK, OK_BLOCK, OK_BLOCK]


def test_trailers_can_be_that_next_block() -> None:
    stage = Stage()
    stage.hear(headers(1))
    stage.session.send_headers(stage.streams[1], OK_BLOCK, end=False)
    stage.hear(set((Setting.HEADER_TABLE_SIZE, 0)))
    stage.said()
    stage.session.end_stream(stage.streams[1], TRAILERS_BLOCK)
    assert [frame.payload for frame in stage.said()] == [b"\x20" + TRAILERS_BLOCK]


@pytest.mark.parametrize("window", [1_000, 100_000])
def test_our_window_counts_from_its_acknowledgement_on(window: int) -> None:
    """Section 6.9.3: until then the peer does not know of it."""
    stage = Stage(greeted=False, limits=SessionLimits(window=window), consumes=False)
    stage.session.start()
    stage.hear(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", set(), headers(1, end=False), data(1, bytes(1_500)))
    stage.hear(SETTINGS_ACK)
    stage.said()
    stage.hear(data(1, end=True))
    assert not stage.said(), "an empty frame needs no window"
    stage.hear(headers(3, end=False), *[data(3, bytes(1_000))] * (window // 1_000))
    assert not stage.said()
    stage.hear(data(3, b"x"))
    assert stage.said()[0].code == Code.FLOW_CONTROL_ERROR


# --- WINDOW_UPDATE --------------------------------------------------------------------------------------------------


def test_windows_open_up_to_the_largest() -> None:
    stage = Stage()
    stage.hear(headers(1), update(0, LARGEST_WINDOW - WINDOW), update(1, LARGEST_WINDOW - WINDOW))
    assert stage.session.send_window == stage.streams[1].send_window == LARGEST_WINDOW
    assert not stage.said()


def test_a_stream_that_we_have_ended_may_get_any_update() -> None:
    stage = Stage()
    stage.hear(headers(1, end=False))
    stage.session.end_stream(stage.streams[1])
    stage.said()
    stage.hear(update(1, LARGEST_WINDOW))
    assert not stage.said()


# --- PING and GOAWAY ------------------------------------------------------------------------------------------------


def test_ping_is_answered() -> None:
    stage = Stage()
    stage.hear(ping(b"8 octets"))
    assert [(frame.type, frame.flags, frame.payload) for frame in stage.said()] == [(Type.PING, Flag.ACK, b"8 octets")]
    assert not stage.calls


def test_our_ping_comes_back() -> None:
    stage = Stage()
    stage.session.ping()
    [sent] = stage.said()
    assert (sent.type, sent.flags) == (Type.PING, 0)
    stage.hear(ping(b"another.", ack=True))
    assert not stage.calls
    stage.hear(ping(sent.payload, ack=True), ping(sent.payload, ack=True))
    assert stage.calls == [("ping",)]
    assert not stage.said()


def test_a_shutdown_in_two_steps() -> None:
    """Section 6.8."""
    stage = Stage()
    session = stage.session
    stage.hear(headers(1))
    session.shutdown_notice()
    notice, sent = stage.said()
    assert (notice.type, notice.payload) == (Type.GOAWAY, number(LARGEST_WINDOW) + number(0))
    stage.hear(headers(3), ping(sent.payload, ack=True))
    assert stage.calls[-2:] == [("open", 3, FIELDS, True), ("ping",)]
    session.go_away(ErrorCode.NO_ERROR)
    [last] = stage.said()
    assert last.payload == number(3) + number(0)
    stage.hear(headers(5, end=False), data(5, b"x"), data(5, end=True), rst(5), update(5, 1))
    assert stage.calls[-1] == ("ping",), "nothing of it is processed"
    assert not stage.said()
    session.send_headers(stage.streams[3], OK_BLOCK, end=True)
    assert stage.said()
    assert stage.ends(frame(Type.PING, 0, 1, bytes(8))) == Code.PROTOCOL_ERROR
    session.go_away(ErrorCode.INTERNAL_ERROR, 7, b"why")
    assert stage.said()[0].payload == number(3) + number(2) + b"why", "the last stream never grows"


def test_a_client_that_goes_away_still_gets_its_answers() -> None:
    stage = Stage()
    stage.hear(headers(1), goaway(0))
    assert stage.calls[1:] == [("going away", 0, 0)]
    stage.session.send_headers(stage.streams[1], OK_BLOCK, end=True)
    assert stage.said()


def test_a_server_that_goes_away_has_not_processed_the_rest() -> None:
    stage = Stage(server=False)
    for _ in range(4):
        stage.open(end=True)
    stage.session.reset(7, ErrorCode.CANCEL)
    stage.hear(goaway(LARGEST_WINDOW))
    assert not stage.session.can_open
    assert stage.calls == [("going away", LARGEST_WINDOW, 0)]
    stage.hear(goaway(3, 0xBEEF))
    assert stage.calls[1:] == [("going away", 3, 0xBEEF), ("reset", 5, Code.REFUSED_STREAM)]
    assert stage.streams[5].unprocessed
    assert not stage.streams[3].unprocessed
    stage.hear(goaway(7))
    assert stage.calls[3:] == [("going away", 3, 0)]
    stage.hear(headers(1, OK_BLOCK), headers(3, OK_BLOCK))
    assert [call[:2] for call in stage.calls[4:]] == [("headers", 1), ("headers", 3)]


# --- priorities -----------------------------------------------------------------------------------------------------


def priority_update(stream: int, value: bytes) -> bytes:
    return frame(Type.PRIORITY_UPDATE, 0, 0, number(stream) + value)


def test_the_old_priorities_are_ignored() -> None:
    stage = Stage()
    for stream in (1, 3, 5, 6, 7):
        stage.hear(frame(Type.PRIORITY, 0, stream, number(0x80000000) + b"\xff"))
        if stream < 5:
            stage.hear(headers(stream))
    assert not stage.said()


def test_priority_update_changes_whose_turn_it_is() -> None:
    stage = Stage()
    session = stage.session
    session.paused = True
    for stream in (1, 3):
        stage.hear(headers(stream))
        session.send_data(stage.streams[stream], bytes(20_000))
    stage.hear(priority_update(3, b"u=1, i"), priority_update(9, b"u=0"))
    session.pump(EVERYTHING)
    assert [frame.stream for frame in stage.said()] == [3, 3, 1, 1]
    assert (stage.streams[1].urgency, stage.streams[3].urgency) == (3, 1)


def test_priority_update_may_come_before_its_stream() -> None:
    stage = Stage()
    stage.hear(
        priority_update(3, b"u=6"), priority_update(3, b"u=1"), priority_update(2, b"u=0"), headers(1), headers(3)
    )
    assert (stage.streams[1].urgency, stage.streams[3].urgency) == (3, 1)
    stage.hear(headers(5))
    assert stage.streams[5].urgency == 3


def test_not_for_ever_many_streams() -> None:
    stage = Stage()
    first, last = 101, 101 + 2 * EARLY_PRIORITIES
    for stream in range(first, last + 1, 2):
        stage.session._credit = MOST_CREDIT  # else it is a flood
        stage.hear(priority_update(stream, b"u=0"))
    assert len(stage.session._early_urgency) == EARLY_PRIORITIES
    stage.hear(headers(first), headers(last))
    assert (stage.streams[first].urgency, stage.streams[last].urgency) == (3, 0)


def test_a_server_may_not_prioritize() -> None:
    stage = Stage(server=False)
    assert stage.ends(priority_update(1, b"u=1")) == Code.PROTOCOL_ERROR


# --- the rest -------------------------------------------------------------------------------------------------------


def test_unknown_types_are_ignored() -> None:
    stage = Stage()
    stage.hear(frame(0x0B, 0xFF, 0, b"x"), frame(0xFE, 0xFF, 99, bytes(16_384)), headers(1))
    assert stage.calls == [("open", 1, FIELDS, True)]


def test_gaps_are_remembered_and_not_for_ever() -> None:
    stage = Stage()
    stage.hear(headers(5))
    for stream in range(9, 9 + 4 * REMEMBERED_GAPS, 4):
        stage.hear(headers(stream))
    assert len(stage.session._gaps) == REMEMBERED_GAPS
    assert stage.ends(headers(7)) == Code.PROTOCOL_ERROR
    assert stage.ends(headers(3)) == Code.STREAM_CLOSED, "as if it had been"


def test_streams_without_gaps_leave_nothing_to_remember() -> None:
    stage = Stage()
    stage.hear(headers(1), headers(3), headers(5))
    assert not stage.session._gaps
