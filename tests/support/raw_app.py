"""An app for streaming tests: HTTP/1.1 by hand on blocking sockets, one thread per connection.

By hand because the tests ask what no framework tells: how many bytes the kernel took from the app so far, and
whether the app is reading at all. It runs in the test's own process: a test sees and steers it by attributes.

    GET  /ping                          `pong`
    GET  /down?bytes=N[&chunked=1]      N bytes of `stream.blocks`
    POST /up[?hold=1]                   reads the body, with hold=1 not before `release` is set;
                                        answers {"bytes": N, "sha256": "…"}
    GET  /events?count=N&every=0.01     server-sent events, `data: <n> <time.monotonic()>`
    GET  /events?count=N                the same, the next one not before the test calls `acknowledge(n)`
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from tests.support.stream import blocks

CHUNK = 256 * 1024
PATIENCE = 60.0
"""Seconds the app waits for a test to release or acknowledge something before it gives up on it."""


class _Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, app: RawApp) -> None:
        self.app = app
        super().__init__(("::1", 0), _Connection)

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exc_info()[1]
        # A gateway that hangs up on us is what some tests are about: they look at `sent` and at what arrived.
        if isinstance(error, Exception) and not isinstance(error, ConnectionError):
            self.app.errors.append(error)


class RawApp:
    """Context manager; `port` while inside."""

    def __init__(self) -> None:
        self.sent = 0
        """Body bytes the kernel has taken from `/down` so far, over all its requests."""
        self.received = 0
        """Body bytes `/up` has read so far, over all its requests."""
        self.release = threading.Event()
        self.errors: list[Exception] = []
        """What went wrong in the app itself; not empty on leaving the context is an error."""
        self.connections: set[socket.socket] = set()
        self._acknowledged = -1
        self._changed = threading.Condition()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="raw app", daemon=True)
        self.port: int = self._server.server_address[1]

    def acknowledge(self, number: int) -> None:
        with self._changed:
            self._acknowledged = number
            self._changed.notify_all()

    def wait_for_acknowledgement(self, number: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._acknowledged >= number, PATIENCE)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release.set()
        self._server.shutdown()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join()
        if error is None:
            assert self.errors == []


class _Connection(socketserver.StreamRequestHandler):
    server: _Server
    rfile: io.BufferedReader
    connection: socket.socket
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        # Far below what the kernel would grow it to: what `sent` counts has mostly left the app.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 128 * 1024)

    def handle(self) -> None:
        self.server.app.connections.add(self.connection)
        try:
            while self._exchange():
                pass
        finally:
            self.server.app.connections.discard(self.connection)

    def _exchange(self) -> bool:
        """One request and its answer; False when the other side has closed."""
        start = self.rfile.readline(65536)
        if not start:
            return False
        method, target, _ = start.split()
        fields = {}
        while (line := self.rfile.readline(65536).rstrip(b"\r\n")) != b"":
            name, _, value = line.partition(b":")
            fields[name.strip().lower()] = value.strip()
        split = urlsplit(target.decode("ascii"))
        query = {name: values[-1] for name, values in parse_qs(split.query).items()}
        if method == b"POST" and split.path == "/up":
            self._up(fields, hold="hold" in query)
        elif split.path == "/down":
            self._down(int(query["bytes"]), chunked="chunked" in query)
        elif split.path == "/events":
            self._events(int(query["count"]), float(query["every"]) if "every" in query else None)
        elif split.path == "/ping":
            self._answer(b"pong", b"text/plain")
        else:
            self.connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        return True

    def _answer(self, body: bytes, kind: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (kind, len(body))
        self.connection.sendall(head + body)

    # --- bodies ---------------------------------------------------------------------------------------------

    def _down(self, total: int, *, chunked: bool) -> None:
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % total
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n%b\r\n\r\n" % framing
        self.connection.sendall(head)
        for block in blocks(total):
            if chunked:
                self.connection.sendall(b"%x\r\n" % len(block))
            self._send_counted(memoryview(block))
            if chunked:
                self.connection.sendall(b"\r\n")
        if chunked:
            self.connection.sendall(b"0\r\n\r\n")

    def _send_counted(self, rest: memoryview) -> None:
        while rest:
            taken = self.connection.send(rest[:CHUNK])
            self.server.app.sent += taken
            rest = rest[taken:]

    def _up(self, fields: dict[bytes, bytes], *, hold: bool) -> None:
        if hold and not self.server.app.release.wait(PATIENCE):
            raise TimeoutError("the test never released this upload")
        if fields.get(b"expect", b"").lower() == b"100-continue":
            self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        seen, known = 0, hashlib.sha256()
        for length in self._lengths(fields):
            left = length
            while left:
                data = self.rfile.read1(min(left, CHUNK))
                if not data:
                    return
                known.update(data)
                seen += len(data)
                self.server.app.received += len(data)
                left -= len(data)
        self._answer(json.dumps({"bytes": seen, "sha256": known.hexdigest()}).encode(), b"application/json")

    def _lengths(self, fields: dict[bytes, bytes]) -> Iterator[int]:
        """The lengths of the body's parts; the body is read by the caller in between."""
        if fields.get(b"transfer-encoding", b"").lower() != b"chunked":
            yield int(fields.get(b"content-length", b"0"))
            return
        while length := int(self.rfile.readline().split(b";")[0], 16):
            yield length
            self.rfile.readline()
        while self.rfile.readline() not in (b"\r\n", b""):
            pass  # trailers

    # --- events ---------------------------------------------------------------------------------------------

    def _events(self, count: int, every: float | None) -> None:
        self.connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        pace = threading.Event()
        for number in range(count):
            data = f"data: {number} {time.monotonic():.6f}\n\n".encode()
            self.connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))
            if every is not None:
                pace.wait(every)
            elif not self.server.app.wait_for_acknowledgement(number):
                return
        self.connection.sendall(b"0\r\n\r\n")
