"""Plain HTTP spoken to the TLS port gets an answer that says so, and the address to use instead."""

from __future__ import annotations

import pytest

from gateway.edge.local_reply import redirected_from_plain_on_tls
from gateway.edge.tls_records import NO_TLS
from tests.behaviour.harness import App, Gateway, OpenGateway, until


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


SSL2 = bytes.fromhex("802e0100020015000000100100800200800300800400800500800600400700c0") + bytes(16)


@pytest.mark.parametrize(
    "greeting",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        SSL2,
        SSL2[:1] + b"\x2e\x01\x03\x03" + SSL2[5:],  # an SSLv2 record that asks for TLS 1.2
        b"PING\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"EHLO mail.example\r\n",
        b"GET /\r\n",
        b"\0",
        b"\x17\x03\x03\0\x01x",
        b"\r\n\r\n\1",
        b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\1\0\x08\0\3\0\0\0",
        b"A" * 9000,
    ],
    ids=[
        "ssh",
        "ssl2",
        "ssl2-for-tls",
        "redis",
        "resp",
        "smtp",
        "http-0.9",
        "nul",
        "tls-data",
        "crs",
        "rdp",
        "endless",
    ],
)
async def test_what_is_neither_gets_an_alert(gateway: Gateway, greeting: bytes) -> None:
    """Not HTTP's text, which other protocols take for theirs or show to somebody."""
    browser = await gateway.connect_to(gateway.tls_port)
    browser.send(greeting)
    assert await browser.ended() in (NO_TLS, b"")
    assert gateway.log == []


async def test_who_never_says_enough_is_not_waited_for_long(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(timeouts={"handshake": 0.2})
    browser = await gateway.connect_to(gateway.tls_port)
    browser.send(b"GET / HTTP/1.1")
    assert await browser.ended() == b""


async def test_nothing_is_forwarded(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect_to(gateway.tls_port)
    browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % app.host)
    assert (await browser.answer()).status == 400
    assert await browser.eof() == b""
    assert app.connections == []


async def test_where_the_edge_says_so_a_name_of_ours_is_redirected(gateway: Gateway) -> None:
    """As `gateway dev` does: the port that was typed is the right one, and only the scheme is not."""
    domains = gateway.edge.settings.edge.domains
    gateway.edge.answer_to_plain_on_tls = redirected_from_plain_on_tls(domains, gateway.tls_port)
    browser = await gateway.connect_to(gateway.tls_port)
    for host, status, location in (
        (b"5000-box.sandbox.localhost:%d" % gateway.tls_port, 308, b"https://5000-box.sandbox.localhost:%d/path?query"),
        (b"sandbox.localhost", 308, b"https://sandbox.localhost:%d/path?query"),
        (b"localhost:8443", 400, None),
    ):
        browser.send(b"GET /path?query HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
        answer = await browser.answer()
        assert answer.status == status
        assert answer.get(b"Location") == (location and location % gateway.tls_port)
