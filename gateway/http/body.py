"""Body readers: one per framing, each a small state machine fed with whatever the socket gave.

Every reader has `read(data, budget) -> (content, rest)`. `content` is what belongs to the body, decoded; `rest` is None
while the body goes on, and once it is complete the octets that came after it (usually b""). `ends_at_eof()` says
whether the peer closing now is the body's proper end: if it is not, and there is a rest, then the budget of work has
been used up, and the rest is to be read in another turn. `work` is how much of it the last read took, in units of about
a microsecond (see gateway.turns). `to_come()` is how many octets are sure to be content, whatever they are; behind them
something else may stand. Readers hold no body octets: memory is bounded by what is fed in.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Protocol

from gateway.counting import counted
from gateway.errors import GatewayError
from gateway.http.head_parser import FieldSectionError, HeadLimits, parse_field_lines, wrong_forever
from gateway.http.message import FieldLine, Fields
from gateway.http.validate import trailer_fields

MAX_CHUNK_LINE: Final = 256
"""Octets of a chunk-size line with its extensions, without CRLF."""
MAX_CHUNK_DIGITS: Final = 16
WORK_PER_CHUNK: Final = 1
"""One-octet chunks are the dearest octets there are: a whole read of them would hold the event loop for 20 ms, and
everybody else with it."""
OCTETS_PER_WORK: Final = 64
"""Of extensions and unfinished lines, which are looked at for nothing."""

FieldParser = Callable[[bytes, HeadLimits], list[FieldLine]]
"""`parse_field_lines`, or `parse_answer_lines`."""

_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,%d})[ \t]*" % MAX_CHUNK_DIGITS)
_IN_EXTENSIONS: Final = bytes(octet for octet in range(256) if octet == 0x09 or (octet >= 0x20 and octet != 0x7F))


_SIZE: Final = 0
_DATA: Final = 1
_CRLF: Final = 2
_TRAILERS: Final = 3
_DONE: Final = 4


class BodyError(Exception):
    """A body that breaks its framing; the message is a clause such as "a chunk size is not hexadecimal"."""


class BodyReader(Protocol):
    """See the module's docstring."""

    trailers: Fields
    work: int

    def read(self, data: bytes, budget: int) -> tuple[bytes, bytes | None]: ...

    def ends_at_eof(self) -> bool: ...

    def to_come(self) -> int: ...


class LengthReader:
    """A body of exactly `left` more octets."""

    __slots__ = ("left", "trailers", "work")

    def __init__(self, length: int) -> None:
        self.left = length
        self.trailers: Fields = []
        self.work = 0

    def read(self, data: bytes, budget: int = sys.maxsize) -> tuple[bytes, bytes | None]:
        left = self.left - len(data)
        if left > 0:
            self.left = left
            return data, None
        end = self.left
        self.left = 0
        if left == 0:
            return data, b""
        return data[:end], data[end:]

    def ends_at_eof(self) -> bool:
        return self.left == 0

    def to_come(self) -> int:
        return self.left


class CloseReader:
    """A body (or a tunnel's octets) that lasts until the peer closes."""

    __slots__ = ("trailers", "work")

    def __init__(self) -> None:
        self.trailers: Fields = []
        self.work = 0

    def read(self, data: bytes, budget: int = sys.maxsize) -> tuple[bytes, bytes | None]:
        return data, None

    def ends_at_eof(self) -> bool:
        return True

    def to_come(self) -> int:
        return sys.maxsize


class ChunkedReader:
    """A chunked body (RFC 9112 section 7.1), extensions dropped, trailers kept apart.

    States: SIZE (waiting for a chunk-size line), DATA (`_left` octets of a chunk to come), CRLF (its line end),
    TRAILERS (from the last chunk to the empty line). `_held` keeps an unfinished line: at most `MAX_CHUNK_LINE`
    octets, or the trailer section's limit. `head_fields` is how many fields the head had: trailers share its budget.
    """

    __slots__ = ("_fields_left", "_held", "_left", "_limits", "_parse_fields", "_state", "trailers", "work")

    def __init__(self, limits: HeadLimits, head_fields: int = 0, parse_fields: FieldParser = parse_field_lines) -> None:
        self._state = _SIZE
        self._fields_left = limits.fields - head_fields
        self._left = 0
        self._held = b""
        self._limits = limits
        self._parse_fields = parse_fields
        self.trailers: Fields = []
        self.work = 0

    def ends_at_eof(self) -> bool:
        return self._state == _DONE

    def to_come(self) -> int:
        return self._left if self._state == _DATA else 0

    def read(self, data: bytes, budget: int = sys.maxsize) -> tuple[bytes, bytes | None]:
        if self._held:
            data = self._held + data
            self._held = b""
        pieces: list[bytes] = []
        position = work = 0
        end = len(data)
        while position < end:
            if work >= budget:
                self.work = work
                return b"".join(pieces), data[position:]
            state = self._state
            if state == _SIZE:
                line_end = data.find(b"\r\n", position, position + MAX_CHUNK_LINE + 2)
                if line_end < 0:
                    self._hold_line(data[position:])
                    break
                left = _size_in(data[position:line_end])
                work += WORK_PER_CHUNK + (line_end - position) // OCTETS_PER_WORK
                position = line_end + 2
                stop = position + left
                # A chunk that is here whole takes one turn of this loop.
                if left and data.startswith(b"\r\n", stop):
                    pieces.append(data[position:stop])
                    position = stop + 2
                else:
                    self._left = left
                    self._state = _DATA if left else _TRAILERS
            elif state == _DATA:
                stop = position + self._left
                if stop > end:
                    pieces.append(data[position:])
                    self._left = stop - end
                    break
                pieces.append(data[position:stop])
                position = stop
                self._state = _CRLF
            elif state == _CRLF:
                if end - position < 2:
                    if data[position] != 0x0D:
                        raise BodyError("a chunk is longer than its size says")
                    self._held = data[position:]
                    break
                if data[position : position + 2] != b"\r\n":
                    raise BodyError("a chunk is longer than its size says")
                position += 2
                self._state = _SIZE
            else:
                self.work = work + (end - position) // OCTETS_PER_WORK
                return b"".join(pieces), self._read_trailers(data[position:])
        self.work = work
        return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), None

    def _hold_line(self, line: bytes) -> None:
        complete = line.removesuffix(b"\r")
        if len(complete) > MAX_CHUNK_LINE:
            raise BodyError(f"a chunk-size line is longer than {MAX_CHUNK_LINE} octets")
        # Judge what is there already: a bare LF or a wrong digit will not become right by waiting.
        _size_in(complete)
        self._held = line

    def _read_trailers(self, data: bytes) -> bytes | None:
        if data[:2] == b"\r\n":
            self._state = _DONE
            return data[2:]
        end = data.find(b"\r\n\r\n")
        size = len(data) - 3 if end < 0 else end  # unfinished, it may end in three octets of the empty line
        if size > self._limits.head:
            raise BodyError("the trailer section is too large")
        if end < 0:
            wrong = wrong_forever(b"\r\n" + data)  # a line before it ends there
            if wrong:
                raise BodyError(f"the trailer section has {wrong}")
            self._held = data
            return None
        try:
            lines = self._parse_fields(data[: end + 4], self._limits)
            if len(lines) > self._fields_left:
                raise BodyError(f"head and trailer section have more than {counted(self._limits.fields, 'field')}")
            self.trailers = trailer_fields(lines)
        except FieldSectionError as malformed:
            raise BodyError(f"the trailer section {malformed}") from None
        except GatewayError as error:
            raise BodyError(f"the trailer section is not valid: {error.detail}") from None
        self._state = _DONE
        return data[end + 4 :]


def _size_in(line: bytes) -> int:
    """The chunk's size that a chunk-size line says, without CRLF; its extensions are legal, and that is all."""
    if b";" in line:  # cut off first: with them hardly a line would be like another, and none remembered
        line, _, extensions = line.partition(b";")
        if extensions.translate(None, _IN_EXTENSIONS):
            raise BodyError("a chunk extension contains a control character")
    return _chunk_size(line)


@lru_cache(maxsize=1024)
def _chunk_size(line: bytes) -> int:
    match = _CHUNK_SIZE.fullmatch(line)
    if match is None:
        raise BodyError("a chunk size is not hexadecimal")
    return int(match[1], 16)
