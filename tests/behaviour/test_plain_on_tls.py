"""Plain HTTP spoken to the TLS port gets an answer that says so, and the address to use instead."""

from __future__ import annotations

import pytest

from tests.behaviour.harness import App, Gateway, until


@pytest.fixture
async def app(gateway: Gateway) -> App:
    return await gateway.app()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /path?query HTTP/1.1\r\nHost: 5000-box.sandbox.localhost:8443\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: 5000-box.sandbox.localhost:8443\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 5000-box.sandbox.localhost:8443\r\nContent-Length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: 5000-box.sandbox.localhost:8443\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe",
        b"GET / HTTP/1.1\r\nHost: 5000-box.sandbox.localhost:8443\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 5000-box.sandbox.localhost:8443\r\n\r\n" * 2,
    ],
    ids=["get", "http-1.0", "post", "chunked", "websocket", "pipelined"],
)
async def test_the_answer_says_https(gateway: Gateway, request_: bytes) -> None:
    browser = await gateway.connect_to(gateway.tls_port)
    browser.send(request_)
    answer = await browser.answer()
    assert (answer.status, answer.reason) == (400, b"plain_http_on_tls_port")
    assert b"https://5000-box.sandbox.localhost:8443" in answer.body
    assert answer.get(b"X-Request-Id") == b"#"
    browser.close()
    await until(lambda: not gateway.edge.connections, "the connection is over")
    assert {record.status for record in gateway.log} == {400}


async def test_a_browser_gets_a_page(gateway: Gateway) -> None:
    browser = await gateway.connect_to(gateway.tls_port)
    browser.send(b"GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\nSec-Fetch-Mode: navigate\r\n\r\n")
    answer = await browser.answer()
    assert answer.get(b"Content-Type") == b"text/html; charset=utf-8"
    assert b"https://a" in answer.body


async def test_head_gets_no_body(gateway: Gateway) -> None:
    browser = await gateway.connect_to(gateway.tls_port)
    browser.send(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert (await browser.answer(b"HEAD")).status == 400
    assert await browser.eof() == b""


async def test_one_octet_at_a_time(gateway: Gateway) -> None:
    """The first octet decides, and is still there for who reads it next."""
    browser = await gateway.connect_to(gateway.tls_port)
    for octet in b"GET / HTTP/1.1\r\nHost: a\r\n\r\n":
        browser.send(bytes([octet]))
        await gateway.settled()
    assert (await browser.answer()).reason == b"plain_http_on_tls_port"


async def test_what_is_neither(gateway: Gateway) -> None:
    browser = await gateway.connect_to(gateway.tls_port)
    browser.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    answer = await browser.answer()
    assert (answer.status, answer.reason) == (400, b"bad_request")
    assert await browser.eof() == b""


async def test_nothing_is_forwarded(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect_to(gateway.tls_port)
    browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % app.host)
    assert (await browser.answer()).status == 400
    assert await browser.eof() == b""
    assert app.connections == []
