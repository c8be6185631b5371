"""A gRPC server, port 50051. `::` is every IPv6 address: what a gateway that dials IPv6 can reach.

Without TLS: the gateway has ended it. Messages are plain text, so that there is nothing to compile; with a .proto file,
only `main` stays as it is.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc


def hello(name: str, _context: grpc.ServicerContext) -> str:
    """One question, one answer."""
    return f"Hello {name} from gRPC"


def spell(name: str, _context: grpc.ServicerContext) -> Iterator[str]:
    """One question, a stream of answers."""
    yield from name


def chat(words: Iterator[str], _context: grpc.ServicerContext) -> Iterator[str]:
    """Both sides speak, in whatever order."""
    for word in words:
        yield f"{word}!"


TEXT = {"request_deserializer": bytes.decode, "response_serializer": str.encode}
METHODS = {
    "Hello": grpc.unary_unary_rpc_method_handler(hello, **TEXT),
    "Spell": grpc.unary_stream_rpc_method_handler(spell, **TEXT),
    "Chat": grpc.stream_stream_rpc_method_handler(chat, **TEXT),
}


def main() -> None:
    server = grpc.server(ThreadPoolExecutor(max_workers=10))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("example.Greeter", METHODS)])
    server.add_insecure_port(f"[{os.environ.get('HOST', '::')}]:{os.environ.get('PORT', '50051')}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
