"""A WebSocket that cannot be forwarded: its handshake is refused with a status, or accepted and closed with a code."""

from __future__ import annotations

import pytest

from tests.behaviour.harness import App, Gateway, Message, OpenGateway, Wire

both = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


def handshake(app: App, target: bytes) -> bytes:
    return (
        b"GET %b HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n" % (target, app.host)
    )


@pytest.fixture
async def dead(gateway: Gateway) -> App:
    app = await gateway.app()
    app.stop()
    return app


async def closed(browser: Wire) -> tuple[Message, bytes]:
    head = Message(await browser.head())
    return head, await browser.ended()


@both
async def test_by_default_the_status_says_it(gateway: Gateway, dead: App, tls: bool) -> None:
    browser = await gateway.connect(tls=tls)
    browser.send(handshake(dead, b"/"))
    answer = await browser.answer()
    assert (answer.status, answer.reason) == (502, b"connection_refused")


@both
async def test_a_url_may_ask_for_a_close_code(gateway: Gateway, dead: App, tls: bool) -> None:
    browser = await gateway.connect(tls=tls)
    browser.send(handshake(dead, b"/hmr?token=x&gateway_close=1"))
    head, octets = await closed(browser)
    assert head.status == 101
    assert head.get(b"Sec-WebSocket-Accept") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert head.get(b"Connection") == b"Upgrade"
    assert head.reason == b"connection_refused"
    assert octets[0] == 0x88
    assert int.from_bytes(octets[2:4]) == 4502
    assert octets[4:].startswith(b"connection_refused: Nothing reachable listens on port")
    assert len(octets) == 2 + octets[1]
    record = gateway.log[-1]
    assert (record.status, record.reason) == (101, "connection_refused")


async def test_a_setting_asks_for_everybody(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(edge={"websocket_errors": "close"})
    app = await gateway.app()
    app.stop()
    browser = await gateway.connect()
    browser.send(handshake(app, b"/"))
    head, octets = await closed(browser)
    assert head.status == 101
    assert int.from_bytes(octets[2:4]) == 4502


async def test_what_was_sent_along_with_the_handshake_is_not_a_request(gateway: Gateway, dead: App) -> None:
    browser = await gateway.connect()
    browser.send(handshake(dead, b"/?gateway_close=1") + b"GET / HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n")
    head, octets = await closed(browser)
    assert head.status == 101
    assert octets[0] == 0x88
    assert len(gateway.log) == 1
