"""The end of `gateway serve` as real peers see it: WebSockets are told 1001, event streams end cleanly, it exits 0."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSCloseCode, web
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gateway.tasks import Tasks
from gateway.tls import local_ca
from tests.behaviour.harness import until
from tests.interop.harness import require
from tests.support.browser import Browser, trust
from tests.support.serving import DOMAIN, Serving
from tests.support.websocket_app import websocket_app

pytestmark = pytest.mark.interop

CLIENTS = 6


# --- Python's websockets at both ends -------------------------------------------------------------------------------


async def chat(websocket: ClientConnection, pause: float) -> int | None:
    """Echoes for ever; the code that the connection was closed with."""
    try:
        number = 0
        while True:
            message = str(number) * (number % 700)
            await websocket.send(message)
            async with asyncio.timeout(30):
                assert await websocket.recv() == message
            number += 1
            await asyncio.sleep(pause)
    except ConnectionClosed as closed:
        assert closed.rcvd is not None, "no Close frame came"
        return closed.rcvd.code


async def test_every_websocket_is_told(tmp_path: Path) -> None:
    """Idle ones, slow ones, and some that never pause; with compression and without."""
    with websocket_app() as app, Serving(tmp_path, app, drain_timeout="3s") as gateway:
        async with AsyncExitStack() as opened:
            kinds = [None, "deflate"] * (CLIENTS // 2)
            clients = [await opened.enter_async_context(client(gateway, kind)) for kind in kinds]
            tasks, pauses = Tasks(), (0, 0, 0.01, 0.3, 9, 9)
            chats = [tasks.spawn(chat(*each), "chat") for each in zip(clients, pauses, strict=True)]
            await until(lambda: len(app.messages) > 100, "they talk", 30)
            gateway.tell(signal.SIGTERM)
            async with asyncio.timeout(30):
                await tasks.ended()
            assert [each.result() for each in chats] == [WSCloseCode.GOING_AWAY] * CLIENTS
        assert await asyncio.to_thread(gateway.wait) == 0
        await asyncio.to_thread(app.wait_for_ends, CLIENTS)
        assert [code for code, _ in app.closed] == [WSCloseCode.GOING_AWAY] * CLIENTS
        assert "did not finish" not in gateway.log


def client(gateway: Serving, compression: str | None) -> connect:
    return connect(
        f"wss://{gateway.host}:{gateway.tls_port}/echo",
        host="::1",
        ssl=gateway.client_tls,
        compression=compression,
        ping_interval=None,
        proxy=None,
    )


# --- Chromium -------------------------------------------------------------------------------------------------------


class EventApp:
    """A page, a WebSocket that echoes, and events every 20 ms, in aiohttp's hands."""

    def __init__(self) -> None:
        self.port = 0
        self.closed: list[int | None] = []
        self._loop = asyncio.new_event_loop()
        self._started, self._stop = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), daemon=True)

    async def _run(self) -> None:
        app = web.Application()
        app.router.add_get("/page", self._page)
        app.router.add_get("/events", self._events)
        app.router.add_get("/ws", self._websocket)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "::1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        self._started.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>events</title>", content_type="text/html")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        try:
            while True:
                await answer.write(b"data: one of many\n\n")
                await asyncio.sleep(0.02)
        except ConnectionError:
            return answer

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for message in websocket:
            await websocket.send_str(message.data)
        self.closed.append(websocket.close_code)
        return websocket

    @contextmanager
    def running(self) -> Iterator[EventApp]:
        self._thread.start()
        assert self._started.wait(10)
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(20)
            self._loop.close()


BEGIN = """
const seen = window.seen = {events: 0, errors: []};
const socket = new WebSocket("wss://" + location.host + "/ws");
seen.closed = new Promise((resolve) => {
  socket.onclose = ({code, wasClean}) => resolve({code, wasClean});
});
const source = new EventSource("/events");
source.onmessage = () => seen.events++;
seen.reconnects = new Promise((resolve) => {
  source.onerror = () => { resolve(source.readyState === EventSource.CONNECTING); source.close(); };
});
seen.streamed = fetch("/events").then((answer) => answer.text()).then(
  (text) => text.endsWith("\\n\\n") ? "whole events" : "a part", (error) => String(error));
return new Promise((resolve) => {
  socket.onopen = () => socket.send("hello");
  socket.onmessage = () => resolve(true);
});
"""
END = """
return Promise.all([seen.closed, seen.reconnects, seen.streamed]).then(
  ([closed, reconnects, streamed]) => ({...closed, reconnects, streamed, events: seen.events}));
"""


@pytest.mark.slow
def test_chromium_is_told(tmp_path: Path) -> None:
    require("chromium", "chromedriver", "certutil")
    authority = local_ca.ensure(tmp_path / "certs", DOMAIN).authority
    trust(tmp_path / "home", authority)
    with (
        EventApp().running() as app,
        Serving(tmp_path, app, drain_timeout="5s") as gateway,
        Browser(tmp_path / "home") as browser,
    ):
        browser.open(f"https://{gateway.host}:{gateway.tls_port}/page")
        assert browser.evaluate(BEGIN) is True
        gateway.tell(signal.SIGTERM)
        seen: dict[str, Any] = browser.evaluate(END)
        assert gateway.wait() == 0
        assert (seen["code"], seen["wasClean"]) == (WSCloseCode.GOING_AWAY, True)
        assert (seen["reconnects"], seen["streamed"]) == (True, "whole events")
        assert seen["events"] > 10
        assert app.closed == [WSCloseCode.GOING_AWAY]
        # A socket that Chromium has opened to be quick, and never said a word by, stays until the end.
        assert "1 WebSocket closed (1001), 0 tunnels cut off" in gateway.log
