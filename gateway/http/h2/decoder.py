"""HPACK's decoder: field blocks to fields, with the dynamic table of one direction of one connection (RFC 7541).

A fault of a block raises `HpackError` and is the connection's end: after it, nobody knows what the table holds. A list
that is larger than allowed is not a fault of the block: it is decoded to its end, what exceeds is thrown away, and only
its stream fails.

Everything is linear in the block: a field is one look-up or one copy of its octets, an insertion evicts what others
have inserted, and the list stops growing at its limit. So a bomb (one large entry, and thousands of references of one
octet to it) costs what its octets cost. Where they cost most, in literals of three octets, it is cut short.

A browser sends the same block again and again once its fields are in the table. Such a block, seen under the table as
it is, costs one look-up: a decoder remembers blocks until the table changes. And a field that comes from a table is the
same object each time, on which the gate notes what it has found out (`field_lines`).

Measured for 16 fields, 12 indexed and 4 in Huffman's code of 30 to 60 octets (one core, CPython 3.11, µs): 7.8, of
which Huffman 3 and remembering 0.2; 9.1 if the four are inserted; 0.13 if remembered. By mypyc 3.6 and 4.6.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from gateway.http.h2 import huffman
from gateway.http.h2.static_table import STATIC_FIELDS
from gateway.http.message import FieldLine

ENTRY_OVERHEAD: Final = 32
"""RFC 7541 section 4.1 and RFC 9113 section 10.5.1: an entry's size is its octets and 32."""
MAX_CONTINUATIONS: Final = 6
"""Octets after an integer's first one. Five hold whatever is needed; what they hold beyond is refused where it is used,
as an index, a length or a size."""
MAX_UPDATES: Final = 16
"""Size updates of one block. An encoder needs two (section 4.2); some write down each change of their setting."""
MAX_SURPLUS: Final = 512
"""Literals of one block that are decoded after the list has become too large. Each may insert an entry, so each is
read; a block of 32 KiB can have ten thousand, which would hold the loop for 30 ms."""
REMEMBERED_BLOCKS: Final = 16
REMEMBERED_OCTETS: Final = 16 * 1024
"""Blocks that a decoder remembers, and the most octets: those of the blocks, of the lists by RFC 9113's count, and for
each field `LINE`. A page needs a handful; with ten thousand connections at their limits it is the memory that counts.
"""
LINE: Final = 128
"""Octets of a field's line beside its own."""


@mypyc_attr(acyclic=True)
class DecodedField:
    """One field as a block brought it. `size` is what RFC 7541 section 4.1 calls so."""

    __slots__ = ("line", "name", "size", "value")

    def __init__(self, name: bytes, value: bytes) -> None:
        self.name = name
        self.value = value
        self.size = ENTRY_OVERHEAD + len(name) + len(value)
        self.line: FieldLine | None = None  # once it was found sound

    def __repr__(self) -> str:
        return f"<DecodedField {self.name!r}: {self.value!r}>"


_STATIC: Final = [DecodedField(name, value) for name, value in ((b"", b""), *STATIC_FIELDS)]
_FIRST_DYNAMIC: Final = len(_STATIC)
_NAMES: Final = [
    _STATIC[index].name if 0 < index < min(prefix, _FIRST_DYNAMIC) else None
    for prefix, indexes in ((0x0F, 16), (0x0F, 16), (0, 32), (0x3F, 64), (0, 1))
    for index in range(indexes)
]
"""Of a literal's first octet (and of 0x80, which is none): its name, if that is in the static table and the octet says
where."""
_TOO_LONG: Final = "a string that is longer than its block"


class HpackError(Exception):
    """A block that cannot be decoded: COMPRESSION_ERROR for its connection (RFC 9113 section 4.3)."""


class Decoder:
    """Decodes one connection's blocks, each once and in order.

    `_fields` has the static and the dynamic entries at the positions that the wire calls them by. An insertion moves
    pointers, 128 at most with a table of 4096 octets: measured, that is faster than any structure in Python that moves
    none.
    """

    __slots__ = ("_announced", "_capacity", "_fields", "_remembered", "_remembered_octets", "_used")

    def __init__(self, max_table_size: int = 4096) -> None:
        self._announced = max_table_size  # what our SETTINGS_HEADER_TABLE_SIZE says
        self._capacity = max_table_size  # what their encoder has chosen, never more than we announced
        self._fields = _STATIC.copy()
        self._used = 0  # octets in the dynamic table, never more than the capacity
        self._remembered: dict[bytes, tuple[list[DecodedField], int]] = {}  # valid for the table as it is
        self._remembered_octets = 0

    def __repr__(self) -> str:
        entries = len(self._fields) - _FIRST_DYNAMIC
        return f"<hpack.Decoder entries={entries} octets={self._used}/{self._capacity} blocks={len(self._remembered)}>"

    def decode(self, block: bytes, max_size: int, max_fields: int) -> list[DecodedField] | None:
        """The fields of a block, in order; a list that others may have, too: not to be changed.

        None: they are more than `max_fields`, or together larger than `max_size` (octets of names and values, and 32
        each); the table is right for the next block. Raises HpackError.
        """
        known = self._remembered.get(block) if self._remembered else None
        if known is not None:
            fields, size = known
            return fields if size <= max_size and len(fields) <= max_fields else None
        table = self._fields
        decoded: list[DecodedField] = []
        room = max_size
        end = len(block)
        position = 0
        surplus = 0
        changed = False
        try:
            if block and block[0] & 0xE0 == 0x20:
                position = self._resize(block)
                changed = True
            while position < end:
                octet = block[position]
                position += 1
                if octet > 0x80:  # indexed (section 6.1)
                    index = octet & 0x7F
                    if index == 0x7F:
                        index, position = _integer(block, position - 1, 0x7F)
                    field = table[index]
                    room -= field.size
                    if room >= 0:
                        decoded.append(field)
                    continue
                name = _NAMES[octet]
                if name is None:
                    name, position = self._name(block, position - 1)
                length = block[position]
                position += 1
                if 0x80 <= length < 0xFF:
                    begin = position
                    position += length & 0x7F
                    if position > end:
                        raise HpackError(_TOO_LONG)
                    value = huffman.decode(block[begin:position])
                elif length < 0x7F:
                    begin = position
                    position += length
                    if position > end:
                        raise HpackError(_TOO_LONG)
                    value = block[begin:position]
                else:
                    value, position = _string(block, position - 1)
                field = DecodedField(name, value)
                room -= field.size
                if room >= 0:
                    decoded.append(field)
                else:
                    surplus += 1
                    if surplus > MAX_SURPLUS:
                        raise HpackError("far more fields than are allowed")
                if octet >= 0x40:  # with incremental indexing (section 6.2.1)
                    self._insert(field)
                    changed = True
        except IndexError:
            # Of the table: RFC 7541 section 2.3.3, "Indices strictly greater than the sum of the lengths of both tables
            # MUST be treated as a decoding error." Of the block: it ends within a field.
            raise HpackError("an index beyond the table, or a field that is not whole") from None
        except huffman.HuffmanError as error:
            raise HpackError(str(error)) from None
        if changed:
            if self._remembered:
                self._remembered.clear()
                self._remembered_octets = 0
        elif room >= 0:
            self._remember(block, decoded, max_size - room)
        return decoded if room >= 0 and len(decoded) <= max_fields else None

    def _name(self, block: bytes, position: int) -> tuple[bytes, int]:
        """A literal's name where its first octet alone does not tell it, and the position of its value."""
        octet = block[position]
        if octet == 0x80:
            # Section 6.1: "The index value of 0 is not used. It MUST be treated as a decoding error if found in an
            # indexed header field representation."
            raise HpackError("index 0")
        if octet >= 0x40:
            prefix = 0x3F
        elif octet >= 0x20:
            raise HpackError("a table size update that is not at the block's beginning")
        else:
            prefix = 0x0F  # without indexing, or never indexed (sections 6.2.2 and 6.2.3)
        index, position = _integer(block, position, prefix)
        return (self._fields[index].name, position) if index else _string(block, position)

    def _insert(self, field: DecodedField) -> None:
        table = self._fields
        used = self._used + field.size
        while used > self._capacity:
            if len(table) == _FIRST_DYNAMIC:
                # Section 4.4: "an attempt to add an entry larger than the maximum size causes the table to be emptied
                # of all existing entries and results in an empty table."
                self._used = 0
                return
            used -= table.pop().size
        table.insert(_FIRST_DYNAMIC, field)
        self._used = used

    def _resize(self, block: bytes) -> int:
        """Takes the size updates at a block's beginning; the position after them."""
        # Section 4.2: "This dynamic table size update MUST occur at the beginning of the first header block following
        # the change to the dynamic table size." One may come unasked for, too.
        position = updates = 0
        while position < len(block) and block[position] & 0xE0 == 0x20:
            updates += 1
            if updates > MAX_UPDATES:
                raise HpackError("more table size updates than an encoder needs")
            capacity, position = _integer(block, position, 0x1F)
            # Section 6.3: "The new maximum size MUST be lower than or equal to the limit determined by the protocol
            # using HPACK. A value that exceeds this limit MUST be treated as a decoding error."
            if capacity > self._announced:
                raise HpackError(f"a table of {capacity} octets, where {self._announced} were allowed")
            self._capacity = capacity
            while self._used > capacity:
                self._used -= self._fields.pop().size
        return position

    def _remember(self, block: bytes, fields: list[DecodedField], size: int) -> None:
        cost = len(block) + size + LINE * len(fields)
        if cost > REMEMBERED_OCTETS // 4:
            return
        self._remembered_octets += cost
        if self._remembered_octets > REMEMBERED_OCTETS or len(self._remembered) == REMEMBERED_BLOCKS:
            self._remembered.clear()
            self._remembered_octets = cost
        self._remembered[block] = fields, size


def _integer(block: bytes, position: int, prefix: int) -> tuple[int, int]:
    """An integer (section 5.1) whose first octet has the bits `prefix`, and the position after it."""
    value = block[position] & prefix
    position += 1
    if value != prefix:
        return value, position
    shift = 0
    while True:
        octet = block[position]
        position += 1
        value += (octet & 0x7F) << shift
        shift += 7
        if octet < 0x80:
            return value, position
        # "Integer encodings that exceed implementation limits -- in value or octet length -- MUST be treated as
        # decoding errors."
        if shift == 7 * MAX_CONTINUATIONS:
            raise HpackError("an integer of too many octets")


def _string(block: bytes, position: int) -> tuple[bytes, int]:
    """A string literal (section 5.2), and the position after it."""
    octet = block[position]
    length, position = _integer(block, position, 0x7F)
    end = position + length
    if end > len(block):
        raise HpackError(_TOO_LONG)
    octets = block[position:end]
    return huffman.decode(octets) if octet & 0x80 else octets, end
