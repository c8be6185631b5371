"""An app that agrees to WebSockets and echoes what comes, and many of them through a gateway, all on one thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.support.serving import PATIENCE, Serving

T = TypeVar("T")

# RFC 6455 section 1.3, the example's key and the answer to it.
KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
PING = b"\x89\x80\0\0\0\0"
"""A frame of a client's, masked with zeros; the app sends the same octets back, which nobody on the way minds."""


class Tunnels:
    """Answers any other request with `ok`."""

    def __init__(self) -> None:
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._clients: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait(PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        self._do(self._stop_serving())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def open(self, gateway: Serving, count: int) -> None:
        """So many WebSockets through the gateway, over its plain listener."""

        async def one() -> None:
            reader, writer = await asyncio.open_connection("::1", gateway.plain_port)
            self._clients.append((reader, writer))
            upgrade = (
                f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13"
            )
            writer.write(f"GET / HTTP/1.1\r\nHost: {gateway.host}\r\n{upgrade}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 "), head

        async def all_of_them() -> None:
            for _ in range(0, count, 50):
                async with asyncio.TaskGroup() as group:
                    for _ in range(50):
                        group.create_task(one())

        self._do(all_of_them())

    def alive(self) -> int:
        """How many of them bring an answer."""

        async def look() -> int:
            for _, writer in self._clients:
                writer.write(PING)
            found = 0
            for reader, _ in self._clients:
                try:
                    async with asyncio.timeout(PATIENCE):
                        found += await reader.readexactly(len(PING)) == PING
                except (asyncio.IncompleteReadError, OSError, TimeoutError):
                    continue
            return found

        return self._do(look())

    def close(self) -> None:
        async def close() -> None:
            while self._clients:
                _, writer = self._clients.pop()
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

        self._do(close())

    def _do(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(2 * PATIENCE)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)

        async def start() -> None:
            self._server = await asyncio.start_server(self._serve, "::1", 0, backlog=1024)
            self.port = self._server.sockets[0].getsockname()[1]
            self._started.set()

        self._loop.run_until_complete(start())
        self._loop.run_forever()

    async def _stop_serving(self) -> None:
        """Returns when every connection of the app has ended, as they do when the gateway's have."""
        assert self._server is not None
        self._server.close()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            _, late = await asyncio.wait(others, timeout=PATIENCE / 2)
            for task in late:
                task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if b"upgrade: websocket" not in head.lower():
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    continue
                fields = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}"
                writer.write(f"HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n\r\n".encode())
                while octets := await reader.read(65536):
                    writer.write(octets)
                break
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()
