"""Limits: who asks for more than its share is turned away, and who leaves makes room at once."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest

from tests.behaviour.harness import OK, Gateway, OpenGateway, answering, get, until

both = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


async def turned_away(gateway: Gateway) -> None:
    """A connection more than allowed: closed before anything was read from it."""
    newcomer = await gateway.connect()
    assert await newcomer.ended() == b""


@pytest.mark.parametrize("limit", ["connections", "connections_per_address"])
async def test_connections(open_gateway: OpenGateway, limit: str) -> None:
    gateway = await open_gateway(limits={limit: 3})
    app = await gateway.app(answering(OK))
    inside = [await gateway.connect(tls=number == 0) for number in range(3)]
    for _ in range(3):
        await turned_away(gateway)
    for browser in inside:
        browser.send(get(app))
        assert (await browser.answer()).body == b"ok"
    inside[0].close()
    await until(lambda: gateway.edge.connections == 2, "there is room again")
    again = await gateway.connect()
    again.send(get(app))
    assert (await again.answer()).body == b"ok"
    await turned_away(gateway)


async def test_a_subscriber_is_one_address(open_gateway: OpenGateway) -> None:
    """Who has an IPv6 /64, as every subscriber does, has as many addresses as it likes; with IPv4 each counts alone."""
    gateway = await open_gateway(limits={"connections_per_address": 3})
    mine = [IPv6Address("::2"), IPv6Address("::ffff:ffff:ffff:ffff")]  # as the ::1 of our browsers
    others = [IPv6Address("0:0:0:1::1"), IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")]
    admitted = [*mine, *others * 3]
    assert all(gateway.edge.admit(address) for address in admitted)
    assert not any(gateway.edge.admit(address) for address in others)
    browser = await gateway.connect()
    await until(lambda: gateway.edge.connections == len(admitted) + 1, "the third of its /64")
    await turned_away(gateway)
    for address in admitted:
        gateway.edge.dismiss(address)
    again = await gateway.connect()
    again.send(b"GET / HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n")
    assert (await again.answer()).status == 421
    browser.close()


async def test_a_balancer_is_not_one_address(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(
        limits={"connections_per_address": 2}, edge={"trusted_proxies": (IPv6Network("::1/128"),)}
    )
    app = await gateway.app(answering(OK))
    for _ in range(5):
        browser = await gateway.connect()
        browser.send(get(app))
        assert (await browser.answer()).body == b"ok"


async def test_handshakes_count(open_gateway: OpenGateway) -> None:
    """Who connects and says nothing takes a place like everybody."""
    gateway = await open_gateway(limits={"connections": 2})
    silent = [await gateway.connect_to(gateway.tls_port) for _ in range(2)]
    await until(lambda: gateway.edge.connections == 2, "both are counted")
    await turned_away(gateway)
    for wire in silent:
        wire.close()
    await until(lambda: not gateway.edge.connections, "both are counted out")


@both
async def test_exchanges_of_one_sandbox(open_gateway: OpenGateway, tls: bool) -> None:
    gateway = await open_gateway(limits={"exchanges_per_sandbox": 2})
    app = await gateway.app()
    busy = [await gateway.connect(tls=tls) for _ in range(2)]
    upstreams = []
    for browser in busy:
        browser.send(get(app))
        upstreams.append(await app.accept())
        await upstreams[-1].request()
    another = await gateway.connect(tls=tls)
    for _ in range(3):
        another.send(get(app))
        answer = await another.answer()
        assert (answer.status, answer.reason) == (429, b"connection_limit_reached")
        assert answer.get(b"Retry-After") is not None
    assert len(app.connections) == 2
    upstreams[0].send(OK)
    assert (await busy[0].answer()).body == b"ok"
    another.send(get(app))
    await upstreams[0].request()
    upstreams[0].send(OK)
    assert (await another.answer()).body == b"ok"


async def test_dials_count_and_other_sandboxes_do_not(open_gateway: OpenGateway) -> None:
    """One dead sandbox cannot keep the living waiting."""
    gateway = await open_gateway(limits={"exchanges_per_sandbox": 1})
    app = await gateway.app()
    first = await gateway.connect()
    first.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    elsewhere = await gateway.connect()
    elsewhere.send(b"GET / HTTP/1.1\r\nHost: 5000-gone.sandbox.localhost\r\n\r\n")
    assert (await elsewhere.answer()).reason == b"destination_not_found"
    upstream.send(OK)
    assert (await first.answer()).body == b"ok"


async def test_a_tunnel_is_an_exchange(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(limits={"exchanges_per_sandbox": 1})
    app = await gateway.app()
    first = await gateway.connect()
    first.send(b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 101 Fine\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
    await first.head()
    second = await gateway.connect()
    second.send(get(app))
    assert (await second.answer()).status == 429
    upstream.close()
    await first.ended()
    first.close()
    await until(lambda: not gateway.edge.exchanges, "the tunnel is over")
    second.send(get(app))
    again = await app.accept()
    await again.request()
    again.send(OK)
    assert (await second.answer()).body == b"ok"


async def test_failures_are_counted_out(open_gateway: OpenGateway) -> None:
    """A limit of one, and a hundred requests that fail one after the other in every phase."""
    gateway = await open_gateway(limits={"exchanges_per_sandbox": 1})
    dead = await gateway.app()
    dead.stop()
    garbage = await gateway.app(answering(b"garbage\r\n\r\n"))
    browser = await gateway.connect()
    for _ in range(50):
        browser.send(get(dead))
        assert (await browser.answer()).reason == b"connection_refused"
        browser.send(get(garbage))
        assert (await browser.answer()).reason == b"http_protocol_error"
    assert gateway.edge.exchanges == {}


async def test_a_listener_that_is_gone_is_left_alone(gateway: Gateway) -> None:
    """Not asked again and again: it would be ready for ever."""
    gateway.plain_socket.shutdown(socket.SHUT_RD)
    app = await gateway.app(answering(OK))
    for _ in range(3):
        browser = await gateway.connect(tls=True)
        browser.send(get(app))
        assert (await browser.answer()).body == b"ok"
    gateway.expect_complaint("not accepting any more: Invalid argument")
    assert gateway.plain_socket.fileno() < 0, "it is closed"


FIELDS = b"".join(b"X-%d: a\r\n" % number for number in range(15))
"""Of 20 that are allowed."""


@both
@pytest.mark.parametrize(("trailers", "fits"), [(3, True), (10, False)])
async def test_trailers_of_a_request_count_with_its_head(
    open_gateway: OpenGateway, trailers: int, fits: bool, tls: bool
) -> None:
    gateway = await open_gateway(limits={"header_fields": 20})
    app = await gateway.app(answering(OK))
    browser = await gateway.connect(tls=tls)
    head = b"POST / HTTP/1.1\r\nHost: %b\r\n%bTransfer-Encoding: chunked\r\n\r\n" % (app.host, FIELDS)
    browser.send(head + b"1\r\na\r\n0\r\n" + b"X-T: t\r\n" * trailers + b"\r\n")
    answer = await browser.answer()
    assert (answer.status, answer.reason) == ((200, None) if fits else (400, b"bad_request"))
    assert app.received.count(b"X-T: t\r\n") == (trailers if fits else 0)


@both
@pytest.mark.parametrize(("trailers", "fits"), [(3, True), (10, False)])
async def test_trailers_of_an_answer_count_with_its_head(
    open_gateway: OpenGateway, trailers: int, fits: bool, tls: bool
) -> None:
    gateway = await open_gateway(limits={"header_fields": 20})
    head = b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n" % FIELDS
    app = await gateway.app(answering(head + b"1\r\na\r\n0\r\n" + b"X-T: t\r\n" * trailers + b"\r\n"))
    browser = await gateway.connect(tls=tls)
    browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: close, TE\r\nTE: trailers\r\n\r\n" % app.host)
    assert b" 200 OK\r\n" in await browser.head()
    rest = await browser.ended()
    assert rest.count(b"X-T: t\r\n") == (trailers if fits else 0)
    assert rest.endswith(b"\r\n0\r\n" + b"X-T: t\r\n" * trailers + b"\r\n") is fits
    assert [record.reason for record in gateway.log] == ["" if fits else "http_protocol_error"]
