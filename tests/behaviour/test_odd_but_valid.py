"""What hardly anybody sends and RFC 9110 and 9112 allow, or ask an intermediary to cope with: it passes as it should.

Three tables, each row with the section it is taken from and, last, what became of it before this page was written
where that was wrong. `<app>` stands for the app's name, `<APP>` for the same in capitals. Over plain connections and
TLS, through real listeners, to an app that is a socket in the hands of the test.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.behaviour.harness import OK, App, Gateway, Message

BOTH = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
GET = b"GET / HTTP/1.1\r\nHost: <app>\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Row:
    """One message, and what the other side reads of it."""

    section: str
    """Of RFC 9110 or 9112."""
    what: str
    sent: bytes
    lines: tuple[bytes, ...] = ()
    """Start line and field lines, each of which comes exactly once."""
    gone: tuple[bytes, ...] = ()
    """Names of fields that do not come."""
    body: bytes = b""
    trailers: bytes = b""
    before: str = ""
    """What was wrong."""
    asked: bytes = GET
    """The request that an answer is for."""

    def check(self, message: Message, app: App) -> None:
        came = message.head.split(b"\r\n")
        for line in self.lines:
            assert came.count(named(line, app)) == 1, (line, message)
        names = {line.partition(b":")[0].lower() for line in came[1:]}
        assert not names.intersection(self.gone), message
        assert (message.body, message.trailers) == (self.body, self.trailers)


def named(octets: bytes, app: App) -> bytes:
    return octets.replace(b"<app>", app.host).replace(b"<APP>", app.host.upper())


def rows(*table: Row) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", [pytest.param(row, id=f"{row.section} {row.what}") for row in table])


def request(fields: bytes = b"", line: bytes = b"GET / HTTP/1.1", body: bytes = b"") -> bytes:
    return line + b"\r\nHost: <app>\r\n" + fields + b"\r\n" + body


def answer(fields: bytes = b"Content-Length: 2\r\n", line: bytes = b"HTTP/1.1 200 OK", body: bytes = b"ok") -> bytes:
    return line + b"\r\n" + fields + b"\r\n" + body


# --- requests ------------------------------------------------------------------------------------------------------

TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@BOTH
@rows(
    Row(
        "9110-9.1",
        "method with underscores",
        request(line=b"RDG_OUT_DATA / HTTP/1.1"),
        (b"RDG_OUT_DATA / HTTP/1.1",),
        before="501",
    ),
    Row("9110-9.1", "method in small letters", request(line=b"patch / HTTP/1.1"), (b"patch / HTTP/1.1",), before="501"),
    Row(
        "9110-9.1",
        "method of all there is",
        request(line=TOKEN + b" / HTTP/1.1"),
        (TOKEN + b" / HTTP/1.1",),
        before="501",
    ),
    Row("9110-9.1", "method of an extension", request(line=b"M-SEARCH / HTTP/1.1"), (b"M-SEARCH / HTTP/1.1",)),
)
async def test_a_request_that_reaches_the_app(gateway: Gateway, row: Row, tls: bool) -> None:
    app = await gateway.app()
    browser = await gateway.connect(tls=tls)
    browser.send(named(row.sent, app))
    upstream = await app.accept()
    row.check(await upstream.request(), app)
    upstream.send(OK)
    assert (await browser.answer()).status == 200
    await gateway.settled()
    assert upstream.unread == 0


# --- answers -------------------------------------------------------------------------------------------------------

CHUNKED = b"Transfer-Encoding: chunked\r\n"


@BOTH
@rows(
    Row(
        "9112-5.1",
        "space before a colon",
        answer(b"X-Note : 1\r\nContent-Length: 2\r\n"),
        (b"X-Note: 1",),
        body=b"ok",
        before="502",
    ),
    Row(
        "9112-5.1",
        "tabs before a colon",
        answer(b"X-Note\t \t:1\r\nContent-Length: 2\r\n"),
        (b"X-Note: 1",),
        body=b"ok",
        before="502",
    ),
    Row(
        "9112-5.1",
        "space before a colon in a trailer",
        answer(CHUNKED, body=b"2\r\nok\r\n0\r\nX-Sum : 1\r\n\r\n"),
        body=b"ok",
        trailers=b"X-Sum: 1\r\n",
        before="cut off",
    ),
)
async def test_an_answer_that_reaches_the_browser(gateway: Gateway, row: Row, tls: bool) -> None:
    app = await gateway.app()
    browser = await gateway.connect(tls=tls)
    browser.send(named(row.asked, app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(row.sent)
    if not (b"Content-Length" in row.sent or CHUNKED in row.sent):
        upstream.half_close()
    row.check(await browser.answer(row.asked.partition(b" ")[0]), app)


# --- what is for the gateway to answer -----------------------------------------------------------------------------


@BOTH
@rows(
    Row(
        "9110-7.6.2",
        "last hop",
        request(b"Max-Forwards: 0\r\n", b"OPTIONS / HTTP/1.1"),
        (b"HTTP/1.1 200 OK", b"Content-Length: 0", b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        before="forwarded",
    ),
    Row(
        "9110-7.6.2",
        "last hop for all of it",
        request(b"Max-Forwards: 00\r\n", b"OPTIONS * HTTP/1.1"),
        (b"HTTP/1.1 200 OK", b"Content-Length: 0"),
        before="forwarded",
    ),
    Row("9110-9.3.6", "CONNECT", request(line=b"CONNECT <app>:443 HTTP/1.1"), (b"HTTP/1.1 405 Method Not Allowed",)),
)
async def test_what_the_gateway_answers_itself(gateway: Gateway, row: Row, tls: bool) -> None:
    app = await gateway.app()
    browser = await gateway.connect(tls=tls)
    browser.send(named(row.sent, app))
    reply = await browser.answer()
    reply.body = b""  # the page's own tests look at it
    row.check(reply, app)
    assert app.connections == []
