"""Requests and responses as they come in: what the owner is told, and what ends a stream or the connection."""

from __future__ import annotations

import pytest

from gateway.http.h2.errors import ErrorCode, StreamFault
from gateway.http.h2.settings import SessionLimits
from tests.support.h2_frames import Code, Flag, Type, frame, indexed, literal, number
from tests.support.h2_session import (
    BLOCK,
    EARLY,
    EARLY_BLOCK,
    FIELDS,
    OK,
    OK_BLOCK,
    TRAILERS,
    TRAILERS_BLOCK,
    Call,
    RecordedStream,
    Stage,
    data,
    headers,
    ping,
    rst,
    trailers,
)

pytestmark = pytest.mark.pure  # fakes stand in the place of what is compiled

# --- requests -------------------------------------------------------------------------------------------------------


def test_a_request_without_content() -> None:
    stage = Stage()
    stage.hear(headers(1))
    assert stage.calls == [("open", 1, FIELDS, True)]
    assert stage.said() == []


def test_a_request_with_content_and_trailers() -> None:
    stage = Stage()
    stage.hear(headers(1, end=False), data(1, b"abc"), data(1, b"d"), trailers(1))
    assert stage.calls == [
        ("open", 1, FIELDS, False),
        ("data", 1, b"abc"),
        ("data", 1, b"d"),
        ("end", 1, TRAILERS),
    ]


def test_end_stream_on_content_and_on_nothing() -> None:
    stage = Stage()
    stage.hear(headers(1, end=False), data(1, b"abc", end=True), headers(3, end=False), data(3, end=True))
    assert stage.calls[1:3] == [("data", 1, b"abc"), ("end", 1, [])]
    assert stage.calls[4:] == [("end", 3, [])]


def test_a_head_in_pieces() -> None:
    stage = Stage()
    pieces = [frame(Type.CONTINUATION, 0, 1, BLOCK[at : at + 1]) for at in range(2, len(BLOCK) - 1)]
    last = frame(Type.CONTINUATION, Flag.END_HEADERS, 1, BLOCK[-1:])
    stage.hear(headers(1, BLOCK[:2], whole=False), *pieces, last)
    assert stage.calls == [("open", 1, FIELDS, True)]
    assert stage.session.block_octets == len(BLOCK)


def test_padding_and_the_old_priority_are_not_content() -> None:
    stage = Stage()
    priority = number(0x80000000) + b"\x10"
    padded = bytes([3]) + priority + BLOCK + bytes(3)
    stage.hear(headers(1, padded, end=False, flags=Flag.PADDED | Flag.PRIORITY))
    stage.hear(headers(3, priority + BLOCK, flags=Flag.PRIORITY), headers(5, b"\x00" + BLOCK, flags=Flag.PADDED))
    stage.hear(data(1, b"abc", padding=200), data(1, b"", padding=7), data(1, b"d", padding=0, end=True))
    assert stage.calls == [
        ("open", 1, FIELDS, False),
        ("open", 3, FIELDS, True),
        ("open", 5, FIELDS, True),
        ("data", 1, b"abc"),
        ("data", 1, b"d"),
        ("end", 1, []),
    ]


def test_reserved_bits_and_unused_flags_are_ignored() -> None:
    """Section 4.1."""
    stage = Stage()
    head = bytearray(headers(1, end=False, flags=0x40 | 0x80 | 0x02))
    head[5] |= 0x80
    stage.hear(bytes(head), frame(Type.DATA, Flag.END_STREAM | 0xF6, 1, b"abc"))
    assert stage.calls == [("open", 1, FIELDS, False), ("data", 1, b"abc"), ("end", 1, [])]


def test_a_head_that_is_too_large_is_told_and_the_table_stays_in_step() -> None:
    stage = Stage(limits=SessionLimits(header_list=200))
    large = b"\x40\x01a\x01b" + literal((b"c", b"d" * 200))  # a: b is remembered
    stage.hear(headers(1, large), headers(3, indexed(62)))
    assert stage.calls == [("open", 1, None, True), ("open", 3, [(b"a", b"b")], True)]


def test_the_table_stays_in_step_when_nobody_wants_the_block() -> None:
    """Section 4.3: decompression "even if the frames are to be discarded"."""
    stage = Stage(limits=SessionLimits(concurrent_streams=1))
    stage.hear(headers(1, BLOCK, end=False), headers(3, b"\x40\x01a\x01b"))
    [refused] = stage.said()
    assert (refused.type, refused.stream, refused.code) == (Type.RST_STREAM, 3, Code.REFUSED_STREAM)
    stage.hear(trailers(1))
    stage.session.forget(stage.streams[1])
    stage.hear(headers(5, indexed(62)))
    assert stage.calls[-1] == ("open", 5, [(b"a", b"b")], True)


def test_a_block_that_cannot_be_decoded_ends_the_connection() -> None:
    stage = Stage()
    assert stage.ends(headers(1, indexed(99))) == Code.COMPRESSION_ERROR
    assert not stage.calls


# --- the limit ------------------------------------------------------------------------------------------------------


def test_streams_count_until_their_owner_forgets_them() -> None:
    """Whoever resets at once what he has just asked for gets no room by it (CVE-2023-44487)."""
    stage = Stage(limits=SessionLimits(concurrent_streams=2))
    for stream in (1, 3):
        stage.hear(headers(stream), rst(stream))
    stage.hear(headers(5))
    assert [(frame.stream, frame.code) for frame in stage.said()] == [(5, Code.REFUSED_STREAM)]
    stage.session.forget(stage.streams[1])
    stage.hear(headers(7))
    assert stage.calls[-1] == ("open", 7, FIELDS, True)
    assert not stage.said()


def test_so_do_those_that_we_were_made_to_reset() -> None:
    """CVE-2025-8671."""
    stage = Stage(limits=SessionLimits(concurrent_streams=1))
    stage.hear(headers(1), data(1, b"after the end"))
    assert stage.said()[0].code == Code.STREAM_CLOSED
    stage.hear(headers(3))
    assert [(frame.stream, frame.code) for frame in stage.said()] == [(3, Code.REFUSED_STREAM)]


def test_what_follows_a_refused_stream_is_ignored() -> None:
    stage = Stage(limits=SessionLimits(concurrent_streams=0))
    stage.hear(headers(1, end=False))
    stage.said()
    stage.hear(data(1, b"abc"), data(1, b"abc", end=True), rst(1))
    assert not stage.said()
    assert not stage.calls


def test_the_owner_can_refuse() -> None:
    stage = Stage()

    def refuse(stream_id: int) -> bool:
        if stream_id == 1:
            stage.session.reset(stream_id, ErrorCode.REFUSED_STREAM)
        elif stream_id == 3:
            stage.session.fault(stream_id, ErrorCode.PROTOCOL_ERROR, "no method")
        elif stream_id == 5:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "no path")
        return stream_id < 7

    stage.refuse = refuse
    stage.hear(headers(1), headers(3), headers(5), headers(7))
    assert [(frame.stream, frame.code) for frame in stage.said()] == [
        (1, Code.REFUSED_STREAM),
        (3, Code.PROTOCOL_ERROR),
        (5, Code.PROTOCOL_ERROR),
    ]
    assert stage.calls == [("open", 7, FIELDS, True)]


# --- declared length ------------------------------------------------------------------------------------------------


def declaring(stage: Stage, octets: int) -> None:
    """The next streams say so in their heads."""

    def declare(call: Call) -> None:
        if call[0] == "open":
            stage.streams[call[1]].expect(octets, call[3])

    stage.hook = declare


@pytest.mark.parametrize(
    "frames",
    [
        [headers(1)],
        [headers(1, end=False), data(1, end=True)],
        [headers(1, end=False), data(1, b"ab", end=True)],
        [headers(1, end=False), data(1, b"ab", padding=1, end=True)],
        [headers(1, end=False), data(1, b"ab"), data(1, end=True)],
        [headers(1, end=False), data(1, b"abcd")],
        [headers(1, end=False), data(1, b"abc"), data(1, b"d")],
        [headers(1, end=False), data(1, b"abcd", end=True)],
        [headers(1, end=False), trailers(1)],
        [headers(1, end=False), data(1, b"ab"), trailers(1)],
    ],
    ids=repr,
)
def test_content_is_as_long_as_declared_on_every_way_to_its_end(frames: list[bytes]) -> None:
    """Section 8.1.1."""
    stage = Stage()
    declaring(stage, 3)
    stage.hear(*frames)
    [ended] = stage.said()
    assert (ended.type, ended.stream, ended.code) == (Type.RST_STREAM, 1, Code.PROTOCOL_ERROR)
    assert "end" not in [call[0] for call in stage.calls]
    assert stage.calls[-1] == ("reset", 1, Code.PROTOCOL_ERROR)
    assert stage.streams[1].fault


@pytest.mark.parametrize(
    "end", [data(1, b"bc", end=True), data(1, b"bc") + data(1, end=True), data(1, b"bc") + trailers(1)], ids=repr
)
def test_content_as_long_as_declared(end: bytes) -> None:
    stage = Stage()
    declaring(stage, 3)
    stage.hear(headers(1, end=False), data(1, b"a"), end)
    assert stage.calls[-1][:2] == ("end", 1)
    assert not stage.said()


def test_what_is_declared_before_it_is_adopted_is_checked_by_that() -> None:
    stage = Stage()

    def refuse(stream_id: int) -> bool:
        stream = RecordedStream(stage, stream_id)
        stream.expected = 3
        stage.session.adopt(stream)
        return True

    stage.refuse = refuse
    stage.hear(headers(1), headers(3, end=False))
    assert [(frame.stream, frame.code) for frame in stage.said()] == [(1, Code.PROTOCOL_ERROR)]
    assert [*stage.session.streams] == [3]


# --- malformed ------------------------------------------------------------------------------------------------------

PRIORITY_OF_ITSELF = number(1) + b"\x00"

STREAM_FAULTS = {
    "trailers without END_STREAM": (headers(1, TRAILERS_BLOCK, end=False), Code.PROTOCOL_ERROR),
    "too many trailers": (headers(1, indexed(19) * 101), Code.PROTOCOL_ERROR),
    "more content than its window allows": (data(1, bytes(16_384)) * 4 + data(1, b"x"), Code.FLOW_CONTROL_ERROR),
    "padding counts": (data(1, bytes(16_000), padding=255) * 4 + data(1, bytes(1_000)), Code.FLOW_CONTROL_ERROR),
    "trailers that need themselves": (headers(1, PRIORITY_OF_ITSELF + TRAILERS_BLOCK, flags=0x20), Code.PROTOCOL_ERROR),
}  # fmt: skip


@pytest.mark.parametrize("name", STREAM_FAULTS)
def test_what_ends_one_stream(name: str) -> None:
    octets, code = STREAM_FAULTS[name]
    stage = Stage(consumes=False)
    stage.hear(headers(1, end=False))
    stage.calls.clear()
    stage.hear(octets, ping())
    assert [(frame.type, frame.stream) for frame in stage.said()] == [(Type.RST_STREAM, 1), (Type.PING, 0)]
    assert [call for call in stage.calls if call[0] != "data"] == [("reset", 1, code)]
    assert stage.streams[1].fault
    stage.hear(headers(3))
    assert stage.calls[-1] == ("open", 3, FIELDS, True)


def test_a_stream_that_depends_on_itself() -> None:
    stage = Stage()
    stage.hear(headers(1, PRIORITY_OF_ITSELF + BLOCK, flags=Flag.PRIORITY))
    assert [(frame.type, frame.stream, frame.code) for frame in stage.said()] == [
        (Type.RST_STREAM, 1, Code.PROTOCOL_ERROR)
    ]
    assert not stage.calls


CONNECTION_FAULTS = {
    "HEADERS on stream 0": (headers(0), Code.PROTOCOL_ERROR),
    "HEADERS on stream 0, to be continued": (headers(0, whole=False), Code.PROTOCOL_ERROR),
    "DATA on stream 0": (data(0, b"x"), Code.PROTOCOL_ERROR),
    "RST_STREAM on stream 0": (rst(0), Code.PROTOCOL_ERROR),
    "an even stream": (headers(4), Code.PROTOCOL_ERROR),
    "HEADERS padded with nothing": (headers(3, b"", flags=Flag.PADDED), Code.FRAME_SIZE_ERROR),
    "HEADERS with half a priority": (headers(3, bytes(4), flags=Flag.PRIORITY), Code.FRAME_SIZE_ERROR),
    "HEADERS padded, with half a priority": (headers(3, bytes(5), flags=Flag.PADDED | 0x20), Code.FRAME_SIZE_ERROR),
    "HEADERS with more padding than room": (headers(3, b"\x05" + bytes(4), flags=Flag.PADDED), Code.PROTOCOL_ERROR),
    "HEADERS padded into its priority": (headers(3, b"\x01" + bytes(5), flags=Flag.PADDED | 0x20), Code.PROTOCOL_ERROR),
    "DATA padded with nothing": (frame(Type.DATA, Flag.PADDED, 1), Code.FRAME_SIZE_ERROR),
    "DATA with as much padding as payload": (frame(Type.DATA, Flag.PADDED, 1, b"\x05abcd"), Code.PROTOCOL_ERROR),
    "RST_STREAM of 3 octets": (frame(Type.RST_STREAM, 0, 1, bytes(3)), Code.FRAME_SIZE_ERROR),
    "RST_STREAM of 5 octets": (frame(Type.RST_STREAM, 0, 1, bytes(5)), Code.FRAME_SIZE_ERROR),
}  # fmt: skip


@pytest.mark.parametrize("name", CONNECTION_FAULTS)
def test_what_ends_the_connection(name: str) -> None:
    octets, code = CONNECTION_FAULTS[name]
    stage = Stage()
    stage.hear(headers(1, end=False))
    stage.calls.clear()
    assert stage.ends(octets) == code
    assert not stage.calls


def test_most_padding_that_there_can_be() -> None:
    stage = Stage()
    stage.hear(headers(1, end=False), frame(Type.DATA, Flag.PADDED | Flag.END_STREAM, 1, b"\x04" + bytes(4)))
    assert stage.calls[1:] == [("end", 1, [])]


def test_more_than_the_connection_may_send() -> None:
    stage = Stage(limits=SessionLimits(connection_window=65_535, window=1 << 20), consumes=False)
    stage.session._window.owed = -(1 << 20)  # as if nothing were ever granted anew
    stage.hear(headers(1, end=False), *[data(1, bytes(16_383))] * 4, data(1, bytes(3)))
    assert not stage.said()
    assert stage.ends(data(1, b"x")) == Code.FLOW_CONTROL_ERROR


def test_the_connections_window_counts_what_is_ignored() -> None:
    """Section 6.9: "This is necessary even if the frame is in error"."""
    stage = Stage(limits=SessionLimits(connection_window=65_535))
    stage.hear(headers(1, end=False), rst(1), headers(3, end=False))
    stage.session.reset(3, ErrorCode.CANCEL)
    stage.said()
    stage.hear(data(1, bytes(16_384)), data(3, bytes(16_384)))
    updates = [frame for frame in stage.said() if frame.type == Type.WINDOW_UPDATE]
    assert [(frame.stream, frame.payload) for frame in updates] == [(0, number(16_384))] * 2


# --- resets ---------------------------------------------------------------------------------------------------------


def test_a_reset_is_told_and_nothing_can_be_sent_any_more() -> None:
    stage = Stage()
    stage.hear(headers(1, end=False), rst(1, 0xBEEF))
    assert stage.calls[1:] == [("reset", 1, 0xBEEF)]
    stream = stage.streams[1]
    assert stream.fault is None
    session = stage.session
    session.send_headers(stream, OK_BLOCK, end=False)
    session.send_data(stream, b"abc")
    session.send_data(stream, bytes(100_000))
    session.end_stream(stream)
    session.reset(stream, ErrorCode.CANCEL)
    session.consumed(stream, 10)
    session.forget(stream)
    assert not stage.said()
    assert not session.streams


def test_a_stream_may_be_reset_while_it_is_told_of_content() -> None:
    stage = Stage()

    def reset(call: Call) -> None:
        if call[0] == "data":
            stage.session.reset(call[1], ErrorCode.CANCEL)

    stage.hook = reset
    stage.hear(headers(1, end=False), data(1, b"abc", end=True))
    assert [call[0] for call in stage.calls] == ["open", "data"]
    assert [(frame.type, frame.code) for frame in stage.said()] == [(Type.RST_STREAM, Code.CANCEL)]


def test_a_stream_may_raise_what_it_finds_wrong() -> None:
    stage = Stage()

    def fail(call: Call) -> None:
        if call[0] == "data":
            raise StreamFault(ErrorCode.CANCEL, "not wanted")

    stage.hook = fail
    stage.hear(headers(1, end=False), data(1, b"abc", end=True))
    assert [call[0] for call in stage.calls] == ["open", "data", "reset"]
    assert stage.streams[1].fault == "not wanted"


def test_what_is_forgotten_is_not_told() -> None:
    stage = Stage()
    stage.hear(headers(1, end=False))
    session, stream = stage.session, stage.streams[1]
    stage.session.paused = True
    session.send_data(stream, b"abc")
    session.end_stream(stream)
    session.forget(stream)
    assert not stage.said()
    stage.hear(data(1, b"abc"), data(1, b"abc", end=True))
    assert [call[0] for call in stage.calls] == ["open"]
    session.paused = False
    session.pump(1)
    assert [(frame.type, frame.flags) for frame in stage.said()] == [(Type.DATA, Flag.END_STREAM)]
    assert not session.streams


def test_neither_is_the_end_of_it() -> None:
    """What waits keeps its stream; trailers that come for it, well-formed or not, are nobody's any more."""
    stage = Stage()
    stage.session.paused = True
    for stream in (1, 3, 5):
        stage.hear(headers(stream, end=False))
        stage.session.send_data(stage.streams[stream], b"abc")
        stage.session.end_stream(stage.streams[stream])
        stage.session.forget(stage.streams[stream])
    stage.calls.clear()
    stage.hear(trailers(1), headers(3, TRAILERS_BLOCK, end=False), rst(5))
    assert [(frame.stream, frame.code) for frame in stage.said()] == [(3, Code.PROTOCOL_ERROR)]
    assert not stage.calls
    assert [*stage.session.streams] == [1]
    stage.session.pump(1)
    assert not stage.session.streams


# --- responses ------------------------------------------------------------------------------------------------------


def client() -> Stage:
    return Stage(server=False)


def test_a_response_with_interim_ones_content_and_trailers() -> None:
    stage = client()
    stage.open(end=True)
    stage.hear(headers(1, EARLY_BLOCK, end=False), headers(1, EARLY_BLOCK, end=False))
    stage.hear(headers(1, OK_BLOCK, end=False), data(1, b"abc"), trailers(1))
    assert stage.calls == [
        ("headers", 1, EARLY, False),
        ("headers", 1, EARLY, False),
        ("headers", 1, OK, False),
        ("data", 1, b"abc"),
        ("end", 1, TRAILERS),
    ]


def test_a_response_without_content() -> None:
    stage = client()
    stage.open(end=True)
    stage.hear(headers(1, OK_BLOCK))
    assert stage.calls == [("headers", 1, OK, True)]
    assert stage.streams[1].state.over


def test_a_response_that_nobody_waits_for() -> None:
    stage = client()
    stage.session.paused = True
    stream = stage.open(end=False)
    stage.session.send_data(stream, b"abc")
    stage.session.end_stream(stream)
    stage.session.forget(stream)
    stage.hear(headers(1, OK_BLOCK))
    assert not stage.calls
    stage.session.pump(1)
    assert not stage.session.streams


def test_a_response_may_come_and_end_while_the_request_goes_on() -> None:
    stage = client()
    stream = stage.open(end=False)
    stage.hear(headers(1, OK_BLOCK))
    stage.said()
    stage.session.send_data(stream, b"abc")
    stage.session.end_stream(stream)
    assert [(frame.type, frame.flags, frame.payload) for frame in stage.said()] == [(0, Flag.END_STREAM, b"abc")]
    assert stream.state.over


RESPONSE_FAULTS = {
    "DATA before the head": data(1, b"abc"),
    "DATA after an interim head": headers(1, EARLY_BLOCK, end=False) + data(1, b"abc"),
    "the end before the head": data(1, end=True),
    "an interim response that ends": headers(1, EARLY_BLOCK),
    "a second final head": headers(1, OK_BLOCK, end=False) * 2,
    "a head of too many fields": headers(1, OK_BLOCK + indexed(19) * 100, end=False),
}  # fmt: skip


@pytest.mark.parametrize("name", RESPONSE_FAULTS)
def test_what_ends_the_stream_of_a_response(name: str) -> None:
    stage = client()
    stage.open(end=True)
    stage.said()
    stage.hear(RESPONSE_FAULTS[name])
    assert [(frame.type, frame.stream, frame.code) for frame in stage.said()] == [
        (Type.RST_STREAM, 1, Code.PROTOCOL_ERROR)
    ]
    assert stage.calls[-1] == ("reset", 1, Code.PROTOCOL_ERROR)
    assert stage.streams[1].fault


@pytest.mark.parametrize("end", [False, True])
def test_a_response_shorter_than_declared(end: bool) -> None:
    stage = client()
    stage.open(end=True)

    def declare(call: Call) -> None:
        if call[0] == "headers":
            stage.streams[1].expect(3, call[3])

    stage.hook = declare
    stage.hear(headers(1, OK_BLOCK, end=end), *([] if end else [data(1, b"ab", end=True)]))
    assert stage.said()[-1].code == Code.PROTOCOL_ERROR


def test_streams_that_are_refused_were_not_processed() -> None:
    stage = client()
    stage.open(end=True)
    stage.open(end=True)
    stage.hear(rst(1, Code.REFUSED_STREAM), rst(3, Code.CANCEL))
    assert stage.calls == [("reset", 1, Code.REFUSED_STREAM), ("reset", 3, Code.CANCEL)]
    assert (stage.streams[1].unprocessed, stage.streams[3].unprocessed) == (True, False)


def test_a_client_keeps_to_the_servers_limit() -> None:
    stage = Stage(server=False, greeted=False)
    stage.session.start()
    stage.hear(frame(Type.SETTINGS, 0, 0, b"\0\3" + number(2)))
    assert stage.session.can_open
    stage.open()
    stream = stage.open()
    assert not stage.session.can_open
    stage.session.forget(stream)
    assert stage.session.can_open
    assert stage.open().id == 5


def test_numbers_of_streams_run_out() -> None:
    stage = client()
    stage.session.last_id = (1 << 31) - 3
    assert stage.session.can_open
    assert stage.open().id == (1 << 31) - 1
    assert not stage.session.can_open
