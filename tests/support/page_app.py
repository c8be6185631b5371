"""An app for browsers, in a thread: pages of many files, event streams, and uploads that are looked at as they come."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Self

from aiohttp import web

FILES = 500
_SCRIPT = "window.loaded = (window.loaded ?? 0) + 1; // {number} " + "x" * 200 + "\n"


class PageApp:
    """Listens on `[::1]:port` while the context lasts."""

    def __init__(self) -> None:
        self.port = 0
        self.streams = 0
        """Event streams that are open."""
        self.heard: list[str] = []
        """Pieces of the last upload, each as it came."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="page app", daemon=True)
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_get("/page", self._page)
        app.router.add_get("/many", self._many)
        app.router.add_get("/files/{number}.js", self._file)
        app.router.add_get("/events", self._events)
        app.router.add_post("/upload", self._upload)
        app.router.add_get("/heard", self._said)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "::1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        self._started.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _page(self, _request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>page</title><p>A page.", content_type="text/html")

    async def _many(self, _request: web.Request) -> web.Response:
        scripts = "".join(f'<script async src="/files/{number}.js"></script>' for number in range(FILES))
        return web.Response(text=f"<!doctype html><title>many</title>{scripts}", content_type="text/html")

    async def _file(self, request: web.Request) -> web.Response:
        text = _SCRIPT.format(number=request.match_info["number"])
        return web.Response(text=text, content_type="text/javascript")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        self.streams += 1
        try:
            await response.write(f"data: {self.streams}\n\n".encode())
            await self._stop.wait()
        finally:
            self.streams -= 1
        return response

    async def _upload(self, request: web.Request) -> web.Response:
        self.heard = []
        async for piece in request.content.iter_any():
            self.heard.append(piece.decode())
        return web.json_response(self.heard)

    async def _said(self, _request: web.Request) -> web.Response:
        return web.json_response(self.heard)
