"""Strings in HPACK's Huffman code, decoded by zlib: the fastest there is to plain Python.

The code is canonical: codes of one length are consecutive numbers in the order of their symbols, and each length
begins where the one before ended. DEFLATE (RFC 1951 section 3.2.2) defines its codes in the same way, and nothing keeps
us from writing a DEFLATE header that announces this code: zlib then decodes in C. Three things differ, and each has its
answer:

- DEFLATE packs octets from the least significant bit: `bytes.translate` turns them round.
- DEFLATE's codes have at most 15 bits, HPACK's 30. Fifteen ones are no code and begin every longer one: they become
  DEFLATE's end of block. Where they turn up, `inflated` returns None.
- HPACK pads with at most 7 ones (section 5.2). Two octets are put behind each string, chosen so that they are whole
  codes, after any such padding. So zlib always stands between two codes, at the beginning of an octet, and one stream,
  whose header is read once, serves for all strings; and whether the padding was right can be seen from what the two
  octets became.
"""

from __future__ import annotations

import zlib
from typing import Final

from gateway.http.h2.huffman_code import EOS, LENGTHS, canonical

_MOST_BITS: Final = 15
"""Of a code of DEFLATE."""


class _Bits:
    """Octets written from the least significant bit, as DEFLATE does."""

    def __init__(self) -> None:
        self.value = 0
        self.size = 0

    def number(self, value: int, bits: int) -> None:
        self.value |= value << self.size
        self.size += bits

    def code(self, code: int, bits: int) -> None:
        """Codes go in from their most significant bit."""
        self.number(int(f"{code:0{bits}b}"[::-1], 2), bits)


def _deflate_header() -> bytes:
    """What makes a decompressor read HPACK's code from the octet after (RFC 1951 section 3.2.7)."""
    lengths = {symbol: length for symbol, length in LENGTHS.items() if length <= _MOST_BITS}
    lengths[EOS] = _MOST_BITS  # DEFLATE's end of block is 256, too
    # Lengths are themselves written in a code, announced in this order. Sixteen codes of four bits serve: 0 and 5 to 15
    # are in use, four of the others complete it.
    order = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
    code_of_length = canonical(dict.fromkeys(range(16), 4))
    bits = _Bits()
    for _ in range(3):
        # Empty blocks of ten bits (not the last, fixed codes, end of block): three of them put the first code of what
        # is to be read at the beginning of an octet.
        bits.number(0b0000000_01_0, 10)
    bits.number(0b10_1, 3)  # the last block, dynamic codes
    bits.number(0, 5)  # 257 symbols
    bits.number(0, 5)  # one distance, which has no code: nothing is ever repeated
    bits.number(len(order) - 4, 4)
    for length in order:
        bits.number(4 if length in code_of_length else 0, 3)
    for symbol in [*range(257), None]:
        bits.code(*code_of_length[0 if symbol is None else lengths.get(symbol, 0)])
    assert bits.size % 8 == 0
    return bits.value.to_bytes(bits.size // 8, "little")


_REVERSED: Final = bytes(int(f"{octet:08b}"[::-1], 2) for octet in range(256))
_AFTER: Final = bytes((0b00110000, 0b01011100)).translate(_REVERSED)
"""What is put behind each string."""
_AFTER_PADDING: Final = (b"i16", b"g16", b"K16", b"Y0:", b"x=:", b"*=:", b"XE:", b'"=:')
"""What `_AFTER` becomes behind 0, 1, ... 7 ones. No other symbols have codes that are such ones and `_AFTER`: what ends
in three of these was padded as it must be. Of all pairs of octets, 610 become three symbols in all eight cases."""
_ENDING: Final = [0] * 256
"""By the first of those three symbols the two others, as a number; 0: it is none of them."""
for _symbols in _AFTER_PADDING:
    _ENDING[_symbols[0]] = _symbols[1] << 8 | _symbols[2]
_ROOM: Final = 264
"""Octets of room beyond what is decoded: with 258 of it left, zlib decodes in its fast loop, 20 instructions for a
symbol and not 65."""

# A window of 512 octets, the least there is: nothing is ever repeated.
_fresh: Final = zlib.decompressobj(wbits=-9)
_fresh.decompress(_deflate_header())


class _Stream:
    """The decompressor that stands before the code of a string."""

    __slots__ = ("decompress", "zlib")

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.zlib = _fresh.copy()
        self.decompress = self.zlib.decompress


_stream: Final = _Stream()


def inflated(data: bytes) -> bytes | None:
    """The octets of a string; None: it has an octet whose code is longer than 15 bits, or is none. For one thread."""
    stream = _stream
    try:
        # Without a most, zlib is given 16 KiB for each string. The shortest code has five bits.
        octets = stream.decompress(data.translate(_REVERSED) + _AFTER, 2 * len(data) + _ROOM)
    except BaseException:  # MemoryError: nobody knows where zlib stands
        stream.renew()
        raise
    if len(octets) > 2 and _ENDING[octets[-3]] == octets[-2] << 8 | octets[-1] and not stream.zlib.eof:
        return octets[:-3]
    stream.renew()
    return None
