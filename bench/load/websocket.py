"""WebSocket echoes over TLS, in step: every connection sends one masked binary frame, and when all are back, again.

    python -m bench.load.websocket --port P --host H --size 32

In step, because otherwise there are two ways to go on, and each keeps itself going: a proxy that is a little slower
than its load always finds a queue; one that is a little faster goes to sleep after every frame, and whoever wakes it
pays for that, which keeps the load slow. The same proxy's echo costs 30 µs the one way and 60 the other.
"""

from __future__ import annotations

import base64
import hashlib
import os
import struct
import sys
import time

from bench.load.engine import Connection, Deadline, Engine, arguments, browser_request
from bench.load.opening import Opening
from bench.load.result import ready, say

KEY = base64.b64encode(b"sixteen octets!!").decode()
ACCEPT = base64.b64encode(hashlib.sha1(f"{KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
"""RFC 6455 section 4.2.2: the answer that proves the app, and not only a proxy, has read the handshake."""
MASKED = 0x80


def handshake(host: str) -> bytes:
    return browser_request(
        host, "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13"
    )


def accepted(answer: bytes) -> bool:
    """Whether the handshake's answer is complete; ends the program if it is not the right one."""
    if not answer.endswith(b"\r\n\r\n"):
        return False
    if not answer.startswith(b"HTTP/1.1 101") or ACCEPT not in answer:
        sys.exit(f"the handshake was answered {answer[:200]!r}")
    return True


def binary_frame(size: int) -> bytes:
    """One masked frame with `size` octets (RFC 6455 section 5.2)."""
    mask = os.urandom(4)
    if size < 126:
        head = struct.pack("!BB", 0x82, MASKED | size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x82, MASKED | 126, size)
    else:
        head = struct.pack("!BBQ", 0x82, MASKED | 127, size)
    return head + mask + os.urandom(size)


class Echoes:
    """Sends the frame on all connections again whenever it has come back whole on all of them."""

    def __init__(self, frame: bytes, connections: list[Connection]) -> None:
        self._frame = frame
        self._connections = connections
        for connection in connections:
            connection.handler = self
        self.latencies: list[float] = []
        self.errors: dict[str, int] = {}
        self.under_way = 0
        self._deadline = Deadline()

    def begin(self, seconds: float) -> None:
        self._deadline.set(seconds)
        self._send()

    def _send(self) -> None:
        sealed = [connection.sealed(self._frame) for connection in self._connections]
        self.under_way = len(sealed)
        for connection, octets in zip(list(self._connections), sealed, strict=True):
            connection.started = time.perf_counter()
            connection.buffer = b""
            connection.push(octets)

    def received(self, connection: Connection, data: bytes) -> None:
        if connection.buffer:
            data = connection.buffer + data
        # It comes back as it went, or without mask if the proxy ends both WebSockets and frames anew.
        expected = len(self._frame) - (0 if len(data) > 1 and data[1] & MASKED else 4)
        if len(data) < expected:
            connection.buffer = data
            return
        if len(data) > expected:
            self.errors["surplus"] = self.errors.get("surplus", 0) + 1
        now = time.perf_counter()
        self.latencies.append(now - connection.started)
        self._back(now)

    def opened(self, connection: Connection) -> None: ...

    def lost(self, connection: Connection, why: str) -> None:
        self.errors[why] = self.errors.get(why, 0) + 1
        self._connections.remove(connection)
        self._back(time.perf_counter())

    def _back(self, now: float) -> None:
        self.under_way -= 1
        if not self.under_way and self._connections and not self._deadline.passed(now):
            self._send()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--size", type=int, default=32)
    options = parser.parse_args()
    engine = Engine(options.port, options.host)
    connections = Opening(engine, options.connections, [handshake(options.host)], accepted).run()
    echoes = Echoes(binary_frame(options.size), connections)

    def flow(seconds: float) -> None:
        echoes.begin(seconds)
        engine.run(lambda: echoes.under_way == 0, seconds + 5)

    flow(options.warm)
    echoes.latencies.clear()
    started = ready()
    flow(options.seconds)
    say(echoes.latencies, time.perf_counter() - started, echoes.errors)


if __name__ == "__main__":
    main()
