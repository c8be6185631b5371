"""Streams that wait for others of their connection: none is blamed for what its reader had no part in, none forgotten."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.behaviour.h2_wire import h2_browser
from tests.behaviour.harness import OpenGateway, Wire, answering, until
from tests.support.h2_client import H2Client
from tests.support.h2_frames import PREFACE, Setting, Type, frame, settings

STALLED = 1 << 20
"""Octets that wait, from which on small windows hold the next answers back."""


@pytest.mark.parametrize("window", [0, 4096])
async def test_who_was_held_back_goes_on_when_the_stalled_are_gone(open_gateway: OpenGateway, window: int) -> None:
    gateway = await open_gateway(timeouts={"body_idle": 0.5})
    app = await gateway.app(answering(b"HTTP/1.1 200 Fine\r\nContent-Length: 300000\r\n\r\n" + bytes(300_000)))
    greets = PREFACE + frame(Type.SETTINGS, 0, 0, settings((Setting.INITIAL_WINDOW_SIZE, window)))
    browser = await h2_browser(gateway, app.host, greets=greets)
    browser.peer.initial = window
    browser.peer.grants = False
    for _ in range(40):
        browser.ask(b"/first")
    await until(lambda: app.received.count(b"GET /first ") >= 20, "the first have reached the app")
    (connection,) = gateway.edge.downstreams
    await until(lambda: connection.session.stalled > STALLED, "the first stall")
    rest = [browser.ask(b"/later") for _ in range(50)]
    await until(lambda: app.received.count(b"GET /later ") == 50, "all requests have reached the app")
    await browser.wait(lambda: all(each.over or each.status for each in rest), "each is answered, or reset in its turn")


class Slow(H2Client):
    """Opens its windows itself."""

    grants = False


async def app_on_a_busy_link(wire: Wire) -> None:
    while await wire.another():
        request = await wire.request()
        if b"/image" in request.start:
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n" + bytes(30_000))
            continue
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while not wire.end:
            wire.send(bytes(1 << 16))
            await asyncio.sleep(0.01)
        return


async def test_who_waits_for_a_turn_is_not_blamed_on_the_reader(open_gateway: OpenGateway) -> None:
    """Three downloads take all of a link of 1 MB/s, and images, which are less urgent, have a turn now and then."""
    patience = 1.0
    gateway = await open_gateway(timeouts={"body_idle": patience})
    app = await gateway.app(app_on_a_busy_link)
    sock = await gateway.blocking_socket()

    def browse() -> list[int | None]:
        window = 1 << 30
        client = Slow(sock, options=((Setting.ENABLE_PUSH, 0), (Setting.INITIAL_WINDOW_SIZE, window)))
        client.initial = window
        with client:
            ids = [client.request(app.host, path=b"/download", fields=[(b"priority", b"u=1")]) for _ in range(3)]
            for id in ids:
                client.head(id)
            ids += [client.request(app.host, path=b"/image", fields=[(b"priority", b"u=2")]) for _ in range(10)]
            end = time.monotonic() + 4 * patience
            while (now := time.monotonic()) < end:
                client.grant(0, 20_000)
                client.flush()
                while time.monotonic() < now + 0.02:
                    client.read_some(now + 0.02)
            return [client.stream(id).reset for id in ids]

    assert await asyncio.to_thread(browse) == [None] * 13
