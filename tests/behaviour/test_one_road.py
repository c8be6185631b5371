"""However a request comes to need a connection, a crowd of them does not dial a target that is dead more than a few times.

First of all, after a look into the directory, or as a second attempt: there is one road. A target that is alive gives
each request of a crowd a connection of its own.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from gateway.directory.sandbox import Sandbox
from gateway.endpoint import AppKey, Endpoint
from gateway.upstream.dial_limiter import AT_ONCE
from gateway.upstream.pool import Pool
from gateway.upstream.refusals import DIALS, WINDOW
from tests.behaviour.harness import DOMAIN, OK, SANDBOX, Gateway, OpenGateway, Script, Wire, get
from tests.support.ports import silent_port

pytestmark = pytest.mark.pure

CROWD = 200


class Dials(list[Endpoint]):
    """What was dialed, and how many of it there may have been."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()

    def are_few(self) -> None:
        windows = 1 + int((self._clock() - self._began) / WINDOW)
        # The clock has steps of a millisecond, so a window may end one dial late.
        assert 0 < len(self) <= (DIALS + 1) * (windows + 1), f"{len(self)} dials in {windows} windows"
        assert len(self) < CROWD / 2


@pytest.fixture
async def dials(monkeypatch: pytest.MonkeyPatch) -> Dials:
    return counted_dials(monkeypatch)


def counted_dials(monkeypatch: pytest.MonkeyPatch) -> Dials:
    """From now on."""
    counted = Dials(asyncio.get_running_loop().time)
    dial = Pool.dial

    async def counting(pool: Pool, key: AppKey) -> object:
        counted.append(Endpoint(key[0], key[1]))
        return await dial(pool, key)

    monkeypatch.setattr(Pool, "dial", counting)
    return counted


async def crowd(gateway: Gateway, request: bytes, count: int = CROWD) -> list[Wire]:
    """As many browsers, which all ask at once."""
    browsers = [await gateway.connect() for _ in range(count)]
    for browser in browsers:
        browser.send(request)
    return browsers


def answering_together(count: int) -> Script:
    """A script that answers when so many requests are here, each of which then needs a connection."""
    everybody = asyncio.Event()
    waiting = 0

    async def answer_when_all_are_here(wire: Wire) -> None:
        nonlocal waiting
        await wire.request()
        waiting += 1
        if waiting == count:
            everybody.set()
        await everybody.wait()
        wire.send(OK)

    return answer_when_all_are_here


async def all_hear(browsers: list[Wire], reason: bytes) -> None:
    for browser in browsers:
        assert (await browser.answer()).reason == reason


async def test_a_crowd_that_comes_first(gateway: Gateway, dials: Dials) -> None:
    app = await gateway.app()
    app.stop()
    await all_hear(await crowd(gateway, get(app)), b"connection_refused")
    dials.are_few()


async def test_a_crowd_whose_record_has_to_be_looked_up(
    open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await open_gateway(directory={"ttl": 0.0})
    app = await gateway.app()
    app.stop()
    browser = await gateway.connect()
    for _ in range(2):
        browser.send(get(app))
        await all_hear([browser], b"connection_refused")
    counted = counted_dials(monkeypatch)
    fetch, answers = gateway.table.fetch, asyncio.Event()

    async def slow(sandbox_id: str) -> Sandbox | None:
        await answers.wait()
        return await fetch(sandbox_id)

    monkeypatch.setattr(gateway.table, "fetch", slow)
    browsers = await crowd(gateway, get(app))
    await gateway.settled()
    answers.set()
    await all_hear(browsers, b"connection_refused")
    counted.are_few()


async def test_a_crowd_whose_connections_have_grown_stale(gateway: Gateway, dials: Dials) -> None:
    app = await gateway.app(answering_together(60))
    browsers = await crowd(gateway, get(app), 60)
    for browser in browsers:
        assert (await browser.answer()).status == 200
    assert len(gateway.edge.pool.idle) == len(dials) == 60
    dials.clear()
    app.stop()
    for connection in gateway.edge.pool.connections:
        connection.since += 1000  # looks fresh, so that only using it shows that it is not
    for wire in app.connections:
        wire.peer.pause_reading()
        wire.reset()
    for browser in browsers:
        browser.send(get(app))
    await all_hear(browsers, b"connection_refused")
    dials.are_few()


async def test_a_crowd_at_a_sandbox_that_is_silent(open_gateway: OpenGateway, dials: Dials) -> None:
    gateway = await open_gateway(upstream={"connect_timeout": 1.0})
    with silent_port() as port:
        host = b"%d-%b.%b" % (port, SANDBOX.encode(), DOMAIN.encode())
        browsers = await crowd(gateway, b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
        await all_hear(browsers, b"connection_timeout")
        assert 0 < len(dials) < CROWD / 2
        assert len(dials) % AT_ONCE == 0 or len(dials) < AT_ONCE


async def test_all_of_a_crowd_hear_what_listens_on_ipv4_only(gateway: Gateway, dials: Dials) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as ipv4_only:
        ipv4_only.bind(("127.0.0.1", 0))
        ipv4_only.listen()
        host = b"%d-%b.%b" % (ipv4_only.getsockname()[1], SANDBOX.encode(), DOMAIN.encode())
        browsers = await crowd(gateway, b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
        await all_hear(browsers, b"ipv4_only_listener")
    dials.are_few()


async def test_each_of_a_crowd_gets_a_connection_from_an_app_that_lives(gateway: Gateway, dials: Dials) -> None:
    app = await gateway.app(answering_together(CROWD))
    for browser in await crowd(gateway, get(app)):
        assert (await browser.answer()).status == 200
    assert len(dials) == CROWD


async def test_who_leaves_while_a_crowd_waits_is_not_waited_for(open_gateway: OpenGateway, dials: Dials) -> None:
    gateway = await open_gateway(upstream={"connect_timeout": 60.0})
    with silent_port() as port:
        host = b"%d-%b.%b" % (port, SANDBOX.encode(), DOMAIN.encode())
        browsers = await crowd(gateway, b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host, 3 * AT_ONCE)
        await gateway.settled()
        assert len(dials) == AT_ONCE
        for browser in browsers[:AT_ONCE]:
            browser.reset()
        await gateway.settled()
        await gateway.settled()
        assert len(dials) == 2 * AT_ONCE, "others have their turn"
        for browser in browsers:
            browser.reset()
