"""HPACK against PyPI's hpack: whatever one writes the other reads, and what one refuses the other does, too."""

from __future__ import annotations

import hpack
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.http.h2 import huffman, huffman_inflate
from gateway.http.h2.decoder import Decoder, HpackError
from gateway.http.h2.encoder import encode_fields
from gateway.http.h2.huffman_inflate import inflated
from gateway.http.h2.huffman_pairs import decoded
from gateway.http.h2.static_table import STATIC_FIELDS
from gateway.http.message import Fields
from tests.support.field_lines import pairs_of

ROOM = 1 << 20
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
names = st.one_of(
    st.sampled_from([name for name, _ in STATIC_FIELDS]),
    st.sampled_from([b"x-a", b"x-b", b"traceparent"]),
    st.binary(min_size=1, max_size=40).map(bytes.lower),
)
values = st.one_of(
    st.sampled_from([b"", b"/", b"GET", b"gzip, deflate", b"200"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80).map(str.encode),
    st.binary(max_size=40),
    st.builds(lambda octet, times: octet * times, st.binary(min_size=1, max_size=3), st.integers(1, 600)),
)
lists = st.lists(st.tuples(names, values), max_size=8)
steps = st.lists(
    st.tuples(lists, st.booleans(), st.sets(st.integers(0, 11)), st.lists(st.integers(0, 4096), max_size=2)),
    max_size=12,
)


def decode(decoder: Decoder, block: bytes, max_size: int = ROOM, max_fields: int = ROOM) -> Fields | None:
    fields = decoder.decode(block, max_size, max_fields)
    return None if fields is None else pairs_of(fields)


def write(encoder: hpack.Encoder, fields: Fields, huffman_coded: bool, secret: set[int]) -> bytes:
    return encoder.encode(
        [
            hpack.NeverIndexedHeaderTuple(*field) if number in secret else hpack.HeaderTuple(*field)
            for number, field in enumerate(fields)
        ],
        huffman=huffman_coded,
    )


@settings(PATIENT, max_examples=40)
@given(steps)
def test_a_connections_blocks_are_read_as_they_were_meant(
    story: list[tuple[Fields, bool, set[int], list[int]]],
) -> None:
    encoder, decoder = hpack.Encoder(), Decoder()
    for fields, huffman_coded, secret, sizes in story:
        for size in sizes:
            if size != encoder.header_table_size:  # hpack forgets a change that is followed by none
                encoder.header_table_size = size
        # Again and again, as browsers do: once nothing of it is new to the table, it is remembered.
        for _ in range(4):
            block = write(encoder, fields, huffman_coded, secret)
            assert decode(decoder, block) == fields


@settings(PATIENT, max_examples=40)
@given(steps, st.integers(0, 400), st.integers(0, 6))
def test_a_list_that_is_too_large_leaves_the_table_right(
    story: list[tuple[Fields, bool, set[int], list[int]]], max_size: int, max_fields: int
) -> None:
    encoder, decoder = hpack.Encoder(), Decoder()
    for fields, huffman_coded, secret, _ in story:
        size = sum(32 + len(name) + len(value) for name, value in fields)
        allowed = size <= max_size and len(fields) <= max_fields
        block = write(encoder, fields, huffman_coded, secret)
        assert decode(decoder, block, max_size, max_fields) == (fields if allowed else None)
    fields = [(b"the-last", b"one")]
    assert decode(decoder, encoder.encode(fields)) == fields


def read_by_both(ours: Decoder, theirs: hpack.Decoder, block: bytes) -> Fields | None:
    """What both decoders make of a block, None if both refuse it."""
    try:
        expected = [(bytes(name), bytes(value)) for name, value in theirs.decode(block, raw=True)]
    except (hpack.HPACKError, IndexError):
        expected = None
    try:
        fields = decode(ours, block)
        assert fields is not None
    except HpackError:
        fields = None
    assert fields == expected, block.hex()
    return fields


pieces = st.one_of(
    st.binary(max_size=6),
    st.integers(0x81, 0xC4).map(lambda octet: bytes((octet,))),
    st.builds(
        lambda first, name, value: bytes((first,)) + name + value,
        st.sampled_from([0x00, 0x10, 0x40]),
        *[st.binary(min_size=1, max_size=20).map(lambda text: bytes((len(text),)) + text)] * 2,
    ),
    st.builds(
        lambda first, text: bytes((first, 0x80 | len(text))) + text,
        st.sampled_from([0x01, 0x0E, 0x41, 0x44, 0x7D, 0x7E]),
        st.binary(max_size=8),
    ),
    st.sampled_from([b"\x20", b"\x3f\x00", b"\x3f\xe1\x1f", b"\x3f\x45"]),
)


@settings(PATIENT, max_examples=150)
@given(st.lists(st.lists(pieces, max_size=6).map(b"".join), max_size=4))
def test_arbitrary_octets_mean_the_same_to_both(blocks: list[bytes]) -> None:
    ours, theirs = Decoder(), hpack.Decoder(max_header_list_size=ROOM)
    for block in blocks:
        if read_by_both(ours, theirs, block) is None:
            return


@settings(PATIENT, max_examples=100)
@given(lists, st.booleans(), st.data())
def test_a_damaged_block_means_the_same_to_both(fields: Fields, huffman_coded: bool, data: st.DataObject) -> None:
    block = bytearray(hpack.Encoder().encode(fields, huffman=huffman_coded))
    if block:
        for _ in range(data.draw(st.integers(1, 3))):
            block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
        del block[data.draw(st.integers(0, len(block))) :]
    read_by_both(Decoder(), hpack.Decoder(max_header_list_size=ROOM), bytes(block))


@settings(PATIENT, max_examples=50)
@given(lists)
def test_what_the_encoder_writes_both_read(fields: Fields) -> None:
    block = encode_fields(fields)
    lowered = [(name.lower(), value) for name, value in fields]
    assert decode(Decoder(), block) == lowered
    assert hpack.Decoder(max_header_list_size=ROOM).decode(block, raw=True) == lowered


_encode = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode


@settings(PATIENT, max_examples=60)
@given(st.lists(st.one_of(values, st.sampled_from(sorted(huffman_inflate._AFTER_PADDING)), st.binary(max_size=4))))
def test_huffman_strings_one_after_the_other(texts: list[bytes]) -> None:
    for text in (*texts, b"".join(texts)):
        assert huffman.decode(_encode(text)) == text
        for way in (inflated, decoded):
            assert way(_encode(text)) in (text, None)


@settings(PATIENT, max_examples=300)
@given(st.binary(max_size=12), st.sampled_from([b"", b"\xff", b"\x7f", b"\x3f", b"\xff\xff\xff\xff"]))
def test_a_huffman_string_is_read_only_if_it_is_what_an_encoder_writes(start: bytes, end: bytes) -> None:
    data = start + end
    known = {text for text in (inflated(data), decoded(data)) if text is not None}
    try:
        text = huffman.decode(data)
    except huffman.HuffmanError:
        assert not known
        return
    assert _encode(text) == data
    assert known <= {text}
