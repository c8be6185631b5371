"""Apps that speak HTTP/2 and stop reading, leave their answers without an end, or take requests back: what they hold is
bounded, and it is nobody else's.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.upstream import http2_stream
from tests.behaviour.h2_wire import h2_browser
from tests.behaviour.harness import OK, Gateway, OpenGateway, get, until
from tests.behaviour.test_h2c import STATUS, Server, speaks
from tests.support.h2_frames import Flag, Setting, Type, frame, literal, number, settings

CALL = [(b"content-type", b"application/grpc"), (b"te", b"trailers")]


async def test_heads_do_not_pile_up_before_who_reads_nothing(gateway: Gateway) -> None:
    """Requests are asked and given up, and heads have no flow control."""
    app = await gateway.app(kernel_buffer=4096)
    speaks(gateway, "h2c")
    browser = await h2_browser(gateway, app.host)
    browser.ask()
    server = await Server.on(app, (Setting.MAX_CONCURRENT_STREAMS, 1000))
    await server.asked()
    server.wire.stop_reading()
    gateway.shrink_upstream_buffers(4096)
    large = [(b"x-a", b"q" * 3900)] * 8  # one entry of the browser's table, eight times
    waiting = []
    for _ in range(6):
        streams = [browser.ask(more=large) for _ in range(90)]
        await asyncio.sleep(0.3)  # who gives up sooner is counted as abuse
        for each in streams:
            browser.reset(each)
        await gateway.settled()
        waiting.append(sum(each._transport.get_write_buffer_size() for each in gateway.edge.pool.connections))
    assert max(waiting) < 2_000_000, waiting


async def test_a_caller_who_leaves_as_the_app_greets_leaves_no_connection(gateway: Gateway) -> None:
    app = await gateway.app()
    browser = await h2_browser(gateway, app.host)
    for _ in range(10):
        stream = browser.ask(b"/", method=b"POST", more=CALL)
        wire = await app.accept()
        await wire.read(24)
        await gateway.settled()
        wire.send(frame(Type.SETTINGS, 0, 0, settings()))
        browser.reset(stream)
        await until(lambda: not gateway.edge.exchanges, "the caller is gone")
        for each in list(gateway.edge.pool.connections):
            each.close()
        await until(lambda wire=wire: bool(wire.end), "a connection that the pool does not know is closed")  # type: ignore[misc]


async def test_a_caller_who_leaves_as_the_connection_is_made(gateway: Gateway) -> None:
    app = await gateway.app()
    speaks(gateway, "h2c")
    browser = await h2_browser(gateway, app.host)
    for turns in [*range(40)] * 3:
        stream = browser.ask(b"/", method=b"POST")
        for _ in range(turns):
            await asyncio.sleep(0)
        browser.reset(stream)
        await until(lambda: not gateway.edge.exchanges, "the caller is gone")
        await gateway.settled()
        assert not gateway.complaints(), f"after {turns} turns"
        for each in list(gateway.edge.pool.connections):
            each.close()
        for wire in app.connections:
            wire.reset()


@pytest.mark.parametrize("whole", ["204", "HEAD", "content-length"])
async def test_an_answer_that_is_whole_ends_without_end_stream(gateway: Gateway, whole: str) -> None:
    """On a connection that visitors share, as balancers do, the next request is another app's."""
    app, other = await gateway.app(), await gateway.app()
    speaks(gateway, f"http1 {app.port}=h2c")
    browser = await gateway.connect()
    method = b"HEAD" if whole == "HEAD" else b"GET"
    browser.send(b"%b / HTTP/1.1\r\nHost: %b\r\n\r\n" % (method, app.host))
    server = await Server.on(app)
    stream, _ = await server.asked()
    head = [(b":status", b"204")] if whole == "204" else [(b":status", b"200"), (b"content-length", b"5")]
    server.send(frame(Type.HEADERS, Flag.END_HEADERS, stream, literal(*head)))
    if whole == "content-length":
        server.send(frame(Type.DATA, 0, stream, b"hello"))
    assert (await browser.answer(method)).status == (204 if whole == "204" else 200)
    began = time.monotonic()
    browser.send(get(other))
    upstream = await other.accept()
    await upstream.request()
    assert time.monotonic() - began < 15  # of a timeouts.tunnel_idle of one hour
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"
    assert [record.reason for record in gateway.log] == ["", ""]


async def test_an_upload_goes_on_behind_an_answer_that_is_whole(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2_stream, "END_PATIENCE", 0.1)
    app = await gateway.app()
    speaks(gateway, "h2c")
    browser = await h2_browser(gateway, app.host)
    stream = browser.ask(b"/up", method=b"POST", end=False)
    server = await Server.on(app)
    asked, _ = await server.asked()
    head = literal((b":status", b"200"), (b"content-length", b"5"))
    server.send(frame(Type.HEADERS, Flag.END_HEADERS, asked, head) + frame(Type.DATA, 0, asked, b"hello"))
    await browser.wait(lambda: bytes(stream.body) == b"hello", "the answer")
    await asyncio.sleep(1.5)  # more than the patience, and a look of the sweeper
    browser.send(stream, b"the rest of it", end=True)
    await server.wire.read_until(b"the rest of it")


async def test_a_100_that_comes_while_downstream_is_full_is_told_later(gateway: Gateway) -> None:
    large, app = await gateway.app(), await gateway.app()
    speaks(gateway, f"http1 {app.port}=h2c")
    browser = await h2_browser(gateway, large.host)
    browser.peer.grants = False
    browser.tell(Type.WINDOW_UPDATE, 0, 0, number(1 << 30))
    browser.tell(Type.SETTINGS, 0, 0, settings((Setting.INITIAL_WINDOW_SIZE, 1 << 30)))
    browser.peer.granted, browser.peer.initial = 1 << 31, 1 << 30
    await gateway.settled()
    browser.look()
    browser.ask(b"/large")
    upstream = await large.accept()
    await upstream.request()
    browser.look()
    browser.wire.stop_reading()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
    (connection,) = gateway.edge.downstreams
    for _ in range(1000):
        upstream.send(bytes(100_000))
        await gateway.settled()
        if connection.takes_no_more:
            break
    assert connection.takes_no_more
    browser.host = app.host
    fields = [(b"expect", b"100-continue"), (b"content-length", b"5")]
    stream = browser.ask(b"/up", method=b"POST", more=fields, end=False)
    server = await Server.on(app)
    asked, _ = await server.asked()
    server.send(frame(Type.HEADERS, Flag.END_HEADERS, asked, literal((b":status", b"100"))))
    await gateway.settled()
    browser.wire.read_on()
    await browser.wait(lambda: bool(stream.interim), "the sender may go on")


async def test_an_idle_connection_that_takes_no_more_requests_is_not_kept(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(upstream={"max_idle_per_target": 4, "max_idle": 20})
    app = await gateway.app()
    speaks(gateway, "h2c")
    browser = await gateway.connect()
    for _ in range(3):
        browser.send(get(app))
        server = await Server.on(app)
        stream, _ = await server.asked()
        server.answer(stream, STATUS)
        assert (await browser.answer()).status == 200
        server.send(frame(Type.SETTINGS, 0, 0, settings((Setting.MAX_CONCURRENT_STREAMS, 0))))
        await until(lambda: not gateway.edge.pool.connections, "it is closed")
