"""Octets to frames: the prefaces, what may come when, sizes, shares of work, and what is left over."""

from __future__ import annotations

import pytest

from gateway.http.h2.errors import ConnectionFault
from gateway.http.h2.settings import SessionLimits
from tests.support.h2_frames import PREFACE, Code, Flag, Setting, Type, frame, frames_in, indexed, number
from tests.support.h2_session import (
    BLOCK,
    FIELDS,
    OK,
    OK_BLOCK,
    SETTINGS_ACK,
    Stage,
    data,
    headers,
    ping,
    rst,
    set,
    trailers,
    update,
)

pytestmark = pytest.mark.pure  # fakes stand in the place of what is compiled

# --- prefaces -------------------------------------------------------------------------------------------------------


def test_a_servers_preface() -> None:
    stage = Stage(greeted=False)
    stage.session.start()
    settings, update = stage.said()
    assert (settings.type, settings.flags, settings.stream) == (Type.SETTINGS, 0, 0)
    said = {
        int.from_bytes(settings.payload[at : at + 2], "big"): int.from_bytes(settings.payload[at + 2 : at + 6], "big")
        for at in range(0, len(settings.payload), 6)
    }
    assert said == {
        Setting.MAX_CONCURRENT_STREAMS: 256,
        Setting.INITIAL_WINDOW_SIZE: 65_536,
        Setting.MAX_HEADER_LIST_SIZE: 16_384,
        Setting.ENABLE_CONNECT_PROTOCOL: 1,
        Setting.NO_RFC7540_PRIORITIES: 1,
    }
    assert (update.type, update.stream, update.payload) == (Type.WINDOW_UPDATE, 0, number((16 << 20) - 65_535))


def test_a_clients_preface() -> None:
    stage = Stage(server=False, greeted=False)
    stage.session.start()
    assert b"".join(stage.session.out).startswith(PREFACE + b"\0\0")
    settings = stage.said()[0]
    assert settings.payload == b"\0\2\0\0\0\0" + b"\0\4\0\1\0\0" + b"\0\6\0\0\x40\0"


def test_a_small_connection_window_is_not_announced() -> None:
    stage = Stage(limits=SessionLimits(connection_window=65_535), greeted=False)
    stage.session.start()
    assert [frame.type for frame in stage.said()] == [Type.SETTINGS]


@pytest.mark.parametrize(
    "octets",
    [b"GET / HTTP/1.1\r\n", b"X", PREFACE[:-1] + b"x", PREFACE[:10] + b"x", b"\0" * 24],
)
def test_no_preface(octets: bytes) -> None:
    assert Stage(greeted=False).ends(octets) == Code.PROTOCOL_ERROR


@pytest.mark.parametrize("server", [True, False])
@pytest.mark.parametrize(
    "octets",
    [headers(1), ping(), SETTINGS_ACK, update(0, 1), frame(0xFE), frame(Type.CONTINUATION, 0, 1), data(1)],
    ids=repr,
)
def test_settings_come_first(server: bool, octets: bytes) -> None:
    """Section 3.4."""
    stage = Stage(server=server, greeted=False)
    if not server:
        stage.open()
    assert stage.ends((PREFACE if server else b"") + octets) == Code.PROTOCOL_ERROR


def test_requests_may_follow_the_preface_at_once() -> None:
    stage = Stage(greeted=False)
    stage.hear(PREFACE, set(), headers(1))
    assert stage.calls == [("settings",), ("open", 1, FIELDS, True)]


# --- field blocks ---------------------------------------------------------------------------------------------------

BEGUN = headers(1, BLOCK[:3], whole=False)
INTERRUPTIONS = {
    "DATA": data(1, b"x"),
    "HEADERS": headers(1),
    "HEADERS of another stream": headers(3),
    "PRIORITY": frame(Type.PRIORITY, 0, 1, bytes(5)),
    "RST_STREAM": rst(1),
    "SETTINGS": set(),
    "PING": ping(),
    "GOAWAY": frame(Type.GOAWAY, 0, 0, bytes(8)),
    "WINDOW_UPDATE": update(0, 1),
    "an unknown type": frame(0xFE),
    "CONTINUATION of another stream": frame(Type.CONTINUATION, Flag.END_HEADERS, 3, BLOCK[3:]),
    "CONTINUATION of no stream": frame(Type.CONTINUATION, Flag.END_HEADERS, 0, BLOCK[3:]),
}


@pytest.mark.parametrize("name", INTERRUPTIONS)
def test_a_field_block_is_not_interrupted(name: str) -> None:
    """Section 4.3."""
    stage = Stage()
    assert stage.ends(BEGUN, INTERRUPTIONS[name]) == Code.PROTOCOL_ERROR
    assert not stage.calls


def test_after_a_field_block_everything_may_come() -> None:
    stage = Stage()
    stage.hear(BEGUN, frame(Type.CONTINUATION, Flag.END_HEADERS, 1, BLOCK[3:]), ping())
    assert stage.calls == [("open", 1, FIELDS, True)]
    assert stage.said()


def test_a_field_block_has_an_end() -> None:
    """CVE-2024-27316."""
    stage = Stage()
    part = frame(Type.CONTINUATION, 0, 1, b"")
    stage.hear(BEGUN, part * 64)
    assert stage.ends(part) == Code.ENHANCE_YOUR_CALM
    stage = Stage(limits=SessionLimits(block=1_000))
    stage.hear(headers(1, b"x", whole=False), frame(Type.CONTINUATION, 0, 1, bytes(999)))
    assert stage.ends(frame(Type.CONTINUATION, Flag.END_HEADERS, 1, b"x")) == Code.ENHANCE_YOUR_CALM


def test_a_head_without_a_field_is_still_one() -> None:
    stage = Stage()
    stage.hear(headers(1, b""))
    assert stage.calls == [("open", 1, [], True)]


# --- sizes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [16_385, 65_541, 0x800000, 0xFFFFFF])
@pytest.mark.parametrize("type", [*range(11), 16, 0xFE])
def test_no_frame_is_larger_than_allowed(type: int, length: int) -> None:
    """Section 4.2; it is not even read to its end."""
    stage = Stage()
    assert stage.ends(frame(type, Flag.END_HEADERS, 1, length=length)) == Code.FRAME_SIZE_ERROR


def test_the_largest_frame() -> None:
    stage = Stage()
    stage.hear(headers(1, indexed(2) + bytes([0x20]) * 0 + BLOCK, end=False), data(1, bytes(16_384)))
    assert stage.calls[-1] == ("data", 1, bytes(16_384))


# --- segments and shares --------------------------------------------------------------------------------------------

CONVERSATION = b"".join(
    [
        headers(1, end=False),
        data(1, b"abc", padding=3),
        headers(3, BLOCK[:2], whole=False),
        frame(Type.CONTINUATION, Flag.END_HEADERS, 3, BLOCK[2:]),
        trailers(1),
        ping(),
        data(3, b"late"),
        rst(3),
        headers(5),
    ]
)


def test_octet_by_octet_is_as_good_as_at_once() -> None:
    whole, pieces = Stage(greeted=False), Stage(greeted=False)
    octets = PREFACE + set() + CONVERSATION
    whole.hear(octets)
    for at in range(len(octets)):
        pieces.hear(octets[at : at + 1])
    assert pieces.calls == whole.calls
    assert pieces.said() == whole.said()
    assert not pieces.rest


def test_what_is_left_over_is_the_beginning_of_a_frame() -> None:
    stage = Stage()
    octets = headers(1)
    for cut in range(1, len(octets)):
        stage = Stage()
        stage.hear(octets[:cut])
        assert stage.rest == octets[:cut]
        assert stage.session.unfinished
        assert stage.session.awaits_headers(stage.rest) is (cut > 3)
    stage.hear(octets[cut:])
    assert not stage.rest


def test_who_waits_for_the_rest_of_a_head() -> None:
    stage = Stage()
    session = stage.session
    stage.hear(data(1, b"content")[:12])
    assert not session.awaits_headers(stage.rest)
    stage = Stage()
    session = stage.session
    stage.hear(BEGUN)
    assert session.awaits_headers(stage.rest)
    stage.hear(frame(Type.CONTINUATION, Flag.END_HEADERS, 1, BLOCK[3:]))
    assert not session.awaits_headers(stage.rest)


def test_a_share_ends_between_two_frames() -> None:
    stage = Stage()
    octets = headers(1) + headers(3) + headers(5)
    stage.hear(octets, share=1)
    assert len(stage.calls) == 1
    assert stage.rest == headers(3) + headers(5)
    assert not stage.session.unfinished
    stage.hear(share=2)
    assert len(stage.calls) == 2
    stage.hear(share=0)
    assert len(stage.calls) == 2
    stage.hear()
    assert len(stage.calls) == 3
    assert not stage.rest


def test_work_counts_frames_and_the_octets_of_heads() -> None:
    stage = Stage()
    stage.hear(ping())
    assert stage.session.work == 1
    stage.hear(headers(1, end=False))
    small = stage.session.work
    stage.hear(headers(3, BLOCK + indexed(19) * 64, end=False))
    assert stage.session.work == small + 1
    stage.hear(data(1, bytes(16_384)))
    assert stage.session.work == 1


# --- the end --------------------------------------------------------------------------------------------------------


def test_goaway_names_the_last_stream_and_says_why() -> None:
    stage = Stage()
    stage.hear(headers(1), headers(7))
    assert stage.ends(headers(2)) == Code.PROTOCOL_ERROR
    stage = Stage()
    stage.hear(headers(1), headers(7))
    with pytest.raises(ConnectionFault) as raised:
        stage.hear(frame(Type.PING, 0, 1, bytes(8)))
    [goaway] = stage.said()
    assert goaway.payload == number(7) + number(Code.PROTOCOL_ERROR) + b"PING on a stream"
    assert str(raised.value) == "PROTOCOL_ERROR: PING on a stream"


def test_a_clients_goaway_names_no_stream() -> None:
    stage = Stage(server=False)
    stage.open()
    stage.said()
    with pytest.raises(ConnectionFault):
        stage.hear(frame(Type.PING, 0, 1, bytes(8)))
    assert stage.said()[0].payload[:4] == number(0)


def test_what_came_before_the_fault_is_processed_and_nothing_after_it() -> None:
    stage = Stage()
    assert stage.ends(headers(1), frame(Type.PING, 0, 1, bytes(8)), headers(3)) == Code.PROTOCOL_ERROR
    assert stage.calls == [("open", 1, FIELDS, True)]


def test_both_roles_talk_to_each_other() -> None:
    server, client = Stage(greeted=False), Stage(server=False, greeted=False)

    def exchange() -> None:
        while server.session.out or client.session.out:
            octets, client.session.out = b"".join(client.session.out), []
            server.hear(octets)
            octets, server.session.out = b"".join(server.session.out), []
            client.hear(octets)

    server.session.start()
    client.session.start()
    stream = client.open(BLOCK)
    client.session.send_data(stream, bytes(20_000))
    client.session.end_stream(stream)
    exchange()
    assert [call[0] for call in server.calls] == ["settings", "open", "data", "data", "end"]
    assert client.session.peer.connect_protocol
    answer = server.streams[1]
    server.session.send_headers(answer, OK_BLOCK, end=False)
    server.session.send_data(answer, b"content")
    server.session.end_stream(answer)
    exchange()
    assert client.calls == [("settings",), ("headers", 1, OK, False), ("data", 1, b"content"), ("end", 1, [])]
    assert server.session.settings_acknowledged
    assert client.session.settings_acknowledged


def test_what_they_look_like() -> None:
    stage = Stage()
    stage.hear(headers(1))
    assert repr(stage.session) == "<Session server streams=1 last=1 <Budget 1124 of 1126>>"
    assert repr(stage.streams[1]) == "<RecordedStream 1 HALF_CLOSED_REMOTE waiting=0 window=65535>"
    assert not [*frames_in(bytearray(b"\0\0"))]
