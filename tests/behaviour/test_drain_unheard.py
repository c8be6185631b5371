"""In a drain nobody waits for a connection of which nothing has come: it is closed early, and nothing has failed."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from gateway.edge.drain import Drain
from gateway.edge.unheard import Unheard
from gateway.metrics import HANDSHAKE_FAILURES
from gateway.process.drain import Shutdown, drain
from tests.behaviour.harness import OK, App, Gateway, OpenGateway, Wire, answering, get, until
from tests.behaviour.test_counted import counted

LONG = {"handshake": 3600.0, "linger": 2.5}
HEADER = b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n"
BALANCED: dict[str, Any] = {"proxy_protocol": "require", "trusted_proxies": (ip_network("::1/128"),)}


ANSWERS = {"tls": b"plain_http_on_tls_port", "proxy": None}


def first_words(kind: str, app: App) -> bytes:
    """What a TLS port answers without a handshake; or what a balancer sends."""
    return get(app) if kind == "tls" else HEADER + get(app)


async def opened(open_gateway: OpenGateway, kind: str, **timeouts: float) -> tuple[Gateway, App]:
    edge = BALANCED if kind == "proxy" else {}
    gateway = await open_gateway(edge=edge, timeouts=LONG | timeouts)
    return gateway, await gateway.app(answering(OK))


async def connect(gateway: Gateway, kind: str) -> Wire:
    return await gateway.connect_to(gateway.tls_port if kind == "tls" else gateway.plain_port)


async def silent(gateway: Gateway, kind: str) -> Wire:
    """A connection that says nothing, and that the gateway has."""
    browser = await connect(gateway, kind)
    await until(lambda: gateway.edge.downstreams, "it is there")
    return browser


async def begin_drain(gateway: Gateway) -> Unheard:
    """Of the only connection, which has a moment to say something."""
    [connection] = gateway.edge.downstreams
    assert isinstance(connection, Unheard)
    gateway.edge.drain()
    await until(lambda: connection.deadline < connection._due, "it has a moment")
    return connection


@pytest.mark.parametrize("kind", ["plain", "tls", "proxy"])
@pytest.mark.parametrize("late", [False, True], ids=["before", "during"])
async def test_who_says_nothing_is_not_waited_for(open_gateway: OpenGateway, kind: str, late: bool) -> None:
    """`late`: it was queued when the drain began."""
    gateway, _ = await opened(open_gateway, kind)
    if late:
        for sock in (gateway.plain_socket, gateway.secure_socket):
            gateway.edge.loop.remove_reader(sock)
        browser = await connect(gateway, kind)
    else:
        browser = await silent(gateway, kind)
    doors = [gateway.plain, gateway.secure]
    await drain(Drain(gateway.edge, 2.0), doors, Shutdown())  # which would complain of what does not finish
    assert await browser.ended() == b""
    assert counted(gateway).sum(HANDSHAKE_FAILURES) == 0
    assert gateway.edge.counters.proxy_headers_refused == 0


@pytest.mark.parametrize("kind", ["tls", "proxy"])
async def test_who_has_begun_by_then_has_all_the_time_there_was(open_gateway: OpenGateway, kind: str) -> None:
    gateway, app = await opened(open_gateway, kind, linger=0.2)
    browser = await silent(gateway, kind)
    connection = await begin_drain(gateway)
    says = first_words(kind, app)
    browser.send(says[:2])
    await until(lambda: connection.deadline == connection._due, "the moment has passed")
    browser.send(says[2:])
    assert (await browser.answer()).reason == ANSWERS[kind]


@pytest.mark.parametrize("kind", ["tls", "proxy"])
async def test_so_has_whose_octets_wait_to_be_read(open_gateway: OpenGateway, kind: str) -> None:
    """They are here, and the event loop's turn is a moment late."""
    gateway, app = await opened(open_gateway, kind)
    browser = await silent(gateway, kind)
    connection = await begin_drain(gateway)
    browser.send(first_words(kind, app))  # at once, and loopback's other end has it
    connection.expire(connection.deadline)
    assert connection.deadline == connection._due
    assert (await browser.answer()).reason == ANSWERS[kind]
