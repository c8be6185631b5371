"""WebSocket and every other upgrade: the app decides, then octets pass untouched, both ways, until both sides are done."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.behaviour.harness import OK, App, Gateway, Message, OpenGateway, Wire, get, until

both = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])

HANDSHAKE = (
    b"GET /chat HTTP/1.1\r\nHost: %b\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
PASSED_ON = (
    b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Request-Id: #\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
)


@pytest.fixture
async def app(gateway: Gateway) -> App:
    return await gateway.app()


async def tunnel(gateway: Gateway, app: App, *, tls: bool = False, kernel_buffer: int = 0) -> tuple[Wire, Wire]:
    """Both ends of an open tunnel."""
    browser = await gateway.connect(tls=tls, kernel_buffer=kernel_buffer)
    browser.send(HANDSHAKE % app.host)
    upstream = await app.accept()
    await upstream.head()
    upstream.send(SWITCHED)
    assert await browser.head() == PASSED_ON
    return browser, upstream


async def silence(clock: Callable[[], float]) -> None:
    """Nobody speaks for a tenth of a second."""
    begin = clock()
    await until(lambda: clock() > begin + 0.1, "a moment of silence")


# --- the handshake ----------------------------------------------------------------------------------------------------


@both
async def test_the_handshake_passes_and_then_everything(gateway: Gateway, app: App, tls: bool) -> None:
    browser = await gateway.connect(tls=tls)
    browser.send(HANDSHAKE % app.host)
    upstream = await app.accept()
    asked = await upstream.request()
    assert asked.start == b"GET /chat HTTP/1.1"
    assert (asked.get(b"Connection"), asked.get(b"Upgrade")) == (b"Upgrade", b"websocket")
    assert b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" in asked.head
    upstream.send(SWITCHED)
    assert await browser.head() == PASSED_ON
    for octets in (
        b"\x81\x05hello",
        b"\0\xff\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"0\r\n\r\n",
        bytes(range(256)),
    ):
        browser.send(octets)
        assert await upstream.read(len(octets)) == octets
        upstream.send(octets)
        assert await browser.read(len(octets)) == octets
    browser.close()
    await upstream.ended()
    upstream.close()
    await until(lambda: gateway.log, "the tunnel is recorded")
    (record,) = gateway.log
    assert (record.status, record.upgraded, record.reason, record.received) == (101, True, "", record.sent)


async def test_any_protocol_may_be_asked_for(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: upgrade\r\nUpgrade: Tail/2.0\r\n\r\n" % app.host)
    upstream = await app.accept()
    assert (await upstream.request()).get(b"Upgrade") == b"Tail/2.0"
    upstream.send(b"HTTP/1.1 101 Sure\r\nConnection: upgrade\r\nUpgrade: tail/2.0\r\n\r\nwelcome")
    assert (await browser.head()).startswith(b"HTTP/1.1 101 Sure\r\n")
    assert await browser.read(7) == b"welcome"


@both
async def test_what_comes_along_with_the_handshake_waits_for_the_101(gateway: Gateway, app: App, tls: bool) -> None:
    """Before it the octets would be a request of the browser's own making, on a connection others will use."""
    early = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    browser = await gateway.connect(tls=tls)
    browser.send(HANDSHAKE % app.host + early)
    upstream = await app.accept()
    await upstream.head()
    browser.send(b"second")
    await gateway.settled()
    assert upstream.unread == 0
    upstream.send(SWITCHED + b"hello")
    assert await browser.head() == PASSED_ON
    assert await browser.read(5) == b"hello"
    browser.send(b"third")
    assert await upstream.read(len(early) + 11) == early + b"second" + b"third"


async def test_and_no_more_of_it_than_a_buffer(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect(kernel_buffer=64 * 1024)
    browser.send(HANDSHAKE % app.host)
    upstream = await app.accept()
    await upstream.head()
    blob = bytes(range(256)) * 4096  # 1 MiB
    sent = 0
    while browser.writable and sent < 64:
        browser.send(blob)
        sent += 1
        await gateway.settled()
    assert not browser.writable
    assert upstream.unread == 0
    upstream.send(SWITCHED)
    assert await upstream.read(sent * len(blob)) == blob * sent


@both
@pytest.mark.parametrize("status", [b"200 OK", b"400 Bad Request", b"403 Forbidden", b"426 Upgrade Required"])
async def test_a_refusal_passes_whole(gateway: Gateway, app: App, status: bytes, tls: bool) -> None:
    """Also a 200, which is no success here (CVE-2024-23326); what was meant for the tunnel is no request."""
    browser = await gateway.connect(tls=tls)
    browser.send(HANDSHAKE % app.host + get(app, b"/smuggled"))
    upstream = await app.accept()
    await upstream.head()
    upstream.send(b"HTTP/1.1 %b\r\nX-Why: because\r\nContent-Length: 2\r\n\r\nno" % status)
    answer = await browser.answer()
    assert answer.head.startswith(b"HTTP/1.1 %b\r\nX-Why: because\r\nContent-Length: 2\r\n" % status)
    assert answer.body == b"no"
    assert await browser.eof() == b""
    await gateway.settled()
    assert b"/smuggled" not in app.received
    assert len(app.connections) == 1
    if status.startswith(b"403"):
        gateway.expect_complaint("usually by its origin check")


async def test_a_refusal_keeps_the_connection_if_nothing_came_along(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(HANDSHAKE % app.host)
    upstream = await app.accept()
    await upstream.head()
    upstream.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
    assert (await browser.answer()).status == 401
    browser.send(get(app))
    await upstream.request()
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"


@both
async def test_a_refusal_of_the_gateway_s_own(gateway: Gateway, app: App, tls: bool) -> None:
    """Known at once, or after a dial: either way nothing that follows is a request."""
    app.stop()
    for host, status in ((app.host, 502), (b"elsewhere.example", 421), (b"80-gone.sandbox.localhost", 404)):
        browser = await gateway.connect(tls=tls)
        browser.send(HANDSHAKE % host + b"GET /smuggled HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n")
        assert (await browser.answer()).status == status
        assert await browser.eof() == b""


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
    ids=["another-protocol", "no-upgrade", "no-connection", "neither"],
)
async def test_a_101_to_something_else(gateway: Gateway, app: App, answer: bytes) -> None:
    browser = await gateway.connect()
    browser.send(HANDSHAKE % app.host)
    upstream = await app.accept()
    await upstream.head()
    upstream.send(answer)
    problem = await browser.answer()
    assert (problem.status, problem.reason) == (502, b"http_protocol_error")
    await upstream.ended()


@both
@pytest.mark.parametrize(
    ("lacks", "said"),
    [
        (b"Upgrade: websocket\r\n", b"no \xe2\x80\x9cConnection: upgrade\xe2\x80\x9d"),
        (b"Connection: close\r\nUpgrade: websocket\r\nContent-Length: 0\r\n", b"no \xe2\x80\x9cConnection: upgrade"),
        (b"Connection: Upgrade\r\n", b"no Upgrade field"),
        (b"Connection: Upgrade\r\nUpgrade: tail\r\n", b"another protocol"),
    ],
    ids=["no-connection", "close", "no-upgrade", "another"],
)
async def test_a_101_is_refused_for_what_it_lacks(
    gateway: Gateway, app: App, tls: bool, lacks: bytes, said: bytes
) -> None:
    browser = await gateway.connect(tls=tls)
    browser.send(HANDSHAKE % app.host)
    upstream = await app.accept()
    await upstream.head()
    upstream.send(b"HTTP/1.1 101 Switching Protocols\r\n%b\r\n" % lacks)
    problem = await browser.answer()
    assert (problem.status, problem.reason) == (502, b"http_protocol_error")
    assert said in problem.body, problem.body


# RFC 9110 section 7.8: Upgrade is tied to no method, and a body comes before the switch. `docker exec` and `attach`
# (POST, tcp), tailscale (POST), SPDY of Kubernetes.
ASKED = {
    "docker-exec": (b"POST", b"tcp", b"Content-Type: application/json\r\nContent-Length: 15\r\n", b'{"Detach":true}'),
    "docker-attach": (b"POST", b"tcp", b"", b""),
    "no-body": (b"POST", b"tailscale-control-protocol", b"Content-Length: 0\r\n", b""),
    "chunked": (b"POST", b"SPDY/3.1", b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"),
    "get-with-a-body": (b"GET", b"websocket", b"Content-Length: 2\r\n", b"ab"),
    "list": (b"GET", b"websocket, tail/2", b"", b""),
    "put": (b"PUT", b"tail, tcp", b"Content-Length: 3\r\n", b"abc"),
}


@both
@pytest.mark.parametrize(("method", "protocols", "fields", "body"), ASKED.values(), ids=ASKED.keys())
async def test_any_method_and_any_body(
    gateway: Gateway, app: App, method: bytes, protocols: bytes, fields: bytes, body: bytes, tls: bool
) -> None:
    browser = await gateway.connect(tls=tls)
    asking = b"%b /exec HTTP/1.1\r\nHost: %b\r\n%bConnection: Upgrade\r\nUpgrade: %b\r\n\r\n"
    browser.send(asking % (method, app.host, fields, protocols) + body)
    upstream = await app.accept()
    asked = Message(await upstream.head())
    assert asked.start == method + b" /exec HTTP/1.1"
    assert (asked.get(b"Connection"), asked.get(b"Upgrade")) == (b"Upgrade", protocols)
    for field in fields.split(b"\r\n")[:-1]:
        assert b"\r\n" + field + b"\r\n" in asked.head
    assert await upstream.read(len(body)) == body
    chosen = protocols.rpartition(b" ")[2]
    upstream.send(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\nwelcome" % chosen)
    switched = Message(await browser.head())
    assert (switched.status, switched.get(b"Connection"), switched.get(b"Upgrade")) == (101, b"Upgrade", chosen)
    assert await browser.read(7) == b"welcome"
    browser.send(b"0\r\n\r\n\0")
    assert await upstream.read(6) == b"0\r\n\r\n\0"
    upstream.close()
    assert await browser.eof() == b""
    browser.close()
    await until(lambda: gateway.log, "the tunnel is recorded")
    assert (gateway.log[0].status, gateway.log[0].upgraded) == (101, True)


@both
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_switch_waits_for_the_whole_request(gateway: Gateway, app: App, chunked: bool, tls: bool) -> None:
    """RFC 9110 section 7.8: a client cannot change the protocol in the middle of a message. What an app says too early
    waits, and is not read on; what follows the body is the tunnel's."""
    framing, begin, end = b"Content-Length: 4", b"he", b"hi"
    if chunked:
        framing, begin, end = b"Transfer-Encoding: chunked", b"2\r\nhe\r\n", b"2\r\nhi\r\n0\r\n\r\n"
    browser = await gateway.connect(tls=tls)
    head = b"POST / HTTP/1.1\r\nHost: %b\r\n%b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    browser.send(head % (app.host, framing) + begin)
    upstream = await app.accept()
    await upstream.head()
    assert await upstream.read(len(begin)) == begin
    upstream.send(SWITCHED + b"early")
    for _ in range(3):
        await gateway.settled()
    assert browser.unread == 0
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    browser.send(end + smuggled)
    assert await browser.head() == PASSED_ON
    assert await browser.read(5) == b"early"
    assert await upstream.read(len(end + smuggled)) == end + smuggled
    upstream.send(b"on")
    assert await browser.read(2) == b"on"


async def test_a_switch_too_early_does_not_fill_memory(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    head = b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 4\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    browser.send(head % app.host)
    upstream = await app.accept()
    await upstream.head()
    gateway.shrink_upstream_buffers(SMALL)
    upstream.send(SWITCHED)
    sent = 0
    while upstream.writable and sent < SIZE:
        upstream.send(BLOB[:SMALL])
        sent += SMALL
        await gateway.settled()
    assert not upstream.writable
    browser.send(b"body")
    assert await browser.head() == PASSED_ON
    assert await browser.read(sent) == BLOB[:SMALL] * (sent // SMALL)
    assert await upstream.read(4) == b"body"


@pytest.mark.parametrize("leaver", ["browser", "app"])
async def test_who_leaves_before_a_switch_that_waits(gateway: Gateway, app: App, leaver: str) -> None:
    browser = await gateway.connect()
    head = b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 4\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    browser.send(head % app.host)
    upstream = await app.accept()
    await upstream.head()
    upstream.send(SWITCHED)
    await gateway.settled()
    if leaver == "browser":
        browser.close()
        await upstream.ended()
    else:
        upstream.reset()
        browser.send(b"body")
        await browser.ended()
        await until(lambda: gateway.log, "it is recorded")
        assert gateway.log[0].reason == "connection_terminated"


@both
async def test_100_before_101(gateway: Gateway, app: App, tls: bool) -> None:
    """RFC 9110 section 7.8: with both, 100 (Continue) comes first."""
    browser = await gateway.connect(tls=tls)
    browser.send(
        b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 4\r\nExpect: 100-continue\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n" % app.host
    )
    upstream = await app.accept()
    assert b"\r\nExpect: 100-continue\r\n" in await upstream.head()
    upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert (await browser.head()).startswith(b"HTTP/1.1 100 ")
    browser.send(b"body")
    assert await upstream.read(4) == b"body"
    upstream.send(SWITCHED)
    assert await browser.head() == PASSED_ON


@both
async def test_an_answer_to_an_upgrade_with_a_body(gateway: Gateway, app: App, tls: bool) -> None:
    """Anything but 101 is an ordinary answer; without octets beyond the body the connection stays."""
    browser = await gateway.connect(tls=tls)
    upstream = None
    for _ in range(2):
        browser.send(
            b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 4\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nbody"
            % app.host
        )
        upstream = upstream or await app.accept()
        assert (await upstream.request()).body == b"body"
        upstream.send(OK)
        answer = await browser.answer()
        assert (answer.status, answer.body, answer.get(b"Connection")) == (200, b"ok", None)
    browser.send(
        b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 4\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nbody"
        % app.host
        + get(app, b"/smuggled")
    )
    assert upstream is not None
    assert (await upstream.request()).body == b"body"
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"
    assert await browser.eof() == b""
    assert b"/smuggled" not in app.received


@both
@pytest.mark.parametrize(
    ("asks", "passes"),
    [
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"websocket"),
        (b"Upgrade: websocket\r\n", b"websocket"),
        (b"Connection: close, upgrade\r\nUpgrade: TLS/1.0, h2c, HTTP/1.1\r\n", b"TLS/1.0, HTTP/1.1"),
        (b"Connection: Upgrade\r\nUpgrade: h2c\r\n", None),
        (b"Connection: Upgrade\r\n", None),
    ],
    ids=["websocket", "not-nominated", "list", "h2c", "none"],
)
async def test_a_426_names_what_it_requires(
    gateway: Gateway, app: App, asks: bytes, passes: bytes | None, tls: bool
) -> None:
    """RFC 9110 section 15.5.22; in every other answer the field was the last hop's business."""
    browser = await gateway.connect(tls=tls)
    for request, option in ((get(app), []), (get(app)[:-2] + b"Connection: close\r\n\r\n", [b"close"])):
        browser.send(request)
        upstream = app.connections[-1] if app.connections and not app.connections[-1].end else await app.accept()
        await upstream.request()
        upstream.send(b"HTTP/1.1 426 Upgrade Required\r\n%bContent-Length: 2\r\n\r\nno" % asks)
        answer = await browser.answer()
        assert (answer.status, answer.body, answer.get(b"Upgrade")) == (426, b"no", passes)
        options = [*option, *([b"Upgrade"] if passes else [])]
        assert answer.get(b"Connection") == (b", ".join(options) if options else None)
    await browser.eof()


ORDINARY = {
    "http-1.0": b"GET / HTTP/1.0\r\nHost: @\r\nConnection: Upgrade, keep-alive\r\nUpgrade: websocket\r\n\r\n",
    "no-connection": b"GET / HTTP/1.1\r\nHost: @\r\nUpgrade: websocket\r\n\r\n",
    "no-upgrade": b"GET / HTTP/1.1\r\nHost: @\r\nConnection: Upgrade\r\n\r\n",
    "empty-upgrade": b"GET / HTTP/1.1\r\nHost: @\r\nConnection: Upgrade\r\nUpgrade: \r\n\r\n",
    "h2c": b"GET / HTTP/1.1\r\nHost: @\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    "h2c-posted": b"POST / HTTP/1.1\r\nHost: @\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABk\r\nContent-Length: 2\r\n\r\nab",
    "h2c-in-capitals": b"GET / HTTP/1.1\r\nHost: @\r\nConnection: Upgrade\r\nUpgrade: H2C\r\n\r\n",
}


@pytest.mark.parametrize("request_", ORDINARY.values(), ids=ORDINARY.keys())
async def test_what_is_no_upgrade_is_an_ordinary_request(gateway: Gateway, app: App, request_: bytes) -> None:
    browser = await gateway.connect()
    browser.send(request_.replace(b"@", app.host))
    upstream = await app.accept()
    asked = await upstream.request()
    assert (asked.get(b"Upgrade"), asked.get(b"Connection"), asked.get(b"HTTP2-Settings")) == (None, None, None)
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"
    browser.send(get(app))
    assert (await upstream.request()).start == b"GET / HTTP/1.1"
    upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert (await browser.answer()).status == 502


# --- its end ----------------------------------------------------------------------------------------------------------


async def test_the_browser_ends_its_direction(gateway: Gateway, app: App) -> None:
    browser, upstream = await tunnel(gateway, app)
    browser.send(b"last words")
    browser.half_close()
    assert await upstream.eof() == b"last words"
    for _ in range(3):
        upstream.send(b"still here ")
        assert await browser.read(11) == b"still here "
    upstream.half_close()
    assert await browser.eof() == b""
    await until(lambda: not gateway.edge.connections, "the tunnel is over")
    (record,) = gateway.log
    assert (record.received, record.sent, record.reason) == (10, 33, "")


async def test_the_app_ends_its_direction(gateway: Gateway, app: App) -> None:
    browser, upstream = await tunnel(gateway, app)
    upstream.send(b"last words")
    upstream.half_close()
    assert await browser.eof() == b"last words"
    for _ in range(3):
        browser.send(b"still here ")
        assert await upstream.read(11) == b"still here "
    browser.half_close()
    assert await upstream.eof() == b""
    await until(lambda: not gateway.edge.connections, "the tunnel is over")
    (record,) = gateway.log
    assert (record.received, record.sent, record.reason) == (33, 10, "")


async def test_tls_has_no_half_close(gateway: Gateway, app: App) -> None:
    """What the app ended is ended for both; its last words still arrive."""
    browser, upstream = await tunnel(gateway, app, tls=True)
    upstream.send(b"last words")
    upstream.half_close()
    assert await browser.eof() == b"last words"
    await upstream.ended()


async def test_tls_browser_leaves(gateway: Gateway, app: App) -> None:
    browser, upstream = await tunnel(gateway, app, tls=True)
    browser.send(b"last words")
    browser.close()
    assert await upstream.ended() == b"last words"


@both
async def test_the_app_resets(gateway: Gateway, app: App, tls: bool) -> None:
    """No clean end: a protocol without a close of its own must be able to tell."""
    browser, upstream = await tunnel(gateway, app, tls=tls)
    upstream.reset()
    await browser.ended()
    assert browser.end == "reset"
    await until(lambda: gateway.log, "the tunnel is recorded")
    assert gateway.log[0].reason == "connection_terminated"


@both
async def test_the_browser_resets(gateway: Gateway, app: App, tls: bool) -> None:
    browser, upstream = await tunnel(gateway, app, tls=tls)
    browser.reset()
    await upstream.ended()
    await until(lambda: not gateway.edge.connections, "the tunnel is over")


# --- deadlines --------------------------------------------------------------------------------------------------------


@both
async def test_a_silent_tunnel_is_closed(open_gateway: OpenGateway, tls: bool) -> None:
    gateway = await open_gateway(timeouts={"tunnel_idle": 0.2})
    browser, upstream = await tunnel(gateway, await gateway.app(), tls=tls)
    opened = gateway.edge.clock()
    await browser.ended()
    await upstream.ended()
    assert gateway.edge.clock() - opened >= 0.2


@both
@pytest.mark.parametrize("speaker", ["browser", "app"])
async def test_one_side_that_speaks_keeps_it_open(open_gateway: OpenGateway, speaker: str, tls: bool) -> None:
    gateway = await open_gateway(timeouts={"tunnel_idle": 0.25})
    browser, upstream = await tunnel(gateway, await gateway.app(), tls=tls)
    source, sink = (browser, upstream) if speaker == "browser" else (upstream, browser)
    clock, opened = gateway.edge.clock, gateway.edge.clock()
    while clock() < opened + 0.6:
        await silence(clock)
        source.send(b"x")
        assert await sink.read(1) == b"x"


async def test_it_lasts_after_backpressure_too(open_gateway: OpenGateway) -> None:
    """A side that was stopped and goes on is not on a clock of its own."""
    gateway = await open_gateway(timeouts={"tunnel_idle": 0.4}, kernel_buffer=64 * 1024)
    app = await gateway.app(kernel_buffer=64 * 1024)
    browser, upstream = await tunnel(gateway, app, kernel_buffer=64 * 1024)
    browser.stop_reading()
    sent = 0
    while upstream.writable:
        upstream.send(bytes(100_000))
        sent += 100_000
        await gateway.settled()
    browser.read_on()
    await browser.read(sent)
    clock, begin = gateway.edge.clock, gateway.edge.clock()
    while clock() < begin + 0.9:
        await silence(clock)
        for source, sink in ((browser, upstream), (upstream, browser)):
            source.send(b"x")
            assert await sink.read(1) == b"x"


@pytest.mark.parametrize("ender", ["browser", "app"])
async def test_a_half_closed_tunnel_is_not_held_for_ever(open_gateway: OpenGateway, ender: str) -> None:
    gateway = await open_gateway(timeouts={"half_closed": 0.2})
    browser, upstream = await tunnel(gateway, await gateway.app())
    (browser if ender == "browser" else upstream).half_close()
    await browser.ended()
    await upstream.ended()
    await until(lambda: not gateway.edge.connections, "both are closed")


# --- size -------------------------------------------------------------------------------------------------------------

SMALL = 64 * 1024
SIZE = 16 * 1024 * 1024
BLOB = bytes(range(256)) * (SIZE // 256)


@both
async def test_big_transfers_both_ways_at_once(gateway: Gateway, app: App, tls: bool) -> None:
    browser, upstream = await tunnel(gateway, app, tls=tls)
    browser.send(BLOB)
    upstream.send(BLOB)
    assert await upstream.read(SIZE) == BLOB
    assert await browser.read(SIZE) == BLOB


@both
@pytest.mark.parametrize("direction", ["down", "up"])
async def test_a_reader_that_stops_stalls_its_sender(open_gateway: OpenGateway, direction: str, tls: bool) -> None:
    gateway = await open_gateway(kernel_buffer=SMALL)
    app = await gateway.app(kernel_buffer=SMALL)
    browser, upstream = await tunnel(gateway, app, tls=tls, kernel_buffer=SMALL)
    gateway.shrink_upstream_buffers(SMALL)
    source, sink = (upstream, browser) if direction == "down" else (browser, upstream)
    sink.stop_reading()
    sent = 0
    while sent < SIZE:
        for _ in range(5):
            if source.writable:
                break
            await gateway.settled()
        if not source.writable:
            break
        source.send(BLOB[sent : sent + SMALL])
        sent += SMALL
    assert source.handed_over(sent) < 2 * 1024 * 1024
    # The other direction goes on.
    sink.send(b"hello")
    assert await source.read(5) == b"hello"
    sink.read_on()
    source.send(BLOB[sent:])
    assert await sink.read(SIZE) == BLOB


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_last_words_that_had_to_wait_arrive(open_gateway: OpenGateway, tls: bool) -> None:
    """The browser sends, ends its direction, and the app reads only then: every octet, then the end."""
    gateway = await open_gateway(kernel_buffer=SMALL)
    app = await gateway.app(kernel_buffer=SMALL)
    for extra in range(0, 300_000, 20_000):
        browser, upstream = await tunnel(gateway, app, tls=tls)
        gateway.shrink_upstream_buffers(SMALL)
        upstream.stop_reading()
        browser.send(BLOB[: 200_000 + extra])
        browser.close() if tls else browser.half_close()
        for _ in range(3):
            await gateway.settled()
        upstream.read_on()
        assert await upstream.eof() == BLOB[: 200_000 + extra]
        upstream.close()
        await browser.ended()


@both
async def test_last_words_of_the_app_that_had_to_wait_arrive(open_gateway: OpenGateway, tls: bool) -> None:
    gateway = await open_gateway(kernel_buffer=SMALL)
    app = await gateway.app(kernel_buffer=SMALL)
    browser, upstream = await tunnel(gateway, app, tls=tls, kernel_buffer=SMALL)
    browser.stop_reading()
    upstream.send(BLOB[:1_000_000])
    upstream.half_close()
    for _ in range(3):
        await gateway.settled()
    browser.read_on()
    assert await browser.eof() == BLOB[:1_000_000]


@both
async def test_last_words_that_nobody_takes_are_given_up(open_gateway: OpenGateway, tls: bool) -> None:
    """An app that has stopped reading does not hold its connection, and what waits for it, for ever."""
    gateway = await open_gateway(kernel_buffer=SMALL, timeouts={"linger": 0.2, "tcp_keepalive": 1.0})
    app = await gateway.app(kernel_buffer=SMALL)
    browser, upstream = await tunnel(gateway, app, tls=tls)
    gateway.shrink_upstream_buffers(SMALL)
    upstream.stop_reading()
    browser.send(BLOB[:1_000_000])
    for _ in range(5):
        await gateway.settled()
    browser.reset()
    await until(lambda: not gateway.edge.pool.connections, "the connection to the app is given up")
