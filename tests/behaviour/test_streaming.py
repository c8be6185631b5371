"""Messages pass as they are: bodies as they come, fields byte-exact, and only what must change is changed."""

from __future__ import annotations

from ipaddress import IPv6Network

import pytest

from tests.behaviour.harness import OK, SANDBOX, App, Gateway, Message, OpenGateway, Wire, answering, get, post

both = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


async def exchange(
    gateway: Gateway, app: App, request: bytes, answer: bytes, tls: bool = False
) -> tuple[Message, Message]:
    """What the app was asked and what the browser was answered; `<app>` in `request` stands for the app's name."""
    browser = await gateway.connect(tls=tls)
    browser.send(request.replace(b"<app>", app.host))
    upstream = await app.accept()
    asked = await upstream.request()
    upstream.send(answer)
    return asked, await browser.answer(request.partition(b" ")[0])


@pytest.fixture
async def app(gateway: Gateway) -> App:
    return await gateway.app()


# --- answers ----------------------------------------------------------------------------------------------------------


@both
async def test_an_answer_by_length(gateway: Gateway, app: App, tls: bool) -> None:
    _, answer = await exchange(
        gateway, app, b"GET / HTTP/1.1\r\nHost: <app>\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", tls
    )
    assert answer.head == b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Request-Id: #\r\n\r\n"
    assert answer.body == b"abc"


@both
async def test_an_answer_in_chunks_comes_chunk_by_chunk(gateway: Gateway, app: App, tls: bool) -> None:
    browser = await gateway.connect(tls=tls)
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert await browser.head() == b"HTTP/1.1 200 OK\r\nX-Request-Id: #\r\nTransfer-Encoding: chunked\r\n\r\n"
    for sent, received in (
        (b"5\r\nhello\r\n", b"5\r\nhello\r\n"),
        (b"0005;name=value\r\nthere\r\n", b"5\r\nthere\r\n"),  # written anew, without extensions
        (b"A\r\n01234", b"5\r\n01234\r\n"),  # half a chunk does not wait for the other half
        (b"56789\r\n", b"5\r\n56789\r\n"),
        (b"0\r\n\r\n", b"0\r\n\r\n"),
    ):
        upstream.send(sent)
        assert await browser.read(len(received)) == received
    browser.send(get(app))
    assert (await upstream.request()).start == b"GET / HTTP/1.1"
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"


async def test_events_come_one_by_one(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect(tls=True)
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    await browser.head()
    for number in range(20):
        upstream.send(b"data: %d\n\n" % number)
        assert b"data: %d\n\n" % number in await browser.read_until(b"\n\n\r\n")


async def test_an_answer_until_the_close_becomes_chunked(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
    assert await browser.head() == b"HTTP/1.1 200 OK\r\nX-Request-Id: #\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert await browser.read(8) == b"3\r\nabc\r\n"
    upstream.half_close()
    assert await browser.read(5) == b"0\r\n\r\n"
    assert await upstream.ended() == b""
    browser.send(get(app))  # this side lives on
    again = await app.accept()
    await again.request()
    again.send(OK)
    assert (await browser.answer()).body == b"ok"


@both
async def test_an_answer_in_chunks_to_http_1_0_ends_with_the_connection(gateway: Gateway, app: App, tls: bool) -> None:
    _, answer = await exchange(
        gateway,
        app,
        b"GET / HTTP/1.0\r\nHost: <app>\r\nConnection: keep-alive\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: t\r\n\r\n",
        tls,
    )
    assert answer.head == b"HTTP/1.1 200 OK\r\nX-Request-Id: #\r\nConnection: close\r\n\r\n"
    assert answer.body == b"abcde"


@pytest.mark.parametrize(
    ("request_head", "answer", "expected"),
    [
        (
            b"HEAD / HTTP/1.1",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Request-Id: #\r\n\r\n",
        ),
        (
            b"HEAD / HTTP/1.1",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX-Request-Id: #\r\n\r\n",
        ),
        (
            b"GET / HTTP/1.1",
            b"HTTP/1.1 204 No Content\r\nX-A: a\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\nX-A: a\r\nX-Request-Id: #\r\n\r\n",
        ),
        (
            b"GET / HTTP/1.1",
            b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\nX-Request-Id: #\r\n\r\n",
        ),
        (
            b"GET / HTTP/1.1",
            b'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: "a"\r\n\r\n',
            b'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: "a"\r\nX-Request-Id: #\r\n\r\n',
        ),
        (
            b"POST / HTTP/1.1",
            b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\nX-Request-Id: #\r\n\r\n",
        ),
    ],
    ids=["head", "head-of-chunked", "204", "204-with-length", "304", "205"],
)
async def test_answers_without_a_body_end_at_once(
    gateway: Gateway, app: App, request_head: bytes, answer: bytes, expected: bytes
) -> None:
    browser = await gateway.connect()
    browser.send(request_head + b"\r\nHost: %b\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.request()
    upstream.send(answer)
    assert await browser.head() == expected
    browser.send(get(app, b"/next"))  # on both connections
    assert (await upstream.request()).start == b"GET /next HTTP/1.1"
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"


@pytest.mark.parametrize(
    ("request_head", "answer"),
    [
        (b"HEAD / HTTP/1.1", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde"),
        (b"GET / HTTP/1.1", b"HTTP/1.1 204 No Content\r\n\r\nabcde"),
        (b"GET / HTTP/1.1", b"HTTP/1.1 304 Not Modified\r\n\r\nabcde"),
        (b"GET / HTTP/1.1", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nabcde"),
        (
            b"GET / HTTP/1.1",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        ),
        (
            b"GET / HTTP/1.1",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nevil",
        ),
    ],
    ids=["head", "204", "304", "length-0", "length", "chunked"],
)
async def test_octets_beyond_an_answer_go_nowhere(
    gateway: Gateway, app: App, request_head: bytes, answer: bytes
) -> None:
    browser = await gateway.connect()
    browser.send(request_head + b"\r\nHost: %b\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.request()
    upstream.send(answer)
    await browser.answer(request_head.partition(b" ")[0])
    assert await upstream.ended() == b""  # whatever it says next would be believed by somebody
    browser.send(get(app, b"/next"))
    again = await app.accept()
    assert (await again.request()).start == b"GET /next HTTP/1.1"
    again.send(OK)
    assert (await browser.answer()).body == b"ok"


# --- requests ---------------------------------------------------------------------------------------------------------


@both
async def test_a_request_by_length_comes_as_it_is_sent(gateway: Gateway, app: App, tls: bool) -> None:
    browser = await gateway.connect(tls=tls)
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 10\r\n\r\n" % app.host)
    upstream = await app.accept()
    assert b"\r\nContent-Length: 10\r\n" in await upstream.head()
    for piece in (b"abc", b"defg", b"hij"):
        browser.send(piece)
        assert await upstream.read(len(piece)) == piece
    upstream.send(OK)
    assert (await browser.answer()).status == 200


@both
async def test_a_request_in_chunks_comes_chunk_by_chunk_with_trailers(gateway: Gateway, app: App, tls: bool) -> None:
    browser = await gateway.connect(tls=tls)
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n" % app.host)
    upstream = await app.accept()
    head = await upstream.head()
    assert b"\r\nTrailer: X-Sum\r\n" in head
    assert head.count(b"Transfer-Encoding: chunked\r\n") == 1
    assert b"Content-Length" not in head
    for sent, received in (
        (b"5\r\nhello\r\n", b"5\r\nhello\r\n"),
        (b"005;a=b\r\nthere\r\n", b"5\r\nthere\r\n"),
        (
            b"0\r\nX-Sum: 1\r\nX-sum: 2\r\nContent-Length: 9\r\nHost: evil\r\nAuthorization: x\r\nX-Forwarded-For: x\r\n\r\n",
            b"0\r\nX-Sum: 1\r\nX-sum: 2\r\n\r\n",
        ),
    ):
        browser.send(sent)
        assert await upstream.read(len(received)) == received
    upstream.send(OK)
    assert (await browser.answer()).status == 200


async def test_trailers_of_an_answer(gateway: Gateway, app: App) -> None:
    asked, answer = await exchange(
        gateway,
        app,
        b"GET / HTTP/1.1\r\nHost: <app>\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTrailer: grpc-status\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\na\r\n0\r\ngrpc-status: 0\r\nSet-Cookie: a=b\r\nX-Gateway-Error: forged\r\nProxy-Status: forged\r\n\r\n",
    )
    assert (asked.get(b"TE"), asked.get(b"Connection")) == (b"trailers", b"TE")
    assert (answer.body, answer.trailers, answer.get(b"Trailer")) == (b"a", b"grpc-status: 0\r\n", b"grpc-status")


# --- what is not touched ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/%41%2f%2F%e4%00",
        b"//double//slashes//",
        b"/?",
        b"/??a=b&&c=%20+&d",
        b"/a/../b/./c",
        b"/a;b=c,d",
        b'/a|b^c{d}"<e>`\\',
        b"/%zz%",
        b"/:@!$&'()*+,;=~-._",
        b"/" + b"a" * 8000,
    ],
    ids=lambda target: target[:20].decode(),
)
async def test_the_target_is_byte_exact(gateway: Gateway, app: App, target: bytes) -> None:
    asked, _ = await exchange(gateway, app, b"GET " + target + b" HTTP/1.1\r\nHost: <app>\r\n\r\n", OK)
    assert asked.start == b"GET " + target + b" HTTP/1.1"


async def test_an_absolute_form_becomes_a_path(gateway: Gateway, app: App) -> None:
    asked, _ = await exchange(gateway, app, b"GET http://<app>?a=b HTTP/1.1\r\nHost: <app>\r\n\r\n", OK)
    assert asked.start == b"GET /?a=b HTTP/1.1"


async def test_fields_keep_order_case_duplicates_and_octets(gateway: Gateway, app: App) -> None:
    sent = (
        b'accept: */*\r\nX-UPPER: a\r\nCookie: a=1; b="2"\r\nx-upper: b\r\nSec-WebSocket-Key: k\r\n'
        b"X-Latin: \xe4\xf6\xfc\r\nX-Empty: \r\nX-Inner:  two  blanks\tand a tab\r\nX-UPPER: a\r\nauthorization: Bearer x\r\n"
    )
    asked, _ = await exchange(gateway, app, b"GET / HTTP/1.1\r\nHost: <app>\r\n" + sent + b"\r\n", OK)
    expected = sent.replace(b"X-Inner:  two", b"X-Inner: two")  # white space around a value is not part of it
    assert asked.head.startswith(b"GET / HTTP/1.1\r\nHost: " + app.host + b"\r\n" + expected)


async def test_fields_of_an_answer_keep_order_case_duplicates_and_octets(gateway: Gateway, app: App) -> None:
    fields = (
        b"server: app\r\nSet-Cookie: a=1\r\nSET-COOKIE: b=2\r\nset-cookie: a=1\r\nX-Latin: \xe4\r\nX-Empty: \r\n"
        b"Date: now\r\nVary: a\r\nvary: b\r\nContent-Encoding: br\r\nContent-Length: 4\r\nAccess-Control-Allow-Origin: x\r\n"
    )
    _, answer = await exchange(
        gateway,
        app,
        b"GET / HTTP/1.1\r\nHost: <app>\r\n\r\n",
        b"HTTP/1.1 299 Sort of \xe4 OK\r\n" + fields + b"\r\n\x1f\x8b\x00\xff",
    )
    assert answer.head == b"HTTP/1.1 299 Sort of \xe4 OK\r\n" + fields + b"X-Request-Id: #\r\n\r\n"
    assert answer.body == b"\x1f\x8b\x00\xff"  # an encoded body is nobody's to decode


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"PROPFIND", b"M-SEARCH"])
async def test_methods_pass(gateway: Gateway, app: App, method: bytes) -> None:
    asked, answer = await exchange(gateway, app, method + b" /x HTTP/1.1\r\nHost: <app>\r\n\r\n", OK)
    assert (asked.start, answer.status) == (method + b" /x HTTP/1.1", 200)


async def test_options_star(gateway: Gateway, app: App) -> None:
    asked, _ = await exchange(gateway, app, b"OPTIONS * HTTP/1.1\r\nHost: <app>\r\n\r\n", OK)
    assert asked.start == b"OPTIONS * HTTP/1.1"


# --- what is ----------------------------------------------------------------------------------------------------------


@both
async def test_the_app_is_told_who_asks(gateway: Gateway, app: App, tls: bool) -> None:
    asked, answer = await exchange(gateway, app, b"GET / HTTP/1.1\r\nHost: <app>\r\n\r\n", OK, tls)
    scheme, port = (b"https", b"443") if tls else (b"http", b"80")
    assert asked.fields == [
        (b"Host", app.host),
        (b"X-Forwarded-For", b"::1"),
        (b"X-Forwarded-Host", app.host),
        (b"X-Forwarded-Port", port),
        (b"X-Forwarded-Proto", scheme),
        (b"X-Real-Ip", b"::1"),
        (b"Forwarded", b'for="[::1]";host=%b;proto=%b' % (app.host, scheme)),
        (b"Via", b"1.1 gateway"),
        (b"X-Request-Id", gateway.log[0].request_id.encode()),
    ]
    assert b"X-Request-Id" in [name for name, _ in answer.fields]


async def test_spoofed_claims_are_dropped(gateway: Gateway, app: App) -> None:
    asked, _ = await exchange(
        gateway,
        app,
        b"GET / HTTP/1.1\r\nHost: <app>\r\nX-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 6.6.6.7\r\nX_Forwarded_For: 6.6.6.8\r\n"
        b"X-Forwarded-Host: evil\r\nX-Forwarded-Proto: evil\r\nX-Forwarded-Port: 6\r\nX-Forwarded-Evil: evil\r\n"
        b"X-Forwarded_Prefix: evil\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX_Real_Ip: 6.6.6.6\r\n"
        b"X-Request-Id: evil\r\nX-Gateway-Error: evil\r\nX-Keep: kept\r\n\r\n",
        OK,
    )
    assert b"6.6.6" not in asked.head
    assert b"evil" not in asked.head
    names = [name.lower() for name, _ in asked.fields]
    assert len(names) == len(set(names))
    assert asked.get(b"X-Forwarded-For") == b"::1"
    assert asked.get(b"X-Keep") == b"kept"


async def test_hop_by_hop_fields_end_here(gateway: Gateway, app: App) -> None:
    asked, answer = await exchange(
        gateway,
        app,
        b"GET / HTTP/1.1\r\nHost: <app>\r\nConnection: keep-alive, X-Mine, X-Forwarded-For, Host, Content-Length\r\n"
        b"Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nX-Mine: mine\r\nTE: gzip\r\nProxy: evil\r\nHTTP2-Settings: x\r\n"
        b"Upgrade: h2c\r\ntransfer_encoding: chunked\r\ncontent_length: 5\r\nX-Keep: kept\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nKeep-Alive: timeout=5\r\nX-Hop: hop\r\nUpgrade: h2\r\n"
        b"Content-Length: 2\r\nX-Keep: kept\r\n\r\nok",
    )
    names = [name.lower() for name, _ in asked.fields]
    for name in (
        b"keep-alive",
        b"proxy-connection",
        b"x-mine",
        b"te",
        b"proxy",
        b"http2-settings",
        b"upgrade",
        b"connection",
    ):
        assert name not in names
    assert not any(b"_" in name for name in names)
    assert (asked.get(b"Host"), asked.get(b"X-Forwarded-For"), asked.get(b"X-Keep")) == (app.host, b"::1", b"kept")
    assert answer.head == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Keep: kept\r\nX-Request-Id: #\r\n\r\n"


async def test_the_gateway_s_own_marks_cannot_be_forged(gateway: Gateway, app: App) -> None:
    _, answer = await exchange(
        gateway,
        app,
        b"GET / HTTP/1.1\r\nHost: <app>\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\nX-Gateway-Error: connection_refused\r\nx-gateway-error: x\r\nX_Gateway_Error: x\r\n"
        b"Proxy-Status: gateway; error=x\r\nX-Gateway-Hint: x\r\nX-Request-Id: forged\r\nContent-Length: 0\r\n\r\n",
    )
    assert answer.head == b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nX-Request-Id: #\r\n\r\n"
    assert b"forged" not in answer.head


async def test_cookies_stay_with_the_app(gateway: Gateway, app: App) -> None:
    domain = b"sandbox.localhost"
    _, answer = await exchange(
        gateway,
        app,
        b"GET / HTTP/1.1\r\nHost: <app>\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
        b"Set-Cookie: a=1; Domain=%b; Path=/\r\nSet-Cookie: b=2; domain=.%b\r\nSet-Cookie: c=3; Secure; DOMAIN = localhost ;X\r\n"
        b"Set-Cookie: d=4; Domain=%b; Path=/\r\nSet-Cookie: e=domain=%b; Path=/domain\r\n\r\n"
        % (domain, domain, app.host, domain),
    )
    assert [value for name, value in answer.fields if name == b"Set-Cookie"] == [
        b"a=1; Path=/",
        b"b=2",
        b"c=3; Secure;X",
        b"d=4; Domain=%b; Path=/" % app.host,
        b"e=domain=%b; Path=/domain" % domain,
    ]


async def test_every_answer_carries_a_request_id(gateway: Gateway, app: App) -> None:
    """The app's, the gateway's own, and those to what could not be read; each in the access log."""
    browser = await gateway.connect()
    browser.send(get(app) + b"GET / HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n" + b"GET / HTTP/1.1\r\n\r\n")
    upstream = await app.accept()
    await upstream.request()
    upstream.send(OK)
    ids = []
    for _ in range(3):
        raw = await browser.read_until(b"\r\n\r\n")
        message = Message(raw)
        ids.append((message.get(b"X-Request-Id") or b"").decode())
        await browser.read(int(message.get(b"Content-Length") or 0))
    assert all(ids)
    assert len(set(ids)) == 3
    assert [record.request_id for record in gateway.log] == ids


async def test_a_host_mask(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(upstream={"host": "localhost:{port}"})
    app = await gateway.app()
    asked, _ = await exchange(gateway, app, b"GET / HTTP/1.1\r\nHost: <app>\r\n\r\n", OK)
    assert asked.get(b"Host") == b"localhost:%d" % app.port
    assert asked.get(b"X-Forwarded-Host") == app.host


async def test_a_trusted_proxy_is_believed(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(edge={"trusted_proxies": (IPv6Network("::1/128"),)})
    app = await gateway.app()
    asked, _ = await exchange(
        gateway,
        app,
        b"GET / HTTP/1.1\r\nHost: <app>\r\nX-Forwarded-For: 6.6.6.6, 2001:db8::7\r\nX-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Host: public.example\r\nForwarded: for=6.6.6.6\r\nX-Request-Id: balancer-1\r\nVia: 1.1 balancer\r\n\r\n",
        OK,
    )
    assert asked.get(b"X-Forwarded-For") == b"6.6.6.6, 2001:db8::7, ::1"
    assert asked.get(b"X-Forwarded-Proto") == b"https"
    assert asked.get(b"X-Forwarded-Host") == b"public.example"
    assert asked.get(b"X-Real-Ip") == b"2001:db8::7"
    assert asked.get(b"X-Request-Id") == b"balancer-1"
    assert asked.get(b"Via") == b"1.1 balancer, 1.1 gateway"
    assert (asked.get(b"Forwarded") or b"").startswith(b"for=6.6.6.6, for=")
    assert gateway.log[0].remote == "2001:db8::7"


async def test_a_loop_ends(gateway: Gateway) -> None:
    """An app whose proxy points back at the gateway: the gateway counts itself in Via."""
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\nVia: %b\r\n\r\n" % (app.host, b", ".join([b"1.1 gateway"] * 8)))
    answer = await browser.answer()
    assert (answer.status, answer.reason) == (502, b"proxy_loop_detected")
    assert app.received == b""


# --- size -------------------------------------------------------------------------------------------------------------


@both
async def test_large_bodies_arrive_exactly(gateway: Gateway, tls: bool) -> None:
    blob = bytes(range(256)) * 40_000  # 10 MB

    async def echo(wire: Wire) -> None:
        request = await wire.request()
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(request.body))
        wire.send(request.body + b"\r\n0\r\n\r\n")

    app = await gateway.app(echo)
    browser = await gateway.connect(tls=tls)
    browser.send(post(app, blob))
    answer = await browser.answer()
    assert answer.body == blob
    (record,) = gateway.log
    assert (record.received, record.sent) == (len(blob), len(blob))


async def test_a_body_in_tiny_chunks(gateway: Gateway) -> None:
    tiny = b"1\r\na\r\n" * 50_000 + b"0\r\n\r\n"
    app = await gateway.app(answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + tiny))
    browser = await gateway.connect()
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % app.host + tiny)
    answer = await browser.answer()
    assert answer.body == b"a" * 50_000
    assert len(answer.chunks) < 1_000  # what comes in one read leaves in one chunk


async def test_a_sandbox_may_have_a_host_mask_of_its_own(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(upstream={"host": "everywhere.example"})
    app = await gateway.app()
    gateway.table.table[SANDBOX].host = "localhost:{port}"
    asked, _ = await exchange(
        gateway, app, b"GET / HTTP/1.1\r\nHost: <app>\r\n\r\n", b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
    )
    assert asked.get(b"Host") == b"localhost:%d" % app.port
    gateway.table.table[SANDBOX].host = "preserve"
    asked, _ = await exchange(gateway, app, b"GET / HTTP/1.1\r\nHost: <app>\r\n\r\n", OK)
    assert asked.get(b"Host") == app.host
