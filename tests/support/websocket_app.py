"""A WebSocket app on `[::1]` for interop tests, made with `websockets`; remembers what it saw.

    GET /page            a page without content, for a browser to run scripts in
    /echo                every message comes back
    /ping                pings, waits for the pong, says "pong came"; then echoes
    /close               closes with 4001 "the app is done" after the first message
    /refuse              answers the handshake with 403, a field and a body

Speaks the subprotocol `second.v2` when it is offered, and permessage-deflate when that is.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

MESSAGE_LIMIT = 32 * 1024 * 1024
SUBPROTOCOL = Subprotocol("second.v2")
CLOSE_CODE, CLOSE_REASON = 4001, "the app is done"
REFUSAL = b"no entry without a ticket\n" * 40
PAGE = b"<!doctype html><title>websocket app</title><p id=ready>ready</p>"


@dataclass(slots=True)
class WebSocketApp:
    port: int = 0
    handshakes: list[Headers] = field(default_factory=list)
    """Fields of every handshake as they reached the app."""
    messages: list[str | bytes] = field(default_factory=list)
    closed: list[tuple[int | None, str | None]] = field(default_factory=list)
    """Code and reason the other side closed with, one per connection."""
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def wait_for_ends(self, count: int, timeout: float = 10) -> None:
        """Returns once `count` connections have ended. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.closed) >= count, timeout):
                raise TimeoutError(f"{len(self.closed)} connections have ended, not {count}")

    def wait_for_close(self, code: int, timeout: float = 10) -> str | None:
        """The reason of the first connection closed with `code`. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: code in dict(self.closed), timeout):
                raise TimeoutError(f"the app saw no close with {code}, only {self.closed}")
            return dict(self.closed)[code]

    # --- the app itself, on its event loop ------------------------------------------------------------------

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path == "/page":
            return _response(connection, 200, PAGE, "text/html")
        self.handshakes.append(request.headers)
        if request.path == "/refuse":
            refusal = _response(connection, 403, REFUSAL, "text/plain")
            refusal.headers["X-Ticket"] = "none"
            return refusal
        return None

    def _choose(self, connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        return SUBPROTOCOL if SUBPROTOCOL in offered else None

    async def _talk(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        try:
            if connection.request.path == "/ping":
                await (await connection.ping(b"are you there"))
                await connection.send("pong came")
            async for message in connection:
                self.messages.append(message)
                if connection.request.path == "/close":
                    await connection.close(CLOSE_CODE, CLOSE_REASON)
                    break
                await connection.send(message)
        except ConnectionClosed:
            pass
        finally:
            await connection.wait_closed()
            with self._changed:
                self.closed.append((connection.close_code, connection.close_reason))
                self._changed.notify_all()

    def listen(self) -> AbstractAsyncContextManager[Server]:
        return serve(
            self._talk,
            "::1",
            0,
            process_request=self._answer,
            select_subprotocol=self._choose,
            max_size=MESSAGE_LIMIT,
            ping_interval=None,
        )


def _response(connection: ServerConnection, status: int, body: bytes, kind: str) -> Response:
    response = connection.respond(status, "")
    del response.headers["Content-Length"]
    del response.headers["Content-Type"]
    response.headers["Content-Length"] = str(len(body))
    response.headers["Content-Type"] = kind
    response.body = body
    return response


@contextmanager
def websocket_app() -> Iterator[WebSocketApp]:
    """The app on an event loop and a thread of its own: tests may block while it works."""
    app = WebSocketApp()
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        async with app.listen() as server:
            app.port = server.sockets[0].getsockname()[1]
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), name="websocket app", daemon=True)
    thread.start()
    try:
        assert started.wait(10), "the websocket app did not start"
        yield app
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()
