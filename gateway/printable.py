"""Text that came from outside, made fit to be printed: by an app, a registry, whoever answers at a port, a file.

A terminal obeys control characters of ASCII and of ISO 8859-1 (C1), and shows the text around a bidirectional mark in
another order. None of them is printed; what is not told apart from them is not, either.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` on one line, with `·` for every character that has no shape of its own."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "·" for char in text)


def printable_lines(text: str) -> str:
    """As `printable`, of a text whose lines are meant."""
    return "\n".join(map(printable, text.split("\n")))


def printable_json(line: str) -> str:
    """The same JSON, without line ends between its values: there such characters are written as escapes."""
    return line if line.isprintable() else "".join(char if char.isprintable() else _escaped(char) for char in line)


def _escaped(char: str) -> str:
    # RFC 8259 section 7: UTF-16, so two of them beyond the Basic Multilingual Plane.
    octets = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{octets[at : at + 2].hex()}" for at in range(0, len(octets), 2))
