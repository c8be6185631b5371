"""RFC 9113 section 3: how a connection begins, with TLS (ALPN) and without (prior knowledge)."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from tests.behaviour.harness import OK, Gateway, OpenGateway, TlsSides, answering
from tests.support.h2_client import H2Client
from tests.support.h2_frames import PREFACE, Code, Flag, Setting, Type, frame, settings

SETTINGS = frame(Type.SETTINGS)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("size", [1, 7, 24, 1000], ids="in pieces of {}".format)
async def test_a_preface(gateway: Gateway, tls_sides: TlsSides, tls: bool, size: int) -> None:
    app = await gateway.app(answering(OK))
    sock = await gateway.blocking_socket(context=tls_sides.client_of("h2") if tls else None)

    def play() -> None:
        with H2Client(sock, preface=b"", options=None) as client:
            client.send_pieces(PREFACE + SETTINGS, size)
            answer = client.response(client.request(app.host))
            assert (answer.status, bytes(answer.body)) == (200, b"ok")
            first, *rest = client.frames
            assert (first.type, first.flags) == (Type.SETTINGS, 0)
            assert any(each.type == Type.SETTINGS and each.flags == Flag.ACK for each in rest)

    await asyncio.to_thread(play)


async def test_our_settings_do_not_wait_for_theirs(gateway: Gateway, tls_sides: TlsSides) -> None:
    """Section 3.4: over TLS, where ALPN has said what is spoken, the server may speak first."""
    sock = await gateway.blocking_socket(context=tls_sides.client_of("h2"))

    def play() -> None:
        with H2Client(sock, preface=b"", options=None) as client:
            client.wait(lambda: client.settings, "their SETTINGS")

    await asyncio.to_thread(play)


async def test_what_our_settings_say(gateway: Gateway) -> None:
    sock = await gateway.blocking_socket()

    def play() -> None:
        with H2Client(sock) as client:
            client.wait(lambda: client.settings, "their SETTINGS")
            said = client.settings
            assert 100 <= said[Setting.MAX_CONCURRENT_STREAMS] <= 1000
            assert said[Setting.ENABLE_CONNECT_PROTOCOL] == 1
            assert said[Setting.NO_RFC7540_PRIORITIES] == 1
            assert said[Setting.MAX_HEADER_LIST_SIZE] >= 16 * 1024
            assert said.get(Setting.INITIAL_WINDOW_SIZE, 65_535) >= 65_535
            assert said.get(Setting.MAX_FRAME_SIZE, 16_384) == 16_384
            assert said.get(Setting.HEADER_TABLE_SIZE, 4096) == 4096
            assert Setting.ENABLE_PUSH not in said, "section 6.5.2: a server does not say it, or 0"

    await asyncio.to_thread(play)


FIRST = {
    "PING": frame(Type.PING, 0, 0, bytes(8)),
    "an acknowledgement": frame(Type.SETTINGS, Flag.ACK),
    "WINDOW_UPDATE": frame(Type.WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
    "GOAWAY": frame(Type.GOAWAY, 0, 0, bytes(8)),
    "an unknown type": frame(0xBE),
    "HEADERS": frame(Type.HEADERS, 5, 1, b"\x82\x84\x86"),
    "the preface again": PREFACE,
    "HTTP/1.1": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "wrong SETTINGS": frame(Type.SETTINGS, 0, 0, settings((Setting.ENABLE_PUSH, 7))),
}


@pytest.mark.parametrize("first", FIRST)
async def test_the_first_frame_is_settings(gateway: Gateway, first: str) -> None:
    """Anything else is no HTTP/2."""
    sock = await gateway.blocking_socket()

    def play() -> None:
        with H2Client(sock, options=None) as client:
            client.send(FIRST[first])
            client.expect_goaway(Code.PROTOCOL_ERROR, Code.FRAME_SIZE_ERROR)

    await asyncio.to_thread(play)


NO_PREFACES = {
    "HTTP/1.1": b"GET / HTTP/1.1\r\nHost: 5000-box.sandbox.localhost\r\n\r\n",
    "nearly one": PREFACE[:-1] + b"\r",
    "another version": PREFACE.replace(b"2.0", b"3.0"),
    "SETTINGS at once": SETTINGS * 4,
}


@pytest.mark.parametrize("octets", NO_PREFACES)
async def test_h2_was_negotiated(gateway: Gateway, tls_sides: TlsSides, octets: str) -> None:
    """Then nothing else is read on that connection."""
    sock = await gateway.blocking_socket(context=tls_sides.client_of("h2"))

    def play() -> None:
        with H2Client(sock, preface=b"", options=None) as client:
            client.send(NO_PREFACES[octets])
            client.expect_end()
            assert all(each.code == Code.PROTOCOL_ERROR for each in client.goaway)

    await asyncio.to_thread(play)


@pytest.mark.parametrize(
    "octets", [PREFACE.replace(b"2.0", b"3.0"), b"PRI / HTTP/2.0\r\n\r\n", b"PRI * HTTP/1.1\r\n\r\n"]
)
async def test_no_prior_knowledge(gateway: Gateway, octets: bytes) -> None:
    """Without TLS whatever does not begin as the preface does is HTTP/1.1, and refused as that."""
    browser = await gateway.connect()
    browser.send(octets)
    rest = await browser.ended()
    assert rest.startswith((b"HTTP/1.1 505 ", b"HTTP/1.1 400 "))


async def test_a_preface_that_goes_wrong(gateway: Gateway) -> None:
    sock = await gateway.blocking_socket()

    def play() -> None:
        with H2Client(sock, preface=PREFACE[:18] + b"XX\r\n\r\n", options=None) as client:
            client.expect_goaway(Code.PROTOCOL_ERROR)

    await asyncio.to_thread(play)


@pytest.mark.parametrize("offered", [("http/1.1",), ("h2", "http/1.1"), ("http/1.1", "h2"), ("h2",), ("http/1.0",), ()])
async def test_what_is_negotiated(gateway: Gateway, tls_sides: TlsSides, offered: tuple[str, ...]) -> None:
    """h2 for whoever offers it."""
    sock = await gateway.blocking_socket(context=tls_sides.client_of(*offered))
    assert isinstance(sock, ssl.SSLSocket)
    with sock:
        expected = "h2" if "h2" in offered else "http/1.1" if "http/1.1" in offered else None
        assert sock.selected_alpn_protocol() == expected


async def cut_off(gateway: Gateway, context: ssl.SSLContext | None, octets: bytes) -> H2Client:
    """A client that says this and no more, until the other side ends the connection."""
    sock = await gateway.blocking_socket(context=context)
    client = H2Client(sock, preface=octets, options=None)
    client.acknowledges = False

    def play() -> None:
        with client:
            client.expect_end()

    await asyncio.to_thread(play)
    return client


async def test_a_preface_has_a_deadline(open_gateway: OpenGateway, tls_sides: TlsSides) -> None:
    gateway = await open_gateway(timeouts={"request_header": 0.2})
    await cut_off(gateway, tls_sides.client_of("h2"), PREFACE[:10])


@pytest.mark.parametrize(
    "octets", [PREFACE, PREFACE + SETTINGS[:5], PREFACE + SETTINGS], ids=["none", "half", "no ack"]
)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_settings_have_a_deadline(
    gateway: Gateway, tls_sides: TlsSides, monkeypatch: pytest.MonkeyPatch, tls: bool, octets: bytes
) -> None:
    """Theirs to come, and ours to be acknowledged (RFC 9113 section 6.5.3)."""
    monkeypatch.setattr("gateway.edge.http2.SETTINGS_PATIENCE", 0.2)
    client = await cut_off(gateway, tls_sides.client_of("h2") if tls else None, octets)
    assert [each.code for each in client.goaway] == [Code.SETTINGS_TIMEOUT]


async def test_both_protocols_on_one_listener(gateway: Gateway) -> None:
    """Without TLS the first octets decide, connection by connection."""
    app = await gateway.app(answering(OK))
    for _ in range(3):
        browser = await gateway.connect()
        browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % app.host)
        assert (await browser.answer()).body == b"ok"
        sock = await gateway.blocking_socket()

        def play(sock: socket.socket = sock) -> None:
            with H2Client(sock) as client:
                assert client.response(client.request(app.host)).status == 200

        await asyncio.to_thread(play)


async def test_an_upgrade_to_h2c_is_ignored(gateway: Gateway) -> None:
    """Section 3.1: it is deprecated, and answered in HTTP/1.1."""
    app = await gateway.app(answering(OK))
    browser = await gateway.connect()
    more = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (app.host, more))
    answer = await browser.answer()
    assert (answer.status, answer.body) == (200, b"ok")
    assert b"h2c" not in app.received and b"HTTP2" not in app.received.upper()
