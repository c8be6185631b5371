"""What hardly anybody sends and RFC 9110 and 9112 allow, or ask an intermediary to cope with: it passes as it should.

Three tables, each row with the section it is taken from and, in `before`, what became of it before this page was
written where that was wrong (27 of 106). `<app>` stands for the app's name, `<APP>` for the same in capitals. Over plain
connections and TLS, through real listeners, to an app that is a socket in the hands of the test. The Date that answers
get (9110 section 6.6.1) is test_date's.
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
    """Start line and field lines, each of which comes exactly once; or several, as they follow each other."""
    gone: tuple[bytes, ...] = ()
    """Names of fields that do not come."""
    body: bytes = b""
    trailers: bytes = b""
    before: str = ""
    """What was wrong."""
    asked: bytes = GET
    """The request that an answer is for."""
    interim: tuple[bytes, ...] = ()
    """Status lines of what comes before an answer."""

    def check(self, message: Message, app: App) -> None:
        came = b"\r\n" + message.head
        for line in self.lines:
            assert came.count(b"\r\n%b\r\n" % named(line, app)) == 1, (line, message)
        names = {name.lower() for name, _ in message.fields}
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


CHUNKED = b"Transfer-Encoding: chunked\r\n"
HEAD = request(line=b"HEAD / HTTP/1.1")
ALLOW = b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


# --- requests ------------------------------------------------------------------------------------------------------

TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@BOTH
@rows(
    # --- 9110: semantics
    Row(
        "9110-4.2.3",
        "octets of a target as they came",
        request(line=b"GET /%7Ea/%2e%2E//b;c?%23&&d HTTP/1.1"),
        (b"GET /%7Ea/%2e%2E//b;c?%23&&d HTTP/1.1",),
    ),
    Row(
        "9110-5.1",
        "names in any letter case",
        b"GET / HTTP/1.1\r\nhOST: <app>\r\nUSER-agent: x\r\n\r\n",
        (b"Host: <app>", b"USER-agent: x"),
    ),
    Row("9110-5.1", "name nobody knows, of all that a token may have", request(TOKEN + b": 1\r\n"), (TOKEN + b": 1",)),
    Row(
        "9110-5.3",
        "lines of one name in their order",
        request(b"X-A: 1\r\nX-B: 2\r\nx-a: 3\r\nX-A: 4, 5\r\n"),
        (b"X-A: 1\r\nX-B: 2\r\nx-a: 3\r\nX-A: 4, 5",),
    ),
    Row(
        "9110-5.5",
        "obs-text and tabs in a value",
        request(b"X-A: \xe4\xf6\tx\x80\xff\r\n"),
        (b"X-A: \xe4\xf6\tx\x80\xff",),
    ),
    Row("9110-5.5", "empty value", request(b"X-A:\r\nX-B: \t \r\n"), (b"X-A: ", b"X-B: ")),
    Row(
        "9110-5.6.1",
        "empty members of Connection",
        request(b"Connection: , ,X-Hop,,\r\nX-Hop: 1\r\nX-A: 1\r\n"),
        (b"X-A: 1",),
        (b"x-hop", b"connection"),
    ),
    Row(
        "9110-5.6.4",
        "quoted strings as they came",
        request(b'X-A: "a, \\"b\\", \\\\", c\r\n'),
        (b'X-A: "a, \\"b\\", \\\\", c',),
    ),
    Row(
        "9110-6.5",
        "trailer section of a request",
        request(CHUNKED + b"Trailer: X-Sum\r\n", b"POST / HTTP/1.1", b"2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n"),
        (b"Trailer: X-Sum",),
        body=b"ab",
        trailers=b"X-Sum: 1\r\n",
    ),
    Row(
        "9110-6.6.1",
        "Date of a request",
        request(b"Date: Sunday, 06-Nov-94 08:49:37 GMT\r\n"),
        (b"Date: Sunday, 06-Nov-94 08:49:37 GMT",),
    ),
    Row(
        "9110-7.2",
        "Host behind other fields",
        b"GET / HTTP/1.1\r\nX-A: 1\r\nHost: <app>\r\n\r\n",
        (b"Host: <app>", b"X-A: 1"),
    ),
    Row(
        "9110-7.2",
        "Host in capitals, with the dot of the root and a port",
        b"GET / HTTP/1.1\r\nHost: <APP>.:0080\r\n\r\n",
        (b"Host: <APP>.:0080", b"X-Forwarded-Port: 80"),
        before="X-Forwarded-Port: 0080",
    ),
    Row(
        "9110-7.6.1",
        "what Connection names",
        request(
            b"Connection: x-HOP\r\nConnection: Keep-Alive, x-other\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-A: 1\r\n"
        ),
        (b"X-A: 1",),
        (b"x-hop", b"keep-alive", b"connection"),
    ),
    Row(
        "9110-7.6.1",
        "what Connection names and is not there",
        request(b"Connection: x-hop\r\nX-A: 1\r\n"),
        (b"X-A: 1",),
        (b"connection",),
    ),
    Row("9110-7.6.1", "Proxy-Connection", request(b"Proxy-Connection: keep-alive\r\n"), gone=(b"proxy-connection",)),
    Row(
        "9110-7.6.2",
        "Max-Forwards of OPTIONS",
        request(b"Max-Forwards: 5\r\n", b"OPTIONS / HTTP/1.1"),
        (b"Max-Forwards: 4",),
        before="5",
    ),
    Row(
        "9110-7.6.2",
        "Max-Forwards with zeros before it",
        request(b"max-forwards: 0010\r\n", b"OPTIONS / HTTP/1.1"),
        (b"max-forwards: 9",),
        before="0010",
    ),
    Row(
        "9110-7.6.2",
        "Max-Forwards beyond all numbers",
        request(b"Max-Forwards: 9%b\r\n" % (b"0" * 4400), b"OPTIONS * HTTP/1.1"),
        (b"OPTIONS * HTTP/1.1", b"Max-Forwards: 999999999"),
        before="as it came",
    ),
    Row("9110-7.6.2", "Max-Forwards of another method", request(b"Max-Forwards: 0\r\n"), (b"Max-Forwards: 0",)),
    Row(
        "9110-7.6.3",
        "Via gets one more",
        request(b"Via: 1.0 fred, 1.1 p.example (Apache/1.1)\r\n"),
        (b"Via: 1.0 fred, 1.1 p.example (Apache/1.1), 1.1 gateway",),
    ),
    Row("9110-7.8", "Upgrade that Connection does not name", request(b"Upgrade: foo\r\n"), gone=(b"upgrade",)),
    Row(
        "9110-7.8",
        "Upgrade of HTTP/1.0",
        request(b"Connection: upgrade\r\nUpgrade: foo\r\n", b"GET / HTTP/1.0"),
        gone=(b"upgrade",),
    ),
    Row(
        "9110-7.8",
        "Upgrade with several protocols",
        request(b"Connection: upgrade\r\nUpgrade: websocket, foo/2\r\n"),
        (b"Upgrade: websocket, foo/2", b"Connection: Upgrade"),
        before="dropped",
    ),
    Row(
        "9110-8.4",
        "coding nobody knows",
        request(b"Content-Encoding: x-snappy\r\nContent-Length: 2\r\n", b"POST / HTTP/1.1", b"ab"),
        (b"Content-Encoding: x-snappy",),
        body=b"ab",
    ),
    Row("9110-8.6", "Content-Length: 0 of a GET", request(b"Content-Length: 0\r\n"), (b"Content-Length: 0",)),
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
        "method of all that a token may have",
        request(line=TOKEN + b" / HTTP/1.1"),
        (TOKEN + b" / HTTP/1.1",),
        before="501",
    ),
    Row("9110-9.1", "method of an extension", request(line=b"M-SEARCH / HTTP/1.1"), (b"M-SEARCH / HTTP/1.1",)),
    Row(
        "9110-9.3.1",
        "GET with content",
        request(b"Content-Length: 2\r\n", body=b"ab"),
        (b"Content-Length: 2",),
        body=b"ab",
    ),
    Row(
        "9110-9.3.5",
        "DELETE with chunked content",
        request(CHUNKED, b"DELETE / HTTP/1.1", b"2\r\nab\r\n0\r\n\r\n"),
        body=b"ab",
    ),
    Row("9110-9.3.7", "OPTIONS for all of it", request(line=b"OPTIONS * HTTP/1.1"), (b"OPTIONS * HTTP/1.1",)),
    Row(
        "9110-10.1.1",
        "empty Expect, as PHP switches it off",
        request(b"Expect:\r\nContent-Length: 2\r\n", b"POST / HTTP/1.1", b"ab"),
        gone=(b"expect",),
        body=b"ab",
        before="417",
    ),
    Row(
        "9110-10.1.1",
        "expectation in capitals, twice",
        request(b"Expect: 100-Continue,, 100-CONTINUE\r\nContent-Length: 2\r\n", b"POST / HTTP/1.1", b"ab"),
        (b"Expect: 100-continue",),
        body=b"ab",
        before="417",
    ),
    Row(
        "9110-10.1.1",
        "expectation of HTTP/1.0",
        request(b"Expect: 100-continue\r\nContent-Length: 2\r\n", b"POST / HTTP/1.0", b"ab"),
        gone=(b"expect",),
        body=b"ab",
    ),
    Row(
        "9110-10.1.4",
        "TE with a coding and trailers",
        request(b"TE: gzip;q=0.5, Trailers\r\nConnection: TE\r\n"),
        (b"TE: trailers", b"Connection: TE"),
        before="dropped",
    ),
    Row(
        "9110-10.1.4",
        "TE with a coding alone",
        request(b"TE: deflate\r\nConnection: TE\r\n"),
        gone=(b"te", b"connection"),
    ),
    Row(
        "9110-12.5.3",
        "negotiation is the app's",
        request(b"Accept-Encoding: gzip;q=0, *;q=0.001, identity\r\n"),
        (b"Accept-Encoding: gzip;q=0, *;q=0.001, identity",),
    ),
    Row(
        "9110-13.1.2",
        "conditions are the app's",
        request(b'If-None-Match: W/"a,b", *\r\n'),
        (b'If-None-Match: W/"a,b", *',),
    ),
    Row("9110-14.1.1", "range unit nobody knows", request(b"Range: lines=-1, 2-\r\n"), (b"Range: lines=-1, 2-",)),
    # --- 9112: HTTP/1.1 on the wire
    Row("9112-2.2", "empty line before the request", b"\r\n" + GET, (b"GET / HTTP/1.1",)),
    Row("9112-2.3", "HTTP/1.0 goes on as what we speak", request(line=b"GET / HTTP/1.0"), (b"GET / HTTP/1.1",)),
    Row(
        "9112-3",
        "request line of 8,000 octets",
        request(line=b"GET /%b HTTP/1.1" % (b"a" * 7986)),
        (b"GET /%b HTTP/1.1" % (b"a" * 7986),),
    ),
    Row("9112-3.2.2", "target with its host", request(line=b"GET http://<app>/a?b HTTP/1.1"), (b"GET /a?b HTTP/1.1",)),
    Row(
        "9112-3.2.2",
        "target with a host and no path",
        request(line=b"GET http://<app>?b HTTP/1.1"),
        (b"GET /?b HTTP/1.1",),
    ),
    Row("9112-3.2.2", "target in capitals", request(line=b"GET HTTPS://<APP>/ HTTP/1.1"), (b"GET / HTTP/1.1",)),
    Row(
        "9112-3.2.2", "port of http", request(line=b"GET http://<app>:80/ HTTP/1.1"), (b"GET / HTTP/1.1",), before="400"
    ),
    Row(
        "9112-3.2.2",
        "port of https",
        request(line=b"GET https://<app>:443/ HTTP/1.1"),
        (b"GET / HTTP/1.1",),
        before="400",
    ),
    Row(
        "9112-3.2.2",
        "port that is empty",
        request(line=b"GET http://<app>:/ HTTP/1.1"),
        (b"GET / HTTP/1.1",),
        before="400",
    ),
    Row(
        "9112-3.2.2",
        "dot of the root",
        request(line=b"GET http://<app>./ HTTP/1.1"),
        (b"GET / HTTP/1.1",),
        before="400",
    ),
    Row("9112-3.2.4", "OPTIONS of a host", request(line=b"OPTIONS http://<app> HTTP/1.1"), (b"OPTIONS * HTTP/1.1",)),
    Row("9112-5.1", "blanks around a value", request(b"X-A:1\r\nX-B: \t 2 \t \r\n"), (b"X-A: 1", b"X-B: 2")),
    Row(
        "9112-6.1",
        "coding in capitals",
        request(b"Transfer-Encoding: CHUNKED\r\n", b"POST / HTTP/1.1", b"2\r\nab\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked",),
        body=b"ab",
    ),
    Row(
        "9112-7.1",
        "chunk sizes with zeros and capitals",
        request(CHUNKED, b"POST / HTTP/1.1", b"000A\r\n0123456789\r\n00\r\n\r\n"),
        body=b"0123456789",
    ),
    Row(
        "9112-7.1.1",
        "chunk extensions nobody knows",
        request(CHUNKED, b"POST / HTTP/1.1", b'2;a;b=c;d="e;\\"f"\r\nab\r\n0;g\r\n\r\n'),
        body=b"ab",
    ),
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


@BOTH
@rows(
    # --- 9110: semantics
    Row(
        "9110-5.3",
        "cookies stay lines of their own",
        answer(b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n"),
        (b"Set-Cookie: a=1", b"Set-Cookie: b=2"),
        body=b"ok",
    ),
    Row("9110-5.5", "obs-text in a value", answer(b"X-A: \xe4\r\nContent-Length: 2\r\n"), (b"X-A: \xe4",), body=b"ok"),
    Row(
        "9110-6.5",
        "trailer section of an answer",
        answer(CHUNKED, body=b"2\r\nok\r\n0\r\nX-Sum: 1\r\nx-sum: 2\r\n\r\n"),
        body=b"ok",
        trailers=b"X-Sum: 1\r\nx-sum: 2\r\n",
    ),
    Row(
        "9110-6.5.1",
        "trailer that belongs into a head goes",
        answer(CHUNKED, body=b"2\r\nok\r\n0\r\nContent-Length: 9\r\nX-Sum: 1\r\nContent_Type: a/b\r\n\r\n"),
        body=b"ok",
        trailers=b"X-Sum: 1\r\n",
    ),
    Row(
        "9110-6.6.1",
        "Date in a form of old",
        answer(b"Date: Sunday, 06-Nov-94 08:49:37 GMT\r\nContent-Length: 2\r\n"),
        (b"Date: Sunday, 06-Nov-94 08:49:37 GMT",),
        body=b"ok",
    ),
    Row(
        "9110-7.6.1",
        "what Connection names",
        answer(b"Connection: X-Hop,, close\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n"),
        gone=(b"x-hop", b"keep-alive", b"connection"),
        body=b"ok",
    ),
    Row(
        "9110-7.6.3",
        "Via of an answer",
        answer(b"Via: 1.1 cache\r\nContent-Length: 2\r\n"),
        (b"Via: 1.1 cache",),
        body=b"ok",
    ),
    Row(
        "9110-7.7",
        "coding nobody knows",
        answer(b"Content-Encoding: x-snappy\r\nContent-Length: 2\r\n"),
        (b"Content-Encoding: x-snappy",),
        body=b"ok",
    ),
    Row(
        "9110-8.6",
        "Content-Length with zeros before it",
        answer(b"Content-Length: 0002\r\n"),
        (b"Content-Length: 2",),
        body=b"ok",
        before="502",
    ),
    Row(
        "9110-8.6",
        "Content-Length of nothing but zeros",
        answer(b"Content-Length: 000\r\n", body=b""),
        (b"Content-Length: 0",),
        before="502",
    ),
    Row(
        "9110-8.6",
        "Content-Length of a 204 goes",
        answer(b"Content-Length: 0\r\n", b"HTTP/1.1 204 No Content", b""),
        gone=(b"content-length",),
    ),
    Row(
        "9110-9.3.2",
        "HEAD with the length of a GET",
        answer(b"Content-Length: 5000\r\n", body=b""),
        (b"Content-Length: 5000",),
        asked=HEAD,
    ),
    Row(
        "9110-9.3.2",
        "HEAD with zeros before the length",
        answer(b"Content-Length: 05000\r\n", body=b""),
        (b"Content-Length: 5000",),
        asked=HEAD,
        before="502",
    ),
    Row("9110-9.3.2", "HEAD with a coding", answer(CHUNKED, body=b""), gone=(b"content-length",), asked=HEAD),
    Row(
        "9110-10.2.2",
        "Location relative, with a fragment",
        answer(b"Location: ../a?b#c\r\nContent-Length: 0\r\n", b"HTTP/1.1 302 Found", b""),
        (b"Location: ../a?b#c",),
    ),
    Row(
        "9110-11.6.1",
        "challenges with commas, in lines",
        answer(
            b'WWW-Authenticate: Basic realm="a, b", Digest nonce=""\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\n',
            b"HTTP/1.1 401 Unauthorized",
            b"",
        ),
        (b'WWW-Authenticate: Basic realm="a, b", Digest nonce=""', b"WWW-Authenticate: Bearer"),
    ),
    Row("9110-15", "status nobody knows", answer(line=b"HTTP/1.1 299 Sort of"), (b"HTTP/1.1 299 Sort of",), body=b"ok"),
    Row(
        "9110-15",
        "status at the end of its class",
        answer(line=b"HTTP/1.1 599 Odd"),
        (b"HTTP/1.1 599 Odd",),
        body=b"ok",
    ),
    Row(
        "9110-15.2",
        "interim answer nobody knows, then the final one",
        b"HTTP/1.1 199 Odd\r\nX-A: 1\r\n\r\n" + answer(),
        (b"HTTP/1.1 200 OK",),
        body=b"ok",
        interim=(b"HTTP/1.1 199 Odd",),
    ),
    Row(
        "9110-15.2",
        "several interim answers",
        b"HTTP/1.1 102 Processing\r\n\r\n" * 20 + answer(),
        (b"HTTP/1.1 200 OK",),
        body=b"ok",
        interim=(b"HTTP/1.1 102 Processing",) * 20,
        before="502",
    ),
    Row(
        "9110-15.2",
        "interim answer to HTTP/1.0 goes",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer(),
        (b"HTTP/1.1 200 OK",),
        body=b"ok",
        asked=request(line=b"GET / HTTP/1.0"),
    ),
    Row(
        "9110-15.3.6",
        "205 without content",
        answer(b"Content-Length: 0\r\n", b"HTTP/1.1 205 Reset Content", b""),
        (b"Content-Length: 0",),
    ),
    Row(
        "9110-15.4.5",
        "304 with the length of a 200",
        answer(b'ETag: "a"\r\nContent-Length: 5000\r\n', b"HTTP/1.1 304 Not Modified", b""),
        (b'ETag: "a"', b"Content-Length: 5000"),
    ),
    Row(
        "9110-15.5.22",
        "426 names what it requires",
        answer(
            b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n", b"HTTP/1.1 426 Upgrade Required", b""
        ),
        (b"Upgrade: websocket", b"Connection: Upgrade"),
        before="dropped",
    ),
    # --- 9112: HTTP/1.1 on the wire
    Row("9112-2.3", "answer of HTTP/1.0", answer(line=b"HTTP/1.0 200 OK"), (b"HTTP/1.1 200 OK",), body=b"ok"),
    Row("9112-4", "empty phrase", answer(line=b"HTTP/1.1 200 "), (b"HTTP/1.1 200 ",), body=b"ok"),
    Row("9112-4", "phrase and its space missing", answer(line=b"HTTP/1.1 200"), (b"HTTP/1.1 200 ",), body=b"ok"),
    Row(
        "9112-4",
        "phrase with tabs and obs-text",
        answer(line=b"HTTP/1.1 200 \xe4\tb"),
        (b"HTTP/1.1 200 \xe4\tb",),
        body=b"ok",
    ),
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
        "space before the colon of Connection",
        answer(b"Connection : X-Hop, close\r\nX-Hop: 1\r\nContent-Length: 2\r\n"),
        gone=(b"x-hop", b"connection"),
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
    Row(
        "9112-5.1",
        "colons and blanks in a value",
        answer(b"X-A:: 1 : 2\r\nContent-Length: 2\r\n"),
        (b"X-A: : 1 : 2",),
        body=b"ok",
    ),
    Row(
        "9112-6.3",
        "neither length nor coding",
        answer(b"X-A: 1\r\n"),
        (b"X-A: 1", b"Transfer-Encoding: chunked"),
        body=b"ok",
    ),
    Row(
        "9112-6.3",
        "neither length nor coding, for HTTP/1.0",
        answer(b"X-A: 1\r\n"),
        (b"X-A: 1", b"Connection: close"),
        (b"transfer-encoding",),
        body=b"ok",
        asked=request(line=b"GET / HTTP/1.0"),
    ),
    Row(
        "9112-7.1",
        "chunks for HTTP/1.0",
        answer(CHUNKED, body=b"2\r\nok\r\n0\r\n\r\n"),
        gone=(b"transfer-encoding",),
        body=b"ok",
        asked=request(line=b"GET / HTTP/1.0"),
    ),
    Row(
        "9112-7.1",
        "chunk sizes with zeros and capitals",
        answer(CHUNKED, body=b"000A\r\n0123456789\r\n00\r\n\r\n"),
        body=b"0123456789",
    ),
    Row(
        "9112-7.1.1",
        "chunk extensions nobody knows",
        answer(CHUNKED, body=b'2;a;b="c;d"\r\nok\r\n0;e\r\n\r\n'),
        body=b"ok",
    ),
    Row(
        "9112-9.3",
        "HTTP/1.0 that stays",
        answer(),
        (b"Connection: keep-alive",),
        body=b"ok",
        asked=request(b"Connection: Keep-Alive\r\n", b"GET / HTTP/1.0"),
    ),
    Row(
        "9112-9.6",
        "browser that leaves",
        answer(),
        (b"Connection: close",),
        body=b"ok",
        asked=request(b"Connection: CLOSE\r\n"),
    ),
)
async def test_an_answer_that_reaches_the_browser(gateway: Gateway, row: Row, tls: bool) -> None:
    app = await gateway.app()
    browser = await gateway.connect(tls=tls)
    browser.send(named(row.asked, app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(row.sent)
    if b"Content-Length" not in row.sent and CHUNKED not in row.sent:
        upstream.half_close()  # the end of the body
    for line in row.interim:
        assert (await browser.answer()).start == line
    row.check(await browser.answer(row.asked.partition(b" ")[0]), app)


# --- what is for the gateway to answer -----------------------------------------------------------------------------


@BOTH
@rows(
    Row(
        "9110-7.6.2",
        "last hop",
        request(b"Max-Forwards: 0\r\n", b"OPTIONS / HTTP/1.1"),
        (b"HTTP/1.1 200 OK", b"Content-Length: 0", ALLOW),
        before="forwarded",
    ),
    Row(
        "9110-7.6.2",
        "last hop for all of it",
        request(b"Max-Forwards: 00\r\n", b"OPTIONS * HTTP/1.1"),
        (b"HTTP/1.1 200 OK", b"Content-Length: 0"),
        before="forwarded",
    ),
    Row(
        "9110-7.6.2",
        "hops that are no number",
        request(b"Max-Forwards: 5, 4\r\n", b"OPTIONS / HTTP/1.1"),
        (b"HTTP/1.1 400 Bad Request",),
        before="forwarded",
    ),
    Row(
        "9110-9.3.6",
        "CONNECT",
        request(line=b"CONNECT <app>:443 HTTP/1.1"),
        (b"HTTP/1.1 405 Method Not Allowed", ALLOW),
    ),
    Row(
        "9110-9.3.8",
        "TRACE, whatever its hops",
        request(b"Max-Forwards: 0\r\n", b"TRACE / HTTP/1.1"),
        (b"HTTP/1.1 405 Method Not Allowed", ALLOW),
    ),
    Row(
        "9110-10.1.1",
        "expectation nobody knows",
        request(b"Expect: 100-continue, x=y\r\n"),
        (b"HTTP/1.1 417 Expectation Failed",),
    ),
    Row(
        "9110-15.5.20",
        "name that is not served here",
        b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
        (b"HTTP/1.1 421 Misdirected Request",),
    ),
    Row(
        "9110-15.6.6",
        "version that is not spoken here",
        request(line=b"GET / HTTP/3.0"),
        (b"HTTP/1.1 505 HTTP Version Not Supported",),
    ),
    Row("9112-3.2", "no Host", b"GET / HTTP/1.1\r\n\r\n", (b"HTTP/1.1 400 Bad Request", b"Connection: close")),
    Row(
        "9112-5.1",
        "space before a colon of a request",
        request(b"X-Note : 1\r\n"),
        (b"HTTP/1.1 400 Bad Request", b"Connection: close"),
    ),
    Row(
        "9112-6.1",
        "coding nobody knows",
        request(b"Transfer-Encoding: x-snappy, chunked\r\n", b"POST / HTTP/1.1"),
        (b"HTTP/1.1 501 Not Implemented",),
    ),
)
async def test_what_the_gateway_answers_itself(gateway: Gateway, row: Row, tls: bool) -> None:
    app = await gateway.app()
    browser = await gateway.connect(tls=tls)
    browser.send(named(row.sent, app))
    reply = await browser.answer()
    reply.body = b""  # the page's own tests look at it
    row.check(reply, app)
    assert app.connections == []
