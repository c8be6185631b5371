"""A request that two parsers could read differently is refused, and nothing of it reaches an app.

Each row of HARDENING's list: its status, `Connection: close`, a clean end, not one octet upstream; and whatever follows
in the same packet, made to look like a request of its own, is neither forwarded nor answered.
"""

from __future__ import annotations

import pytest

from tests.behaviour.harness import OK, App, Gateway, OpenGateway, answering, until

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: <app>\r\n\r\n"
"""`<app>` stands for the app's name, here and below."""


def _rows(status: int, *rows: tuple[str, bytes]) -> list[object]:
    return [pytest.param(status, octets, id=f"{status}-{name}") for name, octets in rows]


REFUSED = [
    *_rows(
        400,
        # Content-Length and Transfer-Encoding
        (
            "length-and-chunked",
            b"POST / HTTP/1.1\r\nHost: <app>\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            "chunked-and-length",
            b"POST / HTTP/1.1\r\nHost: <app>\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n",
        ),
        ("two-lengths", b"POST / HTTP/1.1\r\nHost: <app>\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n"),
        ("two-equal-lengths", b"POST / HTTP/1.1\r\nHost: <app>\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n"),
        ("two-lengths-of-0", b"POST / HTTP/1.1\r\nHost: <app>\r\nContent-Length: 0\r\ncontent-length: 0\r\n\r\n"),
        ("length-list", b"POST / HTTP/1.1\r\nHost: <app>\r\nContent-Length: 5, 5\r\n\r\n"),
        ("length-plus", b"POST / HTTP/1.1\r\nHost: <app>\r\nContent-Length: +5\r\n\r\n"),
        ("length-minus", b"POST / HTTP/1.1\r\nHost: <app>\r\nContent-Length: -1\r\n\r\n"),
        ("length-hex", b"POST / HTTP/1.1\r\nHost: <app>\r\nContent-Length: 0x5\r\n\r\n"),
        ("length-underscore", b"POST / HTTP/1.1\r\nHost: <app>\r\nContent-Length: 1_0\r\n\r\n"),
        ("length-empty", b"POST / HTTP/1.1\r\nHost: <app>\r\nContent-Length:\r\n\r\n"),
        ("length-leading-zero", b"POST / HTTP/1.1\r\nHost: <app>\r\nContent-Length: 010\r\n\r\n"),
        ("length-arabic-digits", b"POST / HTTP/1.1\r\nHost: <app>\r\nContent-Length: \xd9\xa5\r\n\r\n"),
        ("length-19-digits", b"POST / HTTP/1.1\r\nHost: <app>\r\nContent-Length: 1000000000000000000\r\n\r\n"),
        ("length-inner-space", b"POST / HTTP/1.1\r\nHost: <app>\r\nContent-Length: 1 0\r\n\r\n"),
        ("length-fraction", b"POST / HTTP/1.1\r\nHost: <app>\r\nContent-Length: 5.0\r\n\r\n"),
        (
            "two-codings",
            b"POST / HTTP/1.1\r\nHost: <app>\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("coding-empty", b"POST / HTTP/1.1\r\nHost: <app>\r\nTransfer-Encoding:\r\n\r\n"),
        ("coding-on-1.0", b"POST / HTTP/1.0\r\nHost: <app>\r\nTransfer-Encoding: chunked\r\n\r\n"),
        # lines
        ("obs-fold", b"GET / HTTP/1.1\r\nHost: <app>\r\nX-A: a\r\n b\r\n\r\n"),
        ("obs-fold-tab", b"GET / HTTP/1.1\r\nHost: <app>\r\nX-A: a\r\n\tb\r\n\r\n"),
        ("space-before-colon", b"GET / HTTP/1.1\r\nHost: <app>\r\nContent-Length : 0\r\n\r\n"),
        ("tab-before-colon", b"GET / HTTP/1.1\r\nHost: <app>\r\nX-A\t: 0\r\n\r\n"),
        ("space-before-first-field", b"GET / HTTP/1.1\r\n Host: <app>\r\nX-A: 0\r\n\r\n"),
        ("bare-lf-after-request-line", b"GET / HTTP/1.1\nHost: <app>\r\n\r\n"),
        ("bare-lf-after-field", b"GET / HTTP/1.1\r\nHost: <app>\nX-A: a\r\n\r\n"),
        ("bare-lf-for-all", b"GET / HTTP/1.1\nHost: <app>\n\n"),
        ("bare-lf-at-the-end", b"GET / HTTP/1.1\r\nHost: <app>\r\n\n"),
        ("bare-cr-in-value", b"GET / HTTP/1.1\r\nHost: <app>\r\nX-A: a\rX-B: b\r\n\r\n"),
        ("bare-cr-in-request-line", b"GET /\rx HTTP/1.1\r\nHost: <app>\r\n\r\n"),
        ("two-crs", b"GET / HTTP/1.1\r\r\nHost: <app>\r\n\r\n"),
        ("nul-in-value", b"GET / HTTP/1.1\r\nHost: <app>\r\nX-A: a\0b\r\n\r\n"),
        ("control-in-value", b"GET / HTTP/1.1\r\nHost: <app>\r\nX-A: a\x01b\r\n\r\n"),
        ("del-in-value", b"GET / HTTP/1.1\r\nHost: <app>\r\nX-A: a\x7fb\r\n\r\n"),
        ("empty-name", b"GET / HTTP/1.1\r\nHost: <app>\r\n: a\r\n\r\n"),
        ("name-with-space", b"GET / HTTP/1.1\r\nHost: <app>\r\nX A: a\r\n\r\n"),
        ("name-with-slash", b"GET / HTTP/1.1\r\nHost: <app>\r\nX/A: a\r\n\r\n"),
        ("name-with-obs-text", b"GET / HTTP/1.1\r\nHost: <app>\r\nX\xe4: a\r\n\r\n"),
        ("name-with-nul", b"GET / HTTP/1.1\r\nHost: <app>\r\nX\0A: a\r\n\r\n"),
        ("no-colon", b"GET / HTTP/1.1\r\nHost: <app>\r\nX-A\r\n\r\n"),
        ("two-leading-empty-lines", b"\r\n\r\nGET / HTTP/1.1\r\nHost: <app>\r\n\r\n"),
        # Host
        ("no-host", b"GET / HTTP/1.1\r\nX-A: a\r\n\r\n"),
        ("no-fields", b"GET / HTTP/1.1\r\n\r\n"),
        ("no-host-on-1.0", b"GET / HTTP/1.0\r\n\r\n"),
        ("two-hosts", b"GET / HTTP/1.1\r\nHost: <app>\r\nHost: other.example\r\n\r\n"),
        ("two-equal-hosts", b"GET / HTTP/1.1\r\nHost: <app>\r\nhost: <app>\r\n\r\n"),
        ("empty-host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
        ("host-with-userinfo", b"GET / HTTP/1.1\r\nHost: me@<app>\r\n\r\n"),
        ("host-with-path", b"GET / HTTP/1.1\r\nHost: <app>/x\r\n\r\n"),
        ("host-with-comma", b"GET / HTTP/1.1\r\nHost: <app>, other.example\r\n\r\n"),
        ("host-with-space", b"GET / HTTP/1.1\r\nHost: <app> x\r\n\r\n"),
        ("host-with-two-ports", b"GET / HTTP/1.1\r\nHost: <app>:80:80\r\n\r\n"),
        # the request line
        ("absolute-form-of-another-host", b"GET http://other.example/ HTTP/1.1\r\nHost: <app>\r\n\r\n"),
        ("absolute-form-of-another-port", b"GET http://<app>:81/ HTTP/1.1\r\nHost: <app>\r\n\r\n"),
        ("absolute-form-with-userinfo", b"GET http://me@<app>/ HTTP/1.1\r\nHost: <app>\r\n\r\n"),
        ("absolute-form-of-another-scheme", b"GET ftp://<app>/ HTTP/1.1\r\nHost: <app>\r\n\r\n"),
        ("target-without-slash", b"GET index.html HTTP/1.1\r\nHost: <app>\r\n\r\n"),
        ("star-for-get", b"GET * HTTP/1.1\r\nHost: <app>\r\n\r\n"),
        ("fragment-in-target", b"GET /#x HTTP/1.1\r\nHost: <app>\r\n\r\n"),
        ("space-in-target", b"GET /a b HTTP/1.1\r\nHost: <app>\r\n\r\n"),
        ("tab-in-target", b"GET /a\tb HTTP/1.1\r\nHost: <app>\r\n\r\n"),
        ("control-in-target", b"GET /\x01 HTTP/1.1\r\nHost: <app>\r\n\r\n"),
        ("nul-in-target", b"GET /\0 HTTP/1.1\r\nHost: <app>\r\n\r\n"),
        ("obs-text-in-target", b"GET /\xc3\xa4 HTTP/1.1\r\nHost: <app>\r\n\r\n"),
        ("two-spaces", b"GET  / HTTP/1.1\r\nHost: <app>\r\n\r\n"),
        ("space-at-the-end", b"GET / HTTP/1.1 \r\nHost: <app>\r\n\r\n"),
        ("space-at-the-beginning", b" GET / HTTP/1.1\r\nHost: <app>\r\n\r\n"),
        ("tabs-for-spaces", b"GET\t/\tHTTP/1.1\r\nHost: <app>\r\n\r\n"),
        ("no-version", b"GET /\r\nHost: <app>\r\n\r\n"),
        ("version-in-lower-case", b"GET / http/1.1\r\nHost: <app>\r\n\r\n"),
        ("another-protocol", b"GET / RTSP/1.1\r\nHost: <app>\r\n\r\n"),
        ("tls-on-a-plain-port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n"),
    ),
    *_rows(
        505,
        ("version-0.9", b"GET / HTTP/0.9\r\nHost: <app>\r\n\r\n"),
        ("version-1.10", b"GET / HTTP/1.10\r\nHost: <app>\r\n\r\n"),
        ("version-1.2", b"GET / HTTP/1.2\r\nHost: <app>\r\n\r\n"),
        ("version-2.0", b"GET / HTTP/2.0\r\nHost: <app>\r\n\r\n"),
        ("version-9.9", b"GET / HTTP/9.9\r\nHost: <app>\r\n\r\n"),
    ),
    *_rows(
        501,
        ("coding-gzip-chunked", b"POST / HTTP/1.1\r\nHost: <app>\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
        ("coding-chunked-gzip", b"POST / HTTP/1.1\r\nHost: <app>\r\nTransfer-Encoding: chunked, gzip\r\n\r\n"),
        ("coding-twice-in-one", b"POST / HTTP/1.1\r\nHost: <app>\r\nTransfer-Encoding: chunked, chunked\r\n\r\n"),
        ("coding-identity", b"POST / HTTP/1.1\r\nHost: <app>\r\nTransfer-Encoding: identity\r\n\r\n"),
        ("coding-x-chunked", b"POST / HTTP/1.1\r\nHost: <app>\r\nTransfer-Encoding: xchunked\r\n\r\n"),
        ("coding-with-parameter", b"POST / HTTP/1.1\r\nHost: <app>\r\nTransfer-Encoding: chunked;q=1\r\n\r\n"),
        ("coding-quoted", b'POST / HTTP/1.1\r\nHost: <app>\r\nTransfer-Encoding: "chunked"\r\n\r\n'),
        ("method-of-129-octets", b"G" * 129 + b" / HTTP/1.1\r\nHost: <app>\r\n\r\n"),
    ),
    *_rows(
        405,
        ("connect", b"CONNECT <app>:443 HTTP/1.1\r\nHost: <app>:443\r\n\r\n"),
        ("trace", b"TRACE / HTTP/1.1\r\nHost: <app>\r\n\r\n"),
        ("trace-in-lower-case", b"trace / HTTP/1.1\r\nHost: <app>\r\n\r\n"),
        ("pri", b"PRI / HTTP/1.1\r\nHost: <app>\r\n\r\n"),
    ),
    *_rows(417, ("expect-more", b"POST / HTTP/1.1\r\nHost: <app>\r\nContent-Length: 4\r\nExpect: 200-ok\r\n\r\n")),
    *_rows(414, ("target-over-8-KiB", b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\nHost: <app>\r\n\r\n")),
    *_rows(
        431,
        ("field-over-8-KiB", b"GET / HTTP/1.1\r\nHost: <app>\r\nX-A: " + b"a" * 8192 + b"\r\n\r\n"),
        ("101-fields", b"GET / HTTP/1.1\r\nHost: <app>\r\n" + b"X-A: a\r\n" * 100 + b"\r\n"),
        ("head-over-32-KiB", b"GET / HTTP/1.1\r\nHost: <app>\r\n" + (b"X-A: " + b"a" * 4000 + b"\r\n") * 9 + b"\r\n"),
    ),
]


async def _refused(gateway: Gateway, app: App, octets: bytes, status: int) -> None:
    browser = await gateway.connect()
    browser.send(octets)
    answer = await browser.answer()
    assert (answer.status, answer.get(b"Connection")) == (status, b"close"), answer
    assert answer.reason is not None
    assert await browser.eof() == b""
    assert app.connections == []
    assert [record.status for record in gateway.log] == [status]


@pytest.mark.parametrize(("status", "octets"), REFUSED)
async def test_refused_unread(gateway: Gateway, status: int, octets: bytes) -> None:
    app = await gateway.app(answering(OK))
    await _refused(gateway, app, (octets + SMUGGLED).replace(b"<app>", app.host), status)


@pytest.mark.parametrize(("status", "octets"), REFUSED)
async def test_refused_unread_when_octets_trickle_in(gateway: Gateway, status: int, octets: bytes) -> None:
    """A head is judged the same however it is cut; only what can no longer become valid is refused early."""
    app = await gateway.app(answering(OK))
    browser = await gateway.connect()
    whole = (octets + SMUGGLED).replace(b"<app>", app.host)
    piece = 1 + len(whole) // 8
    for begin in range(0, len(whole), piece):
        browser.send(whole[begin : begin + piece])
        await gateway.settled()
    answer = await browser.answer()
    assert (answer.status, answer.get(b"Connection")) == (status, b"close"), answer
    assert await browser.eof() == b""
    assert app.connections == []


NOT_ABOUT_THE_HEAD = [
    pytest.param(b"zz\r\n", id="size-not-hexadecimal"),
    pytest.param(b"-1\r\n", id="size-negative"),
    pytest.param(b"+1\r\na\r\n0\r\n\r\n", id="size-plus"),
    pytest.param(b"0x1\r\na\r\n0\r\n\r\n", id="size-0x"),
    pytest.param(b"1_0\r\n", id="size-underscore"),
    pytest.param(b" 1\r\na\r\n0\r\n\r\n", id="size-leading-space"),
    pytest.param(b"\r\na\r\n0\r\n\r\n", id="size-missing"),
    pytest.param(b"00000000000000001\r\na\r\n0\r\n\r\n", id="size-17-digits"),
    pytest.param(b"1" + b" " * 300 + b"\r\na\r\n0\r\n\r\n", id="size-line-long"),
    pytest.param(b"1;" + b"x" * 300 + b"\r\na\r\n0\r\n\r\n", id="extension-long"),
    pytest.param(b"1;a\nb\r\na\r\n0\r\n\r\n", id="extension-with-bare-lf"),
    pytest.param(b"1;a\rb\r\na\r\n0\r\n\r\n", id="extension-with-bare-cr"),
    pytest.param(b"1\na\r\n0\r\n\r\n", id="size-line-bare-lf"),
    pytest.param(b"1\r\na\n0\r\n\r\n", id="data-ends-in-bare-lf"),
    pytest.param(b"1\r\nabc\r\n0\r\n\r\n", id="data-longer-than-size"),
    pytest.param(b"5\r\na\r\n0\r\n\r\nGET / ", id="data-shorter-than-size"),
    pytest.param(b"0\r\nX-A: a\nX-B: b\r\n\r\n", id="trailer-bare-lf"),
    pytest.param(b"0\r\nX-A : a\r\n\r\n", id="trailer-space-before-colon"),
    pytest.param(b"0\r\nX-A: a\r\n b\r\n\r\n", id="trailer-folded"),
    pytest.param(b"0\r\nX-A: a\0\r\n\r\n", id="trailer-with-nul"),
    pytest.param(b"0\r\nX-A: a\x01\r\n\r\n", id="trailer-with-control"),
    pytest.param(b"0\r\nX-A: a\x7f\r\n\r\n", id="trailer-with-del"),
    pytest.param(b"0\r\n" + b"X-A: a\r\n" * 101 + b"\r\n", id="101-trailers"),
    pytest.param(b"0\r\n" + (b"X-A: " + b"a" * 8000 + b"\r\n") * 5 + b"\r\n", id="trailers-over-32-KiB"),
]


@pytest.mark.parametrize("body", NOT_ABOUT_THE_HEAD)
async def test_a_body_that_breaks_its_framing(gateway: Gateway, body: bytes) -> None:
    """The app sees its request broken off, not ended; the connection to it is not used again."""
    app = await gateway.app()
    browser = await gateway.connect()
    head = b"POST / HTTP/1.1\r\nHost: <app>\r\nTransfer-Encoding: chunked\r\n\r\n"
    browser.send((head + body + SMUGGLED).replace(b"<app>", app.host))
    answer = await browser.answer()
    assert (answer.status, answer.reason, answer.get(b"Connection")) == (400, b"bad_request", b"close")
    assert await browser.eof() == b""
    upstream = await app.accept()
    received = await upstream.ended()
    assert b"0\r\n\r\n" not in received
    assert b"smuggled" not in received
    await until(lambda: not gateway.edge.pool.connections, "the broken-off connection is closed")
    assert len(app.connections) == 1


async def test_a_body_shorter_than_declared(gateway: Gateway) -> None:
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 10\r\n\r\n12345" % app.host)
    upstream = await app.accept()
    assert (await upstream.head()).endswith(b"\r\n\r\n")
    assert await upstream.read(5) == b"12345"
    browser.half_close()
    assert await upstream.ended() == b""
    assert not gateway.edge.pool.connections


async def test_chunked_in_any_case_is_one_coding(gateway: Gateway) -> None:
    app = await gateway.app(answering(OK))
    browser = await gateway.connect()
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\n\r\n" % app.host)
    assert (await browser.answer()).status == 200
    assert app.received.endswith(b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n")


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"DELETE"])
async def test_a_body_on_a_method_that_needs_none_is_framed(gateway: Gateway, method: bytes) -> None:
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(b"%b / HTTP/1.1\r\nHost: %b\r\nContent-Length: 35\r\n\r\n" % (method, app.host))
    browser.send(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    upstream = await app.accept()
    request = await upstream.request()
    assert (request.start, request.get(b"Content-Length")) == (method + b" / HTTP/1.1", b"35")
    assert request.body == b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert (await browser.answer()).status == 204
    await gateway.settled()
    assert upstream.unread == 0


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_the_answer_survives_what_follows_the_refused_request(gateway: Gateway, tls: bool) -> None:
    """Octets that nobody reads would reset the connection, and the reset would overtake the answer."""
    browser = await gateway.connect(tls=tls)
    browser.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + bytes(1024 * 1024))
    answer = await browser.answer()
    assert (answer.status, answer.reason) == (400, b"bad_request")
    assert await browser.eof() == b""


async def test_a_flood_after_a_refused_request_is_not_read_for_ever(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(timeouts={"linger": 30.0})
    browser = await gateway.connect()
    browser.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    assert (await browser.answer()).status == 400
    sent = 0
    while not browser.closed and sent < 64 * 1024 * 1024:
        browser.send(bytes(256 * 1024))
        sent += 256 * 1024
        await browser.wait(lambda: browser.writable or browser.closed, "the flood is read or refused")
    assert browser.end
    await until(lambda: not gateway.edge.connections, "the flooded connection is cut off")


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET / HTTP/1.1\r\nHost: <app>\r\r\n",
        b"GET / HTTP/1.1\r\nHost: <app>\r\nX: a\r\r",
        b"GET / HTTP/1.1\r\r\n",
        b"\r\r",
        b"GET / HTTP/1.1\r\nHost: <app>\r\nX: a\r\n b",
        b"POST / HTTP/1.1\r\nHost: <app>\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: a\r\r\n",
        b"POST / HTTP/1.1\r\nHost: <app>\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\r",
    ],
)
async def test_what_can_never_become_valid_is_not_waited_for(gateway: Gateway, beginning: bytes) -> None:
    """The rest never comes, and the deadline of a head (10 s) is further away than a test waits."""
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(beginning.replace(b"<app>", app.host))
    assert (await browser.answer()).status == 400
    assert await browser.eof() == b""
