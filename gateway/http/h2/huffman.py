"""The Huffman code of HPACK (RFC 7541 section 5.2, appendix B), decoded by zlib.

The code is canonical: codes of one length are consecutive numbers in the order of their symbols, and each length
begins where the one before ended. So the lengths are the whole of appendix B. DEFLATE (RFC 1951 section 3.2.2) defines
its codes in the same way, and nothing keeps us from writing a DEFLATE header that announces this code: zlib then
decodes in C. Three things differ, and each has its answer:

- DEFLATE packs octets from the least significant bit: `bytes.translate` turns them round.
- DEFLATE's codes have at most 15 bits, HPACK's 30. Fifteen ones are no code and begin every longer one: they become
  DEFLATE's end of block. Where they turn up there is a backslash, a control character, an octet above 127 or a fault,
  and a table in Python reads the string instead.
- HPACK pads with at most 7 ones (section 5.2). Two octets are put behind each string, chosen so that they are whole
  codes, after any such padding. So zlib always stands between two codes, at the beginning of an octet, and one stream,
  whose header is read once, serves for all strings; and whether the padding was right can be seen from what the two
  octets became.

Measured for 60 octets of a URL, 44 encoded (one core, CPython 3.11, µs): this 0.9, a new decompressor for each string
1.1, by words of 16 bits with rows filled when needed 3.3, a row of 256 for each state 3.6, by nibbles 5.6, PyPI's hpack
30. For 10 octets: 0.7 against 1.4 by nibbles.
"""

from __future__ import annotations

import zlib
from typing import Final

_SYMBOLS: Final = {
    5: b"012aceiost",
    6: b" %-./3456789=A_bdfghlmnpru",
    7: b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: b"&*,;XZ",
    10: b'!"()?',
    11: b"'+|",
    12: b"#>",
    13: b"\x00$@[]~",
    14: b"^}",
    15: b"<`{",
    19: b"\\\xc3\xd0",
    20: b"\x80\x82\x83\xa2\xb8\xc2\xe0\xe2",
    21: b"\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6",
    22: b"\x81\x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\xc6\xe4\xe8\xe9",
    23: (
        b"\x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4\xb6\xb7\xbc\xbf\xc5"
        b"\xe7\xef"
    ),
    24: b"\x09\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed",
    25: b"\xc7\xcf\xea\xeb",
    26: b"\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\xee\xf0\xf2\xf3\xff",
    27: b"\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe",
    28: (
        b"\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f"
        b"\xdc\xf9"
    ),
    30: b"\x0a\x0d\x16",
}
"""The symbols of each length; the end of the string, EOS, is the fourth of 30 bits."""
_EOS: Final = 256
_MOST_DEFLATE_BITS: Final = 15


class HuffmanError(Exception):
    """A string that no encoder makes: it has EOS in it, or padding that is longer than 7 bits or not ones."""


def _canonical(lengths: dict[int, int]) -> dict[int, tuple[int, int]]:
    """From each symbol's length its code and length, as RFC 1951 section 3.2.2 and RFC 7541 appendix B assign them."""
    codes: dict[int, tuple[int, int]] = {}
    code = previous = 0
    for length, symbol in sorted((length, symbol) for symbol, length in lengths.items()):
        code <<= length - previous
        codes[symbol] = code, length
        code += 1
        previous = length
    return codes


LENGTHS: Final = {symbol: length for length, symbols in _SYMBOLS.items() for symbol in symbols} | {_EOS: 30}
CODES: Final = _canonical(LENGTHS)
"""Of each octet and of EOS: the code as a number, and its length in bits."""


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
    lengths = {symbol: length for symbol, length in LENGTHS.items() if length <= _MOST_DEFLATE_BITS}
    lengths[_EOS] = _MOST_DEFLATE_BITS  # DEFLATE's end of block is 256, too
    # Lengths are themselves written in a code, announced in this order. Sixteen codes of four bits serve: 0 and 5 to 15
    # are in use, four of the others complete it.
    order = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
    code_of_length = _canonical(dict.fromkeys(range(16), 4))
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


def decode(data: bytes) -> bytes:
    """The octets of a string literal; at most 8/5 of those of `data`. Raises HuffmanError. For one thread."""
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
    return _decode_by_table(data)


def _make_table() -> tuple[list[tuple[bytes, int]], frozenset[int]]:
    """Of state + nibble: the symbol that ends in it (the shortest code is longer than a nibble) and the next state.

    And the states in which a string may end. A state is what was read of a code; it has 16 entries.
    """
    symbols = {(length, code): symbol for symbol, (code, length) in CODES.items()}
    root = 0, 0
    states = {root: 0}
    for code, length in CODES.values():
        for bits in range(1, length):
            states.setdefault((bits, code >> length - bits), 16 * len(states))
    fault = 16 * len(states)  # after EOS, for good
    table: list[tuple[bytes, int]] = []
    for start in states:
        for nibble in range(16):
            read, emitted, after = start, b"", -1
            for shift in (3, 2, 1, 0):
                length, code = read
                read = length + 1, code << 1 | nibble >> shift & 1
                symbol = symbols.get(read)
                if symbol is not None:
                    read = root
                    if symbol == _EOS:
                        after = fault
                    else:
                        emitted = bytes((symbol,))
            table.append((emitted, states[read] if after < 0 else after))
    table += [(b"", fault)] * 16
    return table, frozenset(states[bits, (1 << bits) - 1] for bits in range(8))


_TABLE, _ENDS = _make_table()  # not when first needed: it takes 10 ms, which no request should


def _decode_by_table(data: bytes) -> bytes:
    table = _TABLE
    state = 0
    octets = bytearray()
    for octet in data:
        symbol, state = table[state + (octet >> 4)]
        octets += symbol
        symbol, state = table[state + (octet & 15)]
        octets += symbol
    # RFC 7541 section 5.2: "A padding strictly longer than 7 bits MUST be treated as a decoding error. A padding not
    # corresponding to the most significant bits of the code for the EOS symbol MUST be treated as a decoding error. A
    # Huffman-encoded string literal containing the EOS symbol MUST be treated as a decoding error."
    if state not in _ENDS:
        raise HuffmanError("a Huffman code is not whole, or its padding is wrong")
    return bytes(octets)
