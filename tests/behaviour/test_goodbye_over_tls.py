"""close_notify says that no more is asked, and nothing about listening (RFC 8446 section 6.1)."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.behaviour.harness import OK, App, Gateway, OpenGateway, TlsSides, Wire, get, post, secured, until
from tests.support.tls_client import TlsClient

versions = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])

CLOSING = b"Connection: close\r\n"


class Caller:
    """A client that can say goodbye and listen on."""

    def __init__(self, wire: Wire, tls: TlsClient) -> None:
        self.wire = wire
        self.tls = tls
        self.heard = b""
        self.ended = False  # their close_notify has come

    def say(self, *octets: bytes, goodbye: bool = False) -> None:
        """In one write."""
        sealed = b"".join(map(self.tls.sealed, octets))
        self.wire.send(sealed + (self.tls.goodbye() if goodbye else b""))

    async def hear(self, condition: Callable[[], bool], what: str) -> None:
        def heard() -> bool:
            self.tls.incoming.write(self.wire.take())
            try:
                while piece := self.tls.tls.read(65536):
                    self.heard += piece
                self.ended = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:
                self.ended = True
            return condition()

        await until(heard, what)


Call = Callable[..., Coroutine[Any, Any, Caller]]


@pytest.fixture
def call(gateway: Gateway, tls_sides: TlsSides) -> Call:
    return caller_of(gateway, tls_sides)


def caller_of(gateway: Gateway, sides: TlsSides) -> Call:
    async def call(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> Caller:
        context = ssl.create_default_context()
        context.load_verify_locations(cadata="".join(map(ssl.DER_cert_to_PEM_cert, sides.client.get_ca_certs(True))))
        context.minimum_version = context.maximum_version = version
        return Caller(*await secured(gateway, context))

    return call


@pytest.fixture
async def app(gateway: Gateway) -> App:
    return await gateway.app()


@versions
@pytest.mark.parametrize("when", ["in-one-write", "later"])
@pytest.mark.parametrize("kind", ["get", "post", "close"])
async def test_who_has_asked_is_answered(call: Call, app: App, version: ssl.TLSVersion, when: str, kind: str) -> None:
    caller = await call(version)
    request = {"get": get(app), "post": post(app, b"hello"), "close": get(app)[:-2] + CLOSING + b"\r\n"}[kind]
    caller.say(request, goodbye=when == "in-one-write")
    upstream = await app.accept()
    await upstream.request()
    if when == "later":
        caller.say(goodbye=True)
    upstream.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    await caller.hear(lambda: b" 103 " in caller.heard, "an interim answer")
    upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    await caller.hear(lambda: caller.heard.endswith(b"hello\r\n"), "the beginning")
    upstream.send(b"0\r\n\r\n")
    await caller.hear(lambda: caller.ended, "the end")
    assert caller.heard.endswith(b"hello\r\n0\r\n\r\n")
    assert await caller.wire.eof() == b""


async def test_a_large_answer(call: Call, app: App) -> None:
    caller = await call()
    caller.say(get(app), goodbye=True)
    upstream = await app.accept()
    await upstream.request()
    size = 8 * 1024 * 1024
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
    await caller.hear(lambda: caller.ended, "the end")
    assert caller.heard.partition(b"\r\n\r\n")[2] == bytes(size)


async def test_all_that_was_asked(call: Call, app: App) -> None:
    caller = await call()
    caller.say(*[get(app, b"/%d" % number) for number in range(3)], goodbye=True)
    upstream = await app.accept()
    for number in range(3):
        assert (await upstream.request()).start == b"GET /%d HTTP/1.1" % number
        upstream.send(OK)
    await caller.hear(lambda: caller.ended, "the end")
    assert caller.heard.count(b"\r\n\r\nok") == 3


async def test_one_who_has_asked_nothing(gateway: Gateway, call: Call, app: App) -> None:
    caller = await call()
    caller.say(goodbye=True)
    await caller.hear(lambda: caller.ended, "theirs")
    caller.wire.close()
    await until(lambda: not gateway.edge.connections, "it is forgotten")


async def test_half_a_request(gateway: Gateway, call: Call, app: App) -> None:
    """It will never be whole."""
    caller = await call()
    caller.say(post(app, b"hello")[:-2])
    upstream = await app.accept()
    await upstream.head()
    caller.say(goodbye=True)
    assert await upstream.ended() == b"hel"
    await caller.hear(lambda: caller.ended, "theirs")
    assert [record.status for record in gateway.log] == [499]


@pytest.mark.parametrize("goodbye", [False, True], ids=["truncated", "after-a-goodbye"])
async def test_who_hangs_up_does_not_listen(gateway: Gateway, call: Call, app: App, goodbye: bool) -> None:
    """As a browser does that leaves: the app hears of it at once."""
    caller = await call()
    caller.say(get(app), goodbye=goodbye)
    upstream = await app.accept()
    await upstream.request()
    await gateway.settled()
    caller.wire.half_close()
    await upstream.ended()
    assert [(record.status, record.reason) for record in gateway.log] == [(499, "downstream_closed")]


async def test_nobody_is_waited_with_for_ever(open_gateway: OpenGateway, tls_sides: TlsSides) -> None:
    gateway = await open_gateway(timeouts={"half_closed": 0.2})
    app = await gateway.app()
    caller = await caller_of(gateway, tls_sides)()
    caller.say(get(app), goodbye=True)
    upstream = await app.accept()
    await upstream.request()
    assert await upstream.ended() == b""
    assert [record.status for record in gateway.log] == [499]


@pytest.mark.parametrize("when", ["before-the-101", "after-it"])
async def test_a_tunnel_may_end_in_halves(gateway: Gateway, call: Call, app: App, when: str) -> None:
    """`docker run -i` with its input at its end: Go's CloseWrite, and the output still to come."""
    caller = await call()
    asking = b"POST / HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n" % app.host
    caller.say(asking, goodbye=when == "before-the-101")
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
    await caller.hear(lambda: caller.heard.endswith(b"\r\n\r\n"), "the switch")
    if when == "after-it":
        caller.say(b"last words", goodbye=True)
    assert await upstream.eof() == (b"last words" if when == "after-it" else b"")
    upstream.send(b"the output")
    await caller.hear(lambda: caller.heard.endswith(b"the output"), "what comes after it")
    upstream.close()
    await caller.hear(lambda: caller.ended, "the end")
    await until(lambda: gateway.log, "it is recorded")
    assert (gateway.log[0].status, gateway.log[0].reason) == (101, "")
