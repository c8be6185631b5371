"""An answer that comes before its request has ended: the stream ends with it, and the connection does not notice."""

from __future__ import annotations

import asyncio

import pytest

from gateway.edge import http2_stream
from tests.behaviour.h2_wire import H2Browser, h2_browser
from tests.behaviour.harness import Gateway, OpenGateway, until
from tests.behaviour.http2.stage import Ignored, Stage, open_stage, perform
from tests.support.h2_client import H2Client
from tests.support.h2_frames import Code, Flag, Setting, Type, settings
from tests.support.h2_peer import Stream

TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"
WINDOW = 64 * 1024
"""Of a stream, when it begins."""
HALF = [(b"content-length", b"100000")]


@pytest.mark.parametrize("app_closes", [False, True], ids=["keeps", "closes"])
async def test_413_while_the_upload_runs(gateway: Gateway, app_closes: bool) -> None:
    """RFC 9113 section 8.1: the answer is whole, then RST_STREAM(NO_ERROR), or silence; what comes after it goes nowhere."""
    stage = await open_stage(gateway)
    app = await gateway.app()
    client = stage.client
    id = client.request(app.host, method=b"POST", fields=HALF, end=False)
    client.send_frame(Type.DATA, 0, id, b"half")
    upstream = await app.accept()
    await upstream.head()
    upstream.send(TOO_LARGE)
    if app_closes:
        upstream.close()

    def play(stage: Stage) -> None:
        answer = client.response(id)
        assert (answer.status, bytes(answer.body)) == (413, b"big")
        for _ in range(3):
            client.send_frame(Type.DATA, 0, id, b"GET /smuggled HTTP/1.1\r\n\r\n")
        client.send_frame(Type.DATA, Flag.END_STREAM, id, b"")
        assert answer.reset in (None, Code.NO_ERROR)

    await perform(stage, play, Ignored())
    assert await upstream.ended() == b"half", "cut off where the answer came"


@pytest.mark.parametrize("ours", [False, True], ids=["of the app", "of the gateway"])
@pytest.mark.parametrize("takes", [False, True], ids=["unread", "read"])
async def test_all_of_an_upload_may_be_sent_before_the_answer_is_looked_at(
    gateway: Gateway, takes: bool, ours: bool
) -> None:
    """As Java's HttpClient and Python's httpx do, which never hear of a request to stop: windows go on opening."""
    size = 3 * 1024 * 1024
    app = await gateway.app()
    client = H2Client(await gateway.blocking_socket())
    if ours:
        app.stop()
    with client:
        id = client.request(app.host, method=b"POST", fields=[(b"content-length", b"%d" % size)], end=False)
        await asyncio.to_thread(client.upload, id, bytes(WINDOW), end=False)
        if not ours:
            upstream = await app.accept()
            await upstream.head()
            if takes:
                await upstream.read(WINDOW)
            else:
                upstream.stop_reading()
            upstream.send(TOO_LARGE)
            upstream.close()
        await asyncio.to_thread(client.upload, id, bytes(size - WINDOW), end=True)
        answer = await asyncio.to_thread(client.response, id)
        assert answer.status == (502 if ours else 413)
        assert answer.reset is None
        await asyncio.to_thread(client.ping)
        assert not client.broken
    await until(lambda: not gateway.edge.connections, "nothing is left")


async def fill(browser: H2Browser, stream: Stream) -> None:
    """Sends as much as the windows allow, until they open no more."""
    quiet = 0
    while quiet < 20:
        room = min(browser.peer.window, stream.window, 16384)
        if room > 0:
            browser.send(stream, bytes(room))
            stream.window -= room
            browser.peer.window -= room
        quiet = 0 if room > 0 else quiet + 1
        await asyncio.sleep(0.01)
        browser.look()


async def test_the_window_opens_with_the_answer(gateway: Gateway) -> None:
    """Nothing else is on its way by which the credit would leave: the browser has no more to say until it comes."""
    app = await gateway.app(kernel_buffer=4096)
    browser = await h2_browser(gateway, app.host)
    browser.peer.grants = False
    await browser.wait(lambda: bool(browser.peer.settings), "SETTINGS")
    stream = browser.ask(method=b"POST", end=False)
    upstream = await app.accept()
    await upstream.head()
    upstream.stop_reading()
    gateway.shrink_upstream_buffers(4096)
    await fill(browser, stream)
    assert stream.window == 0
    upstream.send(TOO_LARGE)
    await browser.wait(lambda: stream.ended, "the answer")
    await browser.wait(lambda: stream.window > 0 or stream.reset is not None, "credit")
    assert stream.reset is None


async def test_whoever_takes_no_answer_is_cut_off_though_he_sends(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(timeouts={"linger": 0.3, "body_idle": 0.5})
    browser = await h2_browser(gateway, b"5000-gone.sandbox.localhost")
    browser.peer.grants = False
    browser.tell(Type.SETTINGS, 0, 0, settings((Setting.INITIAL_WINDOW_SIZE, 0)))
    browser.peer.initial = 0
    await browser.wait(lambda: bool(browser.peer.settings), "SETTINGS")
    stream = browser.ask(method=b"POST", end=False)
    await browser.wait(lambda: bool(stream.status), "the head")
    while stream.reset is None:  # or pytest's limit of time
        browser.send(stream, bytes(64))
        await asyncio.sleep(0.1)
        browser.look()
    assert stream.reset == Code.CANCEL


async def test_a_refused_websocket_is_no_upload(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(timeouts={"linger": 30.0})
    app = await gateway.app()
    browser = await h2_browser(gateway, app.host)
    await browser.wait(lambda: bool(browser.peer.settings), "SETTINGS")
    stream = browser.ask_for_websocket()
    upstream = await app.accept()
    await upstream.head()
    upstream.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")
    await browser.wait(lambda: stream.ended, "the answer")
    (connection,) = gateway.edge.downstreams
    await until(lambda: not connection.session.streams, "it counts no longer")


async def test_a_close_frame_of_ours_is_answered_and_not_reset(gateway: Gateway) -> None:
    """To Chromium a reset behind it is 1006, as if it had never come."""
    app = await gateway.app()
    app.stop()
    browser = await h2_browser(gateway, app.host)
    await browser.wait(lambda: bool(browser.peer.settings), "SETTINGS")
    more = [(b":protocol", b"websocket"), (b"sec-websocket-version", b"13")]
    stream = browser.ask(b"/ws?gateway_close=1", method=b"CONNECT", more=more, end=False)
    await browser.wait(lambda: stream.ended, "the Close frame, and the end of our side")
    assert (stream.status, bytes(stream.body[:4])) == (200, bytes(stream.body[:2]) + (4502).to_bytes(2, "big"))
    browser.tell(Type.PING, 0, 0, b"any more")
    await browser.wait(lambda: bool(browser.peer.pongs), "what else was written")
    assert stream.reset is None
    browser.send(stream, bytes.fromhex("888200000000") + (4502).to_bytes(2, "big"), end=True)
    (connection,) = gateway.edge.downstreams
    await until(lambda: not connection.session.streams, "it is over")
    browser.look()
    assert stream.reset is None


async def test_who_sends_no_more_of_it_is_asked_to_stop(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(timeouts={"linger": 0.3})
    app = await gateway.app()
    client = H2Client(await gateway.blocking_socket())
    with client:
        id = client.request(app.host, method=b"POST", fields=HALF, end=False)
        upstream = await app.accept()
        await upstream.head()
        upstream.send(TOO_LARGE)
        answer = await asyncio.to_thread(client.response, id)
        assert (answer.status, bytes(answer.body)) == (413, b"big")
        await asyncio.to_thread(client.wait, lambda: answer.reset is not None, "it is asked to stop")
        assert answer.reset == Code.NO_ERROR
        await until(lambda: not [each for each in gateway.edge.downstreams if each.session.streams], "it is over")


@pytest.mark.pure
async def test_an_upload_is_not_read_away_for_ever(open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2_stream, "REST", 1.0)
    gateway = await open_gateway()
    app = await gateway.app()
    client = H2Client(await gateway.blocking_socket())
    with client:
        id = client.request(app.host, method=b"POST", end=False)
        upstream = await app.accept()
        await upstream.head()
        upstream.send(TOO_LARGE)
        answer = await asyncio.to_thread(client.response, id)
        while answer.reset is None:  # or pytest's limit of time
            client.send_frame(Type.DATA, 0, id, bytes(1000))
            await asyncio.sleep(0.02)
            await asyncio.to_thread(client.ping)
        assert answer.reset == Code.NO_ERROR


async def test_a_call_is_asked_to_stop_at_once(gateway: Gateway) -> None:
    """Who calls by gRPC has to be told: his side may stay open as long as the call did."""
    app = await gateway.app()
    client = H2Client(await gateway.blocking_socket())
    app.stop()
    with client:
        fields = [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
        id = client.request(app.host, method=b"POST", fields=fields, end=False)
        answer = await asyncio.to_thread(client.response, id)
        await asyncio.to_thread(client.wait, lambda: answer.reset is not None, "it is asked to stop")
        assert answer.reset == Code.NO_ERROR


async def test_an_upload_that_is_given_up_is_cut_off(gateway: Gateway) -> None:
    """RST_STREAM in the middle of a body: the app never takes it for the whole, and others of the connection go on."""
    stage = await open_stage(gateway)
    app = await gateway.app()
    client = stage.client
    id = client.request(app.host, method=b"POST", end=False)
    client.send_frame(Type.DATA, 0, id, b"half")
    upstream = await app.accept()
    await upstream.head()
    await upstream.read_until(b"half")
    await perform(stage, lambda stage: client.reset(id), Ignored())
    assert b"0\r\n\r\n" not in await upstream.ended()


@pytest.mark.parametrize("head", [b"Content-Length: 10", b"Transfer-Encoding: chunked"], ids=["length", "chunked"])
async def test_an_answer_that_breaks_off_is_not_whole(gateway: Gateway, head: bytes) -> None:
    stage = await open_stage(gateway)
    app = await gateway.app()
    id = stage.client.request(app.host)
    upstream = await app.accept()
    await upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % head + (b"abc" if b"Length" in head else b"3\r\nabc\r\n"))
    upstream.close()

    def play(stage: Stage) -> None:
        broken = stage.client.expect_reset(id)
        assert (broken.status, bytes(broken.body), broken.ended) == (200, b"abc", False)

    await perform(stage, play, Ignored())


async def test_a_connection_that_breaks_the_protocol_makes_no_answer_whole(gateway: Gateway) -> None:
    """Half an answer, then a fault of the client's: the stream does not end as if that had been all."""
    app = await gateway.app()
    client = H2Client(await gateway.blocking_socket())
    with client:
        id = client.request(app.host)
        upstream = await app.accept()
        await upstream.request()
        upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        stream = client.stream(id)
        await asyncio.to_thread(client.wait, lambda: stream.body == b"abc", "half of it")
        client.send_frame(Type.DATA, 0, 0, b"x")
        await asyncio.to_thread(client.expect_goaway, Code.PROTOCOL_ERROR)
        assert not stream.ended
    await upstream.ended()
    await until(lambda: not gateway.edge.exchanges, "nothing is left")
