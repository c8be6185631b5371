"""The fields of a request are shown as they were received, in the words of the version of HTTP that it came by."""

from __future__ import annotations

from gateway.http.h2.fields import request_head
from gateway.http.head_parser import HeadLimits, parse_request_head
from gateway.inspector.views import request_fields
from tests.support.field_lines import decoded

OF_HTTP2 = [(b":method", b"POST"), (b":path", b"/a"), (b":authority", b"5000-box.example"), (b":scheme", b"https")]


def test_over_http1() -> None:
    head = parse_request_head(b"GET / HTTP/1.1\r\nX-One: 1\r\nHost: 5000-box.example\r\n\r\n", HeadLimits())
    assert request_fields(head) == [(b"Host", b"5000-box.example"), (b"X-One", b"1")]


def test_over_http2() -> None:
    fields = [*OF_HTTP2, (b"te", b"trailers"), (b"x-one", b"1")]
    head = request_head(decoded(fields), ended=True, limits=HeadLimits(), octets=100)
    assert request_fields(head) == [(b":authority", b"5000-box.example"), (b"x-one", b"1"), (b"te", b"trailers")]


def test_a_websocket_over_http2() -> None:
    """Not as the handshake of HTTP/1.1 that the app gets, with a key that the gateway has made."""
    asked = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *OF_HTTP2[1:], (b"sec-websocket-version", b"13")]
    head = request_head(decoded(asked), ended=False, limits=HeadLimits(), octets=100)
    assert request_fields(head) == [
        (b":method", b"CONNECT"),
        (b":protocol", b"websocket"),
        (b":authority", b"5000-box.example"),
        (b"sec-websocket-version", b"13"),
    ]
