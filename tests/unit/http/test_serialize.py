"""What is written: heads and chunks as octets, compared whole."""

from __future__ import annotations

import pytest

from gateway.http import serialize
from gateway.http.body import ChunkedReader
from gateway.http.head_parser import HeadLimits, parse_request_head, parse_response_head
from gateway.http.message import Fields, FieldSection, ResponseHead

LIMITS = HeadLimits()
ADDED = FieldSection.of([(b"X-Forwarded-For", b"2001:db8::1"), (b"Via", b"1.1 gateway")])
ADDED_LINES = b"X-Forwarded-For: 2001:db8::1\r\nVia: 1.1 gateway\r\nX-Request-Id: r-1\r\n"

REQUESTS = [
    # what came, what goes upstream; every head ends with what the edge adds
    (
        b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a.test\r\n" + ADDED_LINES + b"\r\n",
    ),
    (  # the target, the order, duplicates, letter case and empty values are the app's business
        b"PROPFIND //a/%2e%2E/?x=1&x=2? HTTP/1.1\r\nb: 1\r\nHOST:A.Test:8443\r\nB:2\r\nc:\r\nb: 1\r\n\r\n",
        b"PROPFIND //a/%2e%2E/?x=1&x=2? HTTP/1.1\r\nHost: A.Test:8443\r\nb: 1\r\nB: 2\r\nc: \r\nb: 1\r\n"
        + ADDED_LINES
        + b"\r\n",
    ),
    (  # HTTP/1.0 becomes 1.1: that is what the connection to the app speaks
        b"GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a.test\r\n" + ADDED_LINES + b"\r\n",
    ),
    (
        b"GET https://a.test?q HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"GET /?q HTTP/1.1\r\nHost: a.test\r\n" + ADDED_LINES + b"\r\n",
    ),
    (
        b"POST / HTTP/1.1\r\nHost: a.test\r\ncontent-length: 5\r\nA: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a.test\r\ncontent-length: 5\r\nA: 1\r\n" + ADDED_LINES + b"\r\n",
    ),
    (
        b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: Chunked\r\nA: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a.test\r\nA: 1\r\n" + ADDED_LINES + b"Transfer-Encoding: chunked\r\n\r\n",
    ),
    (
        b"POST / HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: TE, close\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a.test\r\n"
        + ADDED_LINES
        + b"Transfer-Encoding: chunked\r\nConnection: TE\r\nTE: trailers\r\n\r\n",
    ),
    (
        b"GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\n"
        b"sec-websocket-KEY: x==\r\nUpgrade: WebSocket\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost: a.test\r\nsec-websocket-KEY: x==\r\n"
        + ADDED_LINES
        + b"Connection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n",
    ),
    (  # claims and marks end here
        b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 1.1.1.1\r\nx_forwarded_for: 1.1.1.1\r\nX-Request-Id: x\r\n"
        b"X-Gateway-Error: x\r\nProxy: x\r\nConnection: X-Hop, X-Forwarded-For, Host\r\nX-Hop: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a.test\r\n" + ADDED_LINES + b"\r\n",
    ),
]


@pytest.mark.parametrize(("came", "goes"), REQUESTS)
def test_a_request_is_written_anew(came: bytes, goes: bytes) -> None:
    head = parse_request_head(came, LIMITS)
    assert serialize.request_head(head, head.authority, ADDED, b"r-1") == goes


def test_a_request_goes_to_the_host_it_is_told() -> None:
    head = parse_request_head(REQUESTS[0][0], LIMITS)
    written = serialize.request_head(head, b"localhost:5000", FieldSection.of([]), b"r-1")
    assert written == b"GET / HTTP/1.1\r\nHost: localhost:5000\r\nX-Request-Id: r-1\r\n\r\n"


RESPONSES = [
    # what came, whether it goes down in chunks, Connection, what goes downstream
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n",
        False,
        None,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Request-Id: r-1\r\n\r\n",
    ),
    (
        b"HTTP/1.0 404 Nix da\r\nb: 1\r\nB:\r\nSet-Cookie: a=b\r\nset-cookie: a=b\r\n\r\n",
        False,
        b"close",
        b"HTTP/1.1 404 Nix da\r\nb: 1\r\nB: \r\nSet-Cookie: a=b\r\nset-cookie: a=b\r\n"
        b"X-Request-Id: r-1\r\nConnection: close\r\n\r\n",
    ),
    (
        b"HTTP/1.1 200 OK\r\nA: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        True,
        None,
        b"HTTP/1.1 200 OK\r\nA: 1\r\nX-Request-Id: r-1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    (
        b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n",
        False,
        b"close",
        b"HTTP/1.1 200 \r\nX-Request-Id: r-1\r\nConnection: close\r\n\r\n",
    ),
    (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n"
        b"Sec-WebSocket-Accept: x=\r\n\r\n",
        False,
        b"Upgrade",
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x=\r\nX-Request-Id: r-1\r\nUpgrade: WebSocket\r\n"
        b"Connection: Upgrade\r\n\r\n",
    ),
    (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nContent-Length: 0\r\n\r\n",
        False,
        None,
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nX-Request-Id: r-1\r\n\r\n",
    ),
    (
        b"HTTP/1.1 502 Bad Gateway\r\nX-Gateway-Error: forged\r\nProxy-Status: gateway\r\n"
        b"x_gateway_error: x\r\nX-Request-Id: x\r\n\r\n",
        True,
        b"keep-alive",
        b"HTTP/1.1 502 Bad Gateway\r\nX-Request-Id: r-1\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: keep-alive\r\n\r\n",
    ),
]


@pytest.mark.parametrize(("came", "chunked", "connection", "goes"), RESPONSES)
def test_a_response_is_written_anew(came: bytes, chunked: bool, connection: bytes | None, goes: bytes) -> None:
    head = parse_response_head(came, LIMITS, b"GET")
    assert b"".join(serialize.response_head(head, b"r-1", chunked, connection)) == goes


@pytest.mark.parametrize(
    ("status", "phrase"),
    [(200, b"fine"), (404, b"not found"), (599, b"")],
)
def test_an_app_keeps_its_reason_phrase(status: int, phrase: bytes) -> None:
    head = parse_response_head(b"HTTP/1.1 %d %b\r\n\r\n" % (status, phrase), LIMITS, b"GET")
    assert serialize.response_head(head, b"r-1", False, None)[0] == b"HTTP/1.1 %d %b\r\n" % (status, phrase)


@pytest.mark.parametrize(("status", "phrase"), [(200, b"OK"), (404, b"Not Found"), (599, b"")])
def test_an_answer_without_a_reason_phrase_gets_the_registered_one(status: int, phrase: bytes) -> None:
    head = ResponseHead(status, FieldSection.of([]))
    assert serialize.response_head(head, b"r-1", False, None)[0] == b"HTTP/1.1 %d %b\r\n" % (status, phrase)


def test_what_has_no_date_gets_one_behind_the_request_id() -> None:
    head = ResponseHead(200, FieldSection.of([(b"A", b"1")]))
    assert b"".join(serialize.response_head(head, b"r-1", False, b"close", 784111777.9)) == (
        b"HTTP/1.1 200 OK\r\nA: 1\r\nX-Request-Id: r-1\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        b"Connection: close\r\n\r\n"
    )


def test_a_date_is_written_once_a_second() -> None:
    assert serialize.date(784111777) is serialize.date(784111777)
    assert serialize.date(784111778) == b"Sun, 06 Nov 1994 08:49:38 GMT"  # RFC 9110 section 5.6.7's own, a second later


CHUNKS = [
    (b"a", b"1\r\na\r\n"),
    (b"\r\n", b"2\r\n\r\n\r\n"),
    (b"0123456789", b"a\r\n0123456789\r\n"),
    (b"x" * 65536, b"10000\r\n" + b"x" * 65536 + b"\r\n"),
]


@pytest.mark.parametrize(("content", "octets"), CHUNKS)
def test_a_chunk_carries_its_size(content: bytes, octets: bytes) -> None:
    assert b"".join(serialize.chunk(content)) == octets
    assert ChunkedReader(LIMITS).read(octets) == (content, None)


ENDS: list[tuple[Fields, bytes]] = [
    ([], b"0\r\n\r\n"),
    ([(b"X-Sum", b"5"), (b"x-sum", b"")], b"0\r\nX-Sum: 5\r\nx-sum: \r\n\r\n"),
]


@pytest.mark.parametrize(("trailers", "octets"), ENDS)
def test_the_last_chunk_carries_the_trailers(trailers: Fields, octets: bytes) -> None:
    assert serialize.last_chunk(trailers) == octets
    reader = ChunkedReader(LIMITS)
    assert reader.read(octets) == (b"", b"")
    assert reader.trailers == trailers
