"""A PROXY protocol header that nobody was told to expect is called by its name, on every listener."""

from __future__ import annotations

import pytest

from gateway.edge.tls_records import NO_TLS
from gateway.http.greeting import PROXY_V2
from tests.behaviour.harness import Gateway, get, until

VERSION_2 = PROXY_V2 + b"\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\x12\x67\1\xbb"
HEADERS = [
    (1, b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n"),
    (1, b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n"),
    (1, b"PROXY UNKNOWN\r\n"),
    (2, VERSION_2),
    (2, PROXY_V2 + b"\x20\0\0\0"),
    (2, PROXY_V2 + b"\x21\x21\0\x24" + b"\r\n\r\n" * 9),
]
headers = pytest.mark.parametrize(("version", "header"), HEADERS)
CLIENT_HELLO = b"\x16\x03\x01\0\x05\x01\0\0\x01\0"


@headers
async def test_on_a_plain_listener(gateway: Gateway, version: int, header: bytes) -> None:
    app = await gateway.app()
    balancer = await gateway.connect()
    balancer.send(header + get(app))
    answer = await balancer.answer()
    assert (answer.status, answer.reason) == (400, b"unexpected_proxy_header")
    assert b"version %d" % version in answer.body
    assert b"edge.proxy_protocol" in answer.body
    assert await balancer.eof() == b""
    assert app.connections == []
    assert [(record.reason, record.remote) for record in gateway.log] == [("unexpected_proxy_header", "::1")]


@headers
@pytest.mark.parametrize("whole", [True, False], ids=["at-once", "in-two"])
async def test_on_a_tls_listener(gateway: Gateway, version: int, header: bytes, whole: bool) -> None:
    balancer = await gateway.connect_to(gateway.tls_port)
    if whole:
        balancer.send(header + CLIENT_HELLO)
    else:
        balancer.send(header[:7])
        await gateway.settled()
        balancer.send(header[7:])
    assert await balancer.ended() in (NO_TLS, b"")
    await until(lambda: gateway.log, "it is recorded")
    [record] = gateway.log
    assert (record.reason, record.remote, record.status) == ("unexpected_proxy_header", "::1", 400)
    assert f"version {version}" in record.detail


async def test_a_method_may_have_that_name(gateway: Gateway) -> None:
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(b"PROXY / HTTP/1.1\r\nHost: %b\r\n\r\n" % app.host)
    request = await (await app.accept()).request()
    assert request.start == b"PROXY / HTTP/1.1"
