"""Who is turned away by a limit, and who speaks the wrong protocol, leaves a number and at most a line a second."""

from __future__ import annotations

from ipaddress import IPv6Network

import pytest

from gateway.observe.counters import told
from gateway.observe.totals import Totals
from tests.behaviour.harness import OK, Gateway, OpenGateway, get, until

FLOOD = 200


def counted(gateway: Gateway) -> dict[str, object]:
    """What is not zero."""
    return {
        name: {key: count for key, count in value.items() if count} if isinstance(value, dict) else value
        for name, value in told(Totals.of([gateway.edge.cells])).items()
        if (any(value.values()) if isinstance(value, dict) else value)
    }


@pytest.mark.parametrize(
    ("limit", "setting"),
    [
        ("connections", "limits.connections = 2 for each worker"),
        ("connections_per_address", "limits.connections_per_address = 2; a balancer belongs into edge.trusted_proxies"),
    ],
)
async def test_a_flood_of_refused_connections(open_gateway: OpenGateway, limit: str, setting: str) -> None:
    gateway = await open_gateway(limits={limit: 2})
    inside = [await gateway.connect() for _ in range(2)]
    await until(lambda: gateway.edge.connections == 2, "both are in")
    began = gateway.edge.clock()
    for _ in range(FLOOD):
        newcomer = await gateway.connect()
        await newcomer.ended()
    await until(lambda: counted(gateway) == {"connections_refused": {limit: FLOOD}}, "each is counted")
    lines = gateway.told()
    assert len(lines) <= gateway.edge.clock() - began + 2, "a line a second"
    assert all(line.startswith("warning: connections refused: ") for line in lines)
    assert all(line.endswith(f", the last from ::1 ({setting})") for line in lines)
    assert sum(int(line.split(": ")[2].split(",")[0]) for line in lines) == FLOOD
    for browser in inside:
        browser.close()


async def test_one_refusal_is_told_without_another(open_gateway: OpenGateway) -> None:
    """By the sweeper: nobody has to come after it."""
    gateway = await open_gateway(limits={"connections": 1}, timeouts={"linger": 0.1})
    await gateway.connect()
    await (await gateway.connect()).ended()
    await until(lambda: gateway.notices, "it is told")
    assert gateway.notices[0].startswith("warning: connections refused: 1, the last from ::1")


async def test_exchanges_of_a_sandbox(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(limits={"exchanges_per_sandbox": 1})
    app = await gateway.app()
    busy, another = await gateway.connect(), await gateway.connect()
    busy.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    for _ in range(3):
        another.send(get(app))
        assert (await another.answer()).status == 429
    upstream.send(OK)
    await busy.answer()
    assert counted(gateway) == {"exchanges_refused": {"exchanges_per_sandbox": 3}}
    assert gateway.told() == [
        "warning: requests refused: 3, the last to sandbox box (limits.exchanges_per_sandbox = 1 for each worker)"
    ]


async def test_a_client_behind_a_balancer(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(
        limits={"connections_per_address": 1}, edge={"trusted_proxies": (IPv6Network("::1/128"),)}
    )
    app = await gateway.app()
    request = b"GET / HTTP/1.1\r\nHost: %b\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n" % app.host
    busy, another = await gateway.connect(), await gateway.connect()
    busy.send(request)
    upstream = await app.accept()
    await upstream.request()
    another.send(request)
    assert (await another.answer()).reason == b"connection_limit_reached"
    upstream.send(OK)
    await busy.answer()
    assert counted(gateway) == {"exchanges_refused": {"connections_per_address": 1}}
    assert gateway.told() == [
        "warning: requests refused: 1, the last from 192.0.2.7 (limits.connections_per_address = 1)"
    ]


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
async def test_a_proxy_header_that_nobody_expects(gateway: Gateway, tls: bool) -> None:
    for _ in range(3):
        balancer = await gateway.connect_to(gateway.tls_port if tls else gateway.plain_port)
        balancer.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n")
        balancer.send(b"" if tls else b"GET / HTTP/1.1\r\n\r\n")
        await balancer.ended()
    await until(lambda: counted(gateway) == {"proxy_headers_unexpected": 3}, "each is counted")
    assert sum(int(line.split(": ")[2].split(",")[0]) for line in gateway.told()) == 3
    assert all(line.startswith("info: PROXY protocol headers") for line in gateway.told())


async def test_plain_http_on_a_tls_listener(gateway: Gateway) -> None:
    for _ in range(3):
        browser = await gateway.connect_to(gateway.tls_port)
        browser.send(b"GET / HTTP/1.0\r\nHost: 5000-box.sandbox.localhost\r\n\r\n")
        assert (await browser.answer()).reason == b"plain_http_on_tls_port"
    assert counted(gateway) == {"plain_http_on_tls": 3}
    assert sum(int(line.split(": ")[2].split(",")[0]) for line in gateway.told()) == 3
    assert all(line.startswith("info: requests in plain HTTP to a TLS listener") for line in gateway.told())
