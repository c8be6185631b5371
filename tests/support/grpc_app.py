"""A gRPC server by grpcio, without generated code: messages are octets. Run as a program; PORT says where.

Its methods, of the service `test.Echo`:

    Unary        what it got, with the caller's `x-sent` metadata in both of its own kinds
    Refuses      status RESOURCE_EXHAUSTED, with a message
    Download     as many messages as asked for, of so many octets each: b"3 100"
    Upload       how many messages, and octets, have come
    Chat         each message as it comes, until the caller is done
    Late         nothing, until the call is over: then `Ended` has been told how
    Ended        how the last `Late` has ended
    Dies         one message, then the process
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

SERVICE = "test.Echo"
LARGEST = 64 * 1024 * 1024


class Echo:
    """The methods."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._how = b""

    def unary(self, message: bytes, context: Any) -> bytes:
        sent = dict(context.invocation_metadata()).get("x-sent", "")
        context.send_initial_metadata((("x-initial", sent),))
        context.set_trailing_metadata((("x-trailing", sent), ("x-blob-bin", b"\0\xff")))
        return message

    def refuses(self, message: bytes, context: Any) -> bytes:
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more “today”")
        return b""

    def download(self, message: bytes, context: Any) -> Iterator[bytes]:
        count, size = map(int, message.split())
        for _ in range(count):
            yield bytes(size)

    def upload(self, messages: Iterator[bytes], context: Any) -> bytes:
        sizes = [len(message) for message in messages]
        return b"%d %d" % (len(sizes), sum(sizes))

    def chat(self, messages: Iterator[bytes], context: Any) -> Iterator[bytes]:
        yield from messages

    def late(self, message: bytes, context: Any) -> Iterator[bytes]:
        self._ended.clear()
        over = threading.Event()
        context.add_callback(over.set)
        yield b"began"
        over.wait(60)
        self._how = b"cancelled" if not context.is_active() else b"active"
        self._ended.set()

    def ended(self, message: bytes, context: Any) -> bytes:
        return self._how if self._ended.wait(30) else b"never"

    def dies(self, message: bytes, context: Any) -> Iterator[bytes]:
        yield b"last words"
        threading.Timer(0.2, os._exit, (1,)).start()
        threading.Event().wait(30)


def main() -> None:
    echo = Echo()
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(echo.unary),
        "Refuses": grpc.unary_unary_rpc_method_handler(echo.refuses),
        "Download": grpc.unary_stream_rpc_method_handler(echo.download),
        "Upload": grpc.stream_unary_rpc_method_handler(echo.upload),
        "Chat": grpc.stream_stream_rpc_method_handler(echo.chat),
        "Late": grpc.unary_stream_rpc_method_handler(echo.late),
        "Ended": grpc.unary_unary_rpc_method_handler(echo.ended),
        "Dies": grpc.unary_stream_rpc_method_handler(echo.dies),
    }
    server = grpc.server(
        ThreadPoolExecutor(32),
        options=[("grpc.max_receive_message_length", LARGEST), ("grpc.so_reuseport", 0)],
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(f"[::]:{os.environ['PORT']}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
