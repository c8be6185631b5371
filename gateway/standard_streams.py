"""stdin, stdout and stderr as a command needs them: open, able to say every character, and honest when they are full.

What a command prints is lost if its stdout is a full disk, or a pipe whose reader has left (`| head`). Python notices
with the first flush, which may be its own at exit, when nobody can act on it; and argparse passes over an OSError. So
the streams that are put in place here raise exceptions that are none, and a command ends with a flush.
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
    """Nobody reads stdout any more: what it was asked for has been seen, and there is nothing left to do."""


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
    """Waits where a descriptor that somebody has made non-blocking, a terminal's say, takes nothing now."""

    def write(self, octets: ReadableBuffer, /) -> int:
        while (written := super().write(octets)) is None:
            select.select([], [self], [])
        return written


class _Stdout(_Patient):
    """Raises UserError if nothing can be written, or ReaderGone; from then on it leads to nowhere.

    Else Python would try to write the rest once more at exit, and complain.
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
    """Loses what cannot be written: there is nobody left to tell, and the exit status says it too."""

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
