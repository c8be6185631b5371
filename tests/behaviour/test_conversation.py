"""Once an answer has begun, a request body still open is half of a conversation, and may be as silent as a tunnel.

Before that it is a body somebody promised to send: see test_deadlines.
"""

from __future__ import annotations

import pytest

from tests.behaviour.harness import App, Gateway, OpenGateway, Wire, get
from tests.behaviour.test_deadlines import LATE, SHORT, Watch

both = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])

LONG = 3 * SHORT
"""Several times what a body may be silent for by itself."""
CHUNKED = b"Transfer-Encoding: chunked\r\n"


async def begun(gateway: Gateway, app: App, tls: bool, *, length: bytes = CHUNKED) -> tuple[Wire, Wire]:
    """An open request whose answer has begun."""
    browser = await gateway.connect(tls=tls)
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (app.host, length))
    upstream = await app.accept()
    await upstream.head()
    upstream.send(b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n")
    await browser.head()
    return browser, upstream


async def said(sender: Wire, reader: Wire, word: bytes) -> None:
    chunk = b"%x\r\n%b\r\n" % (len(word), word)
    sender.send(chunk)
    assert await reader.read(len(chunk)) == chunk


@both
async def test_silence_on_both_sides_is_allowed(open_gateway: OpenGateway, tls: bool) -> None:
    gateway = await open_gateway(timeouts={"body_idle": SHORT})
    app = await gateway.app()
    browser, upstream = await begun(gateway, app, tls)
    watch = Watch(gateway)
    for number in range(3):
        await watch.reaches((number + 1) * LONG)
        await said(browser, upstream, b"still there?")
        await said(upstream, browser, b"yes")
    browser.send(b"0\r\n\r\n")
    assert await upstream.read(5) == b"0\r\n\r\n"
    upstream.send(b"0\r\n\r\n")
    assert await browser.read(5) == b"0\r\n\r\n"


@both
@pytest.mark.parametrize("speaker", ["browser", "app"])
async def test_one_side_may_do_all_the_talking(open_gateway: OpenGateway, speaker: str, tls: bool) -> None:
    """For longer than a tunnel may be silent: what moves either way is a sign of life for both."""
    gateway = await open_gateway(timeouts={"body_idle": SHORT, "tunnel_idle": LONG})
    app = await gateway.app()
    browser, upstream = await begun(gateway, app, tls)
    sender, reader = (browser, upstream) if speaker == "browser" else (upstream, browser)
    watch = Watch(gateway)
    for number in range(8):
        await watch.reaches(number * LONG / 2)
        await said(sender, reader, b"and another thing")
    assert watch.elapsed > 3 * LONG
    await said(reader, sender, b"I see")


@both
async def test_a_conversation_that_has_died_is_ended(open_gateway: OpenGateway, tls: bool) -> None:
    gateway = await open_gateway(timeouts={"body_idle": SHORT / 4, "tunnel_idle": SHORT})
    app = await gateway.app()
    browser, upstream = await begun(gateway, app, tls)
    watch = Watch(gateway)
    assert not (await browser.ended()).endswith(b"0\r\n\r\n")
    await upstream.ended()
    assert SHORT - 0.02 <= watch.elapsed < SHORT + LATE
    (record,) = gateway.log
    assert (record.status, record.reason) in ((200, "request_timeout"), (200, "http_response_incomplete"))


async def test_an_upload_may_wait_for_the_app_after_the_answer_has_begun(open_gateway: OpenGateway) -> None:
    """The app does not read: that is nobody's silence, however long it takes."""
    gateway = await open_gateway(timeouts={"body_idle": SHORT}, kernel_buffer=64 * 1024)
    app = await gateway.app(kernel_buffer=64 * 1024)
    size = 8 * 1024 * 1024
    browser, upstream = await begun(gateway, app, False, length=b"Content-Length: %d\r\n" % size)
    gateway.shrink_upstream_buffers(64 * 1024)
    upstream.stop_reading()
    browser.send(bytes(size))
    await Watch(gateway).reaches(2 * LONG)
    upstream.read_on()
    assert await upstream.read(size) == bytes(size)
    upstream.send(b"0\r\n\r\n")
    assert await browser.read(5) == b"0\r\n\r\n"


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\n\r\n"


async def asked(gateway: Gateway, app: App, tls: bool, fields: bytes) -> tuple[Wire, Wire]:
    browser = await gateway.connect(tls=tls)
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\n%b%b\r\n" % (app.host, CHUNKED, fields))
    upstream = await app.accept()
    await upstream.head()
    return browser, upstream


@both
@pytest.mark.parametrize("interim", [b"", CONTINUE, EARLY_HINTS])
async def test_before_the_answer_has_begun_it_is_a_body_like_any(
    open_gateway: OpenGateway, interim: bytes, tls: bool
) -> None:
    """An interim answer begins nothing: slowloris may wait for one, too."""
    gateway = await open_gateway(timeouts={"body_idle": SHORT})
    app = await gateway.app()
    browser, upstream = await asked(gateway, app, tls, b"Expect: 100-continue\r\n" if interim == CONTINUE else b"")
    upstream.send(interim)
    if interim:
        await browser.head()
    watch = Watch(gateway)
    answer = await browser.answer()
    assert (answer.status, answer.reason) == (408, b"request_timeout")
    assert watch.elapsed < SHORT + LATE


@both
@pytest.mark.parametrize("interim", [b"", EARLY_HINTS])
@pytest.mark.parametrize("end", ["continued", "impatient"])
async def test_a_body_waits_for_continue(open_gateway: OpenGateway, end: str, interim: bytes, tls: bool) -> None:
    """Until the app has asked for the body its silence is the app's, which has `upstream.response_header_timeout`."""
    gateway = await open_gateway(timeouts={"body_idle": SHORT})
    app = await gateway.app()
    browser, upstream = await asked(gateway, app, tls, b"Expect: 100-continue\r\n")
    upstream.send(interim)
    if interim:
        await browser.head()
    await Watch(gateway).reaches(LONG)
    if end == "continued":
        upstream.send(CONTINUE)
        assert (await browser.answer()).status == 100
    else:  # RFC 9110 section 10.1.1: it need not wait for ever
        browser.send(b"1\r\nx")
    watch = Watch(gateway)
    assert (await browser.answer()).status == 408
    assert SHORT - 0.02 <= watch.elapsed < SHORT + LATE


@both
async def test_who_is_answered_without_continue_is_in_a_conversation(open_gateway: OpenGateway, tls: bool) -> None:
    gateway = await open_gateway(timeouts={"body_idle": SHORT / 4, "tunnel_idle": SHORT})
    app = await gateway.app()
    browser, upstream = await asked(gateway, app, tls, b"Expect: 100-continue\r\n")
    upstream.send(b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n")
    await browser.head()
    watch = Watch(gateway)
    await browser.ended()
    await upstream.ended()
    assert SHORT - 0.02 <= watch.elapsed < SHORT + LATE


@both
async def test_an_app_that_neither_continues_nor_answers_is_late(open_gateway: OpenGateway, tls: bool) -> None:
    gateway = await open_gateway(timeouts={"body_idle": SHORT / 4}, upstream={"response_header_timeout": SHORT})
    app = await gateway.app()
    watch = Watch(gateway)
    browser, _ = await asked(gateway, app, tls, b"Expect: 100-continue\r\n")
    answer = await browser.answer()
    assert (answer.status, answer.reason) == (504, b"http_response_timeout")
    assert SHORT - 0.02 <= watch.elapsed < SHORT + LATE


@both
async def test_nor_does_the_answer_before_it(open_gateway: OpenGateway, tls: bool) -> None:
    gateway = await open_gateway(timeouts={"body_idle": SHORT})
    app = await gateway.app()
    browser = await gateway.connect(tls=tls)
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert (await browser.answer()).body == b"ok"
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (app.host, CHUNKED))
    assert (await browser.answer()).status == 408


@both
@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_an_event_stream_may_be_silent(open_gateway: OpenGateway, method: bytes, tls: bool) -> None:
    """SSE, and MCP over HTTP: the request is complete, the answer begins and says nothing for long."""
    gateway = await open_gateway(timeouts={"body_idle": SHORT, "idle": SHORT, "request_header": SHORT})
    app = await gateway.app()
    browser = await gateway.connect(tls=tls)
    body = b"Content-Length: 2\r\n\r\n{}" if method == b"POST" else b"\r\n"
    browser.send(b"%b /events HTTP/1.1\r\nHost: %b\r\n%b" % (method, app.host, body))
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + CHUNKED + b"\r\n")
    await browser.head()
    watch = Watch(gateway)
    for number in range(3):
        await watch.reaches((number + 1) * LONG)
        await said(upstream, browser, b"data: tick\n\n")
