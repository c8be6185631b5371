"""An app that answers before it has read a request: what still waits for it is in nobody else's way."""

from __future__ import annotations

import asyncio

from tests.behaviour.harness import OK, Gateway, until


async def test_a_connection_that_is_full_serves_nobody_else(gateway: Gateway) -> None:
    """The transport says once that it is full: who comes next would never hear it, and be read without end."""
    app = await gateway.app(kernel_buffer=4096)
    browser = await gateway.connect()
    browser.send(b"POST / HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % app.host)
    upstream = await app.accept()
    await upstream.head()
    upstream.stop_reading()
    gateway.shrink_upstream_buffers(4096)
    (connection,) = gateway.edge.pool.connections
    transport = connection._transport
    # Nearly all that the kernel takes, and then the rest at once: it is passed on whole, and waits in the transport.
    piece = 1024
    sent = 0
    while not transport.get_write_buffer_size() and sent < 4 * 1024 * 1024:
        browser.send(b"%x\r\n%b\r\n" % (piece, bytes(piece)))
        sent += piece
        await asyncio.sleep(0.002)
    await gateway.settled()
    browser.send(b"8000\r\n" + bytes(0x8000) + b"\r\n0\r\n\r\n")
    await asyncio.sleep(0.05)
    upstream.send(OK)
    assert (await browser.answer()).body == b"ok"
    await until(lambda: connection not in gateway.edge.pool.idle, "it is not kept")
    assert not transport.get_write_buffer_size() or transport.is_closing()
