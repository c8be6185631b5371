"""Which listener a URL leads to, and what is said of one that answers what it should not."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, IPv6Address

import msgspec
import pytest

from gateway.addresses import LOOPBACK, LOOPBACK4
from gateway.config import Listen, Settings
from gateway.config.settings import Edge
from gateway.diagnosis import listener_probe
from gateway.diagnosis.listener_probe import Listener, NotAnswered, NotAsked, configured, negotiate, reached_by

pytestmark = pytest.mark.ipv6

TLS, PLAIN = Listener((None, 8443), is_tls=True), Listener((None, 8080), is_tls=False)


def test_the_settings_say_where() -> None:
    edge = Edge(listen=(Listen("::", 443), Listen("::1", 0)), listen_plain=(Listen("0.0.0.0", 80),))
    settings = msgspec.structs.replace(Settings(), edge=edge)
    assert configured(settings) == (
        Listener((None, 443), is_tls=True),
        Listener((IPv4Address("0.0.0.0"), 80), is_tls=False),
    )


@pytest.mark.parametrize(
    ("bound", "reached"),
    [
        (None, LOOPBACK),
        (IPv4Address("0.0.0.0"), LOOPBACK4),
        (IPv6Address("fd00::1"), IPv6Address("fd00::1")),
        (IPv4Address("10.0.0.1"), IPv4Address("10.0.0.1")),
    ],
)
def test_where_this_machine_reaches_it(
    bound: IPv4Address | IPv6Address | None, reached: IPv4Address | IPv6Address
) -> None:
    assert Listener((bound, 443), is_tls=True).address == (reached, 443)


@pytest.mark.parametrize(
    ("listeners", "port", "found"),
    [
        ((TLS, PLAIN), 8443, TLS),
        ((TLS, PLAIN), 8080, PLAIN),
        ((PLAIN, TLS), 443, TLS),
        ((PLAIN,), 443, PLAIN),
    ],
)
def test_which_a_url_leads_to(listeners: tuple[Listener, ...], port: int, found: Listener) -> None:
    assert reached_by(listeners, port, Edge(public_port=443)) is found


@pytest.mark.parametrize(
    ("listeners", "edge", "said"),
    [
        ((), Edge(), "no listener of this gateway is known here"),
        ((TLS,), Edge(), "this gateway does not listen at port 9443"),
        ((TLS,), Edge(proxy_protocol="require"), "this gateway listens to a balancer only, by the PROXY protocol"),
    ],
)
def test_where_there_is_none_to_ask(listeners: tuple[Listener, ...], edge: Edge, said: str) -> None:
    with pytest.raises(NotAsked, match=said):
        reached_by(listeners, 9443, edge)


SETTINGS = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "hung up before it had said what it speaks"),
        (SETTINGS, "hung up before it had said what it speaks"),
        (b"SSH-2.0-OpenSSH\r\n", "answered what is neither HTTP/2 nor HTTP/1.1"),
        (b"\x00\x00\x05\x04\x00\x00\x00\x00\x00" + bytes(5), "answered what is neither"),
        (b"\xff\xff\xff\x04\x00\x00\x00\x00\x00", "answered what is neither"),
        (SETTINGS + b"\x00\x08\x00\x00\x00\x09", "broke HTTP/2: SETTINGS_ENABLE_CONNECT_PROTOCOL out of range"),
    ],
)
async def test_another_who_has_the_port(answer: bytes, said: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"SM\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "::1", 0) as server:
        listener = Listener((LOOPBACK, server.sockets[0].getsockname()[1]), is_tls=False)
        with pytest.raises(NotAnswered, match=said):
            await negotiate(listener, "5000-box.sandbox.localhost")


async def test_one_without_tls_where_tls_should_end() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "::1", 0) as server:
        listener = Listener((LOOPBACK, server.sockets[0].getsockname()[1]), is_tls=True)
        with pytest.raises(NotAnswered, match="has no TLS to offer"):
            await negotiate(listener, "5000-box.sandbox.localhost")


async def test_one_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_probe, "LISTENER_TIMEOUT", 0.05)
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        except ConnectionError:
            pass  # it is hung up on
        finally:
            writer.close()
            ended.set()

    async with await asyncio.start_server(serve, "::1", 0) as server:
        listener = Listener((LOOPBACK, server.sockets[0].getsockname()[1]), is_tls=False)
        with pytest.raises(NotAnswered, match=r"has not answered within 0\.05 s"):
            await negotiate(listener, "5000-box.sandbox.localhost")
        async with asyncio.timeout(20):
            await ended.wait()
