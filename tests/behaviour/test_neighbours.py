"""What an app says reaches no neighbour of its, by whatever kind of answer and in whatever field section it is said.

The grammar of a cookie is in unit/edge/test_cookies.py, what clients make of it in interop/test_cookie_jars.py.
"""

from __future__ import annotations

import pytest

from tests.behaviour.harness import DOMAIN, App, Gateway, Wire

COOKIE = b"Set-Cookie: a=b; Domain=%b; Path=/\r\n" % DOMAIN.encode()
CONFINED = b"Set-Cookie: a=b; Path=/\r\n"
NO_FURTHER = [
    b'Alt-Svc: h3=":443"; ma=86400',
    b'ALT-SVC: h2="8000-b.%b:443"' % DOMAIN.encode(),
    b"alt_svc: clear",
    b"Alternate-Protocol: 443:quic",
    b'Set-Cookie2: a=b; Version="1"; Domain=".%b"' % DOMAIN.encode(),
    b"Set_Cookie: a=b; Domain=%b" % DOMAIN.encode(),
    b'Clear-Site-Data: "cookies"',
    b'X-Gateway-Error: "x"',
]
GET = b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n"
EXPECTING = b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
UPGRADING = b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

ANSWERS = [
    # a request, and what is answered; %b is where fields stand
    (GET, b"HTTP/1.1 200 OK\r\n%bContent-Length: 0\r\n\r\n"),
    (GET, b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (GET, b"HTTP/1.0 200 OK\r\n%bConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"),
    (GET, b"HTTP/1.1 204 No Content\r\n%b\r\n"),
    (GET, b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n%b\r\n"),
    (GET, b"HTTP/1.1 302 Found\r\nLocation: /\r\n%bContent-Length: 0\r\n\r\n"),
    (GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n%b\r\n"),
    (GET, b"HTTP/1.1 403 Forbidden\r\n%bContent-Length: 19\r\n\r\nInvalid Host header"),
    (GET, b"HTTP/1.1 502 Bad Gateway\r\n%bContent-Length: 0\r\n\r\n"),
    (GET, b"HTTP/1.1 102 Processing\r\n%b\r\n" + OK),
    (GET, b"HTTP/1.1 103 Early Hints\r\n%b\r\n" + OK),
    (GET, b"HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\n%b\r\n" + OK),
    (GET, b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 199 Odd\r\n%b\r\n" + OK),
    (EXPECTING, b"HTTP/1.1 100 Continue\r\n%b\r\n" + OK),
    (UPGRADING, b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%b\r\n"),
    (UPGRADING, b"HTTP/1.1 401 Unauthorized\r\n%bContent-Length: 0\r\n\r\n"),
]
TRAILERS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n%bX-Last: 1\r\n\r\n"


@pytest.fixture
async def app(gateway: Gateway) -> App:
    return await gateway.app()


async def answered(gateway: Gateway, app: App, request: bytes, answer: bytes) -> bytes:
    """All that comes of it."""
    browser = await gateway.connect()
    browser.send(request % app.host)
    upstream: Wire = await app.accept()
    await upstream.head()
    upstream.send(answer)
    upstream.half_close()
    browser.half_close()
    received = await browser.ended()
    if answer.startswith(b"HTTP/1.1 403 "):
        gateway.expect_complaint("refused its public name")
    return received


@pytest.mark.parametrize(("request_", "answer"), ANSWERS)
async def test_a_cookie_is_confined_in_every_head(gateway: Gateway, app: App, request_: bytes, answer: bytes) -> None:
    received = await answered(gateway, app, request_, answer % COOKIE)
    assert CONFINED in received
    assert b"Domain=" not in received


@pytest.mark.parametrize("field", NO_FURTHER)
@pytest.mark.parametrize(("request_", "answer"), ANSWERS)
async def test_what_goes_no_further(gateway: Gateway, app: App, request_: bytes, answer: bytes, field: bytes) -> None:
    received = await answered(gateway, app, request_, answer % (field + b"\r\nX-Stays: 1\r\n"))
    assert b"X-Stays: 1\r\n" in received
    assert field.partition(b":")[0].lower() + b":" not in received.lower()


@pytest.mark.parametrize("field", [COOKIE.strip(), b'Clear-Site-Data: "storage"', *NO_FURTHER])
async def test_none_of_it_comes_in_trailers(gateway: Gateway, app: App, field: bytes) -> None:
    received = await answered(gateway, app, GET, TRAILERS % (field + b"\r\n"))
    assert received.endswith(b"0\r\nX-Last: 1\r\n\r\n")
    assert field.partition(b":")[0].lower() + b":" not in received.lower()


async def test_cookies_of_one_s_own_pass_as_they_are(gateway: Gateway, app: App) -> None:
    fields = b'Set-Cookie: a=b; Domain=%b;Path=/ ;;x\r\nClear-Site-Data: "storage"\r\n' % app.host
    received = await answered(gateway, app, GET, ANSWERS[0][1] % fields)
    assert fields in received


@pytest.mark.parametrize("spelled", [b"Set-Cookie : ", b"set-cookie\t: ", b"SET-COOKIE:"])
async def test_a_cookie_is_one_however_its_line_is_spelled(gateway: Gateway, app: App, spelled: bytes) -> None:
    received = await answered(gateway, app, GET, ANSWERS[0][1] % COOKIE.replace(b"Set-Cookie: ", spelled))
    assert b"Domain=" not in received
    assert b": a=b; Path=/\r\n" in received
