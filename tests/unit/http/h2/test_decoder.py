"""HPACK's decoder: the RFC's own examples by their octets, its errors, its limits, and what it remembers."""

from __future__ import annotations

import time
import tracemalloc
from contextlib import suppress

import pytest
from hpack import Encoder

from gateway.http.h2 import decoder as decoder_module
from gateway.http.h2.decoder import Decoder, HpackError
from gateway.http.message import Fields
from tests.support.field_lines import pairs_of

SIZE = 16 * 1024
COUNT = 100
CUSTOM = (b"custom-key", b"custom-value")
REQUEST: Fields = [
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":path", b"/"),
    (b":authority", b"www.example.com"),
]
REQUESTS: list[Fields] = [
    REQUEST,
    [*REQUEST, (b"cache-control", b"no-cache")],
    [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/index.html"), REQUEST[3], CUSTOM],
]
LOCATION = (b"location", b"https://www.example.com")
PRIVATE = (b"cache-control", b"private")
DATE = (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT")
RESPONSES: list[Fields] = [
    [(b":status", b"302"), PRIVATE, DATE, LOCATION],
    [(b":status", b"307"), PRIVATE, DATE, LOCATION],
    [
        (b":status", b"200"),
        PRIVATE,
        (b"date", b"Mon, 21 Oct 2013 20:13:22 GMT"),
        LOCATION,
        (b"content-encoding", b"gzip"),
        (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
    ],
]


def decode(decoder: Decoder, block: bytes, size: int = SIZE, count: int = COUNT) -> Fields:
    fields = decoder.decode(block, size, count)
    assert fields is not None
    return pairs_of(fields)


def held(decoder: Decoder) -> tuple[int, int]:
    """Entries and octets of the dynamic table, as it shows them."""
    shown = dict(part.split("=") for part in repr(decoder)[1:-1].split()[1:])
    return int(shown["entries"]), int(shown["octets"].split("/")[0])


# --- RFC 7541 appendix C ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "field", "table"),
    [
        (
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            (b"custom-key", b"custom-header"),
            (1, 55),
        ),
        ("040c 2f73 616d 706c 652f 7061 7468", (b":path", b"/sample/path"), (0, 0)),
        ("1008 7061 7373 776f 7264 0673 6563 7265 74", (b"password", b"secret"), (0, 0)),
        ("82", (b":method", b"GET"), (0, 0)),
    ],
    ids=["C.2.1", "C.2.2", "C.2.3", "C.2.4"],
)
def test_one_field_of_each_representation(block: str, field: tuple[bytes, bytes], table: tuple[int, int]) -> None:
    decoder = Decoder()
    assert decode(decoder, bytes.fromhex(block)) == [field]
    assert held(decoder) == table


@pytest.mark.parametrize(
    "blocks",
    [
        (
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ),
        (
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ),
    ],
    ids=["C.3", "C.4, Huffman"],
)
def test_three_requests_on_one_connection(blocks: tuple[str, ...]) -> None:
    decoder = Decoder()
    for block, fields, table in zip(blocks, REQUESTS, [(1, 57), (2, 110), (3, 164)], strict=True):
        assert decode(decoder, bytes.fromhex(block)) == fields
        assert held(decoder) == table


@pytest.mark.parametrize(
    "blocks",
    [
        (
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120"
            "474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "4803 3330 37c1 c0bf",
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738"
            "666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33"
            "3630 303b 2076 6572 7369 6f6e 3d31",
        ),
        (
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718"
            "63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7"
            "b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        ),
    ],
    ids=["C.5", "C.6, Huffman"],
)
def test_three_responses_in_a_small_table(blocks: tuple[str, ...]) -> None:
    decoder = Decoder(256)
    for block, fields, table in zip(blocks, RESPONSES, [(4, 222), (4, 222), (3, 215)], strict=True):
        assert decode(decoder, bytes.fromhex(block)) == fields
        assert held(decoder) == table


# --- the table ----------------------------------------------------------------------------------------------------


def test_an_empty_block_has_no_fields() -> None:
    assert decode(Decoder(), b"") == []


def test_an_entry_larger_than_the_table_empties_it() -> None:
    decoder = Decoder(64)
    decode(decoder, b"\x40\x01a\x01b")
    assert held(decoder) == (1, 34)
    assert decode(decoder, b"\x40\x01a\x20" + b"b" * 32 + b"\x82") == [(b"a", b"b" * 32), (b":method", b"GET")]
    assert held(decoder) == (0, 0)


def test_a_name_may_be_of_the_entry_that_its_field_evicts() -> None:
    decoder = Decoder(64)
    decode(decoder, b"\x40\x04name\x01b")
    assert decode(decoder, b"\x7e\x0412345"[:-1]) == [(b"name", b"1234")]
    assert held(decoder) == (1, 40)
    assert decode(decoder, b"\xbe") == [(b"name", b"1234")]


def test_a_name_that_is_empty_is_for_others_to_judge() -> None:
    assert decode(Decoder(), b"\x00\x00\x00") == [(b"", b"")]


@pytest.mark.parametrize("first", [0x40, 0x00, 0x10])
def test_every_entry_serves_as_a_field_and_as_a_name(first: int) -> None:
    """The static ones and 64 dynamic ones, so that indexes are written in one octet and in two."""
    encoder, decoder = Encoder(), Decoder()
    known: Fields = [(b"x-%d" % number, b"") for number in range(64)]
    decode(decoder, encoder.encode(known, huffman=False))
    for index in range(1, 61 + 64 + 1):
        octets = bytes((0x80 | index,)) if index < 127 else bytes((0xFF, index - 127))
        (field,) = decode(decoder, octets)
        assert field == encoder.header_table.get_by_index(index)
        if first < 0x40:
            octets = bytes((first | index,)) if index < 15 else bytes((first | 15, index - 15))
            assert decode(decoder, octets + b"\x01v") == [(field[0], b"v")]
    if first == 0x40:
        entries = [encoder.header_table.get_by_index(index)[0] for index in range(1, 62)]
        for index, name in enumerate(entries, 1):
            assert decode(decoder, bytes((0x40 | index, 1)) + b"v") == [(name, b"v")]
            assert decode(decoder, b"\xbe") == [(name, b"v")]
        assert decode(decoder, b"\x7e\x00") == [(entries[-1], b"")]
        assert decode(decoder, b"\x7f\x00\x00") == [(entries[-1], b"")]


def test_size_updates_at_the_beginning_shrink_and_grow_the_table() -> None:
    decoder = Decoder()
    decode(decoder, b"\x40\x01a\x01b\x40\x01c\x01d")
    assert decode(decoder, b"\x3f\x03\xbe") == [(b"c", b"d")]  # 34 octets: the older is evicted
    assert held(decoder) == (1, 34)
    assert decode(decoder, b"\x20\x3f\xe1\x1f\x82") == [(b":method", b"GET")]  # 0, then 4096
    assert held(decoder) == (0, 0)
    assert decode(decoder, b"\x20") == []
    assert decode(decoder, b"\x40\x01a\x01b") == [(b"a", b"b")]
    assert held(decoder) == (0, 0)


# --- faults -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "block",
    [
        pytest.param("80", id="index 0"),
        pytest.param("80 01 61 01 62", id="index 0, which is no literal"),
        pytest.param("82 80", id="index 0, later"),
        pytest.param("be", id="index beyond the table"),
        pytest.param("ff 80 01", id="index far beyond the table"),
        pytest.param("7e 00", id="name beyond the table"),
        pytest.param("0f 30 00", id="name beyond the table, without indexing"),
        pytest.param("ff", id="index that is not whole"),
        pytest.param("ff 80", id="index whose continuation is missing"),
        pytest.param("ff ff ff ff ff ff 00", id="index of more than 2 ** 31"),
        pytest.param("04 7f" + "80" * 6 + "00" + "61" * 127, id="length of seven continuations, though small"),
        pytest.param("3f e2 1f", id="size update beyond what was announced"),
        pytest.param("3f ff ff ff ff 7f", id="size update of an enormous size"),
        pytest.param("82 20", id="size update after a field"),
        pytest.param("3f", id="size update that is not whole"),
        pytest.param("40", id="literal without a name"),
        pytest.param("40 01", id="name that is not whole"),
        pytest.param("40 01 61", id="literal without a value"),
        pytest.param("40 01 61 02 62", id="value that is not whole"),
        pytest.param("40 01 61 82 1f", id="Huffman value that is not whole"),
        pytest.param("04 7f 00" + "61" * 126, id="long value that is not whole"),
        pytest.param("04 7f ff ff ff ff 07", id="value of 2 GiB"),
        pytest.param("00 7f ff ff ff ff 07", id="name of 2 GiB"),
        pytest.param("04 81 ff", id="Huffman value of padding alone"),
        pytest.param("04 84 ff ff ff ff", id="EOS in a value"),
        pytest.param("00 84 ff ff ff ff 00", id="EOS in a name"),
    ],
)
def test_a_fault_is_the_connections_end(block: str) -> None:
    with pytest.raises(HpackError):
        Decoder().decode(bytes.fromhex(block), SIZE, COUNT)


def test_literals_are_not_decoded_for_ever() -> None:
    literal = b"\x40\x01a\x01b"
    decoder = Decoder()
    assert decoder.decode(literal * (SIZE // 34 + decoder_module.MAX_SURPLUS), SIZE, COUNT) is None
    with pytest.raises(HpackError):
        decoder.decode(literal * (SIZE // 34 + decoder_module.MAX_SURPLUS + 1), SIZE, COUNT)


def test_size_updates_are_not_taken_for_ever() -> None:
    decoder = Decoder()
    assert decode(decoder, b"\x20" * decoder_module.MAX_UPDATES) == []
    with pytest.raises(HpackError):
        decode(decoder, b"\x20" * (decoder_module.MAX_UPDATES + 1))


def test_an_integer_may_be_written_longer_than_it_need_be() -> None:
    assert decode(Decoder(), b"\x04\x7f\x81\x80\x80\x80\x80\x00" + b"a" * 128) == [(b":path", b"a" * 128)]


def test_strings_of_every_length() -> None:
    encoder, decoder = Encoder(), Decoder()
    for length in (*range(300), 383, 384, 4000, 8000):
        for huffman in (False, True):
            field = (b"name", bytes(0x61 + number % 26 for number in range(length)))
            assert decode(decoder, encoder.encode([field], huffman=huffman)) == [field]
            field = (field[1], b"value")
            assert decode(decoder, encoder.encode([field], huffman=huffman)) == [field]


def test_a_block_that_is_cut_anywhere_is_a_fault_or_fewer_fields() -> None:
    for blocks in ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", "8286 84be 5808 6e6f 2d63 6163 6865"):
        block = bytes.fromhex(blocks)
        start = b"\x41\x01a\x40\x01b\x01c"
        decoder = Decoder()
        decode(decoder, start)
        whole = decode(decoder, block)
        for cut in range(len(block)):
            decoder = Decoder()
            decode(decoder, start)
            try:
                fields = decode(decoder, block[:cut])
            except HpackError:
                continue
            assert fields == whole[: len(fields)]
            assert len(fields) < len(whole)


# --- limits -------------------------------------------------------------------------------------------------------


def test_the_largest_list_is_allowed_and_one_octet_more_is_not() -> None:
    block = b"\x04\x0aaaaaaaaaaa\x82"  # 32 + 5 + 10, and 32 + 7 + 3
    assert decode(Decoder(), block, 89, 2) == [(b":path", b"a" * 10), (b":method", b"GET")]
    assert Decoder().decode(block, 88, 2) is None
    assert Decoder().decode(block, 89, 1) is None


def test_limits_hold_for_what_is_remembered() -> None:
    decoder = Decoder()
    block = b"\x04\x0aaaaaaaaaaa\x82"
    fields = decoder.decode(block, 89, 2)
    assert decoder.decode(block, 88, 2) is None
    assert decoder.decode(block, 89, 1) is None
    assert decoder.decode(block, 89, 2) is fields


def test_a_list_that_was_too_large_may_not_be_under_other_limits() -> None:
    decoder = Decoder()
    block = b"\x04\x0aaaaaaaaaaa\x82"
    for limits in ((88, 2), (46, 2), (89, 1)):
        assert decoder.decode(block, *limits) is None
    assert decode(decoder, block, SIZE, 2) == [(b":path", b"a" * 10), (b":method", b"GET")]


@pytest.mark.parametrize("limits", [(60, 100), (SIZE, 2)])
def test_the_table_is_right_after_a_list_that_was_too_large(limits: tuple[int, int]) -> None:
    decoder = Decoder()
    assert decoder.decode(b"\x82\x82\x82\x40\x01a\x01b\x41\x01c", *limits) is None
    assert decode(decoder, b"\xbe\xbf") == [(b":authority", b"c"), (b"a", b"b")]


def test_a_list_that_is_too_large_is_still_read_to_its_end() -> None:
    with pytest.raises(HpackError):
        Decoder().decode(b"\x82" * 10 + b"\x80", 100, 100)
    with pytest.raises(HpackError):
        Decoder().decode(b"\x82" * 10 + b"\x04\x81\xff", 100, 100)


def bomb() -> tuple[bytes, bytes]:
    """RFC 7541 section 7.3: one entry that fills the table, and a block of references to it."""
    entry = b"\x40\x01a\x7f" + b"\xe0\x1e" + b"b" * (4096 - 33)
    return entry, b"\xbe" * 16_384


def test_a_bomb_costs_time_by_its_own_octets_and_no_memory() -> None:
    entry, references = bomb()
    decoder = Decoder()
    decode(decoder, entry)
    assert held(decoder) == (1, 4096)
    tracemalloc.start()
    try:
        assert decoder.decode(references, SIZE, COUNT) is None
        assert tracemalloc.get_traced_memory()[1] < 20_000
    finally:
        tracemalloc.stop()
    started = time.process_time()
    for _ in range(10):
        assert decoder.decode(references, SIZE, COUNT) is None
    assert time.process_time() - started < 1  # measured: 0.02


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"\x40\x00\x00" * 5461, id="insertions that each evict one"),
        pytest.param(
            (b"\x40\x00\x00" * 126 + b"\x40\x00\x7f\xe0\x1e" + b"b" * 4063) * 3, id="insertions that empty it"
        ),
        pytest.param(b"\x20" * 16384, id="size updates"),
        pytest.param(b"\x40\x80\x80" * 5461, id="insertions of empty Huffman strings"),
        pytest.param(b"\x00\x80\x80" * 5461, id="empty Huffman strings"),
        pytest.param(b"\x00\x80\x83\xff\xfe\x1f" * 2730, id="Huffman strings that are read by nibbles"),
        pytest.param(b"\x00\x00\x7f\x81\x7e" + b"\xff\xfe\x1f" * 5418 + b"\xff\xfe\x1f"[:2], id="a long one"),
        pytest.param(b"\xff\x80\x80\x80\x80\x80\x00" * 2340, id="long integers"),
    ],
)
def test_work_is_linear_in_the_block(block: bytes) -> None:
    decoder = Decoder()
    started = time.process_time()
    with suppress(HpackError):
        decoder.decode(block, SIZE, COUNT)
    assert time.process_time() - started < 0.2  # measured: at most 0.005


# --- what is remembered -------------------------------------------------------------------------------------------


def test_a_block_seen_before_is_not_decoded_again() -> None:
    decoder = Decoder()
    decode(decoder, b"\x40\x01a\x01b")
    block = b"\x82\xbe\x04\x01/"
    assert decoder.decode(block, SIZE, COUNT) is decoder.decode(block, SIZE, COUNT)


@pytest.mark.parametrize("between", [b"\x40\x01a\x01c", b"\x20", b"\x20\x3f\xe1\x1f\x40\x01a\x01c"])
def test_a_block_under_another_table_is_another(between: bytes) -> None:
    decoder = Decoder()
    decode(decoder, b"\x40\x01a\x01b\x40\x01x\x01y")
    assert decode(decoder, b"\x82\xbe") == [(b":method", b"GET"), (b"x", b"y")]
    decode(decoder, between)
    if between == b"\x20":
        with pytest.raises(HpackError):
            decode(decoder, b"\x82\xbe")
    else:
        assert decode(decoder, b"\x82\xbe") == [(b":method", b"GET"), (b"a", b"c")]


def test_a_block_that_changes_the_table_does_so_each_time() -> None:
    decoder = Decoder()
    for number in range(1, 4):
        assert decode(decoder, b"\x40\x01a\x01b") == [(b"a", b"b")]
        assert held(decoder) == (number, 34 * number)


def test_a_flood_of_blocks_is_remembered_within_bounds() -> None:
    decoder = Decoder()
    for number in range(1000):
        decode(decoder, b"\x04\x04%04d" % number)
        assert len(decoder._remembered) <= decoder_module.REMEMBERED_BLOCKS
    for number in range(1000):
        decode(decoder, b"\x04\x7f\xf9\x06%04d" % number + b"a" * 1012)
        remembered = decoder._remembered.items()
        octets = sum(len(block) + size + decoder_module.LINE * len(fields) for block, (fields, size) in remembered)
        assert octets == decoder._remembered_octets <= decoder_module.REMEMBERED_OCTETS
    large = b"\x04\x7f\xa1\x1f" + b"a" * 4128
    assert decoder.decode(large, SIZE, COUNT) is not decoder.decode(large, SIZE, COUNT)
