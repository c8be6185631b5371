"""The Huffman code of HPACK decoded (RFC 7541 section 5.2).

In the way that is fastest here: compiled, by a table of our own (`huffman_pairs`); in plain Python by zlib
(`huffman_inflate`). Neither knows the long codes, which nobody has much use for: a string with a backslash, a control
character but NUL, or an octet above 127 is read by nibbles, as is one that is wrong.

Measured for 60 octets of a URL, 44 encoded (one core, CPython 3.11, µs): zlib 0.9, a new decompressor for each string
1.1, by words of 16 bits with rows filled when needed 3.3, a row of 256 for each state 3.6, by nibbles 5.6, PyPI's hpack
30. For 10 octets: 0.7 against 1.4 by nibbles.
"""

from __future__ import annotations

from typing import Final

from gateway.build import COMPILED
from gateway.http.h2.huffman_code import CODES, EOS
from gateway.http.h2.huffman_inflate import inflated
from gateway.http.h2.huffman_pairs import decoded

_COMPILED: Final = COMPILED  # here it is a value of C's


class HuffmanError(Exception):
    """A string that no encoder makes: it has EOS in it, or padding that is longer than 7 bits or not ones."""


def decode(data: bytes) -> bytes:
    """The octets of a string literal; at most 8/5 of those of `data`. Raises HuffmanError. For one thread."""
    octets = decoded(data) if _COMPILED else inflated(data)
    return _by_nibbles(data) if octets is None else octets


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
                    if symbol == EOS:
                        after = fault
                    else:
                        emitted = bytes((symbol,))
            table.append((emitted, states[read] if after < 0 else after))
    table += [(b"", fault)] * 16
    return table, frozenset(states[bits, (1 << bits) - 1] for bits in range(8))


_TABLE, _ENDS = _make_table()  # not when first needed: it takes 10 ms, which no request should


def _by_nibbles(data: bytes) -> bytes:
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
