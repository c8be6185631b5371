"""A long cable to a local port: whatever goes through it arrives later, in order, as fast as it was sent.

What `tc netem delay` does to packets, done to the octets of connections, for kernels that have no netem; windows of TCP
are not lengthened by it, only those of what is spoken inside. It also counts connections.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import deque
from types import TracebackType
from typing import Self, cast

import uvloop


class LongCable:
    """Accepts on `[::1]:port` and goes on to `[::1]:there`, each octet `delay` seconds later, in its own thread."""

    def __init__(self, there: int, delay: float) -> None:
        self.there, self.delay = there, delay
        self.port = 0
        self.connections = 0
        self._thread = threading.Thread(target=self._run, name="long cable", daemon=True)
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

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await self._loop.create_server(lambda: _NearEnd(self), "::1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()


class _End(asyncio.Protocol):
    """What comes in at this end goes out at the `other` when its time has come; b"" is the end."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._waiting: deque[bytes] = deque()
        self.transport: asyncio.Transport
        self.other: _End

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self._waiting.append(data)
        asyncio.get_running_loop().call_later(self._delay, self._deliver)

    def connection_lost(self, error: Exception | None) -> None:
        self.data_received(b"")

    def _deliver(self) -> None:
        data, sink = self._waiting.popleft(), self.other.transport
        if not data:
            sink.close()
        elif not sink.is_closing():
            sink.write(data)


class _NearEnd(_End):
    """Who connects here is read from once the far end has been reached."""

    def __init__(self, cable: LongCable) -> None:
        super().__init__(cable.delay)
        self._cable = cable

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._cable.connections += 1
        self.transport.pause_reading()
        self._reaching = asyncio.get_running_loop().create_task(self._reach())

    async def _reach(self) -> None:
        try:
            _, self.other = await asyncio.get_running_loop().create_connection(
                lambda: _End(self._delay), "::1", self._cable.there
            )
        except OSError:
            self.transport.abort()
            return
        self.other.other = self
        self.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if hasattr(self, "other"):
            super().connection_lost(error)
