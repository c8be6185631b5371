"""Every way an app can fail has its own name, reaches the browser as what it is, and leaves nothing behind."""

from __future__ import annotations

import errno
import json
import os
import socket
from ipaddress import IPv6Address, IPv6Network

import pytest

from gateway import errnos
from gateway.directory.sandbox import Sandbox
from tests.behaviour.harness import (
    LOOPBACK,
    OK,
    SANDBOX,
    App,
    Gateway,
    Message,
    OpenGateway,
    Script,
    Wire,
    get,
    until,
)
from tests.support.ports import silent_port

HOW = {"close": "closed", "reset": "reset"}

both = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


@pytest.fixture
async def app(gateway: Gateway) -> App:
    return await gateway.app()


async def failed(gateway: Gateway, browser: Wire, status: int, reason: bytes) -> Message:
    """The problem the browser got; its connection stays good."""
    answer = await browser.answer()
    assert (answer.status, answer.reason) == (status, reason), answer
    assert (answer.get(b"Proxy-Status") or b"").startswith(b"gateway; error=")
    assert answer.get(b"Cache-Control") == b"no-store"
    assert answer.get(b"Connection") is None
    record = gateway.log[-1]
    assert (record.status, record.reason) == (status, reason.decode())
    return answer


# --- before an answer -------------------------------------------------------------------------------------------------


@both
async def test_refused(gateway: Gateway, app: App, tls: bool) -> None:
    app.stop()
    browser = await gateway.connect(tls=tls)
    for _ in range(2):
        browser.send(get(app))
        answer = await failed(gateway, browser, 502, b"connection_refused")
        assert b"`::`" in answer.body
        assert str(app.port).encode() in answer.body


@both
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_closed_before_an_answer(gateway: Gateway, app: App, how: str, tls: bool) -> None:
    browser = await gateway.connect(tls=tls)
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    getattr(upstream, how)()
    await failed(gateway, browser, 502, b"connection_terminated")
    assert gateway.log[-1].detail == f"the app {HOW[how]} the connection before answering"


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_closed_as_soon_as_accepted(gateway: Gateway, how: str) -> None:
    """Without reading: the close may come before, while or after the request is written."""

    async def hang_up(wire: Wire) -> None:
        getattr(wire, how)()

    app = await gateway.app(hang_up)
    browser = await gateway.connect()
    for _ in range(20):
        browser.send(get(app))
        await failed(gateway, browser, 502, b"connection_terminated")


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: "])
async def test_closed_inside_the_head(gateway: Gateway, app: App, begun: bytes, how: str) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(begun)
    await gateway.settled()
    getattr(upstream, how)()
    await failed(gateway, browser, 502, b"connection_terminated")
    assert gateway.log[-1].detail == f"the app {HOW[how]} the connection in the middle of its answer's head"


async def said(gateway: Gateway, browser: Wire, *expected: str) -> None:
    """The problem's title, the beginning of its detail, what was observed, and the first thing to check."""
    answer = await browser.answer()
    problem = json.loads(answer.body)
    assert (answer.status, answer.reason) == (problem["status"], problem["reason"].encode())
    told = (problem["title"], problem["detail"], problem["observed"][0], problem["fix"][0])
    for text, begins in zip(told, expected, strict=True):
        assert text.startswith(begins), told
    assert gateway.log[-1].detail == problem["observed"][0]


def json_get(app: App) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: %b\r\nAccept: application/json\r\n\r\n" % app.host


@pytest.mark.pure
async def test_an_end_before_the_question_is_told_so(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen while the directory is asked, once more, whose the address is."""

    async def hang_up(wire: Wire) -> None:
        wire.close()

    async def fetch(sandbox_id: str) -> Sandbox:
        await until(lambda: not gateway.edge.pool.connections, "the end is seen")
        return await real(sandbox_id)

    app = await gateway.app(hang_up)
    real = gateway.edge.directory.fetch
    monkeypatch.setattr(gateway.edge.directory, "fetch", fetch)
    browser = await gateway.connect()
    browser.send(json_get(app))
    await said(
        gateway,
        browser,
        f"The app on port {app.port} hung up before it was asked",
        f"Something accepted the connection to [{LOOPBACK}]:{app.port} and closed it before the request was passed on",
        "the app closed the connection before it was asked",
        f"Is port {app.port} a forwarder's",
    )


async def test_an_end_after_the_question_is_told_so(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(json_get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.close()
    await said(
        gateway,
        browser,
        "The app closed the connection without answering",
        f"The request, or its beginning, was passed on to [{LOOPBACK}]:{app.port}, which closed the connection",
        "the app closed the connection before answering",
        "Read the app's log: did it crash, or was it restarted, while at work",
    )


async def test_an_end_within_the_head_is_told_so(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(json_get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-")
    await gateway.settled()
    upstream.close()
    await said(
        gateway,
        browser,
        "The app's answer broke off within its head",
        f"The app on port {app.port} got the request, began to answer, and closed the connection",
        "the app closed the connection in the middle of its answer's head",
        "Read the app's log: did it crash, or was it restarted, while answering",
    )


@pytest.mark.parametrize("number", [errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ECONNABORTED])
async def test_an_end_that_is_not_the_apps_is_told_so(gateway: Gateway, app: App, number: int) -> None:
    """What the kernel says when nothing is acknowledged any more, or a router says no."""
    browser = await gateway.connect()
    browser.send(json_get(app))
    upstream = await app.accept()
    await upstream.request()
    (connection,) = gateway.edge.pool.connections
    connection.connection_lost(OSError(number, os.strerror(number)))
    await said(
        gateway,
        browser,
        f"The connection to port {app.port} was lost before the answer",
        f"The request was passed on to [{LOOPBACK}]:{app.port}, and the connection was lost",
        f"the app {errnos.MEANINGS[number].ended} before answering",
        "Is the sandbox still running",
    )
    assert len(app.connections) == 1, "it has not hung up: there is nothing to ask it"


async def test_silent_for_too_long(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(upstream={"response_header_timeout": 0.2})
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    await failed(gateway, browser, 504, b"http_response_timeout")
    assert await upstream.ended() == b""


async def test_a_head_that_trickles_for_too_long(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(upstream={"response_header_timeout": 0.2})
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\n")
    for _ in range(2_000):
        if upstream.end:
            break
        upstream.send(b"X-A: a\r\n")
        await gateway.settled()
    await failed(gateway, browser, 504, b"http_response_timeout")


async def test_an_address_that_must_not_be_dialed(gateway: Gateway, app: App) -> None:
    for address in ("fd00::1", "::", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "fe80::1", "ff02::1", "fd00:ec2::254"):
        gateway.table.table[SANDBOX] = Sandbox(SANDBOX, IPv6Address(address), address)
        gateway.edge.directory.invalidate([SANDBOX])
        browser = await gateway.connect()
        browser.send(get(app))
        await failed(gateway, browser, 502, b"destination_ip_prohibited")
    assert app.connections == []


async def test_a_port_that_is_denied(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(upstream={"deny_ports": (22,)})
    browser = await gateway.connect()
    browser.send(b"GET / HTTP/1.1\r\nHost: 22-box.sandbox.localhost\r\n\r\n")
    await failed(gateway, browser, 403, b"port_denied")


async def test_no_answer_to_the_dial(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(upstream={"connect_timeout": 0.2})
    with silent_port() as port:
        browser = await gateway.connect()
        browser.send(b"GET / HTTP/1.1\r\nHost: %d-box.sandbox.localhost\r\n\r\n" % port)
        await failed(gateway, browser, 504, b"connection_timeout")
        assert not gateway.edge.pool.connections


# --- not HTTP ---------------------------------------------------------------------------------------------------------

BAD_ANSWERS = {
    "ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "smtp": b"220 mail.example ESMTP\r\n",
    "zeroes": bytes(100),
    "empty-line": b"\r\n\r\n",
    "http-0.9": b"<html>hello</html>\r\n\r\n",
    "http-2": b"HTTP/2.0 200 OK\r\n\r\n",
    "http-1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "lower-case": b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status-of-2-digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "status-of-4-digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "status-999": b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
    "status-0": b"HTTP/1.1 000 What\r\nContent-Length: 0\r\n\r\n",
    "cr-in-phrase": b"HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
    "nul-in-phrase": b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
    "bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "bare-lf-in-fields": b"HTTP/1.1 200 OK\r\nX-A: a\nContent-Length: 0\r\n\r\n",
    "obs-fold": b"HTTP/1.1 200 OK\r\nX-A: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "space-before-colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "control-in-value": b"HTTP/1.1 200 OK\r\nX-A: a\x01\r\nContent-Length: 0\r\n\r\n",
    "nul-in-value": b"HTTP/1.1 200 OK\r\nX-A: a\0\r\nContent-Length: 0\r\n\r\n",
    "bare-cr-in-value": b"HTTP/1.1 200 OK\r\nX-A: a\rX-B: b\r\nContent-Length: 0\r\n\r\n",
    "name-with-space": b"HTTP/1.1 200 OK\r\nX A: a\r\nContent-Length: 0\r\n\r\n",
    "two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "two-equal-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
    "length-list": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nab",
    "length-plus": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab",
    "length-negative": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nab",
    "length-empty": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nab",
    "length-and-chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two-codings": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "gzip-chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding-identity": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nab",
    "coding-on-1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "101-unasked": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
}


@pytest.mark.parametrize("octets", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
async def test_not_http(gateway: Gateway, app: App, octets: bytes) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(octets)
    await failed(gateway, browser, 502, b"http_protocol_error")
    assert await upstream.ended() == b""
    assert not gateway.edge.pool.connections


async def test_a_server_that_speaks_first(gateway: Gateway) -> None:
    """SSH, SMTP and databases greet whoever connects, before the request is written or after."""

    async def greet(wire: Wire) -> None:
        wire.send(b"SSH-2.0-OpenSSH_9.6\r\n")

    app = await gateway.app(greet)
    browser = await gateway.connect()
    for _ in range(20):
        browser.send(get(app))
        await failed(gateway, browser, 502, b"http_protocol_error")


@pytest.mark.parametrize(
    "octets",
    [
        b"HTTP/1.1 200 OK\r\n" + (b"X-A: " + b"a" * 4000 + b"\r\n") * 9 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: a\r\n" * 101 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 8192 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 1_000_000,
    ],
    ids=["over-32-KiB", "101-fields", "field-over-8-KiB", "endless"],
)
async def test_a_head_that_is_too_large(gateway: Gateway, app: App, octets: bytes) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(octets)
    await failed(gateway, browser, 502, b"http_response_header_section_size")
    await upstream.ended()


# --- inside the body --------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_length_not_reached_stays_unreached(gateway: Gateway, app: App, how: str, tls: bool) -> None:
    browser = await gateway.connect(tls=tls)
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    assert b"Content-Length: 10\r\n" in await browser.head()
    assert await browser.read(3) == b"abc"
    getattr(upstream, how)()
    assert await browser.ended() == b""
    record = gateway.log[-1]
    assert (record.reason, record.detail) == (
        "http_response_incomplete",
        f"the app {HOW[how]} the connection inside the body",
    )


@both
@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("begun", [b"3\r\nabc", b"3\r\nabc\r\n", b"3\r\nabc\r\n0\r\n", b"3\r\nabc\r\n0\r\nX-T: t\r\n"])
async def test_a_last_chunk_that_never_came_is_not_made_up(
    gateway: Gateway, app: App, begun: bytes, how: str, tls: bool
) -> None:
    browser = await gateway.connect(tls=tls)
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + begun)
    await browser.head()
    assert await browser.read(8) == b"3\r\nabc\r\n"
    getattr(upstream, how)()
    assert await browser.ended() == b""
    assert gateway.log[-1].reason == "http_response_incomplete"


async def test_a_reset_is_not_the_end_of_a_body_without_length(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
    await browser.head()
    assert await browser.read(8) == b"3\r\nabc\r\n"
    upstream.reset()
    assert await browser.ended() == b""


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\n\r\nabc", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"],
    ids=["until-close", "chunked"],
)
async def test_http_1_0_is_reset(gateway: Gateway, app: App, answer: bytes) -> None:
    """There the connection's clean end is the body's: a truncated body must not have one."""
    browser = await gateway.connect()
    browser.send(b"GET / HTTP/1.0\r\nHost: %b\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.request()
    upstream.send(answer)
    await browser.head()
    assert await browser.read(3) == b"abc"
    upstream.reset()
    assert await browser.ended() == b""
    assert browser.end == "reset"


async def test_http_1_0_gets_what_came_before_the_reset(gateway: Gateway, app: App) -> None:
    """A head and the break in one packet: an answer that is broken off, and no empty connection."""
    browser = await gateway.connect()
    browser.send(b"GET / HTTP/1.0\r\nHost: %b\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
    assert b" 200 OK\r\n" in await browser.head()
    assert await browser.ended() == b""
    assert browser.end == "reset"


@pytest.mark.parametrize(
    "broken",
    [
        b"3\r\nabc\r\nxyz\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"3\r\nabc\r\n-1\r\n",
        b"3\r\nabc\r\n0\r\nbad trailer\r\n\r\n",
        b"3\r\nabc\r\n" + b"1" * 300,
    ],
    ids=["size", "data", "negative", "trailer", "long-line"],
)
@pytest.mark.parametrize("at_once", [True, False], ids=["at-once", "later"])
async def test_chunks_that_break_their_framing(gateway: Gateway, app: App, broken: bytes, at_once: bool) -> None:
    """Seen as broken off, also when all of it comes at once: a head without an end, never an empty connection."""
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for piece in [head + broken] if at_once else [head, broken]:
        upstream.send(piece)
        await gateway.settled()
    assert (await browser.head()).startswith(b"HTTP/1.1 200 OK\r\n")
    rest = await browser.ended()
    assert b"\r\n0\r\n" not in b"\r\n" + rest
    assert gateway.log[-1].reason == "http_protocol_error"
    await upstream.ended()


async def test_a_body_that_stands_still(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(timeouts={"tunnel_idle": 0.2})
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    await browser.head()
    assert await browser.ended() == b"abc"
    assert gateway.log[-1].reason == "http_response_incomplete"


# --- two hundred of each ----------------------------------------------------------------------------------------------


async def _hang_up(wire: Wire) -> None:
    await wire.another()  # a request, or a ClientHello
    wire.reset()


async def _break_off(wire: Wire) -> None:
    await wire.request()
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    await wire.drained()
    wire.reset()


async def _garbage(wire: Wire) -> None:
    await wire.request()
    wire.send(b"\x00\xff garbage\r\n\r\n" * 100)


async def _at_once(wire: Wire) -> None:
    wire.reset()


@both
@pytest.mark.parametrize("script", [None, _at_once, _hang_up, _break_off, _garbage])
async def test_two_hundred_failures_leave_counts_where_they_were(
    gateway: Gateway, script: Script | None, tls: bool
) -> None:
    app = await gateway.app(script)
    if script is None:
        app.stop()
    edge = gateway.edge
    for _ in range(10):
        browsers = [await gateway.connect(tls=tls) for _ in range(20)]
        for browser in browsers:
            browser.send(get(app))
        for browser in browsers:
            head = await browser.head()
            assert head.startswith(b"HTTP/1.1 200" if script is _break_off and b"200 OK" in head else b"HTTP/1.1 502")
        for browser in browsers:
            browser.close()
        await until(lambda: not edge.connections, "the browsers are gone")
        assert not edge.exchanges
        assert not edge.downstreams
        assert not edge.pool.connections
        await until(lambda: not len(edge.tasks), "no task")
    assert len(gateway.log) == 200
    assert all(record.reason for record in gateway.log)


async def test_the_app_recovers(gateway: Gateway, app: App) -> None:
    """A refusal is remembered nowhere: the app that starts a moment later is reached at once."""
    port = app.port
    app.stop()
    browser = await gateway.connect()
    browser.send(get(app))
    await failed(gateway, browser, 502, b"connection_refused")
    sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setblocking(False)
    sock.bind((LOOPBACK, port))
    sock.listen()
    await app.start(sock)
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"


async def test_a_forbidden_address_gets_no_packet(open_gateway: OpenGateway) -> None:
    """The directory's word is not enough: something listens where the record points, and never hears of it."""
    gateway = await open_gateway(upstream={"allow": (IPv6Network("fd00::/8"),)})
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(get(app))
    await failed(gateway, browser, 502, b"destination_ip_prohibited")
    await gateway.settled()
    assert app.connections == []
