"""What a connection begins with, in whatever pieces it comes."""

from __future__ import annotations

import pytest

from gateway.errors import GatewayError, Reason
from gateway.http.greeting import MAX_LINE, PROXY_V2, Greeting, detect, explained, proxy_version

HTTP = [
    b"GET / HTTP/1.1\r\n",
    b"\r\nGET / HTTP/1.0\r\n",
    b"GET / HTTP/1.1\n",
    b"PRI * HTTP/2.0\r\n",
    b"X a b HTTP/1.1\r\n",
]
PROXY = [b"PROXY TCP4 ", b"PROXY TCP6 ::1 ::1 1 2\r\n", b"PROXY UNKNOWN\r\n", PROXY_V2, PROXY_V2 + b"\x21\x11\0\x0c"]
OTHER = [b"SSH-2.0-x\r\n", b"PING\r\n", b"EHLO a.example\r\n", b"GET /\r\n", b"\0", b"\x80\x2e\x01\x03", b"\r\n\r\nGET"]


@pytest.mark.parametrize(
    ("octets", "greeting"),
    [
        *((octets, Greeting.HTTP) for octets in HTTP),
        *((octets, Greeting.PROXY) for octets in PROXY),
        *((octets, Greeting.OTHER) for octets in OTHER),
    ],
)
def test_it_is_told_as_soon_as_it_can_be_and_not_before(octets: bytes, greeting: Greeting) -> None:
    detected = [detect(octets[:end]) for end in range(1, len(octets) + 1)]
    assert detected[-1] is greeting
    assert set(detected) <= {Greeting.UNDECIDED, greeting}


def test_a_line_has_an_end_or_is_none() -> None:
    longest = b"GET /" + b"a" * (8 * 1024 - 1) + b" HTTP/1.1\r\n"
    assert detect(longest) is Greeting.HTTP
    assert detect(b"a" * (MAX_LINE - 1)) is Greeting.UNDECIDED
    assert detect(b"a" * MAX_LINE) is Greeting.OTHER


@pytest.mark.parametrize(
    ("octets", "version"),
    [(b"PROXY TCP4 a", 1), (PROXY_V2, 2), (PROXY_V2[2:], 2), (b"PROXY / HTTP/1.1", 0), (b"PROXY TCP44", 0), (b"", 0)],
)
def test_a_proxy_header_is_named(octets: bytes, version: int) -> None:
    error = GatewayError(Reason.BAD_REQUEST, "what else is wrong with it")
    named = explained(octets, error)
    assert proxy_version(octets) == version
    assert (named is error) == (version == 0)
    if version:
        assert named.reason is Reason.UNEXPECTED_PROXY_HEADER
        assert f"version {version}" in named.detail
