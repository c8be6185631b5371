"""Messages and events are read wherever reads cut them; what cannot be followed is left, in bounded time."""

from __future__ import annotations

import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from gateway.inspector.captured import MESSAGE_OCTETS, Kind
from gateway.inspector.messages import MOST_FRAMES, EventReader, FrameReader

Heard = list[tuple[Kind, int, bytes, str]]
PATIENCE = 1.0
"""Seconds: a hundred times what one `feed` is to take, on a machine that does other things."""


def frame(opcode: Opcode, data: bytes, *, fin: bool = True, mask: bool = False) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=mask)


def reader(extensions: bytes = b"", *, from_app: bool = True) -> tuple[FrameReader, Heard]:
    heard: Heard = []
    return FrameReader(lambda *each: heard.append(each), extensions, from_app=from_app), heard


def events() -> tuple[EventReader, Heard]:
    heard: Heard = []
    return EventReader(lambda *each: heard.append(each)), heard


STREAM = b"".join(
    (
        frame(Opcode.TEXT, "größe".encode(), mask=True),
        frame(Opcode.TEXT, b"", mask=True),
        frame(Opcode.BINARY, b"\x00\xff" * 100, fin=False, mask=True),
        frame(Opcode.PING, b"still there?", mask=True),
        frame(Opcode.CONT, b"end", mask=True),
        frame(Opcode.BINARY, b"x" * 70000, mask=True),
        frame(Opcode.CLOSE, b"\x03\xe8bye", mask=True),
    )
)
SAID = [
    (Kind.TEXT, 7, "größe".encode(), ""),
    (Kind.TEXT, 0, b"", ""),
    (Kind.PING, 12, b"still there?", ""),
    (Kind.BINARY, 203, b"\x00\xff" * 100 + b"end", ""),
    (Kind.BINARY, 70000, b"x" * MESSAGE_OCTETS, ""),
    (Kind.CLOSE, 3, b"bye", "code 1000"),
]


@given(st.lists(st.integers(1, 400), max_size=300))
def test_reads_may_cut_frames_anywhere(sizes: list[int]) -> None:
    frames, heard = reader(from_app=False)
    at = 0
    for size in [*sizes, len(STREAM)]:
        if STREAM[at : at + size]:
            frames.feed(STREAM[at : at + size])
        at += size
    assert heard == SAID


@given(st.binary(max_size=2000))
def test_any_octets_are_read(data: bytes) -> None:
    for extensions in (b"", b"permessage-deflate"):
        frames, heard = reader(extensions)
        frames.feed(data)
        frames.feed(data)
        assert sum(kind is Kind.NOTE for kind, *_ in heard) <= 1


@pytest.mark.parametrize(
    "octets",
    [b"\x83\x00", b"\xc1\x00", b"\x80\x00", b"\x09\x00", b"\x89\x7e\x00\x7e", b"\x01\x01a\x81\x01b", b"GET / HTTP/1.1"],
    ids=["opcode", "packed unasked", "continues nothing", "long ping", "cut ping", "message in message", "no frames"],
)
def test_what_is_no_frame_is_said_once(octets: bytes) -> None:
    frames, heard = reader()
    frames.feed(octets)
    frames.feed(frame(Opcode.TEXT, b"after"))
    assert [kind for kind, *_ in heard if kind is not Kind.BINARY] == [Kind.NOTE]


@pytest.mark.parametrize("context", [True, False])
def test_compressed_messages_are_unpacked(context: bool) -> None:
    extension = PerMessageDeflate(not context, not context, 15, 15)
    said = b"permessage-deflate" + (b"" if context else b"; server_no_context_takeover")
    frames, heard = reader(said)
    for _ in range(3):
        sent = Frame(Opcode.TEXT, b"again and again " * 5)
        frames.feed(sent.serialize(mask=False, extensions=[extension]))
    assert [(octets, note) for _, _, octets, note in heard] == [(b"again and again " * 5, "")] * 3


def test_a_message_that_unpacks_to_gigabytes_takes_no_time() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(b"\x00" * 40_000_000) + packer.flush(zlib.Z_SYNC_FLUSH)
    frames, heard = reader(b"permessage-deflate")
    bomb = frame(Opcode.BINARY, packed[:-4])
    bomb = bytes((bomb[0] | 0x40,)) + bomb[1:]
    began = time.thread_time()
    for _ in range(50):
        frames.feed(bomb)
    assert time.thread_time() - began < PATIENCE
    assert len(heard) == 50
    assert all(len(octets) <= MESSAGE_OCTETS for _, _, octets, _ in heard)


def test_a_flood_of_tiny_frames_is_left() -> None:
    frames, heard = reader()
    began = time.thread_time()
    frames.feed(b"\x81\x00" * 500_000)
    assert time.thread_time() - began < PATIENCE
    assert len(heard) <= MOST_FRAMES + 1
    assert heard[-1][0] is Kind.NOTE


@given(st.lists(st.integers(1, 9), max_size=60), st.sampled_from((b"\n", b"\r\n", b"\r")))
def test_reads_may_cut_events_anywhere(sizes: list[int], line: bytes) -> None:
    stream = b": hello" + line * 2 + b"event: a" + line + b"data: 1" + line * 2 + b"data: 2" + line * 3 + b"data: part"
    reading, heard = events()
    at = 0
    for size in [*sizes, len(stream)]:
        if stream[at : at + size]:
            reading.feed(stream[at : at + size])
        at += size
    assert [octets for _, _, octets, _ in heard] == [b": hello", b"event: a" + line + b"data: 1", b"data: 2"]


def test_a_flood_of_events_is_left() -> None:
    reading, heard = events()
    began = time.thread_time()
    reading.feed(b"a\n\n" * 500_000)
    assert time.thread_time() - began < PATIENCE
    assert len(heard) == MOST_FRAMES + 1
    assert heard[-1][0] is Kind.NOTE


def test_an_endless_event_costs_no_memory() -> None:
    reading, heard = events()
    for _ in range(100):
        reading.feed(b"data: " + b"x" * 100_000)
    reading.feed(b"\n\n")
    [(_, size, octets, _)] = heard
    assert (size, len(octets)) == (10_000_602, MESSAGE_OCTETS)
