"""HTTP/2 sessions against hostile frames: any segments and any shares say the same, and the books always balance.

Conversations by the rules, with another implementation at the other end, are in `test_h2_session`.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http.h2.errors import ConnectionFault, ErrorCode
from gateway.http.h2.settings import SessionLimits
from tests.support.h2_frames import PREFACE, Flag, Frame, Type, frame, indexed, number
from tests.support.h2_frames import settings as settings_payload
from tests.support.h2_session import (
    BLOCK,
    EVERYTHING,
    LARGEST_WINDOW,
    OK_BLOCK,
    TRAILERS_BLOCK,
    Call,
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

FUZZ = settings(deadline=None, max_examples=150)
LIMITS = SessionLimits(concurrent_streams=5, window=70_000, header_list=2_000, continuations=4)

# --- hostile frames ---------------------------------------------------------------------------------------------------

IDS = st.integers(0, 15) | st.sampled_from([LARGEST_WINDOW, LARGEST_WINDOW - 1])
BLOCKS = st.sampled_from([BLOCK, OK_BLOCK, TRAILERS_BLOCK, b"", indexed(2) * 200, b"\x40\x01a\x01b", indexed(62)])
VALUES = st.sampled_from([0, 1, 100, 70_000, LARGEST_WINDOW])
PAYLOADS = {
    Type.DATA: st.binary(max_size=100) | st.integers(0, 16_384).map(bytes),
    Type.HEADERS: BLOCKS | BLOCKS.map(lambda block: block[:3]) | BLOCKS.map(lambda block: bytes(6) + block),
    Type.PRIORITY: st.integers(0, 15).map(lambda stream: number(stream) + b"\0") | st.binary(max_size=6),
    Type.RST_STREAM: st.integers(0, 20).map(number) | st.binary(max_size=6),
    Type.SETTINGS: st.lists(st.tuples(st.integers(0, 10), VALUES), max_size=3).map(lambda said: settings_payload(*said))
    | st.binary(max_size=7),
    Type.PUSH_PROMISE: st.binary(max_size=8),
    Type.PING: st.binary(min_size=8, max_size=8) | st.binary(max_size=9),
    Type.GOAWAY: st.integers(0, 15).map(lambda last: number(last) + number(0)) | st.binary(max_size=9),
    Type.WINDOW_UPDATE: st.sampled_from([0, 1, 1_000, LARGEST_WINDOW]).map(number) | st.binary(max_size=6),
    Type.CONTINUATION: BLOCKS | BLOCKS.map(lambda block: block[3:]),
    Type.PRIORITY_UPDATE: st.integers(0, 15).map(lambda stream: number(stream) + b"u=1"),
    0xFE: st.binary(max_size=20),
}
FLAGS = st.sampled_from([0, 0, 1, 4, 5, 5, 8, 0x20, 0x2D, 0xFF])


@st.composite
def hostile(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from([*PAYLOADS]) | st.sampled_from([Type.HEADERS, Type.DATA]))
    return frame(kind, draw(FLAGS), draw(IDS), draw(PAYLOADS[kind]))


PLAUSIBLE = st.sampled_from(
    [
        *(headers(stream, end=end) for stream in (1, 3, 5, 7, 9) for end in (False, True)),
        *(data(stream, bytes(size)) for stream in (1, 5, 7) for size in (1, 1_000, 16_384)),
        *(data(stream, b"x", padding=9, end=True) for stream in (1, 5)),
        *(trailers(stream) for stream in (1, 5)),
        *(rst(stream) for stream in (1, 3, 5)),
        *(update(stream, size) for stream in (0, 1, 5, 7) for size in (1, 50_000)),
        *(set((4, size)) for size in (0, 1_000, 100_000)),
        headers(11, BLOCK[:2], whole=False) + frame(Type.CONTINUATION, Flag.END_HEADERS, 11, BLOCK[2:]),
        ping(),
    ]
)


def check(stage: Stage) -> None:
    """What always holds."""
    session = stage.session
    assert session.stalled == sum(stream.waiting for stream in session.streams.values())
    lanes = [stream for stream in session.streams.values() if stream.lane is not None]
    assert session._lanes.count == len(lanes)
    for stream in session.streams.values():
        assert (stream.lane is not None) == (stream.waiting > 0 and stream.send_window > 0)
        assert not (stream.state.over and stream.released)
        assert not (stream.waiting and not stream.state.sends)
    assert len(session.streams) <= LIMITS.concurrent_streams


def play(pieces: list[bytes], shares: list[int]) -> tuple[list[Call], list[Frame], str | None]:
    """Everything that comes of it, with an owner that answers, resets and forgets by the number of the stream."""
    stage = Stage(limits=LIMITS, greeted=False)
    session = stage.session
    session.start()

    def act(call: Call) -> None:
        if call[0] in ("settings", "ping", "going away"):
            return
        stream = stage.streams[call[1]]
        if call[0] == "open":
            session.send_headers(stream, OK_BLOCK, end=stream.id == 3)
            session.send_data(stream, bytes(stream.id % 16 * 20_000))
            if stream.id % 4 == 1:
                session.end_stream(stream)
        elif call[0] == "reset" or (call[0] == "end" and stream.id % 4 == 1):
            session.forget(stream)
        elif call[0] == "data" and stream.id == 7:
            session.reset(stream, ErrorCode.CANCEL)

    stage.hook = act
    fault = None
    try:
        for index, piece in enumerate(pieces):
            stage.hear(piece, share=shares[index % len(shares)])
        while stage.rest and not session.unfinished:
            stage.hear()
    except ConnectionFault as error:
        fault = str(error)
    check(stage)
    return stage.calls, stage.said(), fault


@FUZZ
@given(
    st.lists(hostile(), max_size=20),
    st.lists(st.integers(0, 4_000), max_size=10),
    st.lists(st.integers(0, 9), min_size=1),
)
def test_any_segments_say_the_same(frames: list[bytes], cuts: list[int], shares: list[int]) -> None:
    octets = PREFACE + set() + b"".join(frames)
    ends = [0, *sorted(min(cut, len(octets)) for cut in cuts), len(octets)]
    pieces = [octets[begin:end] for begin, end in pairwise(ends)]
    assert play(pieces, shares) == play([octets], [EVERYTHING])


@FUZZ
@given(st.binary(max_size=300), st.booleans())
def test_any_octets_are_frames_or_end_the_connection(octets: bytes, server: bool) -> None:
    stage = Stage(server=server, limits=LIMITS)
    try:
        stage.hear(octets)
    except ConnectionFault:
        assert stage.said()[-1].type == Type.GOAWAY
    check(stage)
