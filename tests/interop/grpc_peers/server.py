"""The Python half of `tests.interop.grpc_peers`: the echo service on grpcio, HTTP/2 without TLS.

    python tests/interop/grpc_peers/server.py

PORT says where. Messages are octets, so no protocol compiler is needed. `server.cjs` is the same service.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import grpc

SERVICE = "peer.Echo"
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]
Context = Any
"""grpc.aio.ServicerContext; the library brings no types."""


class Echo:
    """Each method is one kind of call."""

    def __init__(self) -> None:
        self.cancelled = 0

    async def unary(self, request: bytes, context: Context) -> bytes:
        """Echoes the message, `x-request` as initial metadata and `x-octets-bin` as trailing metadata."""
        sent = dict(context.invocation_metadata())
        if "x-request" in sent:
            await context.send_initial_metadata((("x-initial", sent["x-request"]),))
            context.set_trailing_metadata((("x-trailing-bin", sent["x-octets-bin"]),))
        return request

    async def numbers(self, request: bytes, _context: Context) -> AsyncIterator[bytes]:
        """As many messages as the request says."""
        for number in range(int(request)):
            yield b"%d" % number

    async def count(self, requests: AsyncIterator[bytes], _context: Context) -> bytes:
        """How many messages came, and how many octets in all."""
        sizes = [len(request) async for request in requests]
        return b"%d messages, %d octets" % (len(sizes), sum(sizes))

    async def talk(self, requests: AsyncIterator[bytes], _context: Context) -> AsyncIterator[bytes]:
        """Echoes each message as it comes."""
        async for request in requests:
            yield request

    async def refuse(self, _request: bytes, context: Context) -> bytes:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today, café", (("x-why", "closed"),))
        raise AssertionError("abort raises")

    async def cancel(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """Answers the first message, then ends the call from this side while the other's is open."""
        async for request in requests:
            yield request
            await context.abort(grpc.StatusCode.CANCELLED, "the server has had enough")

    async def wait(self, _request: bytes, context: Context) -> AsyncIterator[bytes]:
        """Says in its initial metadata how many seconds it has, and then nothing until the client gives up."""
        await context.send_initial_metadata((("x-left", str(context.time_remaining())),))
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        yield b""

    async def were_cancelled(self, _request: bytes, _context: Context) -> bytes:
        """How many waiting calls have been given up."""
        return b"%d" % self.cancelled

    async def die(self, request: bytes, _context: Context) -> AsyncIterator[bytes]:
        """As many messages as the request says, and then the program has ended."""
        for number in range(int(request)):
            yield b"%d" % number
        os.kill(os.getpid(), signal.SIGKILL)


def handlers(echo: Echo) -> Any:
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Unary": grpc.unary_unary_rpc_method_handler(echo.unary),
            "Numbers": grpc.unary_stream_rpc_method_handler(echo.numbers),
            "Count": grpc.stream_unary_rpc_method_handler(echo.count),
            "Talk": grpc.stream_stream_rpc_method_handler(echo.talk),
            "Refuse": grpc.unary_unary_rpc_method_handler(echo.refuse),
            "Cancel": grpc.stream_stream_rpc_method_handler(echo.cancel),
            "Wait": grpc.unary_stream_rpc_method_handler(echo.wait),
            "WereCancelled": grpc.unary_unary_rpc_method_handler(echo.were_cancelled),
            "Die": grpc.unary_stream_rpc_method_handler(echo.die),
        },
    )


async def main() -> None:
    server = grpc.aio.server(options=UNLIMITED)
    server.add_generic_rpc_handlers((handlers(Echo()),))
    server.add_insecure_port(f"[::]:{os.environ['PORT']}")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main())
