"""What answers on the port but is no HTTP server is called what it is: TLS, SSH, a database, an HTTP/2-only server."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from ipaddress import IPv6Address
from math import inf

import pytest

from gateway.directory.sandbox import Sandbox
from tests.behaviour.harness import (
    DOMAIN,
    LOOPBACK,
    OK,
    PATIENCE,
    SANDBOX,
    App,
    Gateway,
    Message,
    TlsSides,
    Wire,
    get,
    post,
    until,
)


@pytest.fixture
async def app(gateway: Gateway) -> App:
    ask_by_http1(gateway)
    return await gateway.app()


def ask_by_http1(gateway: Gateway) -> None:
    """Whoever begins as HTTP/2 does would be asked by that, but for the record."""
    gateway.table.table[SANDBOX] = Sandbox(SANDBOX, IPv6Address("::1"), "1", protocol="http1")


def spoken(name: str) -> bytes:
    return b"upstream_speaks_http2" if "HTTP/2" in name else b"http_protocol_error"


async def failed(gateway: Gateway, browser: Wire, reason: bytes, *observed: str) -> Message:
    """The problem the browser got; each of `observed` is in the log and shown."""
    answer = await browser.answer()
    assert (answer.status, answer.reason) == (502, reason), answer
    record = gateway.log[-1]
    assert (record.status, record.reason) == (502, reason.decode())
    for fact in observed:
        assert fact in record.detail
        assert fact.encode() in answer.body
    return answer


# --- other protocols --------------------------------------------------------------------------------------------------

GREETINGS = {
    "ssh": (b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n", "an SSH server"),
    "redis": (b"-DENIED Redis is running in protected mode because protected mode is enabled.\r\n", "a Redis server"),
    "smtp": (b"220 mail.example.com ESMTP Postfix\r\n", "SMTP"),
    "mariadb": (b"\x6e\x00\x00\x00\x0a5.5.5-10.11.6-MariaDB-0+deb12u1\x00", "MariaDB"),
    "vnc": (b"RFB 003.008\n", "a VNC server"),
    "h2c": (b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", "an HTTP/2 server"),
}
ANSWERS = {
    "postgresql": (b"E\x00\x00\x00\x8eSFATAL\x00VFATAL\x00C0A000\x00Munsupported", "a PostgreSQL server"),
    "amqp": (b"AMQP\x00\x00\x09\x01", "an AMQP broker"),
    "h2c": (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80", "an HTTP/2 server"),
}


@pytest.mark.parametrize(("octets", "name"), GREETINGS.values(), ids=GREETINGS.keys())
async def test_who_greets_whoever_connects(gateway: Gateway, octets: bytes, name: str) -> None:
    """Before the request is written or after: which of the two is up to the kernel."""

    async def greet(wire: Wire) -> None:
        wire.send(octets)

    ask_by_http1(gateway)
    app = await gateway.app(greet)
    browser = await gateway.connect()
    for _ in range(10):
        browser.send(get(app))
        await failed(gateway, browser, spoken(name), name)
    assert not gateway.edge.pool.connections


@pytest.mark.parametrize(("octets", "name"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_who_answers_in_another_protocol(gateway: Gateway, app: App, octets: bytes, name: str) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(octets)
    await failed(gateway, browser, spoken(name), name)
    assert await upstream.ended() == b""


async def test_who_greets_while_idle_in_the_pool(gateway: Gateway, app: App) -> None:
    """Nobody asked, nobody hears it: the next request gets another connection."""
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(OK)
    await browser.answer()
    upstream.send(b"\x15\x03\x01\x00\x02\x02\x46")
    await upstream.ended()
    browser.send(get(app))
    again = await app.accept()
    await again.request()
    again.send(OK)
    assert (await browser.answer()).body == b"ok"


@pytest.mark.parametrize("octets", [GREETINGS["h2c"][0], ANSWERS["h2c"][0]], ids=["grpc", "nginx"])
async def test_http_2_only_is_told_so_in_every_sentence(gateway: Gateway, app: App, octets: bytes) -> None:
    browser = await gateway.connect()
    browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\nAccept: application/json\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.request()
    upstream.send(octets)
    problem = json.loads((await failed(gateway, browser, b"upstream_speaks_http2")).body)
    assert problem["title"] == f"The app on port {app.port} speaks HTTP/2 only"
    assert "HTTP/2 without TLS (h2c), but not HTTP/1.1" in problem["detail"]
    assert problem["observed"][0] == "the app began with an HTTP/2 server's SETTINGS frame, and does not take HTTP/1.1"
    assert problem["fix"][0].startswith("Send the request again")
    assert '"protocol": "h2c"' in problem["fix"][1]


@pytest.mark.parametrize(("answer", "is_redis"), [(b"-ERR no such command\r\n", False), (b"+PONG\r\n", True)])
async def test_an_error_as_redis_writes_it_is_asked_about(
    gateway: Gateway, app: App, answer: bytes, is_redis: bool
) -> None:
    """A POP3 server's errors begin so, too; whoever answers a PING is Redis."""
    browser = await gateway.connect()
    browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\nAccept: application/json\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"-ERR unknown command 'GET'\r\n")
    asked = await app.accept()
    assert await asked.read(6) == b"PING\r\n"
    asked.send(answer)
    await asked.ended()
    problem = json.loads((await failed(gateway, browser, b"http_protocol_error", "-ERR unknown command")).body)
    assert ("Redis" in " ".join(problem["observed"])) is is_redis
    assert ("is not a web server" in problem["title"]) is is_redis


@pytest.mark.parametrize("is_next", [True, False])
async def test_next_js_refuses_a_websocket_without_a_head(gateway: Gateway, app: App, is_next: bool) -> None:
    """One word, and no HTTP. Whoever says it to another request is not known."""
    browser = await gateway.connect()
    browser.send(
        b"GET /%b HTTP/1.1\r\nHost: %b\r\nOrigin: https://%b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Accept: application/json\r\n\r\n" % (b"_next/hmr" if is_next else b"socket", app.host, app.host)
    )
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"Unauthorized")
    problem = json.loads((await failed(gateway, browser, b"http_protocol_error", "“Unauthorized”")).body)
    if is_next:
        assert problem["title"] == f"Next.js on port {app.port} refused this origin"
        assert problem["fix"] == [
            "In next.config: `allowedDevOrigins: ['*.sandbox.localhost']`. Then start the dev server again."
        ]
    else:
        assert problem["title"] == f"What answers on port {app.port} does not speak valid HTTP"
        assert "Next" not in json.dumps(problem)


# --- TLS, said aloud --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("octets", [b"\x15\x03\x01\x00\x02\x02\x46", b"\x16\x03\x03\x00\x7a\x02"])
async def test_a_tls_record(gateway: Gateway, app: App, octets: bytes) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(octets)
    await failed(gateway, browser, b"upstream_speaks_tls", "TLS")
    await upstream.ended()


NGINX_BODY = (
    b"<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n<body>\r\n"
    b"<center><h1>400 Bad Request</h1></center>\r\n<center>The plain HTTP request was sent to HTTPS port</center>\r\n"
    b"<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"
)
NGINX_HEAD = (
    b"HTTP/1.1 400 Bad Request\r\nServer: nginx/1.22.1\r\nContent-Type: text/html\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n" % len(NGINX_BODY)
)
GO_HEAD = b"HTTP/1.0 400 Bad Request\r\n\r\n"
GO_BODY = b"Client sent an HTTP request to an HTTPS server.\n"
TOMCAT_HEAD = b"HTTP/1.1 400 \r\nContent-Type: text/plain;charset=UTF-8\r\nTransfer-Encoding: chunked\r\n\r\n"
TOMCAT_BODY = b"3e\r\nBad Request\r\nThis combination of host and port requires TLS.\r\n\r\n0\r\n\r\n"


SERVER_HELLO = b"\x16\x03\x03\x00\x7a\x02"
ANSWERS_IN_WORDS = pytest.mark.parametrize(
    ("head", "body"),
    [(NGINX_HEAD, NGINX_BODY), (GO_HEAD, GO_BODY), (TOMCAT_HEAD, TOMCAT_BODY)],
    ids=["nginx", "go", "tomcat"],
)


@pytest.mark.parametrize("apart", [False, True], ids=["at-once", "apart"])
@ANSWERS_IN_WORDS
async def test_a_tls_server_that_explains_itself(
    gateway: Gateway, app: App, head: bytes, body: bytes, apart: bool
) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    for piece in [head, body] if apart else [head + body]:
        upstream.send(piece)
        await gateway.settled()
    upstream.close()
    asked = await app.accept()
    assert (await asked.read(3))[:2] == b"\x16\x03"
    asked.send(SERVER_HELLO)
    await failed(
        gateway,
        browser,
        b"upstream_speaks_tls",
        "HTTP" if body is not TOMCAT_BODY else "requires TLS",
        "answers when TLS is spoken to it",
    )
    await asked.ended()


@pytest.mark.parametrize("end", ["close", "reset", "later", "keeps"])
@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x03\x00\x02\x02\x78"])
@ANSWERS_IN_WORDS
async def test_the_same_words_of_an_app_that_speaks_no_tls_pass(
    gateway: Gateway, app: App, head: bytes, body: bytes, says: bytes, end: str
) -> None:
    """A proxy in the sandbox that passes on its back end's answer; an API that quotes one."""
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(head + body)
    if end in ("close", "reset"):
        await upstream.drained()
        getattr(upstream, end)()
    asked = await app.accept()
    await asked.read(3)
    if end == "later":
        upstream.close()
    assert not browser.unread, "it waits for what the port itself says"
    asked.send(says) if says else asked.close()
    if body is GO_BODY and end == "keeps":  # until the end of the connection
        assert (await browser.head()).startswith(b"HTTP/1.1 400 ")
        upstream.close()
    elif body is GO_BODY and end == "reset":  # which is no end of such a body
        assert (await browser.head()).startswith(b"HTTP/1.1 400 ")
    else:
        answer = await browser.answer()
        assert (answer.status, answer.reason) == (400, None)
        assert answer.body == (body if body is not TOMCAT_BODY else body[4:-7])
        assert gateway.log[-1].reason == ""


async def test_many_such_answers_are_one_look(gateway: Gateway, app: App) -> None:
    """An API whose every 400 quotes a server's words, and its visitors who make it say so."""
    browsers = [await gateway.connect() for _ in range(5)]
    for browser in browsers:
        browser.send(get(app))
    upstreams = [await app.accept() for _ in browsers]
    for upstream in upstreams:  # all are here, so what comes after them is the look
        await upstream.request()
        upstream.send(NGINX_HEAD + NGINX_BODY)
    asked = await app.accept()
    await asked.read(3)
    asked.close()
    for browser in browsers:
        assert (await browser.answer()).body == NGINX_BODY
        browser.send(get(app))
    for _ in browsers:
        upstream = await app.accept()
        await upstream.request()
        upstream.send(NGINX_HEAD + NGINX_BODY)
    for browser in browsers:
        assert (await browser.answer()).body == NGINX_BODY
    assert len(app.connections) == 2 * len(browsers) + 1


async def looked_at(gateway: Gateway, app: App) -> tuple[Wire, Wire]:
    """A browser whose request was answered as a TLS server would, and the connection by which the port is asked."""
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(NGINX_HEAD + NGINX_BODY)
    asked = await app.accept()
    await asked.read(3)
    return browser, asked


async def test_nobody_waits_for_the_look_any_more(gateway: Gateway, app: App) -> None:
    browser, asked = await looked_at(gateway, app)
    browser.reset()
    await until(lambda: gateway.log, "the exchange is over")
    asked.send(SERVER_HELLO)
    await asked.ended()
    await until(lambda: not len(gateway.edge.tasks), "no task")
    assert (len(gateway.log), gateway.log[-1].status) == (1, 499)
    assert not gateway.edge.pool.connections


async def test_a_large_body_behind_such_words_arrives_whole(gateway: Gateway, app: App) -> None:
    """It is not read while the port is looked at, and read on afterwards."""
    body = NGINX_BODY + b"x" * 3_000_000
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    asked = await app.accept()
    await asked.read(3)
    asked.close()
    assert (await browser.answer()).body == body


@pytest.mark.parametrize("in_one_piece", [True, False])
async def test_a_body_of_many_small_chunks_behind_such_words_arrives_whole(
    gateway: Gateway, app: App, in_one_piece: bool
) -> None:
    """More work than one turn has is left when the port has been looked at; the rest of it has turns of its own."""
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    letters = bytes(ord("a") + number % 26 for number in range(3000))
    chunks = [b"1\r\n%b\r\n" % bytes([letter]) for letter in letters]
    after = b"".join(chunks[2000:]) + b"0\r\n\r\n"
    head = b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n"
    upstream.send(head + b"%x\r\n%b\r\n" % (len(NGINX_BODY), NGINX_BODY) + b"".join(chunks[:2000]))
    if in_one_piece:
        upstream.send(after)
    asked = await app.accept()
    await asked.read(3)
    asked.close()
    await browser.wait(lambda: browser.unread > 0, "the head has passed")
    if not in_one_piece:
        upstream.send(after)
    assert (await browser.answer()).body == NGINX_BODY + letters


async def test_such_words_of_an_app_that_has_served_pass_at_once(gateway: Gateway, app: App) -> None:
    """That it speaks HTTP is known, whatever else the port may speak."""
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(OK)
    await browser.answer()
    browser.send(get(app))
    await upstream.request()
    upstream.send(NGINX_HEAD + NGINX_BODY)
    answer = await browser.answer()
    assert (answer.status, answer.reason, answer.body) == (400, None, NGINX_BODY)
    assert len(app.connections) == 1


async def test_the_gateway_drains_while_the_port_is_looked_at(gateway: Gateway, app: App) -> None:
    browser, asked = await looked_at(gateway, app)
    gateway.edge.drain()
    asked.close()
    answer = await browser.answer()
    assert (answer.body, answer.get(b"Connection")) == (NGINX_BODY, b"close")
    assert await browser.eof() == b""
    browser.close()
    async with asyncio.timeout(PATIENCE):
        await gateway.edge.drained()


async def test_the_record_changes_while_the_port_is_looked_at(gateway: Gateway, app: App) -> None:
    """What answers is another's by then: nothing is said of it, and the answer passes as it came."""
    browser, asked = await looked_at(gateway, app)
    gateway.table.table[SANDBOX] = Sandbox(SANDBOX, IPv6Address(LOOPBACK), "2")
    gateway.edge.records_changed([SANDBOX])
    await until(lambda: gateway.edge.pool.retired_past_grace(inf), "the connection is known to lead to the old one")
    asked.send(SERVER_HELLO)
    answer = await browser.answer()
    assert (answer.status, answer.reason, answer.body) == (400, None, NGINX_BODY)


async def test_an_upload_under_way_while_the_port_is_looked_at(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 100000\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.head()
    upstream.send(NGINX_HEAD + NGINX_BODY)
    asked = await app.accept()
    await asked.read(3)
    browser.send(b"x" * 50_000)
    await upstream.read(50_000)
    asked.close()
    assert (await browser.answer()).body == NGINX_BODY


async def test_without_a_body_a_bad_request_is_the_apps(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(b"HEAD / HTTP/1.1\r\nHost: %b\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.request()
    upstream.send(NGINX_HEAD)
    answer = await browser.answer(b"HEAD")
    assert (answer.status, answer.reason) == (400, None)


async def test_a_page_about_the_phrase_is_the_apps(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(NGINX_HEAD.replace(b"400 Bad Request", b"404 Not Found") + NGINX_BODY)
    answer = await browser.answer()
    assert (answer.status, answer.reason, answer.body) == (404, None, NGINX_BODY)


# --- TLS, kept silent -------------------------------------------------------------------------------------------------


@pytest.fixture
async def tls_host(tls_sides: TlsSides) -> AsyncIterator[bytes]:
    """A TLS server that closes when plain HTTP comes, as uvicorn and aiohttp do; its name behind the gateway."""
    server = await asyncio.start_server(_never, LOOPBACK, 0, ssl=tls_sides.server)
    async with server:
        yield b"%d-%b.%b" % (server.sockets[0].getsockname()[1], SANDBOX.encode(), DOMAIN.encode())


async def _never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    raise AssertionError("nobody completes a handshake")


async def test_a_tls_server_that_hangs_up(gateway: Gateway, tls_host: bytes) -> None:
    browser = await gateway.connect()
    for _ in range(3):
        browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % tls_host)
        await failed(gateway, browser, b"upstream_speaks_tls", "before answering", "TLS")
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 100000\r\n\r\n%b" % (tls_host, b"x" * 100_000))
    await failed(gateway, browser, b"upstream_speaks_tls")


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_an_app_that_crashes_is_asked_once(gateway: Gateway, app: App, how: str) -> None:
    browser = await gateway.connect()
    for first in (True, False):
        browser.send(get(app))
        upstream = await app.accept()
        await upstream.request()
        getattr(upstream, how)()
        if first:
            asked = await app.accept()
            assert (await asked.read(3))[:2] == b"\x16\x03"
            asked.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await asked.ended()
        await failed(gateway, browser, b"connection_terminated", "before answering")
    assert len(app.connections) == 3


async def test_an_app_that_has_served_is_not_asked(gateway: Gateway, app: App) -> None:
    """That it speaks HTTP is known."""
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(OK)
    await browser.answer()
    browser.send(post(app, b"abc"))
    await upstream.request()
    upstream.close()
    await failed(gateway, browser, b"connection_terminated")
    assert len(app.connections) == 1


async def test_nobody_waits_for_the_answer_any_more(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.close()
    asked = await app.accept()
    await asked.read(3)
    browser.reset()
    await until(lambda: gateway.log, "the exchange is over")
    assert (gateway.log[-1].status, gateway.log[-1].reason) == (499, "downstream_closed")
    asked.send(b"\x16\x03\x03\x00\x7a\x02")
    await asked.ended()
    await until(lambda: not len(gateway.edge.tasks), "no task")
    assert len(gateway.log) == 1


async def test_the_question_is_a_client_hello(gateway: Gateway, app: App, tls_sides: TlsSides) -> None:
    """Whatever this machine's OpenSSL is told to offer, a server takes it for TLS."""
    browser, asked = await looked_at(gateway, app)
    header = bytes(asked.received[:5])
    hello = await asked.read(int.from_bytes(header[3:]) + len(header) - 3)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = tls_sides.server.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(header[:3] + hello)
    with pytest.raises(ssl.SSLWantReadError):
        server.do_handshake()
    assert outgoing.read(3)[:2] == b"\x16\x03"
    asked.close()
    assert (await browser.answer()).body == NGINX_BODY
