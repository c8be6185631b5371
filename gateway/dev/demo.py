"""The app that `gateway dev` shows when it is given none: a page, and a WebSocket that echoes."""

from __future__ import annotations

import socket
from importlib.resources import files

from aiohttp import WSMsgType, web

_PAGE = files("gateway.dev").joinpath("demo.html").read_text(encoding="utf-8")


async def start(sock: socket.socket) -> web.AppRunner:
    """Serves the demo on a listening socket; `await runner.cleanup()` ends it."""
    app = web.Application()
    app.router.add_get("/", _page)
    app.router.add_get("/ws", _echo)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.SockSite(runner, sock).start()
    return runner


async def _page(request: web.Request) -> web.Response:
    return web.Response(text=_PAGE, content_type="text/html")


async def _echo(request: web.Request) -> web.WebSocketResponse:
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    async for message in websocket:
        if message.type is WSMsgType.TEXT:
            await websocket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await websocket.send_bytes(message.data)
    return websocket
