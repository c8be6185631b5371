"""A reader that stops stalls its own sender and nobody else; what is under way stays small and arrives exactly."""

from __future__ import annotations

import pytest

from tests.behaviour.harness import OK, Gateway, OpenGateway, Wire, answering, get, until

BOUND = 2 * 1024 * 1024
"""Octets taken from a sender whose reader stands still: buffers of the gateway and of four kernel sockets."""
SMALL = 64 * 1024
SIZE = 8 * 1024 * 1024
PIECE = bytes(range(256)) * 256  # 64 KiB

both = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


class Source:
    """Sends `SIZE` octets as fast as they are taken; `taken` says how many of them the kernel has."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.sent = 0

    @property
    def taken(self) -> int:
        return self._wire.handed_over(self.sent)

    def push(self, until: int = SIZE) -> bool:
        """Sends while there is room and fewer than `until` octets have been sent; whether all have."""
        while self._wire.writable and self.sent < until:
            self._wire.send(PIECE)
            self.sent += len(PIECE)
        return self.sent == SIZE


async def stalled(gateway: Gateway, source: Source) -> int:
    """Octets taken once no more are: unchanged while the gateway serves others."""
    before = -1
    while source.taken != before:
        before = source.taken
        for _ in range(10):
            source.push()
            await gateway.settled()
    return before


async def delivered(source: Source, sink: Wire) -> bytes:
    sink.read_on()
    await until(lambda: source.push() and sink.unread >= SIZE, f"all octets, not just {sink.unread}")
    return await sink.read(SIZE)


@both
async def test_a_download(open_gateway: OpenGateway, tls: bool) -> None:
    gateway = await open_gateway(kernel_buffer=SMALL)
    app = await gateway.app(kernel_buffer=SMALL)
    browser = await gateway.connect(tls=tls, kernel_buffer=SMALL)
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    gateway.shrink_upstream_buffers(SMALL)
    browser.stop_reading()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
    source = Source(upstream)

    assert await stalled(gateway, source) < BOUND
    other = await gateway.connect(tls=tls)
    hello = await gateway.app(answering(OK))
    other.send(get(hello))
    assert (await other.answer()).body == b"ok"

    browser.read_on()
    await browser.head()
    assert await delivered(source, browser) == PIECE * (SIZE // len(PIECE))
    browser.send(get(hello))  # the connection is as good as new
    assert (await browser.answer()).body == b"ok"


@both
async def test_a_download_in_chunks(open_gateway: OpenGateway, tls: bool) -> None:
    gateway = await open_gateway(kernel_buffer=SMALL)
    app = await gateway.app(kernel_buffer=SMALL)
    browser = await gateway.connect(tls=tls, kernel_buffer=SMALL)
    browser.send(get(app))
    upstream = await app.accept()
    await upstream.request()
    gateway.shrink_upstream_buffers(SMALL)
    browser.stop_reading()
    upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % SIZE)
    source = Source(upstream)
    assert await stalled(gateway, source) < BOUND
    browser.read_on()
    await until(source.push, "all is sent")
    upstream.send(b"\r\n0\r\n\r\n")
    assert (await browser.answer()).body == PIECE * (SIZE // len(PIECE))


@both
async def test_an_upload(open_gateway: OpenGateway, tls: bool) -> None:
    gateway = await open_gateway(kernel_buffer=SMALL)
    app = await gateway.app(kernel_buffer=SMALL)
    browser = await gateway.connect(tls=tls, kernel_buffer=SMALL)
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n\r\n" % (app.host, SIZE))
    upstream = await app.accept()
    await upstream.head()
    upstream.stop_reading()
    gateway.shrink_upstream_buffers(SMALL)
    source = Source(browser)

    assert await stalled(gateway, source) < BOUND
    other = await gateway.connect(tls=tls)
    hello = await gateway.app(answering(OK))
    other.send(get(hello))
    assert (await other.answer()).body == b"ok"

    assert await delivered(source, upstream) == PIECE * (SIZE // len(PIECE))
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"
    browser.send(get(app))
    await upstream.request()
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"


async def test_an_upload_to_an_app_that_is_still_being_dialed(open_gateway: OpenGateway) -> None:
    """What comes before there is anybody to take it waits, and no more than a buffer of it."""
    gateway = await open_gateway(kernel_buffer=SMALL)
    app = await gateway.app(kernel_buffer=SMALL)
    browser = await gateway.connect(kernel_buffer=SMALL)
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n\r\n" % (app.host, SIZE))
    source = Source(browser)
    source.push(until=SMALL)  # all of it, and the kernel would have megabytes before its buffers are shrunk
    upstream = await app.accept()
    upstream.stop_reading()
    await until(lambda: gateway.edge.pool.connections, "the gateway knows, too, that it is connected")
    gateway.shrink_upstream_buffers(SMALL)
    assert await stalled(gateway, source) < BOUND
    upstream.read_on()
    await upstream.head()
    assert await delivered(source, upstream) == PIECE * (SIZE // len(PIECE))
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"


@both
async def test_both_ways_at_once(open_gateway: OpenGateway, tls: bool) -> None:
    """An app that echoes while it reads: each direction has its own brake, and neither locks the other."""
    gateway = await open_gateway(kernel_buffer=SMALL)
    app = await gateway.app(kernel_buffer=SMALL)
    browser = await gateway.connect(tls=tls, kernel_buffer=SMALL)
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n\r\n" % (app.host, SIZE))
    upstream = await app.accept()
    await upstream.head()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
    await browser.head()
    upstream.stop_reading()
    browser.stop_reading()
    gateway.shrink_upstream_buffers(SMALL)
    up, down = Source(browser), Source(upstream)
    assert await stalled(gateway, up) < BOUND
    assert await stalled(gateway, down) < BOUND
    upstream.read_on()
    await until(lambda: up.push() and upstream.unread >= SIZE, "the upload arrives while the download stands still")
    assert await upstream.read(SIZE) == PIECE * (SIZE // len(PIECE))
    assert await delivered(down, browser) == PIECE * (SIZE // len(PIECE))
