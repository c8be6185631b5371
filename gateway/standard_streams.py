"""stdin, stdout and stderr as a command needs them: open, able to encode every character, and failing loudly.

What a command prints is lost if its stdout is a full disk, or a pipe whose reader has left (`| head`). Python notices
with the first flush, which may be its own at exit, when nothing can handle it; and argparse ignores an OSError. So the
streams put in place here raise other exceptions, and a command ends with a flush.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

from gateway.errors import UserError
from gateway.printable import printable_json

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class ReaderGone(Exception):
    """The reader of stdout has closed it: there is nothing left to do."""


def prepare() -> None:
    """Puts the streams in place; before anything else is opened.

    A character that an encoding does not have is written as its escape ("\\u2713" in ASCII).
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # Left closed, the next socket or database opened would get its number, and our logs.
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    sys.stdout = _text(_Stdout(1, "w", closefd=False), sys.stdout)
    sys.stderr = _text(_Stderr(2, "w", closefd=False), sys.stderr)


def print_json(octets: bytes) -> None:
    """JSON in UTF-8, whatever the encoding of stdout; each line end is one between its values."""
    for line in octets.decode().split("\n"):
        sys.stdout.buffer.write(f"{printable_json(line)}\n".encode())


class _Patient(io.FileIO):
    """Blocks although the descriptor, a terminal's say, was made non-blocking by another program."""

    def write(self, octets: ReadableBuffer, /) -> int:
        while (written := super().write(octets)) is None:
            select.select([], [self], [])
        return written


class _Stdout(_Patient):
    """Raises UserError if nothing can be written, or ReaderGone; discards everything after that.

    Otherwise Python would try to write the rest once more at exit, and complain.
    """

    _failed = False

    def write(self, octets: ReadableBuffer, /) -> int:
        if self._failed:
            return len(memoryview(octets))
        try:
            return super().write(octets)
        except OSError as error:
            self._failed = True
            if isinstance(error, BrokenPipeError):
                raise ReaderGone from None
            raise UserError(f"stdout cannot be written: {error.strerror}") from None


class _Stderr(_Patient):
    """Discards what cannot be written; the exit status tells."""

    def write(self, octets: ReadableBuffer, /) -> int:
        try:
            return super().write(octets)
        except OSError:
            return len(memoryview(octets))


def _text(raw: io.FileIO, before: TextIO | None) -> io.TextIOWrapper:
    """`before` is what Python has made of the descriptor; None if it was closed."""
    encoding = before.encoding if before is not None else "utf-8"
    lines = raw.fileno() == 2 or raw.isatty()
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=lines)
