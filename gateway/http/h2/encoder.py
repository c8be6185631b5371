"""HPACK's encoder (RFC 7541), without a dynamic table and without Huffman: a field's octets depend on the field alone.

So there is no state that could be wrong, octets may be remembered and shared by all connections, and what one stream
sends cannot be guessed from the size of another's (section 7.1: CRIME). Huffman would save a quarter of the values of
an answer (46 octets of 185) and costs, at best, 2 µs for each value that is new; that many octets cost the kernel
nothing.

What must not be stored by anybody between here and there is "never indexed" (section 6.2.3).

An encoder that never uses the dynamic table still has to say so to a peer that makes the table smaller: see
`TABLE_SIZE_ZERO`.
"""

from __future__ import annotations

from typing import Final

from gateway.http.h2.static_table import STATIC_FIELDS
from gateway.http.message import FieldLine, Fields, FieldSection

TABLE_SIZE_ZERO: Final = b"\x20"
"""A dynamic table size update to 0, which may only begin a block.

RFC 7541 section 4.2: an encoder that has to reduce the table's size signals that at the beginning of the next block.
The table has 4096 octets until a peer says otherwise, so one update is due in the first block after we acknowledged a
SETTINGS_HEADER_TABLE_SIZE below 4096 (nghttp2 waits for it, and takes its absence for a fault). With 0 it is due once
in a connection's life: no later setting can be below it. A peer that announces 4096 or more, or nothing, needs none."""

SENSITIVE: Final = frozenset((b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"))
"""Names of fields that are never indexed: who holds their value is whom they name."""

REMEMBERED: Final = 1024
"""Names whose beginnings are remembered."""
REMEMBERED_NAME: Final = 64

_SHORT: Final = [bytes((length,)) for length in range(127)]


def _integer(value: int, prefix: int, flags: int) -> bytes:
    """An integer (section 5.1) whose first octet has the bits `prefix`; the bits before them are `flags`."""
    if value < prefix:
        return bytes((flags | value,))
    octets = bytearray((flags | prefix,))
    value -= prefix
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


_COLON: Final = 0x3A
_INDEXED: Final = {field: bytes((0x80 | index,)) for index, field in reversed([*enumerate(STATIC_FIELDS, 1)])}
_NAME_INDEX: Final = {name: index for index, (name, _) in reversed([*enumerate(STATIC_FIELDS, 1)])}


_beginnings: Final[dict[bytes, bytes]] = {}


def beginning(name: bytes) -> bytes:
    """What stands before the length and the value of a literal; `name` may come in any case."""
    lower = name.lower()  # RFC 9113 section 8.2: "Field names MUST be converted to lowercase"
    flags = 0x10 if lower in SENSITIVE else 0
    index = _NAME_INDEX.get(lower)
    octets = bytes((flags,)) + _integer(len(lower), 0x7F, 0) + lower if index is None else _integer(index, 0x0F, flags)
    if len(name) <= REMEMBERED_NAME:
        if len(_beginnings) == REMEMBERED:
            _beginnings.clear()
        _beginnings[name] = octets
    return octets


def encode_field(name: bytes, value: bytes) -> bytes:
    """One field, not remembered; its name may come in any case."""
    # Of other fields than these the static table has next to no values that anybody sends.
    if name[0] == _COLON:
        indexed = _INDEXED.get((name, value))
        if indexed is not None:
            return indexed
    begins = _beginnings.get(name)
    if begins is None:
        begins = beginning(name)
    length = len(value)
    return begins + (_SHORT[length] if length < 127 else _integer(length, 0x7F, 0)) + value


def length_of(value: bytes) -> bytes:
    """What stands before a value that is not in Huffman's code."""
    length = len(value)
    return _SHORT[length] if length < 127 else _integer(length, 0x7F, 0)


def encode_fields(fields: Fields) -> bytes:
    """A whole list, not remembered."""
    return b"".join([encode_field(name, value) for name, value in fields])


def encode_section(section: FieldSection) -> bytes:
    """A section's fields, remembered on it and on its lines; pseudo-fields are the caller's to put first."""
    block = section.block
    if block is None:
        section.block = block = b"".join([line.block or _encode_line(line) for line in section.field_lines])
    return block


def _encode_line(line: FieldLine) -> bytes:
    name, value = line.pair
    line.block = block = encode_field(name, value)
    return block


_STATUSES: Final = [encode_field(b":status", b"%d" % status) for status in range(1000)]


def encode_status(status: int) -> bytes:
    """The field `:status`."""
    return _STATUSES[status]
