"""What a terminal would obey is not printed; everything else is, as it stands."""

from __future__ import annotations

import json
import sys

import pytest

from gateway.printable import printable, printable_ascii, printable_json, printable_lines, shorten

OBEYED = [
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    *"\u200e\u200f\u202a\u202e\u2066\u2069\u2028\u2029\ufeff",
]


@pytest.mark.parametrize("char", OBEYED, ids=ascii)
def test_what_a_terminal_obeys(char: str) -> None:
    assert printable(f"a{char}b") == "a·b"
    line = json.dumps(f"a{char}b", ensure_ascii=False)
    assert printable_json(line).isprintable()
    assert json.loads(printable_json(line)) == f"a{char}b"


def test_whatever_comes_out_is_printable() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    assert printable(everything).isprintable()
    assert len(printable(everything)) == len(everything)


@pytest.mark.parametrize("text", ["", "plain", "schön – “日本語” 🦊"])
def test_the_rest_stands_as_it_is(text: str) -> None:
    assert printable(text) is text
    assert printable_json(text) is text


def test_lines_that_are_meant_stay() -> None:
    assert printable_lines("one\n\ttwo\x1b[2J\n") == "one\n·two·[2J\n"


def test_json_beyond_the_basic_plane() -> None:
    assert printable_json('"\U000e0001"') == r'"\udb40\udc01"'


@pytest.mark.parametrize(("text", "shown"), [("plain", "plain"), ("caf\u00e9\t", "caf??"), ("\x7f~ ", "?~ ")])
def test_nothing_but_ascii(text: str, shown: str) -> None:
    assert printable_ascii(text, "?") == shown


def test_what_is_long_is_cut_where_it_shows() -> None:
    assert (shorten("12345", 5), shorten("123456", 5)) == ("12345", "1234…")
