"""Bodies by their framing: what is content, where it ends, what is a fault, at every cut the network may make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from gateway.http.body import (
    MAX_CHUNK_DIGITS,
    MAX_CHUNK_LINE,
    BodyError,
    BodyReader,
    ChunkedReader,
    CloseReader,
    LengthReader,
    _chunk_size,
)
from gateway.http.head_parser import HeadLimits, parse_answer_lines, parse_field_lines
from gateway.http.message import Fields

LIMITS = HeadLimits()
NEXT = b"GET /next HTTP/1.1\r\n"
"""What stands behind a body and is none of it."""

Outcome = tuple[bytes, bytes | None, Fields]
"""The content, what was left over (None: the body goes on), the trailers."""


def feed(reader: BodyReader, pieces: Iterable[bytes]) -> Outcome:
    content = b""
    rest: bytes | None = None
    for piece in pieces:
        if rest is None:
            part, rest = reader.read(piece)
            content += part
        else:
            rest += piece
    return content, rest, reader.trailers


def chunked(*pieces: bytes, limits: HeadLimits = LIMITS) -> Outcome:
    return feed(ChunkedReader(limits), pieces)


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """`data` in two pieces at every place, and octet by octet."""
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]
    yield [data[at : at + 1] for at in range(len(data))]


# --- length -------------------------------------------------------------------------------------------------------

LENGTH_READS = [
    # declared, fed, content, rest
    (5, [b"hello"], b"hello", b""),
    (5, [b"hel", b"lo"], b"hello", b""),
    (5, [b"hello" + NEXT], b"hello", NEXT),
    (5, [b"hel", b"lo" + NEXT], b"hello", NEXT),
    (5, [b"hell"], b"hell", None),
    (5, [b"", b"hello"], b"hello", b""),
    (1, [b"\n"], b"\n", b""),
    (10**18 - 1, [b"x"], b"x", None),
]


@pytest.mark.parametrize(("length", "pieces", "content", "rest"), LENGTH_READS)
def test_a_declared_length_is_taken_exactly(
    length: int, pieces: list[bytes], content: bytes, rest: bytes | None
) -> None:
    reader = LengthReader(length)
    assert feed(reader, pieces) == (content, rest, [])
    assert reader.ends_at_eof() is (rest is not None)
    assert reader.left == length - len(content)


def test_a_declared_length_is_taken_exactly_at_every_cut() -> None:
    for pieces in cuts(b"hello" + NEXT):
        assert feed(LengthReader(5), pieces) == (b"hello", NEXT, [])


def test_a_close_delimited_body_never_ends_by_itself() -> None:
    reader = CloseReader()
    for data in (b"a", b"\r\n\r\n", b"0\r\n\r\n", b""):
        assert reader.read(data) == (data, None)
    assert reader.ends_at_eof()
    assert reader.trailers == []


def test_what_is_sure_to_be_content() -> None:
    """Read by whoever chooses how much to read: what is behind it may have to wait."""
    of_length = LengthReader(10)
    assert of_length.to_come() == 10
    of_length.read(b"x" * 4)
    assert of_length.to_come() == 6
    of_length.read(b"x" * 6 + NEXT)
    assert of_length.to_come() == 0
    chunked = ChunkedReader(LIMITS)
    assert chunked.to_come() == 0, "nobody knows yet"
    for octets, to_come in ((b"a\r\nxxx", 7), (b"x" * 7, 0), (b"\r\n", 0), (b"2\r\n", 2), (b"xx\r\n0\r\n\r\n", 0)):
        chunked.read(octets)
        assert chunked.to_come() == to_come, octets
    assert CloseReader().to_come() > 2**60


# --- chunks -------------------------------------------------------------------------------------------------------

BODIES = [
    # the octets, the content, the trailers
    (b"0\r\n\r\n", b"", []),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello", []),
    (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world", []),
    (b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n", b"abc", []),
    # content that looks like framing
    (b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", b"\r\n0\r\n\r\n", []),
    (b"1\r\n\r\r\n1\r\n\n\r\n0\r\n\r\n", b"\r\n", []),
    (b"4\r\n\0\xff\r\n\r\n0\r\n\r\n", b"\0\xff\r\n", []),
    # sizes
    (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", []),
    (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789", []),
    (b"00000a\r\n0123456789\r\n0\r\n\r\n", b"0123456789", []),
    (b"0000000000000001\r\nx\r\n0000000000000000\r\n\r\n", b"x", []),
    # extensions are dropped
    (b"1;a=b\r\nx\r\n0;c\r\n\r\n", b"x", []),
    (b'1 ; a="b;c" ;d\r\nx\r\n0\t;\r\n\r\n', b"x", []),
    (b"1;\xe4\r\nx\r\n0\r\n\r\n", b"x", []),
    (b"1 \r\nx\r\n0 \r\n\r\n", b"x", []),
    # trailers
    (b"1\r\nx\r\n0\r\nX-Sum: 5\r\n\r\n", b"x", [(b"X-Sum", b"5")]),
    (b"0\r\nb: 1\r\nA:  2 \r\nb: \r\n\r\n", b"", [(b"b", b"1"), (b"A", b"2"), (b"b", b"")]),
    (b"0\r\ngrpc-status: 0\r\nHost: evil.test\r\n\r\n", b"", [(b"grpc-status", b"0")]),
]


@pytest.mark.parametrize(("octets", "content", "trailers"), BODIES)
@pytest.mark.parametrize("rest", [b"", NEXT, b"\r\n", b"0\r\n\r\n"])
def test_a_chunked_body_is_the_same_at_every_cut(octets: bytes, content: bytes, trailers: Fields, rest: bytes) -> None:
    assert chunked(octets + rest) == (content, rest, trailers)
    for pieces in cuts(octets + rest):
        assert chunked(*pieces) == (content, rest, trailers)


@pytest.mark.parametrize(("octets", "content", "trailers"), BODIES)
def test_a_chunked_body_ends_with_its_empty_line_and_not_before(
    octets: bytes, content: bytes, trailers: Fields
) -> None:
    for cut in range(len(octets)):
        reader = ChunkedReader(LIMITS)
        _, rest, _ = feed(reader, [octets[:cut]])
        assert rest is None
        assert not reader.ends_at_eof(), "closing here is a truncation"
    reader = ChunkedReader(LIMITS)
    feed(reader, [octets])
    assert reader.ends_at_eof()


def test_a_chunk_is_passed_on_as_it_comes() -> None:
    reader = ChunkedReader(LIMITS)
    assert reader.read(b"FFFFFFFFFFFFFFFF\r\nab") == (b"ab", None)
    assert reader.read(b"cd") == (b"cd", None)


CHUNK = b"1\r\na\r\n"


def test_many_small_chunks_take_several_turns() -> None:
    """Each read stops when its budget of work is used up, and says where to go on."""
    reader = ChunkedReader(LIMITS)
    rest: bytes | None = CHUNK * 205 + b"0\r\n\r\n" + NEXT
    lengths = []
    while not reader.ends_at_eof():
        assert rest is not None
        content, rest = reader.read(rest, 100)
        lengths.append(len(content))
        assert reader.work <= 100
    assert lengths == [100, 100, 5]
    assert rest == NEXT


def test_exactly_as_many_chunks_as_one_turn_takes() -> None:
    reader = ChunkedReader(LIMITS)
    assert reader.read(CHUNK * 100, 100) == (b"a" * 100, None)
    assert reader.work == 100
    assert reader.read(b"0\r\n\r\n", 2) == (b"", b"")


def test_no_budget_no_work() -> None:
    reader = ChunkedReader(LIMITS)
    assert reader.read(CHUNK, 0) == (b"", CHUNK)
    assert reader.work == 0


@pytest.mark.parametrize("extension", [b"", b";" + b"a" * 250, b";" + b"\xff" * 100])
def test_what_is_looked_at_is_work(extension: bytes) -> None:
    """An extension is looked through and dropped: it costs without making content."""
    reader = ChunkedReader(LIMITS)
    assert reader.read(b"1%b\r\na\r\n" % extension * 10) == (b"a" * 10, None)
    assert reader.work == 10 * (1 + (1 + len(extension)) // 64)


def test_a_size_is_remembered_without_its_extension() -> None:
    _chunk_size.cache_clear()
    reader = ChunkedReader(LIMITS)
    for number in range(2000):
        assert reader.read(b"1;n=%d\r\na\r\n" % number) == (b"a", None)
    assert _chunk_size.cache_info().misses == 1


@pytest.mark.parametrize("control", [0x00, 0x08, 0x0A, 0x0B, 0x0D, 0x1F, 0x7F])
def test_an_extension_has_no_control_character(control: int) -> None:
    with pytest.raises(BodyError, match="chunk extension"):
        ChunkedReader(LIMITS).read(b"1;a%cb\r\na\r\n" % control)


def test_content_by_length_is_no_work() -> None:
    for reader in (LengthReader(10), CloseReader()):
        reader.read(b"hello", 1)
        assert reader.work == 0


BAD_BODIES = [
    # --- sizes
    b"\r\n",
    b"x\r\n",
    b"g\r\n",
    b"+5\r\nhello\r\n",
    b"-5\r\nhello\r\n",
    b"-0\r\n\r\n",
    b"0x5\r\nhello\r\n",
    b"5_0\r\n",
    b"5,5\r\n",
    b"5.0\r\n",
    b" 5\r\nhello\r\n",
    b"\t5\r\nhello\r\n",
    b"5 5\r\nhello\r\n",
    b"5 x\r\nhello\r\n",
    b"\xd9\xa5\r\nhello\r\n",
    b"\xb5\r\n",
    b"5\0\r\nhello\r\n",
    b";a=b\r\n",
    b"0" * (MAX_CHUNK_DIGITS + 1) + b"\r\n\r\n",
    b"1" + b"0" * MAX_CHUNK_DIGITS + b"\r\n",
    # --- line ends
    b"5\nhello\r\n",
    b"5\n\r\nhello\r\n",
    b"5\rhello\r\n",
    b"5\r\r\nhello\r\n",
    b"5;a\nb\r\nhello\r\n",
    b"5;a\rb\r\nhello\r\n",
    b"5;a\0b\r\nhello\r\n",
    b"5;\x1b[31m\r\nhello\r\n",
    b"5;\x7f\r\nhello\r\n",
    # --- chunks that are longer than they say
    b"5\r\nhello!\r\n",
    b"5\r\nhello\n0\r\n\r\n",
    b"5\r\nhello\r0\r\n\r\n",
    b"5\r\nhello\r\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"4\r\nhello\r\n",
    b"1\r\nab",
    b"1\r\na\rb",
    # --- trailers
    b"0\r\nX: a\nY: b\r\n\r\n",
    b"0\r\nX: a\rY: b\r\n\r\n",
    b"0\r\n\n\r\n\r\n",
    b"0\r\nX: a\n\n",
    b"0\r\nX\r\n\r\n",
    b"0\r\n: a\r\n\r\n",
    b"0\r\nX : a\r\n\r\n",
    b"0\r\nX Y: a\r\n\r\n",
    b"0\r\n X: a\r\n\r\n",
    b"0\r\nX: a\r\n b\r\n\r\n",
    b"0\r\nX: \0\r\n\r\n",
    b"0\r\nX: \x1b\r\n\r\n",
    b"0\r\nX: \x7f\r\n\r\n",
    b"0\r\n\xe4: a\r\n\r\n",
]


@pytest.mark.parametrize("octets", BAD_BODIES)
def test_a_broken_chunked_body_is_a_fault_at_every_cut(octets: bytes) -> None:
    for pieces in [[octets], *cuts(octets)]:
        with pytest.raises(BodyError) as error:
            chunked(*pieces)
        assert str(error.value)
        with pytest.raises(BodyError):
            chunked(b"2\r\nok\r\n", *pieces)


AT_ONCE = [
    # what cannot become right by waiting, and is not waited for
    b"x",
    b"5\n",
    b"\r",
    b"5;a\n",
    b"0" * 17,
    b"5;" + b"a" * 255,
    b"5\r\nhellox",
    b"5\r\nhello\n",
    b"0\r\nX: a\n",
    b"0\r\nX: a\rb",
    b"0\r\nX: a\r\r\n",
    b"0\r\nX: a\r\r",
    b"0\r\n\r\r",
    b"0\r\n X",
    b"0\r\nX: a\r\n b",
    b"0\r\nX: \0",
]


@pytest.mark.parametrize("octets", AT_ONCE)
def test_a_fault_is_reported_as_soon_as_it_is_one(octets: bytes) -> None:
    with pytest.raises(BodyError):
        chunked(octets)


# --- limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "accepted"), [(MAX_CHUNK_LINE, True), (MAX_CHUNK_LINE + 1, False)])
def test_a_chunk_size_line_has_at_most_256_octets(length: int, accepted: bool) -> None:
    octets = b"1" + b";" * (length - 1) + b"\r\nx\r\n0\r\n\r\n"
    for pieces in [[octets], *cuts(octets)]:
        if accepted:
            assert chunked(*pieces) == (b"x", b"", [])
        else:
            with pytest.raises(BodyError):
                chunked(*pieces)


@pytest.mark.parametrize(("count", "accepted"), [(100, True), (101, False)])
def test_there_are_at_most_100_trailers(count: int, accepted: bool) -> None:
    octets = b"0\r\n" + b"".join(b"X-%d: 1\r\n" % number for number in range(count)) + b"\r\n"
    if accepted:
        assert len(chunked(octets)[2]) == count
    else:
        with pytest.raises(BodyError):
            chunked(octets)


@pytest.mark.parametrize(("size", "accepted"), [(64, True), (65, False)])
def test_a_trailer_section_has_the_size_of_a_head(size: int, accepted: bool) -> None:
    """Octets up to the empty line, in whatever pieces they come."""
    octets = b"0\r\nX: " + b"v" * (size - 3) + b"\r\n\r\n"
    for pieces in [[octets], *cuts(octets)]:
        if accepted:
            assert chunked(*pieces, limits=HeadLimits(head=64)) == (b"", b"", [(b"X", b"v" * (size - 3))])
        else:
            with pytest.raises(BodyError):
                chunked(*pieces, limits=HeadLimits(head=64))


def test_a_trailer_section_without_end_is_not_collected() -> None:
    reader = ChunkedReader(LIMITS)
    reader.read(b"0\r\n")
    with pytest.raises(BodyError):
        for _ in range(LIMITS.head // 1000 + 2):
            reader.read(b"X: " + b"v" * 995 + b"\r\n")


# --- what trailers must not say -----------------------------------------------------------------------------------

TRAILERS = [
    (b"Host", False),
    (b"Content-Length", False),
    (b"Transfer-Encoding", False),
    (b"Trailer", False),
    (b"TE", False),
    (b"Connection", False),
    (b"Keep-Alive", False),
    (b"Upgrade", False),
    (b"Proxy-Connection", False),
    (b"HTTP2-Settings", False),
    (b"Proxy", False),
    (b"Expect", False),
    (b"Authorization", False),
    (b"Proxy-Authorization", False),
    (b"WWW-Authenticate", False),
    (b"Proxy-Authenticate", False),
    (b"Cookie", False),
    (b"Set-Cookie", False),
    (b"Content-Encoding", False),
    (b"Content-Type", False),
    (b"Content-Range", False),
    (b"Forwarded", False),
    (b"Via", False),
    (b"X-Forwarded-For", False),
    (b"X-Forwarded-Anything", False),
    (b"X-Real-Ip", False),
    (b"X-Request-Id", False),
    (b"X-Gateway-Error", False),
    (b"X-Gateway-Hint", False),
    (b"Proxy-Status", False),
    (b"X-Checksum", True),
    (b"Server-Timing", True),
    (b"ETag", True),
    (b"grpc-status", True),
    (b"grpc-message", True),
    (b"Content-MD5", True),
    (b"X_Custom", True),
]


@pytest.mark.parametrize(("name", "passes"), TRAILERS)
@pytest.mark.parametrize("underscores", [False, True])
def test_a_trailer_never_says_what_belongs_into_a_head(name: bytes, passes: bool, underscores: bool) -> None:
    if underscores:
        name = name.replace(b"-", b"_")
    for spelling in (name, name.lower(), name.upper()):
        pair = (spelling, b"5")
        _, rest, trailers = chunked(b"0\r\nA: 1\r\n%b: %b\r\nZ: 2\r\n\r\n" % pair)
        assert rest == b""
        assert trailers == [(b"A", b"1"), *([pair] if passes else []), (b"Z", b"2")]


def test_white_space_before_a_colon_goes_from_the_trailers_of_an_answer_only() -> None:
    """RFC 9112 section 5.1; what a trailer section may not do it may not do so spelled either."""
    section = b"0\r\nX-Sum : 1\r\nSet-Cookie : a=1\r\n\r\n"
    reader = ChunkedReader(LIMITS, 0, parse_answer_lines)
    assert reader.read(section) == (b"", b"")
    assert reader.trailers == [(b"X-Sum", b"1")]
    for parse, framing in [(parse_field_lines, b""), (parse_answer_lines, b"Content-Length : 5\r\n")]:
        with pytest.raises(BodyError):
            ChunkedReader(LIMITS, 0, parse).read(section[:-2] + framing + b"\r\n")
