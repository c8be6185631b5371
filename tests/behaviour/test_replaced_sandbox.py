"""An id that is given to another machine, or removed: what was opened to the old one is never used for the new one."""

from __future__ import annotations

from ipaddress import IPv6Address
from math import inf

import pytest

from gateway.directory.sandbox import Sandbox
from tests.behaviour.harness import LOOPBACK, OK, SANDBOX, App, Gateway, OpenGateway, Wire, get, until


@pytest.fixture
async def app(gateway: Gateway) -> App:
    return await gateway.app()


def replaced(gateway: Gateway, generation: str = "2") -> None:
    gateway.table.table[SANDBOX] = Sandbox(SANDBOX, IPv6Address(LOOPBACK), generation)
    gateway.edge.records_changed([SANDBOX])


async def served(gateway: Gateway, app: App) -> tuple[Wire, Wire]:
    """A browser and the app's connection, idle after one exchange."""
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(OK)
    assert (await browser.answer()).status == 200
    return browser, upstream


async def tunnel(gateway: Gateway, app: App) -> tuple[Wire, Wire]:
    browser = await gateway.connect()
    browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
    await browser.head()
    return browser, upstream


async def test_idle_connections_close_at_once(gateway: Gateway, app: App) -> None:
    browser, upstream = await served(gateway, app)
    replaced(gateway)
    await upstream.ended()
    assert len(gateway.edge.pool.idle) == 0
    browser.send(get(app))
    again = await app.accept()
    await again.request()
    again.send(OK)
    assert (await browser.answer()).status == 200


async def test_the_same_record_written_again_closes_nothing(gateway: Gateway, app: App) -> None:
    browser, upstream = await served(gateway, app)
    replaced(gateway, "1")
    await until(lambda: not len(gateway.edge.tasks), "the gateway has looked")
    assert len(gateway.edge.pool.idle) == 1
    browser.send(get(app))
    await upstream.request()
    upstream.send(OK)
    assert (await browser.answer()).status == 200


async def test_an_exchange_under_way_is_finished_and_its_connection_closed(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    replaced(gateway)
    await until(lambda: not len(gateway.edge.tasks), "the gateway has looked")
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"
    await upstream.ended()
    assert len(gateway.edge.pool.idle) == 0


@pytest.mark.parametrize("when", ["before-it-is-asked", "while-it-is-asked"])
async def test_who_has_the_address_now_is_nobodys_business(gateway: Gateway, app: App, when: str) -> None:
    """Neither asked what it speaks on behalf of the old one, nor told of."""
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    if when == "before-it-is-asked":
        replaced(gateway)
    upstream.close()
    if when == "while-it-is-asked":
        asked = await app.accept()
        await asked.read(3)
        replaced(gateway)
        asked.send(b"\x16\x03\x03\x00\x7a\x02")
    answer = await browser.answer()
    assert (answer.status, answer.reason) == (502, b"connection_terminated")
    assert b"TLS" not in answer.body
    assert len(app.connections) == (1 if when == "before-it-is-asked" else 2)


@pytest.mark.parametrize("when", ["before-it-is-asked", "while-it-is-asked"])
async def test_an_answer_of_the_old_one_is_not_judged_by_the_new(gateway: Gateway, app: App, when: str) -> None:
    """It sounds like a TLS server, and the one that has its address by now is one."""
    body = b"Client sent an HTTP request to an HTTPS server.\n"
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    (connection,) = gateway.edge.pool.connections
    if when == "before-it-is-asked":
        replaced(gateway)
        await until(lambda: connection.ends < inf, "it is retired")
    upstream.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    if when == "while-it-is-asked":
        asked = await app.accept()
        await asked.read(3)
        replaced(gateway)
        await until(lambda: connection.ends < inf, "it is retired")
        asked.send(b"\x16\x03\x03\x00\x7a\x02")
    answer = await browser.answer()
    assert (answer.status, answer.reason, answer.body) == (400, None, body)
    assert len(app.connections) == (1 if when == "before-it-is-asked" else 2)


async def test_a_removed_sandbox_is_gone_for_new_requests(gateway: Gateway, app: App) -> None:
    browser, upstream = await served(gateway, app)
    del gateway.table.table[SANDBOX]
    gateway.edge.records_changed([SANDBOX])
    await upstream.ended()
    browser.send(get(app))
    assert (await browser.answer()).reason == b"destination_not_found"


async def test_a_tunnel_has_a_grace(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(upstream={"tunnel_grace": 0.2})
    app = await gateway.app()
    browser, upstream = await tunnel(gateway, app)
    replaced(gateway)
    await until(lambda: not len(gateway.edge.tasks), "the gateway has looked")
    upstream.send(b"last words")
    assert await browser.read(10) == b"last words"
    await upstream.ended()
    await browser.ended()
    record = gateway.log[-1]
    assert (record.reason, record.upgraded) == ("connection_terminated", True)
    assert "replaced" in record.detail


async def test_what_the_ttl_brings_to_light_counts_too(open_gateway: OpenGateway) -> None:
    """A directory that reports no changes (DNS): the record is asked for again, and is another machine's."""
    gateway = await open_gateway(directory={"ttl": 0.05})
    app = await gateway.app()
    browser, upstream = await served(gateway, app)
    gateway.table.table[SANDBOX] = Sandbox(SANDBOX, IPv6Address(LOOPBACK), "2")
    await until(lambda: _expired(gateway), "the record is old")
    browser.send(get(app))
    again = await app.accept()
    await again.request()
    again.send(OK)
    assert (await browser.answer()).status == 200
    await upstream.ended()


def _expired(gateway: Gateway) -> bool:
    return gateway.edge.directory.get_cached(SANDBOX) is None
