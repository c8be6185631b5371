"""Behind a trusted balancer each visitor is somebody: in the log, to the app, and in `limits.connections_per_address`."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from gateway.http.forwarding import normalized
from tests.behaviour.harness import OK, App, Gateway, OpenGateway, Wire, answering, until

BALANCED = {"edge": {"trusted_proxies": (ip_network("::1/128"),)}, "limits": {"connections_per_address": 2}}


def said(app: App, *claims: bytes) -> bytes:
    fields = b"".join(claim + b"\r\n" for claim in claims)
    return b"GET / HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (app.host, fields)


def visiting(app: App, visitor: bytes) -> bytes:
    return said(app, b"X-Forwarded-For: " + visitor)


async def held(gateway: Gateway, app: App, visitor: bytes) -> tuple[Wire, Wire]:
    """An exchange under way, on a connection of its own, and the app's end of it."""
    browser = await gateway.connect()
    browser.send(visiting(app, visitor))
    connection = await app.accept()
    await connection.request()
    return browser, connection


@pytest.mark.parametrize(
    "visitors",
    [
        (b"203.0.113.7", b"6.6.6.6, 203.0.113.7", b"203.0.113.7"),
        (b"203.0.113.7:4711", b"203.0.113.7:4712", b"::ffff:203.0.113.7"),
        (b"2001:db8::1", b"[2001:db8::2]:4711", b"2001:db8:0:0:ffff::"),
    ],
    ids=["address", "ports", "one-subscriber"],
)
async def test_a_visitor_has_so_many_exchanges(open_gateway: OpenGateway, visitors: tuple[bytes, bytes, bytes]) -> None:
    gateway = await open_gateway(**BALANCED)
    app = await gateway.app()
    first, answers = await held(gateway, app, visitors[0])
    await held(gateway, app, visitors[1])
    third = await gateway.connect()
    third.send(visiting(app, visitors[2]))
    refused = await third.answer()
    assert (refused.status, refused.reason) == (429, b"connection_limit_reached")
    third.send(visiting(app, b"198.51.100.1"))
    other = await app.accept()
    await other.request()
    other.send(OK)
    assert (await third.answer()).status == 200, "a neighbour on the same connection is somebody else"
    answers.send(OK)
    assert (await first.answer()).status == 200
    third.send(visiting(app, visitors[2]))
    await answers.request()
    answers.send(OK)
    assert (await third.answer()).status == 200, "as soon as one has ended"
    assert gateway.log[0].remote == str(normalized(visitors[2].decode())), "the refused one"


async def test_a_tunnel_is_counted_as_long_as_it_lasts(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(**BALANCED)
    app = await gateway.app()
    for _ in range(2):
        browser = await gateway.connect()
        browser.send(said(app, b"X-Forwarded-For: 203.0.113.7", b"Connection: Upgrade", b"Upgrade: websocket"))
        connection = await app.accept()
        await connection.request()
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert (await browser.answer()).status == 101
    third = await gateway.connect()
    third.send(visiting(app, b"203.0.113.7"))
    assert (await third.answer()).status == 429
    browser.reset()
    await until(lambda: len(gateway.log) == 2, "the tunnel has ended")
    third.send(visiting(app, b"203.0.113.7"))
    last = await app.accept()
    await last.request()
    last.send(OK)
    assert (await third.answer()).status == 200


async def test_nothing_is_counted_for_who_is_hidden_or_trusted(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(**BALANCED)
    app = await gateway.app()
    for claim in (b"unknown", b"::1", b"nonsense", b"unknown", b"::1"):
        await held(gateway, app, claim)


async def test_who_is_counted_is_in_the_log(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(**BALANCED)
    app = await gateway.app(answering(OK))
    browser = await gateway.connect()
    for claims in (
        [b"X-Forwarded-For: 203.0.113.7:4711"],
        [b"X-Forwarded-For: 6.6.6.6", b"X-Forwarded-For: [2001:db8::1]:80"],
        [b"Forwarded: for=198.51.100.1"],
        [b"Forwarded: for=198.51.100.1", b"X-Forwarded-For: 203.0.113.7"],
        [b"X-Forwarded-For: nonsense"],
    ):
        browser.send(said(app, *claims))
        assert (await browser.answer()).status == 200
    assert [record.remote for record in gateway.log] == [
        "203.0.113.7",
        "2001:db8::1",
        "198.51.100.1",
        "203.0.113.7",
        "::1",
    ]


async def test_a_stranger_cannot_fill_anothers_limit(open_gateway: OpenGateway) -> None:
    """Not trusted, its claims are nobody's."""
    gateway = await open_gateway(limits={"connections_per_address": 10})
    app = await gateway.app(answering(OK))
    browser = await gateway.connect()
    for _ in range(30):
        browser.send(visiting(app, b"203.0.113.7"))
        assert (await browser.answer()).status == 200
    assert {record.remote for record in gateway.log} == {"::1"}
    assert set(gateway.edge.limits.per_source.values()) == {1}


async def test_the_app_is_told_one_story(open_gateway: OpenGateway) -> None:
    """An open quote of the visitor's, behind a balancer that writes X-Forwarded-For only."""
    gateway = await open_gateway(**BALANCED)
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(
        said(app, b'Forwarded: for=6.6.6.6;by="', b"X-Forwarded-For: 203.0.113.7:4711", b"X-Forwarded-Proto: https")
    )
    connection = await app.accept()
    request = await connection.request()
    host = app.host.decode()
    assert request.get(b"Forwarded") == (
        f'for=203.0.113.7;host={host};proto=https, for="[::1]";host={host};proto=https'.encode()
    )
    assert request.get(b"X-Forwarded-For") == b"203.0.113.7, ::1"
    assert request.get(b"X-Real-Ip") == b"203.0.113.7"
    connection.send(OK)
    await browser.answer()
