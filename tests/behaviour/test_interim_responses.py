"""1xx answers: passed to who can understand them, 100 to who asked for it, as many as there are."""

from __future__ import annotations

import pytest

from gateway.turns import Turns
from gateway.upstream.http1 import Http1Upstream
from tests.behaviour.harness import OK, App, Gateway, OpenGateway, get, until
from tests.support.event_loop import Waiting

EXPECTING = b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
PASSED_ON = b"HTTP/1.1 100 Continue\r\nX-Request-Id: #\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b.js>\r\n%b\r\n"

both = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


@pytest.fixture
async def app(gateway: Gateway) -> App:
    return await gateway.app()


@both
async def test_100_continue_is_the_app_s_to_give(gateway: Gateway, app: App, tls: bool) -> None:
    browser = await gateway.connect(tls=tls)
    browser.send(EXPECTING % app.host)
    upstream = await app.accept()
    head = await upstream.head()
    assert b"\r\nExpect: 100-continue\r\n" in head
    await gateway.settled()
    assert browser.unread == 0  # the gateway says nothing in the app's place
    upstream.send(CONTINUE)
    assert await browser.head() == PASSED_ON
    browser.send(b"hello")
    assert await upstream.read(5) == b"hello"
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"
    browser.send(get(app))
    await upstream.request()  # the same connection: everything was complete
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"


async def test_100_continue_for_a_chunked_body(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(
        b"POST / HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\nexpect: 100-Continue\r\n\r\n" % app.host
    )
    upstream = await app.accept()
    await upstream.head()
    upstream.send(CONTINUE)
    assert await browser.head() == PASSED_ON
    browser.send(b"2\r\nhi\r\n0\r\n\r\n")
    assert await upstream.read(12) == b"2\r\nhi\r\n0\r\n\r\n"
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"


@both
@pytest.mark.parametrize("status", [b"417 Expectation Failed", b"413 Content Too Large", b"401 Unauthorized"])
async def test_an_app_that_refuses_is_heard_and_the_body_never_sent(
    gateway: Gateway, app: App, status: bytes, tls: bool
) -> None:
    browser = await gateway.connect(tls=tls)
    browser.send(EXPECTING % app.host)
    upstream = await app.accept()
    await upstream.head()
    upstream.send(b"HTTP/1.1 %b\r\nContent-Length: 2\r\n\r\nno" % status)
    answer = await browser.answer()
    assert (answer.start, answer.body) == (b"HTTP/1.1 " + status, b"no")
    # Whether a body follows nobody can tell any more, on either side (RFC 9110 section 10.1.1).
    assert answer.get(b"Connection") == b"close"
    assert await browser.eof() == b""
    assert await upstream.ended() == b""


async def test_a_body_sent_without_waiting(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(EXPECTING % app.host + b"hello")
    upstream = await app.accept()
    await upstream.head()
    assert await upstream.read(5) == b"hello"
    upstream.send(CONTINUE + OK)
    assert await browser.head() == PASSED_ON
    assert (await browser.answer()).body == b"ok"


async def test_100_unasked_is_dropped(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(CONTINUE + OK)
    assert await browser.head() == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Request-Id: #\r\n\r\n"


async def test_expect_without_a_body_waits_for_nothing(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\nExpect: 100-continue\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.request()
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"


@both
async def test_103_comes_before_the_final_head(gateway: Gateway, app: App, tls: bool) -> None:
    browser = await gateway.connect(tls=tls)
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(HINTS % b"")
    assert await browser.head() == HINTS % b"X-Request-Id: #\r\n"
    upstream.send(b"HTTP/1.1 102 Processing\r\n\r\n" + HINTS % b"" + OK)
    assert await browser.head() == b"HTTP/1.1 102 Processing\r\nX-Request-Id: #\r\n\r\n"
    assert await browser.head() == HINTS % b"X-Request-Id: #\r\n"
    assert (await browser.answer()).body == b"ok"


async def test_the_gateway_s_marks_cannot_be_forged_in_a_103(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(
        b"HTTP/1.1 103 Early Hints\r\nX-Gateway-Error: x\r\nProxy-Status: x\r\nX-Request-Id: x\r\n"
        b"Content-Length: 5\r\nConnection: X-A\r\nX-A: a\r\nX-B: b\r\n\r\n" + OK
    )
    assert await browser.head() == b"HTTP/1.1 103 Early Hints\r\nX-B: b\r\nX-Request-Id: #\r\n\r\n"
    assert (await browser.answer()).body == b"ok"


async def test_http_1_0_never_sees_one(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    # RFC 9110 section 10.1.1: from HTTP/1.0 an Expect is ignored.
    browser.send(b"POST / HTTP/1.0\r\nHost: %b\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n" % app.host)
    upstream = await app.accept()
    assert b"Expect" not in await upstream.head()
    upstream.send(CONTINUE + b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    browser.send(b"hello")
    assert await upstream.read(5) == b"hello"
    upstream.send(OK)
    assert await browser.head() == (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Request-Id: #\r\nConnection: close\r\n\r\n"
    )
    assert await browser.eof() == b"ok"


@both
@pytest.mark.parametrize("at_once", [True, False], ids=["at-once", "one-by-one"])
async def test_there_may_be_any_number_of_them(gateway: Gateway, app: App, at_once: bool, tls: bool) -> None:
    """RFC 9110 section 15.2: a proxy MUST forward them. WebDAV says 102 every 20 s while it copies."""
    browser = await gateway.connect(tls=tls)
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    count = 300
    if at_once:
        upstream.send(b"".join(b"HTTP/1.1 103 Early Hints\r\nLink: %d\r\n\r\n" % n for n in range(count)) + OK)
    for number in range(count):
        if not at_once:
            upstream.send(b"HTTP/1.1 103 Early Hints\r\nLink: %d\r\n\r\n" % number)
        expected = b"HTTP/1.1 103 Early Hints\r\nLink: %d\r\nX-Request-Id: #\r\n\r\n" % number
        assert await browser.head() == expected
    if not at_once:
        upstream.send(OK)
    assert (await browser.answer()).body == b"ok"
    browser.send(get(app))
    await upstream.request()  # a connection like any
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"


@pytest.mark.parametrize("minor", [0, 1])
@pytest.mark.parametrize("status", [b"100 Continue", b"102 Processing"])
async def test_each_is_a_sign_of_life(open_gateway: OpenGateway, status: bytes, minor: int) -> None:
    """Whether it goes further or not; after the last one there is as much time as before the first."""
    gateway = await open_gateway(upstream={"response_header_timeout": 0.4})
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(b"GET / HTTP/1.%d\r\nHost: %b\r\n\r\n" % (minor, app.host))
    upstream = await app.accept()
    await upstream.request()
    clock = gateway.edge.clock
    begin = last = clock()
    while last < begin + 1.2:
        assert clock() < last + 0.4, "the machine is too busy for this test"
        last = clock()
        upstream.send(b"HTTP/1.1 %b\r\n\r\n" % status)
        await until(lambda after=last + 0.1: clock() > after, "a moment")
    answer = await browser.answer()
    while answer.status < 200:
        answer = await browser.answer()
    assert (answer.status, answer.reason) == (504, b"http_response_timeout")
    assert clock() >= last + 0.4


@both
async def test_a_flood_waits_for_a_slow_reader(open_gateway: OpenGateway, tls: bool) -> None:
    small = 64 * 1024
    gateway = await open_gateway(kernel_buffer=small, upstream={"response_header_timeout": 0.4})
    app = await gateway.app(kernel_buffer=small)
    browser = await gateway.connect(tls=tls, kernel_buffer=small)
    browser.stop_reading()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    gateway.shrink_upstream_buffers(small)
    hint = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    sent = 0
    waiting = Waiting(upstream.peer, browser.peer)
    while sent < 16 * 1024 * 1024:
        for _ in range(5):
            if upstream.writable:
                break
            await gateway.settled()
        if not upstream.writable:
            break
        upstream.send(hint * 1000)
        sent += 1000
    assert upstream.handed_over(sent * len(hint)) < 1024 * 1024
    upstream.send(OK)
    clock, begin = gateway.edge.clock, gateway.edge.clock()
    await until(lambda: clock() > begin + 1.0, "longer than an answer may take")
    waiting.look()
    browser.read_on()
    await until(lambda: browser.received.endswith(b"\r\n\r\nok"), "the answer", 30.0)
    assert browser.received.count(b" 103 ") == sent
    assert waiting.most() < gateway.settings.limits.buffer_bytes + 16 * 1024


@both
async def test_a_flood_is_read_in_small_pieces(
    gateway: Gateway, app: App, tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They grow by X-Request-Id as they pass: that the browser's side takes a large read at once is not to say that it
    takes what becomes of it."""
    reads: list[int] = []
    read = Http1Upstream.buffer_updated

    def noting(self: Http1Upstream, octets: int) -> None:
        reads.append(octets)
        read(self, octets)

    monkeypatch.setattr(Http1Upstream, "buffer_updated", noting)
    browser = await gateway.connect(tls=tls)
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    browser.stop_reading()
    upstream.send(b"HTTP/1.1 102\r\n\r\n" * 300_000)
    await until(lambda: len(reads) > 4, "large reads after two that were full")
    assert max(reads) == gateway.edge.intake.view.nbytes


@pytest.mark.pure
async def test_what_waits_here_for_a_slow_reader_is_not_late(
    gateway: Gateway, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read from the app, and not passed on: nothing is left in the kernel that would show an answer."""
    waiting: list[object] = []
    monkeypatch.setattr(Turns, "wait", lambda self, who, late=False: waiting.append(who))
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 16 + OK)
    (connection,) = gateway.edge.pool.connections
    assert isinstance(connection, Http1Upstream)
    await until(lambda: waiting == [connection], "the rest waits for its turn")
    connection.pause()
    passed = browser.received.count(b" 103 ")
    monkeypatch.undo()
    connection.take_turn()
    connection.expire(gateway.edge.clock())
    await gateway.settled()
    assert (browser.received.count(b" 103 "), connection.state.name) == (passed, "HEAD")
    connection.resume()
    await until(lambda: browser.received.endswith(b"\r\n\r\nok"), "the answer")
    assert browser.received.count(b" 103 ") == 16


@pytest.mark.parametrize("minor", [0, 1])
async def test_a_flood_without_end_holds_up_nobody(gateway: Gateway, app: App, minor: int) -> None:
    """Of those that go no further, either: `100` unasked, or any to HTTP/1.0. It ends with its visitor."""
    browser = await gateway.connect()
    browser.send(b"GET / HTTP/1.%d\r\nHost: %b\r\n\r\n" % (minor, app.host))
    upstream = await app.accept()
    await upstream.request()
    flood = b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000
    sent = passed = 0
    while passed < 20:  # others are served between
        if upstream.writable:
            upstream.send(flood)
            sent += 20_000
        await gateway.settled()
        passed += 1
    assert sent > 20_000 and not browser.unread
    browser.reset()
    await upstream.ended()
    await until(lambda: not gateway.edge.exchanges, "the exchange is over")


async def test_an_interim_answer_then_nothing(gateway: Gateway, app: App) -> None:
    browser = await gateway.connect()
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    await browser.head()
    upstream.close()
    answer = await browser.answer()
    assert (answer.status, answer.reason) == (502, b"connection_terminated")
