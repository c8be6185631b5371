"""Heads from bytes: what HARDENING calls "Request framing", row by row, and where a head is given up early.

A row is a whole head (or its part) and what becomes of it. What the fields mean is test_validate's.
"""

from __future__ import annotations

import random
from contextlib import suppress
from itertools import product

import pytest

from gateway.errors import GatewayError, Reason
from gateway.http import head_parser
from gateway.http.head_parser import (
    HEAD_END,
    KEPT_LINES,
    MAX_STATUS_LINE,
    REMEMBERED_OCTETS,
    STATUS_LINES_REMEMBERED,
    FieldSectionError,
    FieldSectionTooLarge,
    HeadLimits,
    check_partial_head,
    check_partial_response,
    parse_answer_lines,
    parse_field_lines,
    parse_request_head,
    parse_response_head,
    quote,
)
from gateway.http.http1 import Http1RequestHead, Http1ResponseHead
from gateway.http.message import FieldLine, Fields, Framing

LIMITS = HeadLimits()
HOST = b"Host: 5000-a.example.dev\r\n"


def request(fields: bytes = b"", line: bytes = b"GET / HTTP/1.1", host: bytes = HOST) -> bytes:
    return line + b"\r\n" + host + fields + b"\r\n"


def response(fields: bytes = b"", line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return line + b"\r\n" + fields + b"\r\n"


def refusal(block: bytes, limits: HeadLimits = LIMITS) -> Reason:
    with pytest.raises(GatewayError) as error:
        parse_request_head(block, limits)
    assert error.value.detail
    return error.value.reason


# --- the request line ---------------------------------------------------------------------------------------------

REQUEST_LINES = [
    # --- the version
    (b"GET / HTTP/0.9", Reason.HTTP_VERSION_NOT_SUPPORTED),
    (b"GET / HTTP/1.2", Reason.HTTP_VERSION_NOT_SUPPORTED),
    (b"GET / HTTP/1.10", Reason.HTTP_VERSION_NOT_SUPPORTED),
    (b"GET / HTTP/1.01", Reason.HTTP_VERSION_NOT_SUPPORTED),
    (b"GET / HTTP/01.1", Reason.HTTP_VERSION_NOT_SUPPORTED),
    (b"GET / HTTP/1", Reason.HTTP_VERSION_NOT_SUPPORTED),
    (b"GET / HTTP/2", Reason.HTTP_VERSION_NOT_SUPPORTED),
    (b"GET / HTTP/2.0", Reason.HTTP_VERSION_NOT_SUPPORTED),
    (b"PRI * HTTP/2.0", Reason.HTTP_VERSION_NOT_SUPPORTED),
    (b"GET / HTTP/9.9", Reason.HTTP_VERSION_NOT_SUPPORTED),
    (b"GET / HTTP/" + b"9" * 5000, Reason.HTTP_VERSION_NOT_SUPPORTED),
    (b"GET / http/1.1", Reason.BAD_REQUEST),
    (b"GET / HTTP/", Reason.BAD_REQUEST),
    (b"GET / HTTP/1.", Reason.BAD_REQUEST),
    (b"GET / HTTP/1.1x", Reason.BAD_REQUEST),
    (b"GET / HTTP/-1.1", Reason.BAD_REQUEST),
    (b"GET / HTTP/1.\xb2", Reason.BAD_REQUEST),
    (b"GET / HTCPCP/1.1", Reason.BAD_REQUEST),
    (b"GET / ICAP/1.0", Reason.BAD_REQUEST),
    # --- its shape
    (b"GET /", Reason.BAD_REQUEST),
    (b"GET", Reason.BAD_REQUEST),
    (b"", Reason.BAD_REQUEST),
    (b"GET  HTTP/1.1", Reason.BAD_REQUEST),
    (b" / HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET  / HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET /  HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET / HTTP/1.1 ", Reason.BAD_REQUEST),
    (b" GET / HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET\t/\tHTTP/1.1", Reason.BAD_REQUEST),
    (b"GET /a b HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET /a HTTP/1.1 HTTP/1.1", Reason.BAD_REQUEST),
    (b"\r\nGET / HTTP/1.1", Reason.BAD_REQUEST),  # the one leading CRLF is the connection's to skip
    (b"\nGET / HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET / HTTP/1.1\nX: 1", Reason.BAD_REQUEST),
    (b"GET /\n HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET / HTTP/1.1\r", Reason.BAD_REQUEST),
    (b"GET / HTTP/1.1\0", Reason.BAD_REQUEST),
    (b"GE\0T / HTTP/1.1", Reason.BAD_REQUEST),
    (b"\x16\x03\x01\x02\x00\x01 / HTTP/1.1", Reason.BAD_REQUEST),
    # --- the method
    (b"CONNECT 5000-a.example.dev:443 HTTP/1.1", Reason.METHOD_NOT_ALLOWED),
    (b"CONNECT / HTTP/1.1", Reason.METHOD_NOT_ALLOWED),
    (b"TRACE / HTTP/1.1", Reason.METHOD_NOT_ALLOWED),
    (b"PRI / HTTP/1.1", Reason.METHOD_NOT_ALLOWED),
    (b"G" * 129 + b" / HTTP/1.1", Reason.NOT_IMPLEMENTED),
    (b"GET,POST / HTTP/1.1", Reason.BAD_REQUEST),
    (b"G@T / HTTP/1.1", Reason.BAD_REQUEST),
    (b"G\xc3\x89T / HTTP/1.1", Reason.BAD_REQUEST),
    # --- the target
    (b"GET /#top HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET /?a=b#top HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET /\xc3\xa9 HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET /\x7f HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET /\x00 HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET /\x1b[31m HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET /\r HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET /\t HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET path HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET ?query HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET 5000-a.example.dev HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET * HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET ftp://5000-a.example.dev/ HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET ws://5000-a.example.dev/ HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET http:/5000-a.example.dev/ HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET http://other.example.dev/ HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET http://user@5000-a.example.dev/ HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET http://5000-a.example.dev:443/ HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET https://5000-a.example.dev:80/ HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET http://5000-a.example.dev../ HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET http://5000-a.example.dev:80:80/ HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET http://5000-a.example.dev:http/ HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET http://:80/ HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET http:/// HTTP/1.1", Reason.BAD_REQUEST),
    (b"GET http://5000-a.example.dev\\@evil/ HTTP/1.1", Reason.BAD_REQUEST),
]


@pytest.mark.parametrize(("line", "reason"), REQUEST_LINES)
def test_a_broken_request_line_is_refused(line: bytes, reason: Reason) -> None:
    assert refusal(request(line=line)) is reason


LINES_ALONE_AT_FAULT = [
    b"GET / HTTP/0.9",
    b"GET / HTTP/9.9",
    b"GET /",
    b"GET",
    b"",
    b"GET  / HTTP/1.1",
    b" GET / HTTP/1.1",
    b"GET / HTTP/1.1 ",
    b"GET / http/1.1",
    b"\nGET / HTTP/1.1",
    b"GET /\x7f HTTP/1.1",
]


@pytest.mark.parametrize("line", LINES_ALONE_AT_FAULT)
def test_a_broken_request_line_is_refused_before_the_head_is_complete(line: bytes) -> None:
    """A client of HTTP/0.9 never sends an empty line: it would wait for its answer until the deadline."""
    with pytest.raises(GatewayError) as error:
        check_partial_head(line + b"\r\nHos", LIMITS)
    assert error.value.reason is refusal(request(line=line))


TARGETS = [
    # the request line, the target that goes on
    (b"GET / HTTP/1.1", b"/"),
    (b"GET // HTTP/1.1", b"//"),
    (b"GET //evil.test/x HTTP/1.1", b"//evil.test/x"),
    (b"GET /a//b/../c/./d HTTP/1.1", b"/a//b/../c/./d"),
    (b"GET /? HTTP/1.1", b"/?"),
    (b"GET /?? HTTP/1.1", b"/??"),
    (b"GET /?a=b&a=c;d HTTP/1.1", b"/?a=b&a=c;d"),
    (b"GET /%2F%2e%00%zz%E4 HTTP/1.1", b"/%2F%2e%00%zz%E4"),
    (b"GET /http://x/ HTTP/1.1", b"/http://x/"),
    (b"GET /\"<>\\^`{|}' HTTP/1.1", b"/\"<>\\^`{|}'"),
    (b"GET /a:b@c HTTP/1.1", b"/a:b@c"),
    (b"OPTIONS * HTTP/1.1", b"*"),
    (b"GET http://5000-a.example.dev HTTP/1.1", b"/"),
    (b"GET http://5000-a.example.dev/ HTTP/1.1", b"/"),
    (b"GET HTTPS://5000-A.Example.dev/a?b HTTP/1.1", b"/a?b"),
    (b"GET https://5000-a.example.dev?b HTTP/1.1", b"/?b"),
    (b"GET https://5000-a.example.dev//x HTTP/1.1", b"//x"),
]


@pytest.mark.parametrize(("line", "target"), TARGETS)
def test_a_target_goes_on_as_it_came(line: bytes, target: bytes) -> None:
    assert parse_request_head(request(line=line), LIMITS).target == target


@pytest.mark.parametrize(
    "method", [b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"PROPFIND", b"M-SEARCH", b"G" * 32]
)
def test_methods_are_the_apps_business(method: bytes) -> None:
    assert parse_request_head(request(line=method + b" / HTTP/1.1"), LIMITS).method == method


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_both_versions_are_spoken(version: str) -> None:
    assert parse_request_head(request(line=b"GET / " + version.encode()), LIMITS).protocol == version


# --- the field section --------------------------------------------------------------------------------------------

FIELD_SECTIONS = [
    # --- folding and white space where none belongs
    (b"X: a\r\n b\r\n", Reason.BAD_REQUEST),
    (b"X: a\r\n\tb\r\n", Reason.BAD_REQUEST),
    (b"X:\r\n b\r\n", Reason.BAD_REQUEST),
    (b"X : a\r\n", Reason.BAD_REQUEST),
    (b"X\t: a\r\n", Reason.BAD_REQUEST),
    (b"Content-Length : 5\r\n", Reason.BAD_REQUEST),
    (b"Transfer-Encoding : chunked\r\n", Reason.BAD_REQUEST),
    (b"Transfer-Encoding\x0b: chunked\r\n", Reason.BAD_REQUEST),
    (b"X Y: a\r\n", Reason.BAD_REQUEST),
    # --- line ends
    (b"X: a\nY: b\r\n", Reason.BAD_REQUEST),
    (b"X: a\n\r\n", Reason.BAD_REQUEST),
    (b"X: a\n\nGET /x HTTP/1.1\r\n", Reason.BAD_REQUEST),
    (b"X: a\rY: b\r\n", Reason.BAD_REQUEST),
    (b"X: a\r\r\n", Reason.BAD_REQUEST),
    (b"X: \r\r\n", Reason.BAD_REQUEST),
    (b"\rX: a\r\n", Reason.BAD_REQUEST),
    # --- octets
    (b"X: a\0b\r\n", Reason.BAD_REQUEST),
    (b"X: \0\r\n", Reason.BAD_REQUEST),
    (b"X: a\x01b\r\n", Reason.BAD_REQUEST),
    (b"X: a\x0bb\r\n", Reason.BAD_REQUEST),
    (b"X: a\x0cb\r\n", Reason.BAD_REQUEST),
    (b"X: \x1b[31m\r\n", Reason.BAD_REQUEST),
    (b"X: a\x7fb\r\n", Reason.BAD_REQUEST),
    (b"X\0: a\r\n", Reason.BAD_REQUEST),
    # --- names
    (b": a\r\n", Reason.BAD_REQUEST),
    (b"X\r\n", Reason.BAD_REQUEST),
    (b"X(y): a\r\n", Reason.BAD_REQUEST),
    (b'"X": a\r\n', Reason.BAD_REQUEST),
    (b"X@y: a\r\n", Reason.BAD_REQUEST),
    (b"X/y: a\r\n", Reason.BAD_REQUEST),
    (b"X[1]: a\r\n", Reason.BAD_REQUEST),
    (b"X{}: a\r\n", Reason.BAD_REQUEST),
    (b"X,Y: a\r\n", Reason.BAD_REQUEST),
    (b"X;Y: a\r\n", Reason.BAD_REQUEST),
    (b"X=Y: a\r\n", Reason.BAD_REQUEST),
    (b"X\\Y: a\r\n", Reason.BAD_REQUEST),
    (b"X<: a\r\n", Reason.BAD_REQUEST),
    (b"X\xe9: a\r\n", Reason.BAD_REQUEST),
    # --- Content-Length is [0-9]{1,18}
    (b"Content-Length: 5, 5\r\n", Reason.BAD_REQUEST),
    (b"Content-Length: 5,\r\n", Reason.BAD_REQUEST),
    (b"Content-Length: 5 5\r\n", Reason.BAD_REQUEST),
    (b"Content-Length: +5\r\n", Reason.BAD_REQUEST),
    (b"Content-Length: -5\r\n", Reason.BAD_REQUEST),
    (b"Content-Length: -0\r\n", Reason.BAD_REQUEST),
    (b"Content-Length: 0x5\r\n", Reason.BAD_REQUEST),
    (b"Content-Length: 1_0\r\n", Reason.BAD_REQUEST),
    (b"Content-Length: 1e3\r\n", Reason.BAD_REQUEST),
    (b"Content-Length: 5.0\r\n", Reason.BAD_REQUEST),
    (b"Content-Length: 5;\r\n", Reason.BAD_REQUEST),
    (b'Content-Length: "5"\r\n', Reason.BAD_REQUEST),
    (b"Content-Length:\r\n", Reason.BAD_REQUEST),
    (b"Content-Length: \r\n", Reason.BAD_REQUEST),
    (b"Content-Length: x\r\n", Reason.BAD_REQUEST),
    (b"Content-Length: 010\r\n", Reason.BAD_REQUEST),
    (b"Content-Length: 00\r\n", Reason.BAD_REQUEST),
    (b"Content-Length: \xd9\xa5\r\n", Reason.BAD_REQUEST),
    (b"Content-Length: \xb2\r\n", Reason.BAD_REQUEST),
    (b"Content-Length: " + b"9" * 19 + b"\r\n", Reason.BAD_REQUEST),
    (b"Content-Length: 18446744073709551615\r\n", Reason.BAD_REQUEST),
    (b"Content-Length: 18446744073709551617\r\n", Reason.BAD_REQUEST),
    (b"Content-Length: " + b"9" * 4000 + b"\r\n", Reason.BAD_REQUEST),
    (b"Content-Length: 5\r\nContent-Length: 5\r\n", Reason.BAD_REQUEST),
    (b"Content-Length: 5\r\ncontent-length: 6\r\n", Reason.BAD_REQUEST),
    (b"Content-Length: 0\r\nContent-Length: 0\r\n", Reason.BAD_REQUEST),
    # --- with Transfer-Encoding, in either order
    (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Reason.BAD_REQUEST),
    (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Reason.BAD_REQUEST),
    (b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", Reason.BAD_REQUEST),
    (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Reason.BAD_REQUEST),
    (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", Reason.BAD_REQUEST),
    (b"Transfer-Encoding: gzip\r\ntransfer-encoding: chunked\r\n", Reason.BAD_REQUEST),
    (b"Transfer-Encoding: chunked\x0b\r\n", Reason.BAD_REQUEST),
    (b"Transfer-Encoding:\r\n", Reason.BAD_REQUEST),
    # --- a coding that is not exactly “chunked”
    (b"Transfer-Encoding: gzip\r\n", Reason.NOT_IMPLEMENTED),
    (b"Transfer-Encoding: identity\r\n", Reason.NOT_IMPLEMENTED),
    (b"Transfer-Encoding: gzip, chunked\r\n", Reason.NOT_IMPLEMENTED),
    (b"Transfer-Encoding: chunked, gzip\r\n", Reason.NOT_IMPLEMENTED),
    (b"Transfer-Encoding: chunked, chunked\r\n", Reason.NOT_IMPLEMENTED),
    (b"Transfer-Encoding: chunked,\r\n", Reason.NOT_IMPLEMENTED),
    (b"Transfer-Encoding: ,chunked\r\n", Reason.NOT_IMPLEMENTED),
    (b"Transfer-Encoding: xchunked\r\n", Reason.NOT_IMPLEMENTED),
    (b"Transfer-Encoding: chunkedx\r\n", Reason.NOT_IMPLEMENTED),
    (b"Transfer-Encoding: chunked;q=1\r\n", Reason.NOT_IMPLEMENTED),
    (b'Transfer-Encoding: "chunked"\r\n', Reason.NOT_IMPLEMENTED),
    (b"Transfer-Encoding: c hunked\r\n", Reason.NOT_IMPLEMENTED),
    # --- Host
    (HOST, Reason.BAD_REQUEST),
    (b"host: other.example.dev\r\n", Reason.BAD_REQUEST),
    # --- Expect
    (b"Expect: 100\r\n", Reason.EXPECTATION_FAILED),
    (b"Expect: 200-ok\r\n", Reason.EXPECTATION_FAILED),
    (b"Expect: 100-continue, x\r\n", Reason.EXPECTATION_FAILED),
    (b"Expect: 100-continue\r\nExpect: x\r\n", Reason.EXPECTATION_FAILED),
]


@pytest.mark.parametrize(("fields", "reason"), FIELD_SECTIONS)
def test_a_broken_field_section_is_refused(fields: bytes, reason: Reason) -> None:
    assert refusal(request(fields, line=b"POST / HTTP/1.1")) is reason


def test_white_space_before_the_first_field_is_refused() -> None:
    assert refusal(b"GET / HTTP/1.1\r\n Host: a.test\r\n\r\n") is Reason.BAD_REQUEST
    assert refusal(b"GET / HTTP/1.1\r\n\tHost: a.test\r\n\r\n") is Reason.BAD_REQUEST


def test_transfer_encoding_on_http_1_0_is_refused() -> None:
    assert refusal(request(b"Transfer-Encoding: chunked\r\n", line=b"POST / HTTP/1.0")) is Reason.BAD_REQUEST


HOSTS = [
    b"",
    b"a,b",
    b"a, b",
    b"user@a",
    b"user:secret@a",
    b"a/",
    b"a/b",
    b"a?b",
    b"a#b",
    b"a b",
    b"a\\b",
    b'"a"',
    b"a:b",
]
HOSTS += [
    b":443",
    b"a:-1",
    b"a:123456",
    b"a:1:2",
    b"::1",
    b"[::1",
    b"[::1]x",
    b"[]",
    b"[fe80::1%25eth0]",
    b"[g::]",
    b"\xe4",
]
HOSTS += [b"a" * 256, b"<script>", b"a;b@c"]


@pytest.mark.parametrize("value", HOSTS)
def test_a_host_that_is_not_host_and_port_is_refused(value: bytes) -> None:
    assert refusal(request(host=b"Host: " + value + b"\r\n")) is Reason.BAD_REQUEST


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_a_request_without_host_is_refused(version: bytes) -> None:
    assert refusal(request(line=b"GET / " + version, host=b"")) is Reason.BAD_REQUEST


@pytest.mark.parametrize(
    "value",
    [
        b"a",
        b"A.b.",
        b"a:",
        b"a:0",
        b"a:65535",
        b"1.2.3.4",
        b"[::1]",
        b"[::1]:443",
        b"[::ffff:1.2.3.4]",
        b"x_y.z",
        b"a" * 255,
    ],
)
def test_a_host_goes_on_as_it_came(value: bytes) -> None:
    head = parse_request_head(request(host=b"hOST:\t" + value + b" \r\n"), LIMITS)
    assert head.authority == value
    assert head.fields == []


VALUES = [
    # as sent, as it goes on: white space around a value is not part of it, everything else is
    (b"X: a", b"a"),
    (b"X:a", b"a"),
    (b"X: \t a", b"a"),
    (b"X: a \t ", b"a"),
    (b"X:", b""),
    (b"X: ", b""),
    (b"X: \t", b""),
    (b"X: a  b\tc", b"a  b\tc"),
    (b"X: ,, ;", b",, ;"),
    (b"X: :", b":"),
    (b'X: "\\""', b'"\\""'),
    (b"X: caf\xc3\xa9", b"caf\xc3\xa9"),
    (b"X: \xff\x80", b"\xff\x80"),
]


@pytest.mark.parametrize(("line", "value"), VALUES)
@pytest.mark.parametrize("neighbours", [b"", b"Y: z\r\n", b"Y: \t\r\n"])
def test_a_value_goes_on_byte_exact(line: bytes, value: bytes, neighbours: bytes) -> None:
    head = parse_request_head(request(line + b"\r\n" + neighbours), LIMITS)
    assert head.fields[0] == (b"X", value)
    assert len(head.fields) == (2 if neighbours else 1)


def test_order_duplicates_and_case_are_kept() -> None:
    pairs = [
        (b"b", b"1"),
        (b"A", b"2"),
        (b"B", b"1"),
        (b"b", b"1"),
        (b"sEC-wEBSOCKET-kEY", b"x=="),
        (b"a", b""),
        (b"!#$%&'*+-.^_`|~", b""),
    ]
    block = b"".join(b"%b: %b\r\n" % pair for pair in pairs)
    assert parse_request_head(request(block), LIMITS).fields == pairs
    assert parse_response_head(response(block), LIMITS, b"GET").fields == pairs


# --- limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "accepted"), [(100, True), (101, False)])
def test_a_head_has_at_most_100_fields(count: int, accepted: bool) -> None:
    fields = b"".join(b"X-%d: 1\r\n" % number for number in range(count - 1))  # Host is one of them
    if accepted:
        assert len(parse_request_head(request(fields), LIMITS).fields) == count - 1
    else:
        assert refusal(request(fields)) is Reason.HEADER_SECTION_TOO_LARGE


@pytest.mark.parametrize(("size", "accepted"), [(8192, True), (8193, False)])
@pytest.mark.parametrize("name", [b"X", b"X" * 4000])
def test_a_field_has_at_most_8_kib(name: bytes, size: int, accepted: bool) -> None:
    fields = b"%b: %b\r\n" % (name, b"v" * (size - len(name)))
    if accepted:
        assert len(parse_request_head(request(fields), LIMITS).fields[0][1]) == size - len(name)
    else:
        assert refusal(request(fields)) is Reason.HEADER_SECTION_TOO_LARGE


@pytest.mark.parametrize(("size", "accepted"), [(8192, True), (8193, False)])
@pytest.mark.parametrize("method", [b"GET", b"G" * 32])
def test_a_target_has_at_most_8_kib(method: bytes, size: int, accepted: bool) -> None:
    line = b"%b /%b HTTP/1.1" % (method, b"t" * (size - 1))
    check_partial_head(line[: size + len(method)], LIMITS)  # may still become one that fits
    if accepted:
        assert len(parse_request_head(request(line=line), LIMITS).target) == size
        check_partial_head(line + b"\r\n", LIMITS)
    else:
        assert refusal(request(line=line)) is Reason.URI_TOO_LONG
        check_partial_head(line + b"\r\n", LIMITS)  # its fields may say that a page is wanted


def test_limits_are_settings() -> None:
    limits = HeadLimits(head=64, target=8, field=10, fields=2)
    host = b"Host: a\r\n"
    parse_request_head(request(b"X: 2345678\r\n", line=b"GET /2345678 HTTP/1.1", host=host), limits)
    assert refusal(request(line=b"GET /23456789 HTTP/1.1", host=host), limits) is Reason.URI_TOO_LONG
    assert refusal(request(b"X: 1234567890\r\n", host=host), limits) is Reason.HEADER_SECTION_TOO_LARGE
    assert refusal(request(b"X: 1\r\nY: 2\r\n", host=host), limits) is Reason.HEADER_SECTION_TOO_LARGE


# --- heads that are not complete yet ------------------------------------------------------------------------------

PARTIAL_REFUSED = [
    (b"\x16\x03\x01", Reason.BAD_REQUEST),
    (b"GET / HTTP/1.1\nHost: a", Reason.BAD_REQUEST),
    (b"GET / HTTP/1.1\r\nHost: a\nX", Reason.BAD_REQUEST),
    (b"\n", Reason.BAD_REQUEST),
    (b"GET / HTTP/1.1\r\nX: a\r\r\n", Reason.BAD_REQUEST),
    (b"GET / HTTP/1.1\r\nX: a\r\r", Reason.BAD_REQUEST),
    (b"GET / HTTP/1.1\r\nX: a\r\n\tb", Reason.BAD_REQUEST),
    (b"GET / HTTP/1.1\r\nX: a\rb", Reason.BAD_REQUEST),
    (b"GET / HTTP/1.1\r\nX: \0", Reason.BAD_REQUEST),
    (b"GET / HTTP/1.1\r\nX: \x7f", Reason.BAD_REQUEST),
    (b"GET /\r\n", Reason.BAD_REQUEST),
    (b"\r\nGET / HTTP/1.1", Reason.BAD_REQUEST),
    (b"SSH-2.0-OpenSSH_9.9\r\n", Reason.BAD_REQUEST),
    (b"GET / HTTP/1.1\r\nX: " + b"v" * (32 * 1024), Reason.HEADER_SECTION_TOO_LARGE),
    (b"GET / HTTP/1.1\r\n" + b"X: v\r\n" * 6000, Reason.HEADER_SECTION_TOO_LARGE),
    (b"GET /" + b"t" * (32 * 1024), Reason.URI_TOO_LONG),
    (b"GET /%b HTTP/1.1\r\nX: " % (b"t" * 9000) + b"v" * (24 * 1024), Reason.URI_TOO_LONG),
    (b"A" * (32 * 1024 + 1), Reason.URI_TOO_LONG),
]


@pytest.mark.parametrize(("received", "reason"), PARTIAL_REFUSED)
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_what_cannot_become_a_head_is_refused_at_once(received: bytes, reason: Reason, kind: type[bytes]) -> None:
    with pytest.raises(GatewayError) as error:
        check_partial_head(kind(received), LIMITS)
    assert error.value.reason is reason


@pytest.mark.parametrize("block", [request(b"X: a \t\r\nY:\r\nZ: \xff\r\n"), request(line=b"OPTIONS * HTTP/1.0")])
def test_no_beginning_of_a_valid_head_is_refused(block: bytes) -> None:
    for cut in range(len(block)):
        check_partial_head(block[:cut], LIMITS)
    parse_request_head(block, LIMITS)


def continuations() -> list[tuple[bytes, bool]]:
    """Every unfinished section of up to six pieces, and whether anything that may follow makes it a valid one."""
    found = []
    for count in range(7):
        for pieces in product((b"a:b", b" ", b"\r", b"\n"), repeat=count):
            beginning = request()[:-2] + b"".join(pieces)
            if HEAD_END not in beginning:
                found.append((beginning, any(is_valid(beginning + rest) for rest in (b"", *ENDS))))
    return found


ENDS = (b"\n", b"\r\n", b"\n\r\n", b"\r\n\r\n", b"a:b\r\n\r\n", b"\na:b\r\n\r\n")


def is_valid(block: bytes) -> bool:
    if not block.endswith(HEAD_END):
        return False
    try:
        parse_request_head(block, LIMITS)
    except GatewayError:
        return False
    return True


def test_an_unfinished_head_is_refused_exactly_when_nothing_can_complete_it() -> None:
    for beginning, can_be_completed in continuations():
        if can_be_completed:
            check_partial_head(beginning, LIMITS)
        else:
            with pytest.raises(GatewayError):
                check_partial_head(beginning, LIMITS)


@pytest.mark.parametrize(("size", "accepted"), [(32 * 1024, True), (32 * 1024 + 1, False)])
def test_a_head_has_at_most_32_kib(size: int, accepted: bool) -> None:
    block = b"GET / HTTP/1.1\r\n" + b"X: v\r\n" * 6000
    if accepted:
        check_partial_head(block[:size], LIMITS)
    else:
        with pytest.raises(GatewayError) as error:
            check_partial_head(block[:size], LIMITS)
        assert error.value.reason is Reason.HEADER_SECTION_TOO_LARGE


# --- responses ----------------------------------------------------------------------------------------------------

STATUS_LINES = [
    (b"HTTP/1.1 200 OK", 200, b"OK"),
    (b"HTTP/1.0 404 Not Found", 404, b"Not Found"),
    (b"HTTP/1.1 200 ", 200, b""),
    (b"HTTP/1.1 200", 200, b""),
    (b"HTTP/1.1 299 \xc3\xa9 \t !", 299, b"\xc3\xa9 \t !"),
    (b"HTTP/1.1 103 Early Hints", 103, b"Early Hints"),
    (b"HTTP/1.1 599 x", 599, b"x"),
]

BAD_STATUS_LINES = [
    b"",
    b"OK",
    b"HTTP/1.1",
    b"HTTP/1.1 ",
    b"HTTP/1.1 OK",
    b"HTTP/1.1  200 OK",
    b"HTTP/1.1 20 OK",
    b"HTTP/1.1 2000 OK",
    b"HTTP/1.1 020 OK",
    b"HTTP/1.1 099 OK",
    b"HTTP/1.1 600 OK",
    b"HTTP/1.1 999 OK",
    b"HTTP/1.1 -20 OK",
    b"HTTP/1.1 200OK",
    b"HTTP/1.1 \xb2\xb2\xb2 OK",
    b"HTTP/1.1\t200 OK",
    b"HTTP/1.2 200 OK",
    b"HTTP/1.10 200 OK",
    b"HTTP/2 200 OK",
    b"HTTP/2.0 200 OK",
    b"http/1.1 200 OK",
    b" HTTP/1.1 200 OK",
    b"\r\nHTTP/1.1 200 OK",
    b"ICY 200 OK",
    b"HTTP/1.1 200 a\rb",
    b"HTTP/1.1 200 a\rSet-Cookie: x",
    b"HTTP/1.1 200 a\nX: b",
    b"HTTP/1.1 200 \0",
    b"HTTP/1.1 200 \x1b[31m",
    b"HTTP/1.1 200 \x7f",
    b"SSH-2.0-OpenSSH_9.9",
    b"\x15\x03\x03\x00\x02\x02\x50",
    b"<html>",
]

NOT_WRONG_IN_ANSWERS = (b"Expect", b"Host", b"host", b"X :", b"X\t:", b"Content-Length: 0")
"""What is a request's alone, white space that goes from an answer (see SPACED), and zeros before a length."""
BAD_RESPONSE_FIELDS = [
    *[fields for fields, _ in FIELD_SECTIONS if not fields.startswith(NOT_WRONG_IN_ANSWERS)],
    b"Content-Length: 5\r\nContent-Length: 5\r\n",
    b" X: leading\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
]


def answer_refusal(block: bytes) -> Reason:
    with pytest.raises(GatewayError) as error:
        parse_response_head(block, LIMITS, b"GET")
    assert error.value.detail
    return error.value.reason


@pytest.mark.parametrize(("line", "status", "phrase"), STATUS_LINES)
def test_a_status_line_is_read(line: bytes, status: int, phrase: bytes) -> None:
    head = parse_response_head(response(line=line), LIMITS, b"GET")
    assert (head.status, head.phrase) == (status, phrase)
    check_partial_response(line + b"\r\nX", LIMITS)


@pytest.mark.parametrize("line", BAD_STATUS_LINES)
def test_a_broken_status_line_is_the_apps_fault(line: bytes) -> None:
    assert answer_refusal(response(line=line)) is Reason.HTTP_PROTOCOL_ERROR


@pytest.mark.parametrize("fields", BAD_RESPONSE_FIELDS)
def test_a_broken_field_section_of_an_answer_is_the_apps_fault(fields: bytes) -> None:
    assert answer_refusal(response(fields)) is Reason.HTTP_PROTOCOL_ERROR


@pytest.mark.parametrize(
    "fields",
    [
        b"".join(b"X-%d: 1\r\n" % number for number in range(101)),
        b"X: " + b"v" * 8192 + b"\r\n",
    ],
    ids=["fields", "field"],
)
def test_an_answer_with_too_large_a_head_says_so(fields: bytes) -> None:
    assert answer_refusal(response(fields)) is Reason.HTTP_RESPONSE_HEADER_SECTION_SIZE


PARTIAL_ANSWERS = [
    (b"S", Reason.HTTP_PROTOCOL_ERROR),
    (b"HTTP/2", Reason.HTTP_PROTOCOL_ERROR),
    (b"HTTP/1.2 ", Reason.HTTP_PROTOCOL_ERROR),
    (b"<!doctype html>", Reason.HTTP_PROTOCOL_ERROR),
    (b"\x15\x03\x03", Reason.HTTP_PROTOCOL_ERROR),
    (b"HTTP/1.1 200 OK\nX: a", Reason.HTTP_PROTOCOL_ERROR),
    (b"HTTP/1.1 200 O\rK", Reason.HTTP_PROTOCOL_ERROR),
    (b"HTTP/1.1 200 OK\r\nX: a\r\r\n", Reason.HTTP_PROTOCOL_ERROR),
    (b"HTTP/1.1 200 OK\r\nX: a\r\n b", Reason.HTTP_PROTOCOL_ERROR),
    (b"HTTP/1.1 200 OK\r\nX: \0", Reason.HTTP_PROTOCOL_ERROR),
    (b"HTTP/1.1 abc\r\n", Reason.HTTP_PROTOCOL_ERROR),
    (b"HTTP/1.1 200 OK\r\nX: " + b"v" * 32 * 1024, Reason.HTTP_RESPONSE_HEADER_SECTION_SIZE),
]


@pytest.mark.parametrize(("received", "reason"), PARTIAL_ANSWERS)
def test_what_cannot_become_an_answer_is_refused_at_once(received: bytes, reason: Reason) -> None:
    with pytest.raises(GatewayError) as error:
        check_partial_response(received, LIMITS)
    assert error.value.reason is reason


@pytest.mark.parametrize("line", [line for line, _, _ in STATUS_LINES])
def test_no_beginning_of_a_valid_answer_is_refused(line: bytes) -> None:
    block = response(b"X: a\r\n", line=line)
    for cut in range(len(block)):
        check_partial_response(block[:cut], LIMITS)


# --- field sections alone, as trailers are ------------------------------------------------------------------------


def test_a_field_section_may_be_empty() -> None:
    assert parse_field_lines(b"\r\n", LIMITS) == []


def test_a_field_section_may_switch_nothing() -> None:
    pairs = [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"), (b"Content-Length", b"5"), (b"X", b"1")]
    block = b"".join(b"%b: %b\r\n" % pair for pair in pairs) + b"\r\n"
    assert [line.pair for line in parse_field_lines(block, LIMITS)] == pairs


def test_too_large_is_a_kind_of_bad() -> None:
    with pytest.raises(FieldSectionTooLarge):
        parse_field_lines(b"X: 1\r\n" * 101 + b"\r\n", LIMITS)
    with pytest.raises(FieldSectionError):
        parse_field_lines(b"X\r\n\r\n", LIMITS)
    assert issubclass(FieldSectionTooLarge, FieldSectionError)


SPACED = [
    # what an app sends, the pairs or what is wrong
    (b"X-Note : 1\r\n", [(b"X-Note", b"1")]),
    (b"X-Note\t: 1\r\n", [(b"X-Note", b"1")]),
    (b"X-Note \t  :1\r\n", [(b"X-Note", b"1")]),
    (
        b"A: 1\r\nX-Note :\r\nB: 2 : 3\r\nC : 4 : 5\r\n",
        [(b"A", b"1"), (b"X-Note", b""), (b"B", b"2 : 3"), (b"C", b"4 : 5")],
    ),
    (b"X-Note" + b" " * 4000 + b": 1\r\n", [(b"X-Note", b"1")]),
    (b"Content-Length : 5\r\n", "white space"),
    (b"A : 1\r\ncontent-LENGTH\t: 5\r\n", "white space"),
    (b"Transfer-Encoding : chunked\r\n", "white space"),
    (b"Content-Length: 5\r\nContent-Length : 6\r\n", "white space"),
    # what is not only that
    (b"X Note : 1\r\n", "malformed"),
    (b" X-Note : 1\r\n", "malformed"),
    (b" : 1\r\n", "malformed"),
    (b"X-Note \x0b: 1\r\n", "malformed"),
    (b"X-Note\xa0: 1\r\n", "malformed"),
    (b"X-Note : 1\r\nfolded\r\n", "malformed"),
    (b"X-Note : 1\r\n folded : 2\r\n", "malformed"),
    (b"X-Note : 1\nY : 2\r\n", "malformed"),
]


@pytest.mark.parametrize(("block", "outcome"), SPACED)
def test_white_space_before_a_colon_goes_from_answers(block: bytes, outcome: Fields | str) -> None:
    if isinstance(outcome, str):
        with pytest.raises(FieldSectionError, match=outcome):
            parse_answer_lines(block + b"\r\n", LIMITS)
    else:
        assert [line.pair for line in parse_answer_lines(block + b"\r\n", LIMITS)] == outcome
    with pytest.raises(FieldSectionError):
        parse_field_lines(block + b"\r\n", LIMITS)


def test_a_section_too_large_stays_so_when_white_space_goes() -> None:
    with pytest.raises(FieldSectionTooLarge):
        parse_answer_lines(b"X : 1\r\n" * 101 + b"\r\n", LIMITS)


def test_a_field_so_spelled_means_what_it_says() -> None:
    head = parse_response_head(
        b"HTTP/1.1 200 OK\r\nConnection : close\r\nX-Gateway-Error : x\r\nSet-Cookie : a=1\r\n\r\n", LIMITS, b"GET"
    )
    assert not head.hop.keep_alive
    assert head.fields == [(b"Set-Cookie", b"a=1")]
    assert head.section.set_cookies


QUOTES = [
    (b"", "“”"),
    (b"SSH-2.0", "“SSH-2.0”"),
    (b"\x1b[31m\r\n\0\x9b", "“·[31m····”"),
    (b"J\0\0\0\n8.0.36\0", "“J····8.0.36·”"),
    (b"220 ready\r\n500 what?\r\n", "“220 ready··”"),
    (b"a" * 48, f"“{'a' * 48}”"),
    (b"a" * 49, f"“{'a' * 48}…”"),
]


@pytest.mark.parametrize(("octets", "shown"), QUOTES)
def test_foreign_octets_are_quoted_short_and_printable(octets: bytes, shown: str) -> None:
    assert quote(octets) == shown


def test_framing_follows_from_the_fields() -> None:
    assert parse_request_head(request(b"Content-Length: 5\r\n"), LIMITS).framing is Framing.LENGTH
    assert parse_request_head(request(b"Transfer-Encoding: Chunked\r\n"), LIMITS).framing is Framing.STREAM
    assert parse_request_head(request(), LIMITS).framing is Framing.NONE


# --- what a stranger may make us remember or repeat --------------------------------------------------------------


@pytest.mark.parametrize(("phrase", "fits"), [(MAX_STATUS_LINE - 13, True), (MAX_STATUS_LINE - 12, False)])
def test_a_status_line_is_kept_and_so_it_is_short(phrase: int, fits: bool) -> None:
    block = response(line=b"HTTP/1.1 200 " + b"a" * phrase)
    if fits:
        assert parse_response_head(block, LIMITS, b"GET").status == 200
    else:
        assert answer_refusal(block) is Reason.HTTP_PROTOCOL_ERROR


def test_an_unfinished_head_with_a_known_status_line_displaces_none() -> None:
    known = head_parser._status_lines
    for number in range(2 * STATUS_LINES_REMEMBERED):
        check_partial_response(b"HTTP/1.1 200 %d\r\nX" % number, LIMITS)
        if len(known) == STATUS_LINES_REMEMBERED:
            break
    before = [*known]
    check_partial_response(before[-1] + b"\r\nX", LIMITS)
    assert [*known] == before


@pytest.mark.parametrize(("octets", "kept"), [(REMEMBERED_OCTETS, 1), (REMEMBERED_OCTETS + 1, 0)])
def test_long_sections_are_not_kept(octets: int, kept: int) -> None:
    """A thousand of the longest would be 32 MiB a worker."""

    def padded(fixed: bytes) -> bytes:
        return b"X-%d: %b\r\n" % (octets, b"a" * (octets - len(fixed) - len(b"X-%d: \r\n\r\n" % octets)))

    asked, answered = request(padded(HOST)), response(padded(b"HTTP/1.1 200 OK\r\n"))
    for _ in range(3):  # at first, a line is unseen, and the second time kept
        parse_request_head(asked, LIMITS)
        parse_response_head(answered, LIMITS, b"GET")
    assert (parse_request_head(asked, LIMITS).section is parse_request_head(asked, LIMITS).section) == kept
    first = parse_response_head(answered, LIMITS, b"GET")
    assert (parse_response_head(answered, LIMITS, b"GET") is first) == kept


@pytest.mark.parametrize("line", [b"GET / HTTP/" + b"1" * 5000, b"GET / HTTP/1." + b"1" * 5000])
def test_what_is_told_of_a_version_is_short(line: bytes) -> None:
    with pytest.raises(GatewayError) as error:
        parse_request_head(request(line=line), LIMITS)
    assert error.value.reason is Reason.HTTP_VERSION_NOT_SUPPORTED
    assert len(error.value.detail) < 100


LINES = [
    *(b"Content-Length: 5", b"Content-Length: 05", b"content-length: 5", b"Expect: 100-continue", b"Connection: close"),
    *(b"Connection: X-A", b"Transfer-Encoding: chunked", b"X-A: 1", b"X-A:1", b"x-a: 1", b"X-Forwarded-For: a", b"A"),
    *(b"Max-Forwards: 3", b"Cookie: a=b", b"Set-Cookie: a=b", b"Upgrade: websocket", b"TE: trailers", b"A : b"),
]
"""Of every role, and some that are refused."""


def said(head: Http1RequestHead | Http1ResponseHead) -> object:
    section = head.section
    slots = [name for kind in type(section).__mro__ for name in getattr(kind, "__slots__", ())]
    own = [getattr(section, name) for name in slots if name not in ("_octets", "block", "field_lines")]
    return [(line.pair, line.role) for line in head.lines], section.fields, head.framing, head.upgrade, own


def parse(block: bytes, before: list[FieldLine]) -> Http1RequestHead | Http1ResponseHead:
    if block.startswith(b"HTTP"):
        return parse_response_head(block, LIMITS, b"GET", before)
    return parse_request_head(block, LIMITS, before)


def outcome(block: bytes, before: list[FieldLine]) -> object:
    try:
        return said(parse(block, before))
    except GatewayError as error:
        return error.reason, error.detail


@pytest.mark.parametrize("start", [b"OPTIONS / HTTP/1.1", b"HTTP/1.1 200 OK"])
@pytest.mark.parametrize("seed", range(20))
def test_what_a_head_says_does_not_depend_on_the_one_before(start: bytes, seed: int) -> None:
    chosen = random.Random(seed)
    before: list[FieldLine] = []
    same = 0
    for _ in range(100):
        lines = [b"Host: a", *chosen.sample(LINES, chosen.randrange(6))]
        block = b"\r\n".join([start, *lines, b"X-N: %d" % chosen.getrandbits(64), b"", b""])
        assert outcome(block, before) == outcome(block, [])
        with suppress(GatewayError):
            after = parse(block, before).lines
            same += sum(one is other for one, other in zip(before, after, strict=False))
            before = after
    assert same > 50


def test_what_an_idle_connection_keeps_of_its_last_head_is_bounded() -> None:
    fits = b"".join(b"X-%d: 1\r\n" % number for number in range(KEPT_LINES - 1))
    assert len(parse_request_head(request(fits), LIMITS).lines) == KEPT_LINES
    assert parse_request_head(request(fits + b"X-More: 1\r\n"), LIMITS).lines == []
    assert parse_request_head(request(b"X-Long: %b\r\n" % (b"a" * REMEMBERED_OCTETS)), LIMITS).lines == []
