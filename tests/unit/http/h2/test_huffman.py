"""The Huffman code of HPACK: what zlib reads, what tables read, and what nobody may have sent."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections.abc import Callable

import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from gateway.http.h2 import huffman, huffman_inflate
from gateway.http.h2.huffman_code import CODES
from gateway.http.h2.huffman_inflate import inflated
from gateway.http.h2.huffman_pairs import decoded

encode = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode
EVERYTHING = bytes(range(256))
MARKS = sorted(huffman_inflate._AFTER_PADDING)
LONG_SYMBOLS = [b"\\", b"\n", b"\x7f", b"\xc3\xa4", b"\xff"]


@pytest.fixture(params=["decode", "inflated", "decoded"])
def decode(request: pytest.FixtureRequest) -> Callable[[bytes], bytes]:
    """What this build decodes by; and each of the two ways, with what neither of them knows read by nibbles."""
    way = {"inflated": inflated, "decoded": decoded}.get(request.param)
    if way is None:
        return huffman.decode

    def decode(data: bytes) -> bytes:
        octets = way(data)
        return huffman._by_nibbles(data) if octets is None else octets

    return decode


def bits(text: str) -> bytes:
    """Octets from bits; spaces only help the reader."""
    text = text.replace(" ", "")
    assert len(text) % 8 == 0
    return int(text, 2).to_bytes(len(text) // 8, "big")


def test_the_code_is_that_of_appendix_b() -> None:
    assert [CODES[symbol] for symbol in range(257)] == list(zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True))


def test_every_octet_alone_and_all_together(decode: Callable[[bytes], bytes]) -> None:
    for octet in EVERYTHING:
        text = bytes((octet,))
        assert decode(encode(text)) == text
    assert decode(encode(EVERYTHING)) == EVERYTHING


def test_nothing_is_nothing(decode: Callable[[bytes], bytes]) -> None:
    assert decode(b"") == b""


@pytest.mark.parametrize("length", range(9))
def test_every_padding_and_every_kind_of_end(decode: Callable[[bytes], bytes], length: int) -> None:
    for last in EVERYTHING:
        text = b"0" * length + bytes((last,))
        assert decode(encode(text)) == text


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("before", [b"", b"x", b"https://"])
@pytest.mark.parametrize("after", [b"", b"y", *LONG_SYMBOLS])
def test_text_like_our_own_marks_is_text(
    decode: Callable[[bytes], bytes], mark: bytes, before: bytes, after: bytes
) -> None:
    text = before + mark + after
    assert decode(encode(text)) == text
    assert decode(encode(b"the next string")) == b"the next string"


def test_texts_of_every_length(decode: Callable[[bytes], bytes]) -> None:
    some = random.Random(7541)
    for length in range(200):
        text = bytes(some.choices(range(0x20, 0x7F), k=length))
        assert decode(encode(text)) == text


@pytest.mark.parametrize("way", [inflated, decoded])
def test_nibbles_are_for_what_is_rare(way: Callable[[bytes], bytes | None]) -> None:
    for text in (bytes(range(0x20, 0x5C)), bytes(range(0x5D, 0x7F)), *(b"0" * length for length in range(20))):
        assert way(encode(text)) == text
    for text in LONG_SYMBOLS:
        assert way(encode(text)) is None


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(bits("00000 000"), id="padding of zeros"),
        pytest.param(bits("00000 110"), id="padding that is not all ones"),
        pytest.param(bits("00000 111 11111111"), id="padding of 11 ones"),
        pytest.param(bits("1111000" + "1" + "11111111"), id="padding of 9 ones"),
        pytest.param(bits("11111000" + "1" * 8), id="padding of 8 ones"),
        pytest.param(b"\xff", id="nothing but padding of 8"),
        pytest.param(b"\xff" * 2, id="padding of 16"),
        pytest.param(b"\xff" * 3, id="padding of 24"),
        pytest.param(bits("1" * 30 + "11"), id="EOS"),
        pytest.param(bits("00000" + "1" * 30 + "11111"), id="text and EOS"),
        pytest.param(bits("1" * 30 + "00000" + "11111"), id="EOS and text"),
        pytest.param(bits("1" * 30 + "00001" + "11111 11111111"), id="EOS and wrong padding"),
        pytest.param(encode(b"\xff")[:-1], id="a code that is not whole"),
        pytest.param(encode(b"a<")[:-1], id="a code of zlib's that is not whole"),
        pytest.param(encode(b"ai16")[:-1], id="a mark cut off"),
    ],
)
def test_a_wrong_string_is_refused_and_harms_no_other(decode: Callable[[bytes], bytes], data: bytes) -> None:
    for _ in range(2):
        with pytest.raises(huffman.HuffmanError):
            decode(data)
        assert decode(encode(b"example.com")) == b"example.com"


def test_every_string_of_two_octets_is_read_alike_whichever_way(decode: Callable[[bytes], bytes]) -> None:
    for number in range(1 << 16):
        data = number.to_bytes(2, "big")
        try:
            expected = huffman._by_nibbles(data)
        except huffman.HuffmanError:
            with pytest.raises(huffman.HuffmanError):
                decode(data)
        else:
            assert decode(data) == expected
            assert encode(expected) == data


@pytest.mark.pure  # in a compiled module nothing can be put in the other's place
def test_zlib_is_the_way_where_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huffman, "decoded", None)
    assert huffman.decode(encode(b"example.com")) == b"example.com"


def test_an_accident_inside_zlib_does_not_reach_the_next_string() -> None:
    def decompress(data: bytes, most: int) -> bytes:
        raise MemoryError

    huffman_inflate._stream.decompress = decompress
    with pytest.raises(MemoryError):
        inflated(encode(b"a"))
    assert huffman_inflate._stream.decompress is not decompress
    assert inflated(encode(b"b")) == b"b"


def test_nothing_is_kept_of_what_went_through(decode: Callable[[bytes], bytes]) -> None:
    text = encode(b"a" * 1000)
    decode(text)
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(1000):
            decode(text)
        assert tracemalloc.get_traced_memory()[0] < 10_000
    finally:
        tracemalloc.stop()
