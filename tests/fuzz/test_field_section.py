"""Field sections of random and mutated octets, beside llhttp in its strict mode, by which Node and others read them.

What we take, it takes too, and reads the same: nobody behind us sees other fields than we have looked at.
"""

from __future__ import annotations

import re

import httptools
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from gateway.http.head_parser import FieldSectionError, HeadLimits, parse_field_lines
from gateway.http.message import Fields

LIMITS = HeadLimits()
PIECES = (
    *(b"\r\n", b"\n", b"\r", b":", b" ", b"\t", b"\0", b",", b'"', b"\x7f", b"\x80", b"\xff", b"\x0b", b"_", b"-"),
    *(b"A", b"a", b"Host", b"Content-Length", b"Transfer-Encoding", b"chunked", b"Connection", b"1", b"gzip", b": "),
)
octets = st.one_of(st.sampled_from(PIECES), st.binary(min_size=1, max_size=3))
lines = st.lists(octets, max_size=8).map(b"".join)
sections = st.lists(lines, max_size=6).map(lambda each: b"".join(line + b"\r\n" for line in each))


class Read:
    def __init__(self) -> None:
        self.fields: Fields = []
        self.whole = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.whole = True


def by_llhttp(block: bytes) -> Fields | None:
    read = Read()
    try:
        httptools.HttpResponseParser(read).feed_data(b"HTTP/1.1 304 Not Modified\r\n" + block)
    except httptools.HttpParserError:
        return None
    return read.fields if read.whole else None


@given(sections)
@settings(deadline=None, max_examples=500)
@example(b"A: b\r\n c: d\r\n")
@example(b"A : b\r\n")
@example(b"A: b\rB: c\r\n")
@example(b":\r\n")
def test_what_passes_is_read_the_same_by_llhttp(block: bytes) -> None:
    block = re.sub(rb"\A(?:\r\n)+|(?<=\r\n)(?:\r\n)+", b"", block) + b"\r\n"  # the first empty line ends a section
    try:
        ours = [line.pair for line in parse_field_lines(block, LIMITS)]
    except FieldSectionError:
        event("refused")
        return
    event(f"{len(ours)} fields")
    if any(name.lower() in (b"content-length", b"transfer-encoding", b"connection", b"upgrade") for name, _ in ours):
        return  # there llhttp has rules for values, as `validate` has
    assert by_llhttp(block) == ours
