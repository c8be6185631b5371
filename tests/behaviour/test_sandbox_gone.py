"""Nobody reaches a sandbox that is gone: whose a connection is, is known from the connection, whatever else is forgotten.

Addresses are used again. An old name must not lead to who has its address now, neither through a dial that was under way
nor through what was opened before; and what is open ends within `upstream.tunnel_grace`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv6Address
from math import inf
from typing import Any

import pytest

from gateway.diagnosis.findings import RefusalFindings
from gateway.directory import cache
from gateway.directory.sandbox import DirectoryError, Sandbox
from gateway.errors import Failure, GatewayError, Reason
from gateway.upstream import pool, refusals
from gateway.upstream.dial import OpenSocket, connected_socket
from tests.behaviour.harness import LOOPBACK, OK, SANDBOX, App, Gateway, OpenGateway, Wire, answering, get, until
from tests.support.ports import silent_port

GRACE = {"tunnel_grace": 0.2}
HANDSHAKE = b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 4\r\nAuthorization: Bearer secret\r\n\r\nbody"


def machine(generation: str, lifetime: float | None = None) -> Sandbox:
    return Sandbox(SANDBOX, IPv6Address(LOOPBACK), generation, lifetime=lifetime)


def remove(gateway: Gateway) -> None:
    """And nobody hears of it."""
    del gateway.table.table[SANDBOX]


def replace(gateway: Gateway) -> None:
    """The name, the address and the port stay, the machine is another one; and nobody hears of it."""
    gateway.table.table[SANDBOX] = machine("2")


async def tunnel(gateway: Gateway, app: App) -> tuple[Wire, Wire]:
    browser = await gateway.connect()
    browser.send(HANDSHAKE % app.host)
    upstream = await app.accept()
    await upstream.request()
    upstream.send(SWITCHED)
    await browser.head()
    return browser, upstream


# --- a dial under way -------------------------------------------------------------------------------------------------


class SlowDials:
    """Dials succeed when `gate` is open: a machine that boots, a SYN that was dropped."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.waiting = 0

    async def connected_socket(self, *arguments: Any) -> socket.socket:
        self.waiting += 1
        await self.gate.wait()
        self.waiting -= 1
        return await connected_socket(*arguments)


@pytest.fixture
def dials(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SlowDials:
    slow = SlowDials()
    _dial_by(slow.connected_socket, request, monkeypatch)
    return slow


def _dial_by(dial: OpenSocket, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the test's own gateway, if it has one, and of those that it opens."""
    monkeypatch.setattr(pool, "connected_socket", dial)
    if "gateway" in request.fixturenames:
        request.getfixturevalue("gateway").edge.pool.open_socket = dial


REQUESTS = pytest.mark.parametrize("request_", [b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n", POST, HANDSHAKE])


@REQUESTS
async def test_removed_while_it_is_dialed(gateway: Gateway, dials: SlowDials, request_: bytes) -> None:
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(request_ % app.host)
    await until(lambda: dials.waiting, "a dial is under way")
    remove(gateway)
    gateway.edge.records_changed([SANDBOX])
    dials.gate.set()
    assert (await browser.answer()).reason == b"destination_not_found"
    assert await (await app.accept()).ended() == b""


@REQUESTS
async def test_replaced_while_it_is_dialed(gateway: Gateway, dials: SlowDials, request_: bytes) -> None:
    """The request goes to the machine that has the name when its first octet is sent."""
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(request_ % app.host)
    await until(lambda: dials.waiting, "a dial is under way")
    replace(gateway)
    gateway.edge.records_changed([SANDBOX])
    dials.gate.set()
    assert await (await app.accept()).ended() == b""
    asked = await (again := await app.accept()).request()
    assert asked.start == request_.partition(b"\r\n")[0]
    again.send(OK)
    assert (await browser.answer()).body == b"ok"
    assert {each.endpoint.origin for each in gateway.edge.pool.connections} == {machine("2").origin}


async def test_a_crowd_that_waits_for_one_dial(gateway: Gateway, dials: SlowDials) -> None:
    app = await gateway.app()
    browsers = [await gateway.connect() for _ in range(20)]
    for browser in browsers:
        browser.send(POST % app.host)
    await until(lambda: dials.waiting, "dials are under way")
    remove(gateway)
    gateway.edge.records_changed([SANDBOX])
    dials.gate.set()
    for browser in browsers:
        assert (await browser.answer()).reason == b"destination_not_found"
    assert not any(wire.received for wire in app.connections)


async def test_a_retry(gateway: Gateway, dials: SlowDials) -> None:
    """A pooled connection was closed by its app: the request is sent again, and who asked has gone meanwhile."""
    dials.gate.set()
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(OK)
    await browser.answer()
    dials.gate.clear()
    browser.send(get(app))
    await upstream.request()
    upstream.close()
    await until(lambda: dials.waiting, "it is dialed anew")
    remove(gateway)
    gateway.edge.records_changed([SANDBOX])
    dials.gate.set()
    assert (await browser.answer()).reason == b"destination_not_found"
    assert await (await app.accept()).ended() == b""


# --- a dial that fails ------------------------------------------------------------------------------------------------


REFUSED = GatewayError(Reason.CONNECTION_REFUSED, "connect to [::1]:1: connection refused").failure()
SILENT = GatewayError(Reason.CONNECTION_TIMEOUT, "connect to [::1]:1: no answer within 5 s").failure()


class FailingDials(SlowDials):
    """Dials of whoever is first fail when `gate` is open; the others come through."""

    failure = REFUSED

    async def connected_socket(self, *arguments: Any) -> socket.socket:
        if self.gate.is_set():
            return await connected_socket(*arguments)
        self.waiting += 1
        await self.gate.wait()
        raise self.failure.error()


@pytest.fixture
def failing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FailingDials:
    dials = FailingDials()
    _dial_by(dials.connected_socket, request, monkeypatch)
    return dials


@pytest.mark.parametrize("failure", [REFUSED, SILENT], ids=["refused", "silent"])
@pytest.mark.parametrize("change", [remove, replace])
async def test_a_dial_that_fails_is_not_held_against_who_has_the_name_or_the_address_now(
    gateway: Gateway,
    failing: FailingDials,
    monkeypatch: pytest.MonkeyPatch,
    failure: Failure,
    change: Callable[[Gateway], None],
) -> None:
    """The machine dies, its record goes or is another one, and only then is the dial given up."""
    looks: list[object] = []

    async def find(*arguments: object, **whose: object) -> RefusalFindings:
        looks.append(arguments)
        return RefusalFindings()

    monkeypatch.setattr(gateway.edge.probe, "find", find)
    monkeypatch.setattr(refusals, "WINDOW", 60.0)
    failing.failure = failure
    app = await gateway.app(answering(OK))
    browsers = [await gateway.connect() for _ in range(20)]
    for browser in browsers:
        browser.send(POST % app.host)
    await until(lambda: failing.waiting, "dials are under way")
    change(gateway)
    gateway.edge.records_changed([SANDBOX])
    failing.gate.set()
    for browser in browsers:
        answer = await browser.answer()
        assert (
            (answer.reason, answer.body) == (None, b"ok")
            if change is replace
            else (answer.reason == b"destination_not_found")
        )
    assert not looks
    if change is replace:
        assert gateway.edge.directory.get_cached(SANDBOX) is not None, "nobody doubts the new record"
    gateway.table.table[SANDBOX] = machine("1")
    gateway.edge.records_changed([SANDBOX])
    browser = await gateway.connect()
    browser.send(get(app))
    assert (await browser.answer()).body == b"ok", "and nothing is remembered of the old one"


@pytest.mark.parametrize("change", [remove, replace])
async def test_what_a_look_finds_at_an_address_that_is_anothers_is_told_to_nobody(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, change: Callable[[Gateway], None]
) -> None:
    """It takes half a second; what listens there then is the new tenant's."""
    app = await gateway.app()
    app.stop()
    looked: list[object] = []

    async def find(*arguments: object, **whose: object) -> RefusalFindings:
        if not looked:
            change(gateway)
            gateway.edge.records_changed([SANDBOX])
        looked.append(whose)
        return RefusalFindings(open_ports=(4999 + len(looked),))

    monkeypatch.setattr(gateway.edge.probe, "find", find)
    browser = await gateway.connect()
    browser.send(get(app))
    answer = await browser.answer()
    assert b"5000" not in answer.body
    if change is replace:
        assert (answer.reason, b"5001" in answer.body) == (b"connection_refused", True)
        assert looked == [{"whose": machine(each).origin, "timed_out": False} for each in "12"]
    else:
        assert answer.reason == b"destination_not_found"


async def test_a_dial_that_fails_while_nobody_can_tell_is_just_that(
    open_gateway: OpenGateway, failing: FailingDials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is said of what listens there, and the dial's failure is true in any case."""
    gateway = await open_gateway(directory={"ttl": 0.05, "stale": 0.0})
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(get(app))
    await until(lambda: failing.waiting, "a dial is under way")
    await until(lambda: gateway.edge.directory.get_cached(SANDBOX) is None, "the record is old")

    async def find(*arguments: object, **whose: object) -> RefusalFindings:
        raise AssertionError("nobody knows whose address it is")

    go_away(gateway, monkeypatch)
    monkeypatch.setattr(gateway.edge.probe, "find", find)
    failing.gate.set()
    assert (await browser.answer()).reason == b"connection_refused"
    gateway.expect_complaint("out for lunch")


async def test_a_record_that_never_rests_is_an_answer_in_the_end(gateway: Gateway) -> None:
    app, dialed = await gateway.app(), 0

    async def refused(*arguments: Any) -> socket.socket:
        nonlocal dialed
        dialed += 1
        gateway.table.table[SANDBOX] = machine(f"after {dialed}")
        gateway.edge.records_changed([SANDBOX])
        raise REFUSED.error()

    gateway.edge.pool.open_socket = refused
    browser = await gateway.connect()
    browser.send(get(app))
    answer = await browser.answer()
    assert answer.reason == b"connection_timeout"
    assert b"has changed 3 times" in answer.body
    assert dialed == 3


async def test_without_a_word_from_the_directory(open_gateway: OpenGateway, dials: SlowDials) -> None:
    """DNS: what is older than its ttl when the dial is over is asked for again."""
    gateway = await open_gateway(directory={"ttl": 0.05})
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(POST % app.host)
    await until(lambda: dials.waiting, "a dial is under way")
    remove(gateway)
    await until(lambda: gateway.edge.directory.get_cached(SANDBOX) is None, "the record is old")
    dials.gate.set()
    assert (await browser.answer()).reason == b"destination_not_found"
    assert await (await app.accept()).ended() == b""


async def test_nobody_can_tell_any_more(
    open_gateway: OpenGateway, dials: SlowDials, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await open_gateway(directory={"stale": 0.0})
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(POST % app.host)
    await until(lambda: dials.waiting, "a dial is under way")
    go_away(gateway, monkeypatch)
    gateway.edge.records_changed([SANDBOX])
    dials.gate.set()
    assert (await browser.answer()).reason == b"directory_unavailable"
    assert await (await app.accept()).ended() == b""
    gateway.expect_complaint("out for lunch")


# --- what is open -----------------------------------------------------------------------------------------------------


def go_away(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fetch(sandbox_id: str) -> Sandbox | None:
        if sandbox_id != SANDBOX:
            return None
        raise DirectoryError("out for lunch")

    monkeypatch.setattr(gateway.table, "fetch", fetch)


async def test_after_a_timeout(open_gateway: OpenGateway) -> None:
    """A machine dies, a request finds out, the platform removes it: the usual order."""
    gateway = await open_gateway(upstream={"connect_timeout": 0.2, **GRACE})
    browser, upstream = await tunnel(gateway, await gateway.app())
    with silent_port() as port:
        other = await gateway.connect()
        other.send(b"GET / HTTP/1.1\r\nHost: %d-box.sandbox.localhost\r\n\r\n" % port)
        assert (await other.answer()).reason == b"connection_timeout"
    remove(gateway)
    gateway.edge.records_changed([SANDBOX])
    await browser.ended()
    await upstream.ended()


@pytest.mark.pure
async def test_after_a_flood(open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many sandboxes are asked for that the cache has forgotten this one."""
    monkeypatch.setattr(cache, "MAX_ENTRIES", 4)
    gateway = await open_gateway(upstream=GRACE)
    browser, upstream = await tunnel(gateway, await gateway.app())
    for number in range(4):
        gateway.table.table[f"other{number}"] = Sandbox(f"other{number}", IPv6Address(LOOPBACK), "1")
        await gateway.edge.directory.fetch(f"other{number}")
    assert gateway.edge.directory.due([SANDBOX]), "it is forgotten"
    replace(gateway)
    gateway.edge.records_changed([SANDBOX])
    await browser.ended()
    await upstream.ended()


@pytest.mark.parametrize("change", [remove, replace])
async def test_after_an_outage(
    open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch, change: Callable[[Gateway], None]
) -> None:
    """The change was told, and who could say what it is was away: nothing else will be told."""
    gateway = await open_gateway(upstream=GRACE)
    browser, upstream = await tunnel(gateway, await gateway.app())
    with monkeypatch.context() as outage:
        go_away(gateway, outage)
        gateway.edge.records_changed([SANDBOX])
        await until(lambda: gateway.edge.directory.availability.away, "somebody has asked")
        upstream.send(b"still here")
        assert await browser.read(10) == b"still here", "an outage takes nothing down"
        change(gateway)
    gateway.edge.directory.availability.answered()
    await browser.ended()
    await upstream.ended()
    gateway.expect_complaint("out for lunch")


async def test_of_changes_that_were_missed(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(upstream=GRACE, directory={"ttl": 0.05})
    browser, upstream = await tunnel(gateway, await gateway.app())
    remove(gateway)
    gateway.edge.directory.availability.missed()
    await browser.ended()
    await upstream.ended()


@pytest.mark.parametrize("why", ["none are told", "none are heard"])
async def test_where_changes_are_not_noticed(
    open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """DNS, or a Redis whose stream may not be read: if something is under way, the record is asked for again."""
    gateway = await open_gateway(upstream=GRACE, directory={"ttl": 0.05})
    if why == "none are told":
        monkeypatch.setattr(gateway.table, "reports_changes", False)
    else:
        gateway.edge.directory.availability.watch_down = True
    browser, upstream = await tunnel(gateway, await gateway.app())
    replace(gateway)
    await browser.ended()
    await upstream.ended()


# --- the end of a lifetime --------------------------------------------------------------------------------------------


async def test_a_lifetime_ends(open_gateway: OpenGateway) -> None:
    """The record is simply there no more, and nobody says so (Redis)."""
    gateway = await open_gateway(upstream=GRACE)
    gateway.table.table[SANDBOX] = machine("1", lifetime=1.0)
    browser, upstream = await tunnel(gateway, await gateway.app())
    remove(gateway)
    await browser.ended()
    await upstream.ended()
    assert gateway.log[-1].reason == "connection_terminated"


async def test_a_lifetime_is_renewed(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(upstream=GRACE)
    gateway.table.table[SANDBOX] = machine("1", lifetime=0.3)
    browser, upstream = await tunnel(gateway, await gateway.app())
    gateway.table.table[SANDBOX] = machine("1", lifetime=3600.0)

    def renewed() -> bool:
        known = gateway.edge.directory.get_cached(SANDBOX)
        return known is not None and known.lifetime == 3600.0

    await until(renewed, "it was asked for again")
    assert not gateway.edge.directory.due([SANDBOX])
    upstream.send(b"still here")
    assert await browser.read(10) == b"still here"
    assert not gateway.edge.pool.retired_past_grace(inf)


async def test_a_lifetime_ends_during_an_outage(open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it ends was known, and nobody could renew it."""
    gateway = await open_gateway(upstream=GRACE)
    gateway.table.table[SANDBOX] = machine("1", lifetime=0.3)
    browser, upstream = await tunnel(gateway, await gateway.app())
    go_away(gateway, monkeypatch)
    await browser.ended()
    await upstream.ended()
    gateway.expect_complaint("out for lunch")


async def forgotten_by_a_change(gateway: Gateway) -> None:
    gateway.edge.records_changed([SANDBOX])


async def forgotten_as_changes_were_missed(gateway: Gateway) -> None:
    gateway.edge.directory.availability.missed()


async def forgotten_in_a_flood(gateway: Gateway) -> None:
    for number in range(cache.MAX_ENTRIES):
        with pytest.raises(GatewayError, match="no record for"):
            await gateway.edge.directory.fetch(f"other{number}")


@pytest.mark.pure
@pytest.mark.parametrize("forgotten", [forgotten_by_a_change, forgotten_as_changes_were_missed, forgotten_in_a_flood])
async def test_a_lifetime_ends_during_an_outage_and_its_record_is_forgotten(
    open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch, forgotten: Callable[[Gateway], Awaitable[None]]
) -> None:
    """The backend went away just when it would have been asked again."""
    monkeypatch.setattr(cache, "MAX_ENTRIES", 4)
    gateway = await open_gateway(upstream=GRACE)
    gateway.table.table[SANDBOX] = machine("1", lifetime=0.5)
    browser, upstream = await tunnel(gateway, await gateway.app())
    go_away(gateway, monkeypatch)
    await forgotten(gateway)
    assert gateway.edge.directory.due([SANDBOX]), "it is forgotten"
    await browser.ended()
    await upstream.ended()
    gateway.expect_complaint("out for lunch")


# --- whatever is under way --------------------------------------------------------------------------------------------

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
DOWNLOAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\nabc"
TO_THE_END = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc"


@pytest.mark.parametrize("answer", [EVENTS, DOWNLOAD, TO_THE_END], ids=["events", "download", "to the end"])
async def test_an_answer_without_end_has_a_grace(open_gateway: OpenGateway, answer: bytes) -> None:
    gateway = await open_gateway(upstream=GRACE)
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(answer)
    await browser.read_until(b"abc")
    remove(gateway)
    gateway.edge.records_changed([SANDBOX])
    await until(lambda: gateway.edge.pool.retired_past_grace(inf), "the gateway has looked")
    upstream.send(b"3\r\ndef\r\n")
    assert await browser.read_until(b"def"), "there is a grace"
    await upstream.ended()
    await browser.ended()
    assert gateway.log[-1].reason == "http_response_incomplete"


async def test_a_download_that_never_stands_still_ends_too(open_gateway: OpenGateway) -> None:
    """Its deadline begins anew with each read."""
    gateway = await open_gateway(upstream=GRACE)

    async def pour(wire: Wire) -> None:
        await wire.request()
        wire.send(DOWNLOAD)
        while not wire.end:
            wire.send(b"x" * 10_000)
            await asyncio.sleep(0.001)

    app = await gateway.app(pour)
    browser = await gateway.connect()
    browser.send(get(app))
    await browser.read(100_000)
    remove(gateway)
    gateway.edge.records_changed([SANDBOX])
    await browser.ended()


async def test_a_request_without_answer_has_a_grace(open_gateway: OpenGateway) -> None:
    """It is told so, and neither sent again nor is anybody asked why the app hung up: it did not."""
    gateway = await open_gateway(upstream=GRACE)
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 1000000\r\n\r\nabc" % app.host)
    upstream = await app.accept()
    await upstream.read_until(b"abc")
    replace(gateway)
    gateway.edge.records_changed([SANDBOX])
    answer = await browser.answer()
    assert (answer.status, answer.reason) == (504, b"http_response_timeout")
    assert await upstream.ended() == b""
    assert len(app.connections) == 1
    assert gateway.log[-1].detail == "the sandbox was replaced or removed, or its lifetime has ended"


async def test_the_grace_begins_once(open_gateway: OpenGateway) -> None:
    """However often it is said that the sandbox is gone."""
    gateway = await open_gateway(upstream=GRACE)
    browser, upstream = await tunnel(gateway, await gateway.app())
    remove(gateway)

    def ended() -> bool:
        gateway.edge.records_changed([SANDBOX])
        return bool(browser.end)

    await until(ended, "the end of the grace")
    await upstream.ended()
