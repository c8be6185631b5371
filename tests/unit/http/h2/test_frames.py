"""Each frame as it is written, octet by octet, and what two types have in common."""

from __future__ import annotations

import pytest

from gateway.http.h2 import frames
from gateway.http.h2.errors import ConnectionFault, ErrorCode
from tests.support import h2_frames as wire
from tests.support.h2_frames import Flag, Type, number


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (frames.settings([]), wire.frame(Type.SETTINGS)),
        (frames.settings([(3, 256), (8, 1)]), wire.frame(Type.SETTINGS, 0, 0, wire.settings((3, 256), (8, 1)))),
        (frames.SETTINGS_ACK, wire.frame(Type.SETTINGS, Flag.ACK)),
        (frames.ping(b"12345678", ack=False), wire.frame(Type.PING, 0, 0, b"12345678")),
        (frames.ping(b"12345678", ack=True), wire.frame(Type.PING, Flag.ACK, 0, b"12345678")),
        (frames.rst_stream(2**31 - 1, 8), wire.frame(Type.RST_STREAM, 0, 2**31 - 1, number(8))),
        (frames.window_update(3, 2**31 - 1), wire.frame(Type.WINDOW_UPDATE, 0, 3, number(2**31 - 1))),
        (frames.goaway(7, 11, b"why"), wire.frame(Type.GOAWAY, 0, 0, number(7) + number(11) + b"why")),
        (frames.frame(0, 1, 5, bytes(70_000)), wire.frame(Type.DATA, 1, 5, bytes(70_000))),
    ],
    ids=repr,
)
def test_each_frame(written: bytes, expected: bytes) -> None:
    assert written == expected


def test_a_header_taken_apart() -> None:
    header = bytes.fromhex("010203 06 81 7fffffff")
    assert frames.parse_header(header) == (0x010203, 6, 0x81, 0x7FFFFFFF)
    assert frames.parse_header(frames.frame_header(16_384, 0xFE, 0xFF, 0x7FFFFFFF)) == (16_384, 0xFE, 0xFF, 0x7FFFFFFF)


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 32_768, 32_769])
def test_a_block_in_as_many_frames_as_it_needs(size: int) -> None:
    block = bytes(index % 251 for index in range(size))
    written = [*wire.frames_in(bytearray(b"".join(frames.header_block(9, Flag.END_STREAM, block))))]
    assert b"".join(frame.payload for frame in written) == block
    assert [frame.type for frame in written] == [Type.HEADERS, *[Type.CONTINUATION] * (len(written) - 1)]
    assert len(written) == max(-(-size // 16_384), 1)
    assert {frame.stream for frame in written} == {9}
    assert [frame.flags & Flag.END_STREAM for frame in written] == [Flag.END_STREAM, *[0] * (len(written) - 1)]
    assert [bool(frame.flags & Flag.END_HEADERS) for frame in written] == [*[False] * (len(written) - 1), True]


@pytest.mark.parametrize(
    ("payload", "flags", "content", "dependency"),
    [
        (b"abc", 0, b"abc", -1),
        (b"\0abc", Flag.PADDED, b"abc", -1),
        (b"\2abcxx", Flag.PADDED, b"abc", -1),
        (b"\3xxx", Flag.PADDED, b"", -1),
        (number(0x80000007) + b"\xffabc", Flag.PRIORITY, b"abc", 7),
        (b"\1" + number(7) + b"\xffabcx", Flag.PRIORITY | Flag.PADDED, b"abc", 7),
    ],
)
def test_padding_and_priority(payload: bytes, flags: int, content: bytes, dependency: int) -> None:
    assert frames.unwrapped(payload, flags) == (content, dependency)


@pytest.mark.parametrize(
    ("payload", "flags", "code"),
    [
        (b"", Flag.PADDED, ErrorCode.FRAME_SIZE_ERROR),
        (b"\1", Flag.PADDED, ErrorCode.PROTOCOL_ERROR),
        (b"\xffabc", Flag.PADDED, ErrorCode.PROTOCOL_ERROR),
        (bytes(4), Flag.PRIORITY, ErrorCode.FRAME_SIZE_ERROR),
        (bytes(5), Flag.PRIORITY | Flag.PADDED, ErrorCode.FRAME_SIZE_ERROR),
        (b"\1" + bytes(5), Flag.PRIORITY | Flag.PADDED, ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_no_room_for_them(payload: bytes, flags: int, code: ErrorCode) -> None:
    with pytest.raises(ConnectionFault) as raised:
        frames.unwrapped(payload, flags)
    assert raised.value.code is code
