"""The HTTP codec against random and mutated octets, and against an independent parser.

What we accept, we write anew; h11, strict and written by others, has to read what we wrote as we meant it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import h11
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from gateway.errors import GatewayError, Reason
from gateway.http import serialize
from gateway.http.body import BodyError, BodyReader, ChunkedReader, LengthReader
from gateway.http.head_parser import (
    HEAD_END,
    HeadLimits,
    check_partial_head,
    check_partial_response,
    parse_request_head,
    parse_response_head,
)
from gateway.http.http1 import Http1ResponseHead
from gateway.http.message import Field, Fields, FieldSection, Framing, RequestHead

LIMITS = HeadLimits()
FUZZ = settings(deadline=None, max_examples=200)
NOTHING = FieldSection.of([])
ID = b"r-1"

REQUEST_STATUSES = {400, 405, 414, 417, 431, 501, 505}
RESPONSE_REASONS = {Reason.HTTP_PROTOCOL_ERROR, Reason.HTTP_RESPONSE_HEADER_SECTION_SIZE}

# --- valid messages -----------------------------------------------------------------------------------------------

TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
VISIBLE = "".join(map(chr, [*range(0x21, 0x7F), *range(0x80, 0x100)]))
TARGET = "".join(chr(octet) for octet in range(0x21, 0x7F) if octet != ord("#"))


def octets(alphabet: str, *, min_size: int = 0, max_size: int = 20) -> st.SearchStrategy[bytes]:
    return st.text(alphabet, min_size=min_size, max_size=max_size).map(lambda text: text.encode("latin-1"))


def spelt(name: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from((name, name.lower(), name.upper(), name.swapcase()))


def pair(name: bytes, *values: bytes) -> st.SearchStrategy[Field]:
    return st.tuples(spelt(name), st.sampled_from(values))


values = octets(VISIBLE + " \t", max_size=30).map(lambda value: value.strip(b" \t"))
plain = st.tuples(octets(TOKEN, min_size=1), values)
known = st.one_of(
    pair(b"Connection", b"close", b"keep-alive", b"Upgrade", b"keep-alive, Upgrade", b"TE", b"X-Hop, cookie", b",,"),
    pair(b"Upgrade", b"websocket", b"h2c", b"a, b", b"foo/2"),
    pair(b"X-Forwarded-For", b"192.0.2.1", b"a, b"),
    pair(b"x_forwarded_for", b"192.0.2.1"),
    pair(b"Content_Length", b"3"),
    pair(b"Via", b"1.1 gateway"),
    pair(b"X-Request-Id", b"x"),
    pair(b"X-Gateway-Error", b"x"),
    pair(b"X-Hop", b"", b"1"),
    pair(b"Cookie", b"a=b; c=d", b"a"),
    pair(b"Set-Cookie", b"a=b; Domain=example.dev"),
    pair(b"Keep-Alive", b"timeout=5"),
    pair(b"Trailer", b"X-Sum"),
)
fields = st.lists(plain | known, max_size=12)
framings = st.one_of(
    st.just([]),
    st.integers(0, 10**18 - 1).map(lambda length: [(b"Content-Length", b"%d" % length)]),
    st.integers(0, 9).map(lambda length: [(b"content-length", b"%d" % length)]),
    spelt(b"Transfer-Encoding").map(lambda name: [(name, b"chunked")]),
)


@st.composite
def blocks(draw: st.DrawFn, start: bytes, pairs: Fields) -> bytes:
    """A head: the pairs in any order, with any optional white space."""
    space = st.sampled_from((b"", b" ", b"\t", b" \t "))
    lines = [b"%b:%b%b%b\r\n" % (name, draw(space), value, draw(space)) for name, value in draw(st.permutations(pairs))]
    return b"".join((start, b"\r\n", *lines, b"\r\n"))


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from((b"GET", b"GET", b"HEAD", b"POST", b"OPTIONS", b"DELETE", b"M-SEARCH")))
    target = b"/" + draw(octets(TARGET, max_size=40))
    host = draw(st.sampled_from((b"5000-a.example.dev", b"A.test:8443", b"[::1]:80", b"192.0.2.1")))
    expect = draw(st.just([]) | pair(b"Expect", b"100-continue", b"100-Continue").map(lambda each: [each]))
    te = draw(st.just([]) | pair(b"TE", b"trailers", b"gzip").map(lambda each: [each]))
    pairs = [*draw(fields), *draw(framings), *expect, *te, (draw(spelt(b"Host")), host)]
    return draw(blocks(b"%b %b HTTP/1.1" % (method, target), pairs))


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    status = draw(st.sampled_from((200, 201, 204, 205, 206, 301, 304, 404, 418, 500, 599)))
    phrase = draw(octets(VISIBLE + " \t"))
    return draw(blocks(b"HTTP/1.1 %d %b" % (status, phrase), [*draw(fields), *draw(framings)]))


def named_once(block: bytes) -> bool:
    """Random names are seldom one of ours, but then a head may have two of what it must have once."""
    names = [line.partition(b":")[0].lower() for line in block.split(b"\r\n")[1:]]
    once = (b"host", b"content-length", b"transfer-encoding")
    return all(names.count(name) <= 1 for name in once)


# --- mutations ----------------------------------------------------------------------------------------------------

INTERESTING = (
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"\x7f",
    b"\x80",
    b"0",
    b"-",
    b"_",
)
INTERESTING += (b"Transfer-Encoding: chunked\r\n", b"Content-Length: 3\r\n", b"Host: b.test\r\n", b"HTTP/1.1", b"\r\n ")


@st.composite
def mutated(draw: st.DrawFn, of: st.SearchStrategy[bytes]) -> bytes:
    """Octets of `of` with a few replaced, taken out, put in or doubled."""
    data = draw(of)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 4))
        new = draw(st.sampled_from(INTERESTING) | st.binary(max_size=3) | st.just(data[at : at + 20]))
        data = data[:at] + new + data[at + length :]
    return data


def head_of(data: bytes) -> bytes | None:
    """The head at the start of `data`, as a connection would cut it."""
    end = data.find(HEAD_END)
    return data[: end + 4] if end >= 0 else None


def read_request(data: bytes) -> RequestHead | None:
    """The head in `data`, None if it is refused or not complete; any other way out fails the test."""
    block = head_of(data)
    try:
        if block is not None:
            return parse_request_head(block, LIMITS)
        check_partial_head(data, LIMITS)
    except GatewayError as error:
        assert error.reason.row.status in REQUEST_STATUSES
        assert error.detail
    return None


def read_response(data: bytes, method: bytes) -> Http1ResponseHead | None:
    block = head_of(data)
    try:
        if block is not None:
            return parse_response_head(block, LIMITS, method)
        check_partial_response(data, LIMITS)
    except GatewayError as error:
        assert error.reason in RESPONSE_REASONS
        assert error.detail
    return None


# --- heads --------------------------------------------------------------------------------------------------------


def written(head: RequestHead) -> bytes:
    return serialize.request_head(head, head.authority, NOTHING, ID)


def meaning(head: RequestHead) -> tuple[object, ...]:
    section = head.section
    return (
        head.method,
        head.target,
        head.authority,
        head.fields,
        head.framing,
        section.content_length,
        section.expects_continue,
        head.upgrade,
        head.upgrade is None and section.trailers_ok,
    )


@FUZZ
@given(requests())
def test_a_valid_request_means_the_same_after_it_was_written_anew(block: bytes) -> None:
    assume(named_once(block))
    head = parse_request_head(block, LIMITS)
    again = parse_request_head(written(head), LIMITS)
    assert meaning(again) == meaning(head)
    assert again.forwarding == [(b"X-Request-Id", ID)]
    assert written(again) == written(head)


@FUZZ
@given(responses(), st.sampled_from((b"GET", b"HEAD")))
def test_a_valid_response_means_the_same_after_it_was_written_anew(block: bytes, method: bytes) -> None:
    assume(named_once(block))
    head = parse_response_head(block, LIMITS, method)
    again = parse_response_head(b"".join(serialize.response_head(head, ID, head.hop.streams, None)), LIMITS, method)
    assert (again.status, again.phrase, again.fields) == (head.status, head.phrase, head.fields)
    assert (again.framing, again.content_length) == (head.framing, head.content_length)


@FUZZ
@given(requests(), st.data())
def test_no_beginning_of_a_valid_request_is_refused(block: bytes, data: st.DataObject) -> None:
    assume(named_once(block))
    check_partial_head(block[: data.draw(st.integers(0, len(block) - 1))], LIMITS)


@FUZZ
@given(mutated(requests()), st.data())
def test_what_is_refused_unfinished_is_refused_whole(data: bytes, choice: st.DataObject) -> None:
    block = head_of(data)
    assume(block is not None)
    assert block is not None
    try:
        parse_request_head(block, LIMITS)
    except GatewayError:
        return
    check_partial_head(block[: choice.draw(st.integers(0, len(block) - 4))], LIMITS)


# --- read by somebody else ----------------------------------------------------------------------------------------

BODY = b"hello"


def events_of(connection: h11.Connection, body_follows: Callable[[h11.Connection], None]) -> list[object]:
    """The events up to the message's end, or to where h11 wants more of it."""
    events: list[object] = []
    while not events or not isinstance(events[-1], h11.EndOfMessage):
        event = connection.next_event()
        if event is h11.NEED_DATA:
            break
        events.append(event)
        if len(events) == 1:
            body_follows(connection)
    return events


def body_for(framing: Framing, length: int) -> bytes:
    if framing is Framing.STREAM:
        return b"".join(serialize.chunk(BODY)) + serialize.last_chunk([])
    return BODY[:length] if framing is Framing.LENGTH else b""


def content_of(events: Sequence[object]) -> bytes:
    return b"".join(bytes(event.data) for event in events if isinstance(event, h11.Data))


def assert_h11_agrees_on_request(head: RequestHead) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(written(head))
    body = body_for(head.framing, head.section.content_length)
    events = events_of(connection, lambda each: each.receive_data(body))
    request = events[0]
    assert isinstance(request, h11.Request)
    assert request.method == head.method
    assert request.target == head.target
    theirs = request.headers.raw_items()
    assert theirs[0] == (b"Host", head.authority)
    assert theirs[1 : 1 + len(head.fields)] == head.fields
    added = {name.lower() for name, _ in theirs[1 + len(head.fields) :]}
    assert added <= {b"x-request-id", b"transfer-encoding", b"connection", b"upgrade", b"te"}
    complete = isinstance(events[-1], h11.EndOfMessage)
    if head.framing is Framing.LENGTH:
        length = head.section.content_length
        assert content_of(events) == BODY[:length]
        assert complete is (length <= len(BODY))
    else:
        assert content_of(events) == (BODY if head.framing is Framing.STREAM else b"")
        assert complete
    assert connection.trailing_data[0] == b""


def assert_h11_agrees_on_response(head: Http1ResponseHead, method: bytes) -> None:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a.test")]))
    connection.send(h11.EndOfMessage())
    closes = head.framing is Framing.STREAM and not head.hop.streams
    chunked = head.framing is Framing.STREAM and not closes
    connection.receive_data(b"".join(serialize.response_head(head, ID, chunked, b"close" if closes else None)))

    def body_follows(each: h11.Connection) -> None:
        each.receive_data(BODY if closes else body_for(head.framing, head.content_length))
        if closes:
            each.receive_data(b"")

    events = events_of(connection, body_follows)
    response = events[0]
    assert isinstance(response, h11.Response)
    assert (response.status_code, response.reason) == (head.status, head.phrase)
    assert response.headers.raw_items()[: len(head.fields)] == head.fields
    if head.framing is Framing.LENGTH:
        assert content_of(events) == BODY[: head.content_length]
        assert isinstance(events[-1], h11.EndOfMessage) is (head.content_length <= len(BODY))
    else:
        assert content_of(events) == (b"" if head.framing is Framing.NONE else BODY)
        assert isinstance(events[-1], h11.EndOfMessage)


@FUZZ
@given(requests())
def test_another_parser_reads_our_requests_as_we_mean_them(block: bytes) -> None:
    assume(named_once(block))
    assert_h11_agrees_on_request(parse_request_head(block, LIMITS))


@FUZZ
@given(responses(), st.sampled_from((b"GET", b"HEAD")))
def test_another_parser_reads_our_responses_as_we_mean_them(block: bytes, method: bytes) -> None:
    assume(named_once(block))
    assert_h11_agrees_on_response(parse_response_head(block, LIMITS, method), method)


@FUZZ
@given(mutated(requests()) | st.binary())
def test_any_octets_of_a_request_are_refused_or_read_alike_by_everybody(data: bytes) -> None:
    head = read_request(data)
    event("accepted" if head else "refused")
    if head is not None:
        assert meaning(parse_request_head(written(head), LIMITS)) == meaning(head)
        assert_h11_agrees_on_request(head)


@FUZZ
@given(mutated(responses()) | st.binary(), st.sampled_from((b"GET", b"HEAD")))
def test_any_octets_of_an_answer_are_refused_or_read_alike_by_everybody(data: bytes, method: bytes) -> None:
    head = read_response(data, method)
    event("accepted" if head else "refused")
    if head is not None and head.status >= 200:
        assert_h11_agrees_on_response(head, method)


# --- bodies -------------------------------------------------------------------------------------------------------

pieces_of_content = st.lists(st.binary(min_size=1, max_size=300), max_size=8)
trailers = st.lists(st.tuples(octets("xyz-", min_size=1).map(lambda name: b"x" + name), values), max_size=4)


@st.composite
def chunked_bodies(draw: st.DrawFn) -> bytes:
    chunks = [b"".join(serialize.chunk(piece)) for piece in draw(pieces_of_content)]
    return b"".join(chunks) + serialize.last_chunk(draw(trailers))


def split(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


def outcome(reader: BodyReader, pieces: Sequence[bytes]) -> tuple[bytes, bytes | None, Fields] | type[BodyError]:
    """Content, rest and trailers, or the one error there is; any other way out fails the test."""
    content = b""
    rest: bytes | None = None
    try:
        for piece in pieces:
            if rest is not None:
                rest += piece
                continue
            part, rest = reader.read(piece)
            content += part
    except BodyError as error:
        assert str(error)
        return BodyError
    return content, rest, reader.trailers


cut_places = st.lists(st.integers(0, 1 << 16), max_size=12)


@FUZZ
@given(pieces_of_content, trailers, st.binary(max_size=20), cut_places)
def test_chunks_carry_content_through_any_cuts(
    pieces: list[bytes], fields: Fields, rest: bytes, cuts: list[int]
) -> None:
    data = b"".join(b"".join(serialize.chunk(piece)) for piece in pieces) + serialize.last_chunk(fields)
    expected = (b"".join(pieces), rest, fields)
    assert outcome(ChunkedReader(LIMITS), split(data + rest, cuts)) == expected
    assert outcome(ChunkedReader(LIMITS), [bytes([octet]) for octet in data] + ([rest] if rest else [])) == expected


@FUZZ
@given(mutated(chunked_bodies()) | chunked_bodies() | st.binary(), cut_places)
def test_any_chunks_are_one_error_or_read_alike_by_everybody_at_any_cuts(data: bytes, cuts: list[int]) -> None:
    whole = outcome(ChunkedReader(LIMITS), [data])
    assert outcome(ChunkedReader(LIMITS), split(data, cuts)) == whole
    event("broken" if isinstance(whole, type) else "unfinished" if whole[1] is None else "complete")
    if not isinstance(whole, type) and whole[1] is not None:
        assert_h11_agrees_on_body(*whole)


def assert_h11_agrees_on_body(content: bytes, rest: bytes | None, fields: Fields) -> None:
    anew = (b"".join(serialize.chunk(content)) if content else b"") + serialize.last_chunk(fields)
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + anew)
    events = events_of(connection, lambda each: None)
    assert content_of(events) == content
    end = events[-1]
    assert isinstance(end, h11.EndOfMessage)
    assert end.headers.raw_items() == fields


@FUZZ
@given(st.binary(max_size=200), st.integers(1, 200), cut_places)
def test_a_length_is_kept_at_any_cuts(data: bytes, length: int, cuts: list[int]) -> None:
    reader = LengthReader(length)
    rest = data[length:] if len(data) >= length else None
    assert outcome(reader, split(data, cuts)) == (data[:length], rest, [])
    assert reader.ends_at_eof() is (rest is not None)
