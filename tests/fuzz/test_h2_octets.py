"""Frames right and wrong, to HTTP/2 sessions of both roles: what becomes of them does not depend on how they come."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http.h2.errors import ConnectionFault
from tests.support import h2_session
from tests.support.h2_frames import PREFACE, Flag, Frame, Type, frame, number
from tests.support.h2_frames import settings as pairs
from tests.support.h2_session import BLOCK, EARLY_BLOCK, EVERYTHING, OK_BLOCK, SETTINGS_ACK, TRAILERS_BLOCK, Stage

pytestmark = pytest.mark.pure  # fakes stand in the place of what is compiled

STREAMS = (1, 1, 1, 3, 3, 5, 7, 9, 2, 0)
VALUES = (0, 1, 2, 100, 16_384, 65_535, 1 << 24, (1 << 31) - 1, 1 << 31)
USUAL = (Type.HEADERS, Type.DATA)


def padded(rng: random.Random, flags: int, payload: bytes) -> tuple[int, bytes]:
    padding = rng.choice((0, 3, 200))
    return flags | Flag.PADDED, bytes((padding,)) + payload + bytes(rng.choice((padding, padding, 0)))


def some_frame(rng: random.Random) -> bytes:
    """Mostly what may come, now and then what may not."""
    kind = rng.choice(USUAL * 6 + tuple(Type) + (0x20,))
    stream = rng.choice(STREAMS)
    flags, payload = 0, b""
    match kind:
        case Type.HEADERS:
            flags = Flag.END_HEADERS * (rng.random() < 0.9) | Flag.END_STREAM * (rng.random() < 0.4)
            payload = rng.choice((BLOCK, BLOCK, OK_BLOCK, EARLY_BLOCK, TRAILERS_BLOCK, b"", b"\xff\xff"))
            if rng.random() < 0.1:
                flags, payload = flags | Flag.PRIORITY, number(rng.choice(STREAMS)) + b"\x10" + payload
            if rng.random() < 0.1:
                flags, payload = padded(rng, flags, payload)
        case Type.DATA:
            flags = Flag.END_STREAM * (rng.random() < 0.3)
            payload = b"x" * rng.choice((0, 1, 100, 5_000, 16_384))
            if rng.random() < 0.2:
                flags, payload = padded(rng, flags, payload[:5_000])
        case Type.SETTINGS:
            stream = rng.choice((0, 0, 0, stream))
            flags = rng.choice((0, 0, 0, Flag.ACK))
            payload = rng.choice((b"", pairs((rng.randrange(1, 12), rng.choice(VALUES))), b"abc"))
        case Type.PING | Type.GOAWAY:
            stream = rng.choice((0, 0, 0, stream))
            flags = rng.choice((0, Flag.ACK))
            payload = rng.choice((number(1) + number(0), number(1) + number(0), b"abc"))
        case Type.PRIORITY:
            payload = rng.choice((number(rng.choice(STREAMS)) + b"\x10", b"abc"))
        case Type.PRIORITY_UPDATE:
            stream = rng.choice((0, 0, stream))
            payload = number(rng.choice(STREAMS)) + b"u=1"
        case Type.CONTINUATION:
            flags = Flag.END_HEADERS * (rng.random() < 0.5)
        case _:
            payload = rng.choice((number(rng.choice(VALUES)), number(rng.choice(VALUES)), b"abc", b""))
    return frame(kind, flags, stream, payload)


def played(server: bool, pieces: list[bytes], share: int) -> tuple[list[Any], list[Frame], int | None]:
    """The calls, what was said, and the code of the end, if it came to it."""
    stage = Stage(server=server, greeted=False)
    stage.session.start()
    if not server:
        for _ in range(3):
            stage.open()
    stage.said()
    said: list[Frame] = []
    try:
        for piece in pieces:
            stage.hear(piece, share=share)
            said += stage.said()
            while stage.rest and not stage.session.unfinished:
                stage.hear(share=share)
                said += stage.said()
    except ConnectionFault as fault:
        said += stage.said()
        assert (said[-1].type, said[-1].code) == (Type.GOAWAY, fault.code)
        return stage.calls, said, fault.code
    return stage.calls, said, None


@pytest.mark.parametrize("server", [True, False])
@settings(deadline=None, max_examples=150)
@given(seed=st.integers(0, 1 << 32), count=st.integers(1, 40), share=st.integers(1, 5))
def test_segments_and_shares_change_nothing(server: bool, seed: int, count: int, share: int) -> None:
    rng = random.Random(seed)
    start = (PREFACE if server else b"") + h2_session.set() + SETTINGS_ACK
    octets = start + b"".join(some_frame(rng) for _ in range(count))
    whole = played(server, [octets], EVERYTHING)
    cuts = sorted(rng.randrange(len(octets)) for _ in range(rng.randrange(2 * count)))
    pieces = [octets[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(octets)], strict=True)]
    assert played(server, pieces, share) == whole
    if len(octets) < 2_000:
        assert played(server, [octets[at : at + 1] for at in range(len(octets))], EVERYTHING) == whole


@pytest.mark.parametrize("server", [True, False])
@settings(deadline=None, max_examples=150)
@given(seed=st.integers(0, 1 << 32), count=st.integers(1, 30))
def test_damaged_octets_end_in_order_or_not_at_all(server: bool, seed: int, count: int) -> None:
    rng = random.Random(seed)
    octets = bytearray(b"".join(some_frame(rng) for _ in range(count)))
    for _ in range(rng.randrange(1, 10)):
        octets[rng.randrange(len(octets))] = rng.randrange(256)
    played(server, [(PREFACE if server else b"") + h2_session.set() + SETTINGS_ACK, bytes(octets)], EVERYTHING)
