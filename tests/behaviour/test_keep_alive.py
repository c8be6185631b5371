"""Connections are kept exactly as long as both sides of HTTP say so."""

from __future__ import annotations

import pytest

from tests.behaviour.harness import OK, App, Gateway, Wire, answering, get

both = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


@pytest.fixture
async def app(gateway: Gateway) -> App:
    return await gateway.app(answering(OK))


async def kept(browser: Wire, app: App) -> bool:
    """Whether another request is answered; if not, the end was a clean one without a word."""
    if not browser.end:
        browser.send(get(app, b"/again"))
        await browser.wait(lambda: bool(browser.unread or browser.end), "an answer or the end")
    if browser.unread:
        assert (await browser.answer()).body == b"ok"
        return True
    return False


@both
@pytest.mark.parametrize(
    ("head", "said", "is_kept"),
    [
        (b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n", None, True),
        (b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: keep-alive\r\n\r\n", None, True),
        (b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n", b"close", False),
        (b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: X-A, CLOSE\r\n\r\n", b"close", False),
        (b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", b"close", False),
        (b"GET / HTTP/1.0\r\nHost: %b\r\n\r\n", b"close", False),
        (b"GET / HTTP/1.0\r\nHost: %b\r\nConnection: keep-alive\r\n\r\n", b"keep-alive", True),
        (b"GET / HTTP/1.0\r\nHost: %b\r\nConnection: Keep-Alive\r\nKeep-Alive: 300\r\n\r\n", b"keep-alive", True),
        (b"GET / HTTP/1.0\r\nHost: %b\r\nConnection: keep-alive, close\r\n\r\n", b"close", False),
    ],
)
async def test_the_browser_s_wish(
    gateway: Gateway, app: App, head: bytes, said: bytes | None, is_kept: bool, tls: bool
) -> None:
    browser = await gateway.connect(tls=tls)
    browser.send(head % app.host)
    answer = await browser.answer()
    assert (answer.status, answer.body, answer.get(b"Connection")) == (200, b"ok", said)
    if not is_kept:
        assert await browser.eof() == b""
    assert await kept(browser, app) is is_kept
    assert len(app.connections) == 1  # the connection to the app is another matter


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ],
    ids=["close", "http-1.0", "close-and-chunked"],
)
async def test_the_app_s_wish_is_about_its_own_connection(gateway: Gateway, app: App, answer: bytes) -> None:
    closing = await gateway.app(answering(answer))
    browser = await gateway.connect()
    for _ in range(3):
        browser.send(get(closing))
        message = await browser.answer()
        assert (message.body, message.get(b"Connection")) == (b"ok", None)
    assert len(closing.connections) == 3
    assert await kept(browser, app)


async def test_answers_of_the_same_octets_do_not_share_what_became_of_them(gateway: Gateway) -> None:
    """Their heads are remembered as one; that octets followed one of them is its connection's matter."""

    surplus = [b"HTTP/1.1 200 OK"]

    async def first_too_long(wire: Wire) -> None:
        if not surplus:
            await answering(OK)(wire)
            return
        await wire.request()
        wire.send(OK + surplus.pop())
        await wire.eof()

    app = await gateway.app(first_too_long)
    browser = await gateway.connect()
    for _ in range(4):
        browser.send(get(app))
        assert (await browser.answer()).body == b"ok"
    assert len(app.connections) == 2, "the second one is kept"


async def test_http_1_0_without_a_length_ends_with_the_connection(gateway: Gateway) -> None:
    async def until_close(wire: Wire) -> None:
        await wire.request()
        wire.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
        wire.close()

    app = await gateway.app(until_close)
    browser = await gateway.connect()
    browser.send(b"GET / HTTP/1.0\r\nHost: %b\r\nConnection: keep-alive\r\n\r\n" % app.host)
    assert await browser.head() == b"HTTP/1.1 200 OK\r\nX-Request-Id: #\r\nConnection: close\r\n\r\n"
    assert await browser.eof() == b"abc"


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("head", [b"HEAD", b"GET"])
async def test_answers_without_a_body_keep_it_too(gateway: Gateway, app: App, head: bytes, version: bytes) -> None:
    empty = await gateway.app(answering(b"HTTP/1.1 304 Not Modified\r\n\r\n"))
    browser = await gateway.connect()
    for _ in range(2):
        browser.send(b"%b / HTTP/%b\r\nHost: %b\r\nConnection: keep-alive\r\n\r\n" % (head, version, empty.host))
        assert (await browser.answer(head)).status == 304
    assert await kept(browser, app)


async def test_problems_keep_it_unless_they_say_close(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    for host, status in (
        (b"elsewhere.example", 421),
        (b"x.sandbox.localhost", 400),
        (b"80-gone.sandbox.localhost", 404),
    ):
        browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
        answer = await browser.answer()
        assert (answer.status, answer.get(b"Connection")) == (status, None)
    assert await kept(browser, app)


async def test_many_browsers_share_few_connections(gateway: Gateway, app: App) -> None:
    for _ in range(20):
        browser = await gateway.connect(tls=True)
        for _ in range(5):
            browser.send(get(app))
            assert (await browser.answer()).body == b"ok"
    assert len(app.connections) == 1
