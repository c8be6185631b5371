"""1xx answers: passed to who can understand them, 100 to who asked for it, and never without end."""

from __future__ import annotations

import pytest

from tests.behaviour.harness import OK, App, Gateway, OpenGateway, get

EXPECTING = b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
PASSED_ON = b"HTTP/1.1 100 Continue\r\nX-Request-Id: #\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b.js>\r\n%b\r\n"

both = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


@pytest.fixture
async def app(gateway: Gateway) -> App:
    return await gateway.app()


@both
async def test_100_continue_is_the_app_s_to_give(gateway: Gateway, app: App, tls: bool) -> None:
    browser = await gateway.connect(tls=tls)
    browser.send(EXPECTING % app.host)
    upstream = await app.accept()
    head = await upstream.head()
    assert b"\r\nExpect: 100-continue\r\n" in head
    await gateway.settled()
    assert browser.unread == 0  # the gateway says nothing in the app's place
    upstream.send(CONTINUE)
    assert await browser.head() == PASSED_ON
    browser.send(b"hello")
    assert await upstream.read(5) == b"hello"
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"
    browser.send(get(app))
    await upstream.request()  # the same connection: everything was complete
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"


async def test_100_continue_for_a_chunked_body(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(
        b"POST / HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\nexpect: 100-Continue\r\n\r\n" % app.host
    )
    upstream = await app.accept()
    await upstream.head()
    upstream.send(CONTINUE)
    assert await browser.head() == PASSED_ON
    browser.send(b"2\r\nhi\r\n0\r\n\r\n")
    assert await upstream.read(12) == b"2\r\nhi\r\n0\r\n\r\n"
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"


@both
@pytest.mark.parametrize("status", [b"417 Expectation Failed", b"413 Content Too Large", b"401 Unauthorized"])
async def test_an_app_that_refuses_is_heard_and_the_body_never_sent(
    gateway: Gateway, app: App, status: bytes, tls: bool
) -> None:
    browser = await gateway.connect(tls=tls)
    browser.send(EXPECTING % app.host)
    upstream = await app.accept()
    await upstream.head()
    upstream.send(b"HTTP/1.1 %b\r\nContent-Length: 2\r\n\r\nno" % status)
    answer = await browser.answer()
    assert (answer.start, answer.body) == (b"HTTP/1.1 " + status, b"no")
    # Whether a body follows nobody can tell any more, on either side (RFC 9110 section 10.1.1).
    assert answer.get(b"Connection") == b"close"
    assert await browser.eof() == b""
    assert await upstream.ended() == b""


async def test_a_body_sent_without_waiting(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(EXPECTING % app.host + b"hello")
    upstream = await app.accept()
    await upstream.head()
    assert await upstream.read(5) == b"hello"
    upstream.send(CONTINUE + OK)
    assert await browser.head() == PASSED_ON
    assert (await browser.answer()).body == b"ok"


async def test_100_unasked_is_dropped(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(CONTINUE + OK)
    assert await browser.head() == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Request-Id: #\r\n\r\n"


async def test_expect_without_a_body_waits_for_nothing(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\nExpect: 100-continue\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.request()
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"


@both
async def test_103_comes_before_the_final_head(gateway: Gateway, app: App, tls: bool) -> None:
    browser = await gateway.connect(tls=tls)
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(HINTS % b"")
    assert await browser.head() == HINTS % b"X-Request-Id: #\r\n"
    upstream.send(b"HTTP/1.1 102 Processing\r\n\r\n" + HINTS % b"" + OK)
    assert await browser.head() == b"HTTP/1.1 102 Processing\r\nX-Request-Id: #\r\n\r\n"
    assert await browser.head() == HINTS % b"X-Request-Id: #\r\n"
    assert (await browser.answer()).body == b"ok"


async def test_the_gateway_s_marks_cannot_be_forged_in_a_103(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(
        b"HTTP/1.1 103 Early Hints\r\nX-Gateway-Error: x\r\nProxy-Status: x\r\nX-Request-Id: x\r\n"
        b"Content-Length: 5\r\nConnection: X-A\r\nX-A: a\r\nX-B: b\r\n\r\n" + OK
    )
    assert await browser.head() == b"HTTP/1.1 103 Early Hints\r\nX-B: b\r\nX-Request-Id: #\r\n\r\n"
    assert (await browser.answer()).body == b"ok"


async def test_http_1_0_never_sees_one(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    # RFC 9110 section 10.1.1: from HTTP/1.0 an Expect is ignored.
    browser.send(b"POST / HTTP/1.0\r\nHost: %b\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n" % app.host)
    upstream = await app.accept()
    assert b"Expect" not in await upstream.head()
    upstream.send(CONTINUE + b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    browser.send(b"hello")
    assert await upstream.read(5) == b"hello"
    upstream.send(OK)
    assert await browser.head() == (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Request-Id: #\r\nConnection: close\r\n\r\n"
    )
    assert await browser.eof() == b"ok"


async def test_a_few_are_normal(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    for _ in range(16):
        upstream.send(HINTS % b"")
        assert await browser.head() == HINTS % b"X-Request-Id: #\r\n"
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"


@pytest.mark.parametrize("status", [b"100 Continue", b"103 Early Hints"])
@pytest.mark.parametrize("at_once", [True, False], ids=["at-once", "one-by-one"])
async def test_a_flood_is_not_an_answer(gateway: Gateway, app: App, status: bytes, at_once: bool) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    flood = [b"HTTP/1.1 %b\r\n\r\n" % status] * 100
    for piece in [b"".join(flood)] if at_once else flood:
        if not upstream.closed:
            upstream.send(piece)
        await gateway.settled()
    answer = await browser.answer()
    while answer.status < 200:
        answer = await browser.answer()
    assert (answer.status, answer.reason) == (502, b"http_protocol_error")
    await upstream.ended()


async def test_the_time_for_an_answer_is_not_stretched_by_them(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(upstream={"response_header_timeout": 0.3})
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    for _ in range(10):
        upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await gateway.settled()
    answer = await browser.answer()
    assert (answer.status, answer.reason) == (504, b"http_response_timeout")


async def test_an_interim_answer_then_nothing(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    await browser.head()
    upstream.close()
    answer = await browser.answer()
    assert (answer.status, answer.reason) == (502, b"connection_terminated")
