"""A login that binds to a connection (NTLM, Negotiate; RFC 4559 section 6) is nobody else's, by whatever way it came.

The app of these tests does what express-ntlm and IIS do: it remembers, for each connection, who has logged in there.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from ipaddress import IPv6Network

import pytest

from tests.behaviour.harness import OK, App, Gateway, OpenGateway, Script, Wire, get, until
from tests.behaviour.test_stale_connection import pooled, unnoticed
from tests.support.h2_client import H2Client
from tests.support.h2_frames import Code

CHALLENGE = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: %b\r\nContent-Length: 0\r\n\r\n"
BLANKS = [b"\xa0", b"\x85", b"\xc2\xa0", b"\xe2\x80\x83", b";", b"/", b":"]
"""What JavaScript's and Python's patterns take for one, as latin-1 and as UTF-8, and what else ends a token."""
SCHEMES = [b"NTLM", b"Negotiate", b"negotiate", b"nTLM", b"Kerberos", b"Nego2", b"CredSSP"]


def logging_in(challenge: bytes = b"NTLM") -> Script:
    numbers = itertools.count()

    async def script(wire: Wire) -> None:
        """Answers with the number of the connection and the last credentials that came by it."""
        number, who = next(numbers), b""
        while await wire.another():
            request = await wire.request()
            who = request.get(b"Authorization") or who
            if not who:
                wire.send(CHALLENGE % challenge)
                continue
            body = b"%d %b" % (number, who)
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    return script


def asking(app: App, credentials: bytes, more: bytes = b"") -> bytes:
    return b"GET / HTTP/1.1\r\nHost: %b\r\nAuthorization: %b\r\n%b\r\n" % (app.host, credentials, more)


async def body(browser: Wire, request: bytes) -> bytes:
    browser.send(request)
    answer = await browser.answer()
    return answer.body or answer.start


async def half_way(gateway: Gateway, app: App, more: bytes = b"") -> tuple[Wire, Wire]:
    """A browser in the middle of a handshake, and the app's end of the connection that is bound to its."""
    browser = await gateway.connect()
    browser.send(asking(app, b"NTLM 1", more))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(CHALLENGE % b"NTLM 2")
    assert (await browser.answer()).status == 401
    return browser, upstream


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_nobody_else_is_logged_in(gateway: Gateway, scheme: bytes) -> None:
    app = await gateway.app(logging_in(scheme))
    first, second = await gateway.connect(), await gateway.connect()
    assert await body(first, asking(app, scheme + b" x")) == b"0 %b x" % scheme
    assert len(gateway.edge.pool.idle) == 0
    assert await body(second, get(app)) == b"HTTP/1.1 401 Unauthorized"
    assert await body(first, get(app)) == b"0 %b x" % scheme, "and whoever has logged in stays so"
    assert await body(second, asking(app, scheme + b" y")) == b"1 %b y" % scheme


@pytest.mark.parametrize("blank", BLANKS)
async def test_however_the_scheme_is_parted_from_its_credentials(gateway: Gateway, blank: bytes) -> None:
    app = await gateway.app(logging_in())
    first, second = await gateway.connect(), await gateway.connect()
    assert await body(first, asking(app, b"NTLM%bx" % blank)) == b"0 NTLM%bx" % blank
    assert await body(second, get(app)) == b"HTTP/1.1 401 Unauthorized"


@pytest.mark.parametrize(
    "lines",
    [
        b"NTLM",
        b"Basic realm=x, NTLM",
        b'Digest realm="a, b", Negotiate',
        b"Basic realm=x\r\nWWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM",
        b"Negotiate YII=",
        b"\tntlm\tabc",
        b",NTLM",
    ],
)
@pytest.mark.parametrize("status", [b"401 Unauthorized", b"407 Proxy Authentication Required", b"200 OK", b"403 No"])
async def test_a_challenge_binds_too(gateway: Gateway, lines: bytes, status: bytes) -> None:
    """From then on the visitor may log in there."""
    app = await gateway.app()
    browser, other = await gateway.connect(), await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    name = b"Proxy-Authenticate" if status.startswith(b"407") else b"WWW-Authenticate"
    fields = b"%b: %b" % (name, lines.replace(b"WWW-Authenticate", name))
    upstream.send(b"HTTP/1.1 %b\r\n%b\r\nContent-Length: 0\r\n\r\n" % (status, fields))
    await browser.answer()
    assert len(gateway.edge.pool.idle) == 0
    other.send(get(app))
    elsewhere = await app.accept()
    await elsewhere.request()
    elsewhere.send(OK)
    await other.answer()
    browser.send(get(app))
    await upstream.request()
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"


@pytest.mark.parametrize("name", [b"Authorization", b"authorization", b"Proxy-Authorization"])
async def test_credentials_alone_bind(gateway: Gateway, name: bytes) -> None:
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\n%b: NTLM x\r\n\r\n" % (app.host, name))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(OK)
    await browser.answer()
    assert len(gateway.edge.pool.idle) == 0
    assert len(gateway.edge.pool.connections) == 1


@pytest.mark.parametrize("credentials", [b"Basic bnRsbQ==", b"Bearer ntlm.x", b"Digest username=ntlm", b"NTLMv3 x"])
async def test_other_schemes_bind_nothing(gateway: Gateway, credentials: bytes) -> None:
    app = await gateway.app(logging_in())
    assert await body(await gateway.connect(), asking(app, credentials)) == b"0 " + credentials
    assert len(gateway.edge.pool.idle) == 1


async def test_a_connection_that_was_anybodys_becomes_ones_own(gateway: Gateway) -> None:
    app = await gateway.app(logging_in())
    first, second = await gateway.connect(), await gateway.connect()
    assert await body(first, asking(app, b"Basic b")) == b"0 Basic b"
    assert await body(second, asking(app, b"NTLM x")) == b"0 NTLM x"
    assert await body(first, asking(app, b"Basic b")) == b"1 Basic b"
    assert await body(second, get(app)) == b"0 NTLM x"


async def test_it_ends_with_the_visitors_connection(gateway: Gateway) -> None:
    app = await gateway.app(logging_in())
    browser = await gateway.connect()
    await body(browser, asking(app, b"NTLM x"))
    browser.close()
    assert await app.connections[0].ended() == b""
    await until(lambda: not gateway.edge.pool.connections, "nothing is kept")


async def test_it_ends_with_the_visitors_last_request(gateway: Gateway) -> None:
    app = await gateway.app(logging_in())
    browser = await gateway.connect()
    await body(browser, asking(app, b"NTLM x", b"Connection: close\r\n"))
    assert await app.connections[0].ended() == b""
    assert not gateway.edge.pool.connections


async def test_the_visitors_connection_ends_with_it(gateway: Gateway) -> None:
    """As without us: a message of a handshake never reaches a connection that does not know the one before."""
    app = await gateway.app()
    browser, upstream = await half_way(gateway, app)
    upstream.close()
    assert await browser.eof() == b""
    assert len(app.connections) == 1


async def test_nothing_is_repeated_elsewhere(gateway: Gateway) -> None:
    app = await gateway.app()
    browser, upstream = await half_way(gateway, app)
    browser.send(asking(app, b"NTLM 3"))
    await upstream.request()
    upstream.close()
    answer = await browser.answer()
    assert (answer.status, answer.reason) == (502, b"connection_terminated")
    assert answer.get(b"Connection") == b"close"
    assert await browser.eof() == b""
    assert len(app.connections) == 1


async def test_an_end_that_was_not_noticed_yet(gateway: Gateway) -> None:
    app = await gateway.app()
    browser, upstream = await half_way(gateway, app)
    unnoticed(upstream)
    upstream.close()
    await until(lambda: upstream.closed, "the app's end is closed")
    browser.send(asking(app, b"NTLM 3"))
    answer = await browser.answer()
    assert (answer.status, answer.reason) == (502, b"connection_terminated")
    assert await browser.eof() == b""
    assert len(app.connections) == 1


@pytest.mark.parametrize(
    "ending", [b"Connection: close\r\nContent-Length: 2\r\n\r\nok", b"\r\nok"], ids=["close", "eof"]
)
async def test_an_app_that_closes_after_its_answer_closes_both(gateway: Gateway, ending: bytes) -> None:
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM\r\n" + ending)
    upstream.close()
    answer = await browser.answer()
    assert answer.get(b"Connection") == b"close"
    assert await browser.eof() == b""


async def test_pipelined_requests_go_the_same_way(gateway: Gateway) -> None:
    app = await gateway.app(logging_in())
    browser = await gateway.connect()
    browser.send(asking(app, b"NTLM x") + get(app) + get(app))
    assert [(await browser.answer()).body for _ in range(3)] == [b"0 NTLM x"] * 3
    assert len(app.connections) == 1


async def test_a_websocket_after_the_handshake(gateway: Gateway) -> None:
    app = await gateway.app()
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    browser, upstream = await half_way(gateway, app, upgrade)
    browser.send(asking(app, b"NTLM 3", upgrade))
    assert (await upstream.request()).get(b"Authorization") == b"NTLM 3"
    upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert (await browser.answer()).status == 101
    browser.send(b"ping")
    assert await upstream.read(4) == b"ping"
    browser.reset()
    await upstream.ended()


async def test_a_login_by_head(gateway: Gateway) -> None:
    app = await gateway.app()
    browser = await gateway.connect()
    for message in (b"NTLM 1", b"NTLM 3"):
        browser.send(b"HEAD / HTTP/1.1\r\nHost: %b\r\nAuthorization: %b\r\n\r\n" % (app.host, message))
        upstream = app.connections[0] if app.connections else await app.accept()
        await upstream.request()
        upstream.send(b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM 2\r\nContent-Length: 9\r\n\r\n")
        assert (await browser.answer(b"HEAD")).status == 401
    assert len(app.connections) == 1


async def test_another_app_by_the_same_connection(gateway: Gateway) -> None:
    one, two = [await gateway.app(logging_in()) for _ in range(2)]
    browser = await gateway.connect()
    assert await body(browser, asking(one, b"NTLM x")) == b"0 NTLM x"
    assert await body(browser, asking(two, b"NTLM y")) == b"0 NTLM y"
    assert await one.connections[0].ended() == b""
    assert await body(browser, get(two)) == b"0 NTLM y"


async def test_behind_a_proxy_nobody_stays_logged_in(open_gateway: OpenGateway) -> None:
    """Its connection carries many visitors, and nothing tells their requests apart for sure."""
    gateway = await open_gateway(edge={"trusted_proxies": (IPv6Network("::1/128"),)})
    app = await gateway.app(logging_in())
    balancer = await gateway.connect()
    assert await body(balancer, asking(app, b"NTLM x")) == b"0 NTLM x"
    assert await body(balancer, get(app)) == b"HTTP/1.1 401 Unauthorized"
    assert not gateway.edge.pool.connections


async def test_a_stale_connection_before_the_handshake(gateway: Gateway) -> None:
    """Its first message begins at a fresh one, which is then the visitor's."""
    app = await gateway.app()
    browser, upstream = await pooled(gateway, app)
    browser.send(asking(app, b"NTLM 1"))
    await upstream.request()
    upstream.close()
    again = await app.accept()
    for message in (b"NTLM 1", b"NTLM 3"):
        assert (await again.request()).get(b"Authorization") == message
        again.send(CHALLENGE % b"NTLM 2")
        assert (await browser.answer()).status == 401
        if message == b"NTLM 1":
            browser.send(asking(app, b"NTLM 3"))


def by_http2(sock: socket.socket, app: App) -> int:
    """The status, or the code of a reset."""
    with H2Client(sock) as client:
        stream = client.stream(client.request(app.host))
        client.wait(lambda: stream.over, "an answer")
        return stream.status if stream.reset is None else stream.reset


@pytest.mark.parametrize(
    ("challenge", "answer"),
    [(b"NTLM", Code.HTTP_1_1_REQUIRED), (b"negotiate", Code.HTTP_1_1_REQUIRED), (b"Basic", 401)],
)
async def test_by_http2_the_browser_is_sent_to_http1(gateway: Gateway, challenge: bytes, answer: int) -> None:
    app = await gateway.app(logging_in(challenge))
    assert await asyncio.to_thread(by_http2, await gateway.blocking_socket(), app) == answer
    browser = await gateway.connect()
    browser.send(get(app))
    assert (await browser.answer()).status == 401
    assert [(each.status, each.reason) for each in gateway.log] == [
        (401, "" if answer == 401 else "downstream_closed"),
        (401, ""),
    ]


async def test_but_not_a_proxy_whose_visitors_may_speak_anything(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(edge={"trusted_proxies": (IPv6Network("::1/128"),)})
    app = await gateway.app(logging_in())
    assert await asyncio.to_thread(by_http2, await gateway.blocking_socket(), app) == 401
