"""Field blocks as Chromium writes them (RFC 7541), prepared before a run so that sending one costs nothing.

An encoder with a dynamic table, which the gateway's own has not, because a browser's requests are what is measured: it
indexes every field but `:path`, cuts `cookie` into crumbs, and writes strings in Huffman's code. Blocks depend on those
before them, so a connection's are a cycle: the first of it empties the table (section 6.3) and may follow the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from gateway.http.h2.huffman_code import CODES
from gateway.http.h2.static_table import STATIC_FIELDS

Fields = Sequence[tuple[bytes, bytes]]
TABLE_SIZE = 4096
"""Octets that every peer's decoder holds (section 6.5.2 of RFC 9113)."""
OVERHEAD = 32
"""Octets that an entry counts for beside its name and value (section 4.1)."""
NOT_INDEXED = frozenset((b":path", b":method", b":scheme"))
"""Looked up, never entered: Chromium's policy."""
_STATIC = {field: number for number, field in reversed(list(enumerate(STATIC_FIELDS, 1)))}
_STATIC_NAMES = {name: number for number, (name, _) in reversed(list(enumerate(STATIC_FIELDS, 1)))}
_BITS = [f"{CODES[octet][0]:0{CODES[octet][1]}b}" for octet in range(256)]


def cycle(requests: Iterable[Fields]) -> list[bytes]:
    """A block for each of `requests`; they may be sent over and over on one connection, in this order."""
    encoder = _Encoder()
    emptied = integer(0, 5, 0x20) + integer(TABLE_SIZE, 5, 0x20)
    return [(b"" if number else emptied) + encoder.block(fields) for number, fields in enumerate(requests)]


def integer(value: int, prefix: int, first: int) -> bytes:
    """Section 5.1: `value` in the last `prefix` bits of an octet whose other bits are `first`, and more if need be."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes((first | value,))
    octets = bytearray((first | most,))
    value -= most
    while value >= 128:
        octets.append(value & 127 | 128)
        value >>= 7
    octets.append(value)
    return bytes(octets)


@lru_cache(maxsize=1024)
def string(text: bytes) -> bytes:
    """Section 5.2: in Huffman's code where that is shorter."""
    coded = huffman(text)
    return integer(len(coded), 7, 0x80) + coded if len(coded) < len(text) else integer(len(text), 7, 0) + text


def huffman(text: bytes) -> bytes:
    """Appendix B; what is left of the last octet is ones."""
    bits = "".join([_BITS[octet] for octet in text])
    bits += "1" * (-len(bits) % 8)
    return int(bits or "0", 2).to_bytes(len(bits) // 8, "big")


class _Encoder:
    """One direction of one connection."""

    def __init__(self) -> None:
        self._entered = 0  # entries so far: the newest has this number, and index 62
        self._entries: dict[tuple[bytes, bytes], int] = {}  # field to number, the oldest first
        self._size = 0

    def block(self, fields: Fields) -> bytes:
        return b"".join(map(self._field, _crumbs(fields)))

    def _field(self, field: tuple[bytes, bytes]) -> bytes:
        index = _STATIC.get(field) or self._index(field)
        if index:
            return integer(index, 7, 0x80)
        name, value = field
        named = _STATIC_NAMES.get(name, 0)
        if name in NOT_INDEXED:
            return integer(named, 4, 0) + string(value)
        self._enter(field)
        return integer(named, 6, 0x40) + (b"" if named else string(name)) + string(value)

    def _index(self, field: tuple[bytes, bytes]) -> int:
        number = self._entries.get(field, 0)
        return len(STATIC_FIELDS) + 1 + self._entered - number if number else 0

    def _enter(self, field: tuple[bytes, bytes]) -> None:
        self._size += _weight(field)
        while self._size > TABLE_SIZE:
            oldest = next(iter(self._entries))
            del self._entries[oldest]
            self._size -= _weight(oldest)
        self._entered += 1
        self._entries[field] = self._entered


def _weight(field: tuple[bytes, bytes]) -> int:
    return len(field[0]) + len(field[1]) + OVERHEAD


def _crumbs(fields: Fields) -> Iterator[tuple[bytes, bytes]]:
    """RFC 9113 section 8.2.3."""
    for name, value in fields:
        if name == b"cookie":
            for crumb in value.split(b"; "):
                yield name, crumb
        else:
            yield name, value
