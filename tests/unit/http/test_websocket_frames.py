"""Where frames end: what is evidence, what is none, and what happens to a guess that was wrong."""

from __future__ import annotations

import time

import pytest

from gateway.http.websocket_frames import (
    CONFIRMED,
    GOING_AWAY,
    HEADER_BITS,
    LARGEST_FRAME,
    MAX_CHAINS,
    FrameTracker,
    State,
    close_frame,
    measure,
)

MASK = 0x80


def frame(first: int, size: int, *, masked: bool = False, fill: bytes = b"\xff") -> bytes:
    """`fill` looks like no header."""
    mask = MASK if masked else 0
    if size < 126:
        head = bytes((first, mask | size))
    elif size < 1 << 16:
        head = bytes((first, mask | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, mask | 127)) + size.to_bytes(8, "big")
    return head + (b"\xff" * 4 if masked else b"") + fill * size


def following() -> FrameTracker:
    tracker = FrameTracker(masked=False)
    tracker.assume_boundary()
    return tracker


# --- one header -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 70000])
def test_a_frame_is_as_long_as_its_header_says(size: int, masked: bool) -> None:
    octets = frame(0x82, size, masked=masked)
    mask = MASK if masked else 0
    assert measure(octets, 0, mask) == len(octets)
    assert measure(b"..." + octets, 3, mask) == len(octets)
    header = len(octets) - size - (4 if masked else 0)
    assert [measure(octets[:cut], 0, mask) for cut in range(1, header)] == [0] * (header - 1)
    assert measure(octets[:header], 0, mask) == len(octets)
    assert measure(octets, 0, MASK - mask) == -1, "the mask bit is the other direction's"


@pytest.mark.parametrize(
    "octets",
    [
        b"\x83\x00",  # a reserved opcode
        b"\x8b\x00",
        b"\xa1\x00",  # RSV2
        b"\x91\x00",  # RSV3
        b"\xc0\x00",  # RSV1 on a continuation (RFC 7692 section 6.1: on a message's first frame)
        b"\xc9\x00",  # on a ping
        b"\x09\x00",  # a ping in fragments
        b"\x88\x01",  # half a close code
        b"\x89\x7e\x00\x80",  # a long ping
        b"\x82\x7e\x00\x7d",  # a length that is not the shortest form
        b"\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff",
        b"\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00",  # the most significant bit MUST be 0
        b"\x82\x7f" + (LARGEST_FRAME + 1).to_bytes(8, "big"),
    ],
)
def test_no_header(octets: bytes) -> None:
    assert measure(octets, 0, 0) == -1
    tracker = following()
    tracker.feed(octets)
    assert tracker.state is State.SEARCHING


def test_a_close_frame() -> None:
    assert close_frame(GOING_AWAY, masked=False) == b"\x88\x02\x03\xe9"
    first, second, *rest = close_frame(GOING_AWAY, masked=True)
    assert (first, second, len(rest)) == (0x88, 0x82, 6)
    assert [octet ^ key for octet, key in zip(rest[4:], rest[:4], strict=False)] == [0x03, 0xE9]
    assert len({close_frame(GOING_AWAY, masked=True) for _ in range(10)}) > 1, "section 5.3: unpredictable"


# --- following ------------------------------------------------------------------------------------------------------


def test_frames_are_followed_however_they_are_cut() -> None:
    stream = frame(0x81, 3) + frame(0x82, 300) + frame(0x89, 0) + frame(0x01, 70000) + frame(0x80, 0)
    ends = {3 + 2, 5 + 304, 309 + 2, 311 + 70010, 70321 + 2}
    for step in (1, 2, 3, 7, 1000, len(stream)):
        tracker, found = following(), set()
        for begin in range(0, len(stream), step):
            tracker.feed(piece := stream[begin : begin + step])
            if tracker.boundary >= 0 and begin + tracker.boundary:
                found.add(begin + tracker.boundary)
            assert tracker.is_at_boundary == (begin + len(piece) in ends)
        assert found <= ends
        assert max(found) == len(stream)
        assert step > 1 or found == ends
        assert tracker.state is State.FOLLOWING


def test_the_boundary_is_the_last_whole_frames_end() -> None:
    tracker = following()
    tracker.feed(frame(0x81, 5) + frame(0x81, 6) + b"\x81\x09half")
    assert tracker.boundary == 7 + 8
    tracker.feed(b"more")
    assert tracker.boundary == -1, "no frame ends here"
    tracker.feed(b".\x81")
    assert tracker.boundary == 1
    tracker.feed(b"\x00")
    assert tracker.boundary == 1, "and half a header is none"


def test_messages_in_fragments() -> None:
    tracker = following()
    tracker.feed(frame(0x41, 5) + frame(0x89, 1) + frame(0x00, 0) + frame(0x80, 4) + frame(0xC2, 1))
    assert tracker.is_at_boundary


@pytest.mark.parametrize("second", [0x81, 0x02])
def test_a_message_inside_another_is_none(second: int) -> None:
    tracker = following()
    tracker.feed(frame(0x01, 5) + frame(second, 5))
    assert not tracker.is_at_boundary


def test_a_continuation_of_nothing_is_none() -> None:
    tracker = following()
    tracker.feed(frame(0x81, 5) + frame(0x80, 5))
    assert not tracker.is_at_boundary


def test_nothing_follows_a_close() -> None:
    tracker = following()
    tracker.feed(frame(0x81, 5) + b"\x88\x02\x03")
    assert tracker.state is State.CLOSED and not tracker.has_closed
    tracker.feed(b"\xe8")
    assert tracker.has_closed
    tracker.feed(b"whatever")
    assert tracker.state is State.CLOSED and tracker.has_closed and not tracker.is_at_boundary


# --- searching ------------------------------------------------------------------------------------------------------


def test_one_read_says_nothing() -> None:
    tracker = FrameTracker(masked=False)
    tracker.feed(frame(0x81, 5))
    assert tracker.state is State.SEARCHING and tracker.boundary == -1 and not tracker.is_at_boundary


def test_a_chain_does() -> None:
    count = CONFIRMED // HEADER_BITS
    for masked in (False, True):
        stream = b"\xff" * 100 + frame(0x82, 50, masked=masked) * (count + 1) + b"\x82"
        tracker = FrameTracker(masked=masked)
        tracker.feed(stream)
        assert tracker.state is State.FOLLOWING
        assert tracker.boundary == len(stream) - 1
        too_short = FrameTracker(masked=masked)
        too_short.feed(stream[: -len(frame(0x82, 50, masked=masked)) * 3])
        assert too_short.state is State.SEARCHING


def test_frames_that_come_each_alone_are_known_sooner() -> None:
    tracker = FrameTracker(masked=False)
    reads = 0
    while tracker.state is State.SEARCHING:
        tracker.feed(frame(0x82, 50))
        reads += 1
    assert reads < CONFIRMED // HEADER_BITS
    assert tracker.is_at_boundary


def test_long_frames_are_known_after_two() -> None:
    stream = b"\xff" * 5000 + frame(0x82, 100_000) * 2 + frame(0x82, 70000)[:50_000]
    tracker = FrameTracker(masked=False)
    for begin in range(0, len(stream), 40_000):
        tracker.feed(stream[begin : begin + 40_000])
    assert tracker.state is State.FOLLOWING
    assert tracker._chain is not None and tracker._chain.next == 5000 + 2 * 100_010 + 70_010


def test_after_a_silence_a_read_begins_with_a_frame() -> None:
    tracker = FrameTracker(masked=True)
    tracker.feed(b"\xff" * 100)
    tracker.feed(frame(0x81, 5, masked=True), after_silence=True)
    assert tracker.is_at_boundary


def test_or_not_and_the_search_begins_anew() -> None:
    tracker = FrameTracker(masked=True)
    tracker.feed(b"\xff" * 100, after_silence=True)
    assert tracker.state is State.SEARCHING
    tracker.feed(b"\xff" * 10 + frame(0x81, 5, masked=True) * 12)
    assert tracker.is_at_boundary


def test_a_wrong_guess_ends_at_its_next_header() -> None:
    tracker = following()
    tracker.feed(b"\xff" * 10 + frame(0x82, 50) * 12)
    assert tracker.is_at_boundary, "found again in the same read"


@pytest.mark.parametrize("octets", [b"\x00", b"\x00\x01", b"text ", b"A", b"\xff", b"{}", b"\x02\x00\x00\x00"])
def test_what_is_no_evidence(octets: bytes) -> None:
    """Zeros, small numbers and letters look like headers by themselves."""
    tracker = FrameTracker(masked=False)
    for _ in range(5):
        tracker.feed(octets * (40_000 // len(octets)))
        assert tracker.state is State.SEARCHING


def test_of_two_chains_neither_is_believed() -> None:
    """What repeats itself may hold a second chain: frames whose content looks like frames of the same length."""
    outer = b"\x82\x10" + b"\xff" * 4 + b"\x82\x10" + b"\xff" * 10
    stream = outer * 100
    tracker = FrameTracker(masked=False)
    for begin in range(7, 1700, 100):
        tracker.feed(stream[begin : begin + 100])
        assert tracker.state is State.SEARCHING
    # Where reads end with frames, that decides.
    for _ in range(4):
        tracker.feed(stream[1707 : 1707 + 3] + outer if _ == 0 else outer)
    assert tracker.state is State.SEARCHING or tracker.is_at_boundary


# --- hostile --------------------------------------------------------------------------------------------------------

HOSTILE = [
    b"\x82\x00",
    b"\x89\x00",
    b"\x80\x00\x81\x00",
    b"\x82\x01",
    b"\x82\x7f\x00\x00\x00\x00",
    b"\x82\x7e\x01\x00",
    b"\x81\x7e\xff\xff\x82",
    b"\x01\x01",
    bytes(range(256)),
]


@pytest.mark.parametrize("octets", HOSTILE)
@pytest.mark.parametrize("known", [False, True])
def test_work_and_memory_are_bounded(octets: bytes, known: bool) -> None:
    """No read takes longer than a turn of the event loop may; the best of several, on a machine with others on it."""
    best = 1.0
    for _ in range(5):
        tracker = following() if known else FrameTracker(masked=False)
        data = octets * (40_960 // len(octets))
        for _ in range(4):
            begun = time.perf_counter()
            tracker.feed(data)
            best = min(best, time.perf_counter() - begun)
            assert len(tracker._guesses) <= MAX_CHAINS
            assert len(tracker._tail) <= 9
    assert best < 0.01
