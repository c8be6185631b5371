"""An app that serves one connection at a time is shared: nobody waits for an idle connection of ours to end.

Real ones: http.server stays with a connection until it closes, and so does each thread of a small pool.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from gateway.upstream.claims import CHECK_INTERVAL, CLAIM_INTERVAL, FIRST_OCTET_TIMEOUT, SLOTS, Claims
from tests.behaviour.harness import LOOPBACK, OK, Gateway, OpenGateway, Wire, get, until

LATE = 4.0
"""Seconds: far more than a handover takes on a busy machine, far less than `upstream.idle_timeout`."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/slow":
            threading.Event().wait(0.3)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None: ...


class OneAtATime(HTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.accepted: list[socket.socket] = []
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        sock, address = super().get_request()
        self.accepted.append(sock)
        return sock, address

    def handle_error(self, request: object, client_address: object) -> None:
        """A gateway that hangs up is what this is about."""


class Pooled(OneAtATime):
    """As cpp-httplib and many others: a thread for each connection, but no more than so many."""

    threads = 2

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._pool = ThreadPoolExecutor(self.threads)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._pool.submit(self._serve, request, client_address)

    def _serve(self, request: Any, client_address: Any) -> None:
        with contextlib.suppress(OSError):
            self.finish_request(request, client_address)
        self.shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        self._pool.shutdown()


@contextlib.contextmanager
def served(kind: type[OneAtATime]) -> Iterator[bytes]:
    """The name of the app."""
    server = kind((LOOPBACK, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield b"%d-box.sandbox.localhost" % server.server_address[1]
    finally:
        for sock in server.accepted:
            with contextlib.suppress(OSError):  # it has been closed
                sock.shutdown(socket.SHUT_RDWR)
        server.shutdown()
        server.server_close()
        thread.join()


async def ask(browser: Wire, host: bytes, target: bytes = b"/") -> float:
    """Seconds until the answer."""
    begun = asyncio.get_running_loop().time()
    browser.send(b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, host))
    assert (await browser.answer()).body == b"ok"
    return asyncio.get_running_loop().time() - begun


@pytest.mark.parametrize("kind", [OneAtATime, Pooled])
async def test_a_crowd_is_served(gateway: Gateway, kind: type[OneAtATime]) -> None:
    browsers = [await gateway.connect() for _ in range(6)]
    with served(kind) as host:
        begun = asyncio.get_running_loop().time()
        for browser in browsers:
            browser.send(b"GET /slow HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
        for browser in browsers:
            assert (await browser.answer()).body == b"ok"
        assert asyncio.get_running_loop().time() - begun < LATE + 6 * 0.3


async def test_who_asks_without_a_pause_keeps_nobody_out(gateway: Gateway) -> None:
    """Its connection is never idle for longer than a moment."""
    busy, other = await gateway.connect(), await gateway.connect()
    with served(OneAtATime) as host:
        await ask(busy, host)
        ends = asyncio.Event()

        async def keep_asking() -> None:
            while not ends.is_set():
                await ask(busy, host)

        asking = gateway.edge.tasks.spawn(keep_asking(), "busy")
        assert await ask(other, host) < LATE
        ends.set()
        await asking


async def test_across_workers(open_gateway: OpenGateway) -> None:
    claims = Claims()
    one, two = [await open_gateway(claims=claims) for _ in range(2)]
    first, second = await one.connect(), await two.connect()
    with served(OneAtATime) as host:
        for _ in range(2):
            assert await ask(first, host) < LATE
            assert len(one.edge.pool.idle) == 1, "it is kept"
            assert await ask(second, host) < LATE
            assert not len(one.edge.pool.idle), "it was given"


async def test_an_app_that_is_slow_keeps_its_connection(gateway: Gateway) -> None:
    """Nobody else waits: what it has claimed when it was fresh means nothing."""
    browser = await gateway.connect()
    with served(OneAtATime) as host:
        for _ in range(3):
            await ask(browser, host, b"/slow")
        assert [record.reused for record in gateway.log] == [False, True, True]


async def test_a_long_poll_costs_one_connection_now_and_then(gateway: Gateway) -> None:
    app = await gateway.app()
    poller, browser = await gateway.connect(), await gateway.connect()
    poller.send(get(app, b"/poll"))
    poll = await app.accept()
    await poll.request()
    loop = asyncio.get_running_loop()
    begun, asked = loop.time(), 0
    while loop.time() < begun + FIRST_OCTET_TIMEOUT + CLAIM_INTERVAL:
        browser.send(get(app))
        await until(lambda: any(each.unread for each in app.connections), "it asks")
        wire = next(each for each in app.connections if each.unread)
        await wire.request()
        wire.send(OK)
        assert (await browser.answer()).body == b"ok"
        asked += 1
    dialed = len(app.connections) - 1
    assert dialed <= 2 + (loop.time() - begun) / CLAIM_INTERVAL, f"{dialed} dials for {asked} requests"
    poll.send(OK)
    assert (await poller.answer()).body == b"ok"


async def test_a_worker_that_ends_leaves_no_claim(open_gateway: OpenGateway) -> None:
    """Those who waited there cost the others nothing afterwards."""
    claims = Claims()
    gateway = await open_gateway(claims=claims)
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(get(app))
    await (await app.accept()).request()
    await until(lambda: any(claims.table[:SLOTS]), "it is claimed")
    gateway.edge.pool.close()
    assert not any(claims.table[:SLOTS])


async def test_credentials_that_nobody_asked_for_keep_nobody_out(gateway: Gateway) -> None:
    """A visitor could hold the app's only thread with a word, for as long as he may be idle."""
    hostile, other = await gateway.connect(), await gateway.connect()
    with served(OneAtATime) as host:
        hostile.send(b"GET / HTTP/1.1\r\nHost: %b\r\nAuthorization: NTLM x\r\n\r\n" % host)
        assert (await hostile.answer()).body == b"ok"
        assert await ask(other, host) < LATE
        assert await hostile.eof() == b"", "as ever, both end together"


async def test_nor_out_of_another_worker(open_gateway: OpenGateway) -> None:
    claims = Claims()
    one, two = [await open_gateway(claims=claims) for _ in range(2)]
    hostile, other = await one.connect(), await two.connect()
    with served(OneAtATime) as host:
        hostile.send(b"GET / HTTP/1.1\r\nHost: %b\r\nAuthorization: NTLM x\r\n\r\n" % host)
        assert (await hostile.answer()).body == b"ok"
        await asyncio.sleep(2 * CHECK_INTERVAL)  # the worker looks more than once
        assert await ask(other, host) < LATE


async def test_a_login_is_not_claimed(gateway: Gateway) -> None:
    """Whoever has answered a challenge would lose it whenever the app takes its time for somebody else."""
    app = await gateway.app()
    first, other = await gateway.connect(), await gateway.connect()
    first.send(get(app))
    bound = await app.accept()
    await bound.request()
    bound.send(b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n")
    await first.answer()
    first.send(b"GET / HTTP/1.1\r\nHost: %b\r\nAuthorization: NTLM x\r\n\r\n" % app.host)
    await bound.request()
    bound.send(OK)
    await first.answer()
    other.send(get(app))
    slow = await app.accept()
    await slow.request()
    await asyncio.sleep(FIRST_OCTET_TIMEOUT + CLAIM_INTERVAL)
    assert not bound.end
    slow.send(OK)
    await other.answer()
    first.send(get(app))
    await bound.request()
    bound.send(OK)
    assert (await first.answer()).body == b"ok"
