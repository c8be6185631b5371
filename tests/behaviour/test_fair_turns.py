"""Whoever keeps the gateway busy waits for others, who do not wait for it: whatever it is busy with.

Measured in CPU time of the event loop's thread and in counts, which a busy machine changes little. A host that holds a
virtual machine back for a moment, by a quota, has that moment counted as CPU time of whoever ran: hence `least_of_three`.
"""

from __future__ import annotations

import asyncio
import gc
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import wraps
from typing import Any

import pytest

from gateway.edge.http1 import Http1Downstream
from gateway.edge.tls_transport import TlsTransport
from gateway.http.message import ResponseHead
from gateway.turns import HEAD_WORK, SHARE, ReadingConnection, Turns
from gateway.upstream.http1 import Http1Upstream
from tests.behaviour.harness import OK, App, Gateway, TlsSides, answering, get, secured, until

ATTACKERS = 20
PER_TURN = 0.020
"""Seconds of CPU that the gateway may take between two looks at everybody else. It takes 5; it took 100 to 6,700."""
ASKED = 10
"""Requests of the neighbour."""


Test = Callable[..., Coroutine[Any, Any, None]]


class TooMuch(AssertionError):
    """Others were kept waiting for too long."""


class Meter:
    """CPU seconds that the gateway's code takes in each turn of the event loop."""

    def __init__(self) -> None:
        self.most = 0.0
        self.total = 0.0
        self._this_turn = 0.0
        self._depth = 0
        self._loop = asyncio.get_running_loop()

    def begin(self) -> None:
        self.most = self.total = 0.0

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            if self._depth:
                return function(*arguments)
            if not self._this_turn:
                self._loop.call_soon(self._close_turn)
            self._depth += 1
            before = time.thread_time()
            try:
                return function(*arguments)
            finally:
                took = time.thread_time() - before
                self._depth -= 1
                self._this_turn += took
                self.total += took

        return timed

    def _close_turn(self) -> None:
        self.most = max(self.most, self._this_turn)
        self._this_turn = 0.0


@pytest.fixture
async def meter(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Meter]:
    noted = Meter()
    for owner, names in (
        (ReadingConnection, ("buffer_updated", "take_turn")),
        (TlsTransport, ("buffer_updated", "take_turn")),
        (Http1Downstream, ("pause_writing", "resume_writing")),
        (Http1Upstream, ("pause_writing", "resume_writing")),
    ):
        for name in names:
            monkeypatch.setattr(owner, name, noted.wrap(getattr(owner, name)))
    gc.disable()  # the test's own heap is ten times the gateway's
    yield noted
    gc.enable()


def least_of_three(test: Test) -> Test:
    """What took too much is measured again: what the code takes, it takes every time."""

    @wraps(test)
    async def measured(*, gateway: Gateway, meter: Meter, **arguments: Any) -> None:
        for is_last in (False, False, True):
            gateway.log.clear()
            meter.begin()
            try:
                await test(gateway=gateway, meter=meter, **arguments)
                return
            except TooMuch:
                if is_last:
                    raise

    return measured


# --- what they send -----------------------------------------------------------------------------------------------------


def repeated(unit: bytes, size: int) -> bytes:
    return unit * (1 + size // len(unit))


def distinct(size: int) -> bytes:
    return b"".join(b"1;%0240d\r\nx\r\n" % number for number in range(1 + size // 247))


CHUNKS: dict[str, Callable[[int], bytes]] = {
    "bare": lambda size: repeated(b"1\r\nx\r\n", size),
    "zeros": lambda size: repeated(b"0000000000000001 \t\r\nx\r\n", size),
    "same-extension": lambda size: repeated(b"1;" + b"a" * 248 + b"\r\nx\r\n", size),
    "distinct-extensions": distinct,
}
SIZES = [20_000, 300_000]
HEAD = b"Transfer-Encoding: chunked\r\n\r\n"


async def neighbour_asks(gateway: Gateway, meter: Meter, *, tls: bool) -> float:
    """Its answers come while the others are at it; the most CPU that they took between a request and its answer."""
    hello = await gateway.app(answering(OK))
    browser = await gateway.connect(tls=tls)
    longest = 0.0
    for _ in range(ASKED):
        before = meter.total
        browser.send(get(hello))
        assert (await browser.answer()).body == b"ok"
        longest = max(longest, meter.total - before)
    return longest


async def under_attack(gateway: Gateway, meter: Meter, finished: Callable[[], bool], *, tls: bool = False) -> None:
    longest = await neighbour_asks(gateway, meter, tls=tls)
    await until(finished, "the attack is over", 60.0)
    if meter.most >= PER_TURN:
        raise TooMuch(f"{meter.most:.3f} s of CPU between two looks at everybody else")
    if longest >= 4 * PER_TURN:
        raise TooMuch(f"others took {longest:.3f} s of CPU between the neighbour's request and its answer")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", CHUNKS)
@least_of_three
async def test_answers_in_tiny_chunks(gateway: Gateway, meter: Meter, kind: str, size: int) -> None:
    app = await gateway.app()
    browsers = [await gateway.connect() for _ in range(ATTACKERS)]
    for browser in browsers:
        browser.send(get(app))
    wires = [await app.accept() for _ in browsers]
    for wire in wires:
        await wire.request()
    octets = b"HTTP/1.1 200 OK\r\n" + HEAD + CHUNKS[kind](size) + b"0\r\n\r\n"
    for wire in wires:
        wire.send(octets)
    await under_attack(gateway, meter, lambda: all(each.received.endswith(b"\r\n0\r\n\r\n") for each in browsers))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", CHUNKS)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@least_of_three
async def test_uploads_in_tiny_chunks(gateway: Gateway, meter: Meter, kind: str, size: int, tls: bool) -> None:
    app = await gateway.app()
    browsers = [await gateway.connect(tls=tls) for _ in range(ATTACKERS)]
    octets = b"POST / HTTP/1.1\r\nHost: %b\r\n" % app.host + HEAD + CHUNKS[kind](size) + b"0\r\n\r\n"
    for browser in browsers:
        browser.send(octets)
    wires = [await app.accept() for _ in browsers]
    await under_attack(gateway, meter, lambda: all(each.received.endswith(b"\r\n0\r\n\r\n") for each in wires), tls=tls)


@pytest.mark.parametrize("count", [50, 1000])
@pytest.mark.parametrize(
    "host", [b"elsewhere.example", b"nonsense.sandbox.localhost", b"5000-nobody.sandbox.localhost"]
)
@least_of_three
async def test_pipelined_requests_that_are_refused(gateway: Gateway, meter: Meter, host: bytes, count: int) -> None:
    browsers = [await gateway.connect() for _ in range(ATTACKERS)]
    for browser in browsers:
        browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host * count)
    await under_attack(gateway, meter, lambda: len(gateway.log) >= ATTACKERS * count)


def listed(name: bytes, member: bytes, lines: int = 4) -> bytes:
    """Fields, each as long as one may be."""
    return (b"%b: %b\r\n" % (name, member * (8000 // len(member)))) * lines


LARGE: dict[str, bytes] = {
    "one-field": listed(b"X", b"x"),
    "fields": b"".join(b"X-%d: %b\r\n" % (number, b"x" * 300) for number in range(90)),
    "hops": listed(b"Via", b"a,"),
    "our-hops": listed(b"Via", b"1.1 gateways,"),
    "options": listed(b"Connection", b"a,"),
    "languages": listed(b"Accept-Language", b"a;q=0.1,"),
    "cookies": listed(b"Set-Cookie", b";Domain=a", 2),
    "confined-cookies": listed(b"Set-Cookie", b";Domain=localhost", 2),
}


@pytest.mark.parametrize("kind", LARGE)
@pytest.mark.parametrize("host", [b"elsewhere.example", b""], ids=["refused", "served"])
@least_of_three
async def test_large_heads(gateway: Gateway, meter: Meter, host: bytes, kind: str) -> None:
    """The next one comes as soon as there is an answer, if the last one was not the connection's end."""
    app = await gateway.app(answering(OK))
    browsers = [await gateway.connect() for _ in range(ATTACKERS)]
    count = 1 if kind == "options" else 40
    for browser in browsers:
        browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (host or app.host, LARGE[kind]) * count)
    await under_attack(gateway, meter, lambda: len(gateway.log) >= ATTACKERS * count)


@pytest.mark.parametrize("kind", LARGE)
@pytest.mark.parametrize("interim", [0, 16])
@least_of_three
async def test_large_heads_of_answers(gateway: Gateway, meter: Meter, interim: int, kind: str) -> None:
    app = await gateway.app()
    browsers = [await gateway.connect() for _ in range(ATTACKERS)]
    for browser in browsers:
        browser.send(get(app))
    wires = [await app.accept() for _ in browsers]
    for wire in wires:
        await wire.request()
    hints = b"HTTP/1.1 103 Early Hints\r\n%b\r\n" % LARGE[kind] * interim
    for wire in wires:
        wire.send(hints + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n%b\r\nok" % LARGE[kind])
    await under_attack(gateway, meter, lambda: len(gateway.log) >= ATTACKERS)


@pytest.mark.parametrize("size", [1, 2000])
@least_of_three
async def test_interim_answers(gateway: Gateway, meter: Meter, size: int) -> None:
    app = await gateway.app()
    browsers = [await gateway.connect() for _ in range(ATTACKERS)]
    for browser in browsers:
        browser.send(get(app))
    wires = [await app.accept() for _ in browsers]
    for wire in wires:
        await wire.request()
    hints = b"".join(b"HTTP/1.1 103 Early Hints\r\nLink: %d%b\r\n\r\n" % (number, b"x" * size) for number in range(16))
    for wire in wires:
        wire.send(hints + OK)
    await under_attack(gateway, meter, lambda: all(each.received.endswith(b"\r\n\r\nok") for each in browsers))
    assert all(each.received.count(b" 103 ") == 16 for each in browsers)


@pytest.mark.pure
async def test_interim_answers_take_several_turns(gateway: Gateway, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few they are: sixteen of them in one read are passed on a few at a time."""
    turn = 0
    passed: list[int] = []  # the turn of the event loop of each

    def next_turn() -> None:
        nonlocal turn
        turn += 1

    def noting(self: Http1Downstream, head: ResponseHead, request_id: bytes) -> None:
        if not passed or passed[-1] == turn:
            asyncio.get_running_loop().call_soon(next_turn)
        passed.append(turn)

    monkeypatch.setattr(Http1Downstream, "send_informational", noting)
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 16 + OK)
    assert (await browser.answer()).body == b"ok"
    assert len(passed) == 16
    assert max(passed.count(each) for each in passed) <= SHARE // HEAD_WORK


@pytest.mark.pure
@pytest.mark.parametrize("kind", ["chunks", "interim"])
async def test_who_is_gone_has_no_other_turn(
    gateway: Gateway, app: App, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """What waits for it goes with the connection, from whichever side that ends."""
    waiting: list[object] = []
    monkeypatch.setattr(Turns, "wait", lambda self, who, **how: waiting.append(who))
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    head = b"HTTP/1.1 200 OK\r\n" + HEAD
    upstream.send(
        head + CHUNKS["bare"](20_000) if kind == "chunks" else b"HTTP/1.1 103 Early Hints\r\n\r\n" * 16 + head
    )
    (connection,) = gateway.edge.pool.connections
    assert isinstance(connection, Http1Upstream)
    await until(lambda: waiting == [connection], "the rest waits for its turn")
    browser.reset()
    await until(lambda: not gateway.edge.connections, "the browser is gone")
    before = len(browser.received)
    connection.take_turn()
    assert (connection.state.name, len(browser.received)) == ("CLOSED", before)


@pytest.mark.parametrize("fields", [10, 90])
@least_of_three
async def test_trailers(gateway: Gateway, meter: Meter, fields: int) -> None:
    app = await gateway.app(answering(OK))
    browsers = [await gateway.connect() for _ in range(ATTACKERS)]
    trailers = b"".join(b"x-%d: %b\r\n" % (number, b"y" * 200) for number in range(fields))
    octets = b"POST / HTTP/1.1\r\nHost: %b\r\n" % app.host + HEAD + b"0\r\n" + trailers + b"\r\n"
    for browser in browsers:
        browser.send(octets * 5)
    await under_attack(gateway, meter, lambda: all(each.received.count(b"\r\n\r\nok") == 5 for each in browsers))


# --- TLS ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def client_context(tls_sides: TlsSides) -> ssl.SSLContext:
    return tls_sides.client


@pytest.mark.parametrize("count", [1000, 8000])
@pytest.mark.parametrize("what", ["upload", "tunnel"])
@least_of_three
async def test_records_of_one_octet(
    gateway: Gateway, meter: Meter, client_context: ssl.SSLContext, what: str, count: int
) -> None:
    app = await gateway.app()
    if what == "upload":
        head = b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n\r\n" % (app.host, count)
    else:
        head = b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" % app.host
    browsers = [await secured(gateway, client_context) for _ in range(ATTACKERS)]
    for wire, client in browsers:
        wire.send(client.sealed(head))
    wires = [await app.accept() for _ in browsers]
    for upstream in wires:
        await upstream.head()
        if what == "tunnel":
            upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
    octets = [b"".join(client.sealed(b"x") for _ in range(count)) for _, client in browsers]
    for (wire, _), records in zip(browsers, octets, strict=True):
        wire.send(records)
    await under_attack(gateway, meter, lambda: all(each.unread == count for each in wires), tls=True)


@pytest.mark.parametrize("count", [100, 3000])
@least_of_three
async def test_pieces_of_one_octet_in_a_tunnel(gateway: Gateway, app: App, meter: Meter, count: int) -> None:
    browsers = [await gateway.connect() for _ in range(ATTACKERS)]
    for browser in browsers:
        browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" % app.host)
    wires = [await app.accept() for _ in browsers]
    for upstream in wires:
        await upstream.head()
        upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
    for browser in browsers:
        await browser.head()
    for _ in range(count):
        for sender in browsers + wires:
            sender.send(b"x")
        await asyncio.sleep(0)
    await under_attack(gateway, meter, lambda: all(each.unread == count for each in wires + browsers))


@pytest.fixture
async def app(gateway: Gateway) -> App:
    return await gateway.app()
