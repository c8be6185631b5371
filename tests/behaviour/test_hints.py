"""An app that refuses to be proxied is passed on as it is, with the fix in a field; no answer is changed or held up."""

from __future__ import annotations

import pytest

from gateway.diagnosis import hints
from tests.behaviour.harness import OK, App, Gateway, Message, Wire, get, until

VITE = (
    b'Blocked request. This host ("5173-box.sandbox.localhost") is not allowed.\nTo allow this host, add '
    b'"5173-box.sandbox.localhost" to `server.allowedHosts` in vite.config.js.'
)
HINT = (
    b"the app refused its public name. Vite: server.allowedHosts: ['.sandbox.localhost'] in vite.config, "
    b'or upstream.host = "localhost:{port}" in the gateway'
)
FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\n"
LENGTH = FORBIDDEN + b"Content-Length: %d\r\n\r\n" % len(VITE)
CHUNKED = FORBIDDEN + b"Transfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = FORBIDDEN + b"\r\n"
CHUNK_LINE = b"%x\r\n" % len(VITE)
REST = VITE + b"\r\n0\r\n\r\n"


@pytest.fixture
async def app(gateway: Gateway) -> App:
    return await gateway.app()


@pytest.fixture
async def browser(gateway: Gateway) -> Wire:
    return await gateway.connect()


async def asked(app: App, browser: Wire, request: bytes = b"") -> Wire:
    """The app's end, after it has read a request."""
    browser.send(request or get(app))
    upstream = await app.accept()
    await upstream.request()
    return upstream


def hinted(gateway: Gateway, answer: Message) -> None:
    assert (answer.status, answer.reason, answer.body) == (403, None, VITE)
    assert answer.get(hints.FIELD) == HINT
    (line,) = gateway.complaints()
    assert HINT.decode() in line


# --- the hint ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_the_answer_passes_with_one_field_more(gateway: Gateway, app: App, tls: bool) -> None:
    browser = await gateway.connect(tls=tls)
    upstream = await asked(app, browser)
    upstream.send(LENGTH + VITE)
    answer = await browser.answer()
    assert answer.head == b"%bX-Gateway-Hint: %b\r\nX-Request-Id: #\r\n\r\n" % (LENGTH[:-2], HINT)
    assert answer.body == VITE
    (line,) = gateway.complaints()
    assert f"{app.port}-box.sandbox.localhost" in line
    assert HINT.decode() in line
    record = gateway.log[-1]
    assert (record.status, record.reason) == (403, "")
    # The connection is as good as before, and the same line is not logged again.
    browser.send(get(app))
    await upstream.request()
    upstream.send(LENGTH + VITE)
    assert (await browser.answer()).get(hints.FIELD) == HINT
    assert gateway.complaints() == []
    browser.send(get(app))
    await upstream.request()
    upstream.send(OK)
    assert (await browser.answer()).get(hints.FIELD) is None


@pytest.mark.parametrize(
    "pieces",
    [
        [LENGTH, VITE],
        [LENGTH[:40], LENGTH[40:], VITE],
        [CHUNKED, CHUNK_LINE + REST],
        [CHUNKED, CHUNK_LINE, REST],
        [CHUNKED, CHUNK_LINE[:1], CHUNK_LINE[1:], REST],
        [CHUNKED + CHUNK_LINE, REST],
        [CHUNKED, b"10;ext=1\r\n" + VITE[:16] + b"\r\n%x\r\n" % len(VITE[16:]) + VITE[16:] + b"\r\n0\r\n\r\n"],
        [b"HTTP/1.1 103 Early Hints\r\n\r\n", LENGTH, VITE],
    ],
    ids=[
        "length",
        "split-head",
        "chunked",
        "chunk-line",
        "split-chunk-line",
        "chunk-line-with-head",
        "two-chunks",
        "after-103",
    ],
)
async def test_a_body_that_comes_later(gateway: Gateway, app: App, browser: Wire, pieces: list[bytes]) -> None:
    """Django's dev server writes each of its fields apart, and the body after them."""
    upstream = await asked(app, browser)
    for piece in pieces[:-1]:
        upstream.send(piece)
        await gateway.settled()
    interim = await browser.answer() if b"103" in pieces[0] else None
    assert (interim is None or interim.status == 103) and not browser.unread
    upstream.send(pieces[-1])
    hinted(gateway, await browser.answer())


async def test_a_body_until_the_end_of_the_connection(gateway: Gateway, app: App, browser: Wire) -> None:
    upstream = await asked(app, browser)
    upstream.send(UNTIL_CLOSE)
    await gateway.settled()
    upstream.send(VITE)
    upstream.close()
    hinted(gateway, await browser.answer())


async def test_a_refused_upgrade_passes_whole(gateway: Gateway, app: App, browser: Wire) -> None:
    request = b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" % app.host
    upstream = await asked(app, browser, request)
    upstream.send(LENGTH)
    await gateway.settled()
    upstream.send(VITE)
    hinted(gateway, await browser.answer())


WEBSOCKET = b"the app refused the WebSocket, usually by its origin check. "


@pytest.mark.parametrize(
    "refusal",
    [
        b"Content-Length: 0\r\n\r\n",
        b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nno",
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Connection: close\r\n\r\n",
    ],
    ids=["without-body", "with-a-body", "with-an-empty-body", "until-the-end"],
)
async def test_a_websocket_is_refused_by_its_status_alone(
    gateway: Gateway, app: App, browser: Wire, refusal: bytes
) -> None:
    """uvicorn's refusal has no body, Go's some word; neither is an app without WebSockets."""
    request = b"GET /ws HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" % app.host
    upstream = await asked(app, browser, request)
    upstream.send(b"HTTP/1.1 403 Forbidden\r\n" + refusal)
    if b"close" in refusal:
        upstream.close()
    answer = await browser.answer()
    assert answer.status == 403
    assert answer.get(hints.FIELD).startswith(WEBSOCKET)
    (line,) = gateway.complaints()
    assert WEBSOCKET.decode() in line


# --- what a head alone betrays ----------------------------------------------------------------------------------------

REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n"
LOCAL = b"the app redirects to http://localhost:3000, which is the visitor's own machine. "


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_a_redirect_to_localhost_passes_with_one_field_more(gateway: Gateway, app: App, tls: bool) -> None:
    browser = await gateway.connect(tls=tls)
    upstream = await asked(app, browser)
    upstream.send(REDIRECT % b"http://localhost:3000/login")
    answer = await browser.answer()
    assert answer.get(b"Location") == b"http://localhost:3000/login", "a hint, never a rewrite"
    if not tls:  # outside, it is plain HTTP as well: what the app sees is true
        assert answer.get(hints.FIELD) is None
        return
    assert answer.get(hints.FIELD).startswith(LOCAL)
    (line,) = gateway.complaints()
    assert f"{app.port}-box.sandbox.localhost: {LOCAL.decode()}" in line
    browser.send(get(app))
    await upstream.request()
    upstream.send(REDIRECT % b"/login")
    assert (await browser.answer()).get(hints.FIELD) is None


async def test_a_good_answer_is_not_judged_in_serve(gateway: Gateway, app: App) -> None:
    """Nobody pays for it there; `gateway dev` looks at all of them."""
    cookie = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Domain=localhost\r\nContent-Length: 0\r\n\r\n"
    browser = await gateway.connect(tls=True)
    upstream = await asked(app, browser)
    upstream.send(cookie)
    assert (await browser.answer()).get(hints.FIELD) is None
    gateway.edge.error_answers.judged_from = 200
    browser.send(get(app))
    await upstream.request()
    upstream.send(cookie)
    answer = await browser.answer()
    assert answer.get(hints.FIELD).startswith(b"the app sets a cookie for Domain=localhost")
    assert len(gateway.complaints()) == 1


async def test_a_cookie_beside_a_hint_stays_confined(gateway: Gateway, app: App, browser: Wire) -> None:
    upstream = await asked(app, browser)
    upstream.send(LENGTH[:-2] + b"Set-Cookie: a=1; Domain=sandbox.localhost; Path=/\r\n\r\n" + VITE)
    answer = await browser.answer()
    assert answer.get(b"Set-Cookie") == b"a=1; Path=/"
    hinted(gateway, answer)


async def test_an_app_gives_no_hints_itself(gateway: Gateway, app: App, browser: Wire) -> None:
    """Nor any other mark of the gateway, in any spelling and not in trailers."""
    forged = b"X-Gateway-Hint: evil\r\nx-gateway-hint: evil\r\nX_Gateway_Hint: evil\r\nX-Gateway-Error: evil\r\n"
    forged += b"Proxy-Status: gateway; error=evil\r\n"
    upstream = await asked(app, browser)
    upstream.send(LENGTH[:-2] + forged + b"\r\n" + VITE)
    answer = await browser.answer()
    hinted(gateway, answer)
    assert b"evil" not in answer.head
    browser.send(get(app))
    await upstream.request()
    upstream.send(
        b"HTTP/1.1 200 OK\r\n" + forged + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n" + forged + b"\r\n"
    )
    answer = await browser.answer()
    assert (answer.body, answer.trailers) == (b"ok", b"")
    assert b"evil" not in answer.head


# --- never held up ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        FORBIDDEN + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nContent-Type: image/png\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 399 Odd\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: Text/Event-Stream ;charset=utf-8\r\n\r\n",
        FORBIDDEN + b'Content-Disposition: Attachment; filename="a.csv"\r\nContent-Length: 5\r\n\r\n',
        b"HTTP/1.1 500 Oh\r\nContent-Type: application/json-seq\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=[
        *("empty", "compressed", "image", "no-error", "success", "event-stream", "event-stream-in-capitals"),
        *("download", "json-sequence", "grpc", "nothing-is-known-of-404", "nothing-is-known-of-503"),
    ],
)
async def test_a_head_that_does_not_wait(gateway: Gateway, app: App, browser: Wire, head: bytes) -> None:
    upstream = await asked(app, browser)
    upstream.send(head)
    await gateway.settled()
    assert browser.unread
    assert (await browser.head()).split(b" ")[1] == head.split(b" ")[1]


async def test_the_answer_to_head_does_not_wait(gateway: Gateway, app: App, browser: Wire) -> None:
    upstream = await asked(app, browser, b"HEAD / HTTP/1.1\r\nHost: %b\r\n\r\n" % app.host)
    upstream.send(LENGTH)
    await gateway.settled()
    assert browser.unread
    assert (await browser.answer(b"HEAD")).get(hints.FIELD) is None


@pytest.mark.parametrize("head", [LENGTH, CHUNKED, UNTIL_CLOSE], ids=["length", "chunked", "until-close"])
async def test_a_body_that_does_not_come_is_not_waited_for(
    gateway: Gateway, app: App, browser: Wire, head: bytes
) -> None:
    """The head goes on alone after a moment; what comes later comes later, without a hint."""
    upstream = await asked(app, browser)
    upstream.send(head)
    assert b"X-Gateway-Hint" not in await browser.head()
    upstream.send(CHUNK_LINE + REST if head is CHUNKED else VITE)
    if head is not LENGTH:
        assert await browser.read(len(CHUNK_LINE) + len(VITE) + 2) == CHUNK_LINE + VITE + b"\r\n"
    else:
        assert await browser.read(len(VITE)) == VITE
    upstream.close()
    if head is not LENGTH:
        assert await browser.read(5) == b"0\r\n\r\n"
    assert gateway.log[-1].reason == ""


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_an_upload_that_goes_on_holds_up_no_refusal(gateway: Gateway, app: App, tls: bool) -> None:
    """Each piece of it once began the wait for the refusal's body anew, and made it five minutes."""
    browser = await gateway.connect(tls=tls)
    browser.send(b"PUT / HTTP/1.1\r\nHost: %b\r\nContent-Length: 100000\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.head()
    upstream.send(LENGTH)

    def answered() -> bool:
        if not browser.unread:
            browser.send(b"x")
        return browser.unread > 0

    await until(answered, "the head, without its body")
    assert (await browser.head()).startswith(b"HTTP/1.1 403 ")


async def test_octet_by_octet(gateway: Gateway, app: App, browser: Wire) -> None:
    """Whatever is held back when, all of it arrives once and in order."""
    upstream = await asked(app, browser)
    await upstream.send_bytewise(CHUNKED + CHUNK_LINE + REST)
    answer = await browser.answer()
    assert (answer.status, answer.body) == (403, VITE)
    gateway.complaints()


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("begun", [LENGTH, CHUNKED, CHUNKED + CHUNK_LINE], ids=["length", "chunked", "chunk-line"])
async def test_an_end_while_the_head_waits(gateway: Gateway, app: App, browser: Wire, begun: bytes, how: str) -> None:
    """The head that came is delivered, and the body is seen to be missing."""
    upstream = await asked(app, browser)
    upstream.send(begun)
    await gateway.settled()
    getattr(upstream, how)()
    assert (await browser.head()).startswith(b"HTTP/1.1 403 ")
    assert await browser.ended() == b""
    record = gateway.log[-1]
    assert (record.status, record.reason) == (403, "http_response_incomplete")


async def test_the_clean_end_of_an_empty_body_while_the_head_waits(gateway: Gateway, app: App, browser: Wire) -> None:
    upstream = await asked(app, browser)
    upstream.send(UNTIL_CLOSE)
    await gateway.settled()
    upstream.close()
    answer = await browser.answer()
    assert (answer.status, answer.body) == (403, b"")
    assert gateway.log[-1].reason == ""


async def test_a_reset_while_a_head_without_length_waits(gateway: Gateway, app: App, browser: Wire) -> None:
    upstream = await asked(app, browser)
    upstream.send(UNTIL_CLOSE)
    await gateway.settled()
    upstream.reset()
    await browser.head()
    assert await browser.ended() == b""
    assert gateway.log[-1].reason == "http_response_incomplete"


async def test_a_browser_that_leaves_while_the_head_waits(gateway: Gateway, app: App, browser: Wire) -> None:
    upstream = await asked(app, browser)
    upstream.send(LENGTH)
    await gateway.settled()
    browser.reset()
    assert await upstream.ended() == b""
    assert gateway.log[-1].status == 499


async def test_a_chunk_line_without_end_is_not_collected(gateway: Gateway, app: App, browser: Wire) -> None:
    upstream = await asked(app, browser)
    upstream.send(CHUNKED)
    await gateway.settled()
    upstream.send(b"5;" + b"x" * 300)
    await gateway.settled()
    assert browser.unread
    assert (await browser.head()).startswith(b"HTTP/1.1 403 ")
    assert await browser.ended() == b""
    assert gateway.log[-1].reason == "http_protocol_error"


async def test_an_app_that_answers_an_upload_unread(gateway: Gateway, app: App, browser: Wire) -> None:
    """Its close resets the connection while the request is being written; head and body were on their way."""
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 50000000\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.read_until(b"\r\n\r\n")
    upstream.stop_reading()
    browser.send(b"x" * 4_000_000)
    upstream.send(LENGTH)
    await gateway.settled()
    upstream.send(VITE)
    upstream.close()
    hinted(gateway, await browser.answer())
