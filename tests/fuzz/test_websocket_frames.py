"""Frames in random traffic, cut anywhere, joined anywhere: what is called a frame's end is one."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http.websocket_frames import FrameTracker, State

FIRST = (0x81, 0x82, 0xC1, 0xC2, 0x89, 0x8A)


def frame(rng: random.Random, size: int, *, masked: bool) -> bytes:
    mask = 0x80 if masked else 0
    first = rng.choice(FIRST) if size < 126 else rng.choice(FIRST[:4])
    if size < 126:
        head = bytes((first, mask | size))
    elif size < 1 << 16:
        head = bytes((first, mask | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, mask | 127)) + size.to_bytes(8, "big")
    return head + (rng.randbytes(4) if masked else b"") + rng.randbytes(size)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    masked=st.booleans(),
    mean=st.sampled_from([3, 30, 200, 2_000, 20_000]),
    read=st.sampled_from([1, 60, 1448, 40_960]),
)
def test_what_is_called_an_end_is_one(seed: int, masked: bool, mean: int, read: int) -> None:
    """Of some thousand such streams none had a false one; see the module for why one is rare, not impossible."""
    rng = random.Random(seed)
    total = min(40 * (mean + 10), 60 * read * 20)
    stream, ends = b"", {0}
    while len(stream) < total:
        stream += frame(rng, int(rng.expovariate(1 / mean)), masked=masked)
        ends.add(len(stream))
    begin = at = rng.randrange(len(stream) // 4)
    tracker = FrameTracker(masked=masked)
    while at < len(stream):
        data = stream[at : at + rng.randrange(1, 2 * read + 1)]
        tracker.feed(data)
        if tracker.state is State.FOLLOWING:
            assert tracker.boundary < 0 or at + tracker.boundary in ends
            assert not tracker.is_at_boundary or at + len(data) in ends
        at += len(data)
    assert begin <= at


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=200), st.booleans()), max_size=30), st.booleans(), st.booleans())
def test_anything_may_come(reads: list[tuple[bytes, bool]], masked: bool, known: bool) -> None:
    tracker = FrameTracker(masked=masked)
    if known:
        tracker.assume_boundary()
    for data, after_silence in reads:
        if data:
            tracker.feed(data, after_silence=after_silence)
            assert -1 <= tracker.boundary <= len(data)
