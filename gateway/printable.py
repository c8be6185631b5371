"""Text that came from outside, made fit to be printed: by an app, a registry, whoever answers at a port, a file.

A terminal obeys control characters of ASCII and of ISO 8859-1 (C1), and shows the text around a bidirectional mark in
another order. None of them is printed; what is not told apart from them is not, either.
"""

from __future__ import annotations

from collections.abc import Callable


def printable(text: str, replace: Callable[[str], str] = lambda char: "·") -> str:
    """`text` on one line; what has no shape of its own becomes a `·`, or what `replace` makes of it."""
    return text if text.isprintable() else "".join(char if char.isprintable() else replace(char) for char in text)


def printable_ascii(text: str, instead: str) -> str:
    """`text` with one character `instead` of each that is not printable ASCII."""
    return text if text.isascii() and text.isprintable() else "".join(c if " " <= c <= "~" else instead for c in text)


def shorten(text: str, length: int) -> str:
    """`text`, or its beginning and an ellipsis, in `length` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


def printable_lines(text: str) -> str:
    """As `printable`, of a text whose lines are meant."""
    return "\n".join(map(printable, text.split("\n")))


def printable_json(line: str) -> str:
    """The same JSON, without line ends between its values: there such characters are written as escapes."""
    return printable(line, _escaped)


def _escaped(char: str) -> str:
    # RFC 8259 section 7: UTF-16, so two of them beyond the Basic Multilingual Plane.
    octets = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{octets[at : at + 2].hex()}" for at in range(0, len(octets), 2))
