"""Many TLS connections in one thread: non-blocking sockets, one epoll, callbacks.

Not an event loop's TLS: that costs as much as the proxies that are to be measured. Owns sockets and readiness; what
is sent, and what a complete answer is, belongs to the `Handler`. What is sent can be encrypted beforehand, so that many
connections can ask in one breath.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Protocol

READ_SIZE = 256 * 1024
RECORD = 16 * 1024
"""Octets of a full TLS record, which is the most that one read returns."""
CONNECTIONS_PER_SOURCE = 500
"""From one address of 127.0.0.0/8, so that no proxy's limit per address is met."""
PATIENCE = 10.0
"""Seconds that a handshake or an answer may take before the client gives up."""


class Handler(Protocol):
    """What a client does with its connections."""

    def opened(self, connection: Connection) -> None:
        """The handshake is done."""

    def received(self, connection: Connection, data: bytes) -> None: ...

    def lost(self, connection: Connection, why: str) -> None:
        """It has ended without our doing; nothing more will come from it."""


class Connection:
    """One TLS connection. `started` and `buffer` are the handler's to use."""

    __slots__ = (
        "_engine",
        "_incoming",
        "_outgoing",
        "_shaking",
        "_unsent",
        "buffer",
        "handler",
        "sock",
        "started",
        "tls",
    )

    def __init__(
        self, engine: Engine, sock: socket.socket, handler: Handler, started: float, session: ssl.SSLSession | None
    ) -> None:
        self._engine = engine
        self.sock = sock
        self.handler = handler
        self.started = started
        self.buffer = b""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = engine.context.wrap_bio(self._incoming, self._outgoing, server_hostname=engine.host, session=session)
        self._shaking = True
        self._unsent = b""  # what the socket did not take: we wait until it does, and send nothing that comes after it

    def sealed(self, data: bytes) -> bytes:
        """`data` as it goes over the wire; in this order, and with `push` only."""
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view) :]
        return self._outgoing.read()

    def push(self, octets: bytes) -> None:
        """Sends all of it, later what the socket does not take now."""
        if self._unsent:
            self._unsent += octets
        else:
            self._write(octets)
            self._await_room()

    def _await_room(self) -> None:
        if self._unsent:
            self._engine.watch(self, writing=True)

    def _write(self, octets: bytes) -> None:
        try:
            # Not `send`: the kernel keeps count of what is written, and turns are counted by that (`octets_moved`).
            sent = os.write(self.sock.fileno(), octets)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._lose(error)
            return
        self._unsent = octets[sent:]

    def send(self, data: bytes) -> None:
        """Both at once."""
        self.push(self.sealed(data))

    def close(self) -> None:
        self._engine.forget(self)
        self.sock.close()

    def wake(self) -> None:
        """The socket is ready for something."""
        if self._unsent:
            self._write(self._unsent)
            if self.sock.fileno() < 0:
                return  # it was lost in sending
            if not self._unsent:
                self._engine.watch(self, writing=False)
        try:
            octets = os.read(self.sock.fileno(), READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error)
            return
        self._incoming.write(octets)
        if self._shaking:
            self.shake()
        else:
            data = self._read()
            if data:
                self.handler.received(self, data)
        if not octets and self.sock.fileno() >= 0:  # the handler may have closed it, content with what came
            self._lose(None)

    def shake(self) -> None:
        """Goes as far with the handshake as the other side's octets allow."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except OSError as error:
            self._lose(error)
            return
        else:
            self._shaking = False
        octets = self._outgoing.read()
        if octets:
            self.push(octets)
        if not self._shaking and self.sock.fileno() >= 0:
            self.handler.opened(self)

    def _read(self) -> bytes:
        pieces = []
        try:
            while self._incoming.pending:
                pieces.append(self.tls.read(RECORD))
        except ssl.SSLWantReadError:
            pass
        except OSError as error:
            self._lose(error)
            return b""
        return b"".join(pieces)

    def _lose(self, error: OSError | None) -> None:
        self.close()
        self.handler.lost(self, type(error).__name__ if error else "closed")


class Engine:
    """All connections of one client process, to one proxy."""

    def __init__(self, port: int, host: str, protocols: Sequence[str] = ()) -> None:
        """`protocols` are offered in the handshake (ALPN)."""
        self._port = port
        self.host = host
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        # The proxy was proven to have the right certificate when it started; here only its own cost matters.
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        if protocols:
            self.context.set_alpn_protocols(protocols)

    def open(self, handler: Handler, *, session: ssl.SSLSession | None = None, source: int = 0) -> None:
        """Connects, from 127.0.0.<1 + source>; `handler.opened` follows. Raises OSError if nothing listens."""
        started = time.perf_counter()
        sock = socket.socket()
        try:
            if source:
                # The port is chosen at connect, so that it need only be free towards this destination.
                sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
                sock.bind((f"127.0.0.{1 + source}", 0))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(PATIENCE)
            sock.connect(("127.0.0.1", self._port))  # on loopback the kernel completes it at once
            sock.setblocking(False)
        except BaseException:
            sock.close()
            raise
        connection = Connection(self, sock, handler, started, session)
        self._connections[sock.fileno()] = connection
        self._epoll.register(sock.fileno(), select.EPOLLIN)
        connection.shake()

    def watch(self, connection: Connection, *, writing: bool) -> None:
        events = select.EPOLLIN | select.EPOLLOUT if writing else select.EPOLLIN
        self._epoll.modify(connection.sock.fileno(), events)

    def forget(self, connection: Connection) -> None:
        fileno = connection.sock.fileno()
        if self._connections.pop(fileno, None) is not None:
            self._epoll.unregister(fileno)

    def turn(self, timeout: float) -> None:
        """Waits for readiness at most `timeout` seconds (to the microsecond, unlike epoll's), and deals with it."""
        if timeout > 0:
            select.select((self._epoll,), (), (), timeout)
        for fileno, _ in self._epoll.poll(0):
            connection = self._connections.get(fileno)
            if connection is not None:  # else closed by an earlier one's callback
                connection.wake()

    def run(self, until: Callable[[], bool], seconds: float) -> None:
        """Turns until `until()` holds or `seconds` have passed."""
        deadline = time.perf_counter() + seconds
        while not until():
            left = deadline - time.perf_counter()
            if left <= 0:
                return
            for fileno, _ in self._epoll.poll(min(left, 0.1)):
                connection = self._connections.get(fileno)
                if connection is not None:
                    connection.wake()


class Deadline:
    """When a client stops asking: at its appointed time, or as soon as it gets SIGINT. One for each process."""

    def __init__(self) -> None:
        self._at = 0.0
        self._interrupted = False
        signal.signal(signal.SIGINT, self._interrupt)

    def set(self, seconds: float) -> None:
        """From now."""
        self._at = time.perf_counter() + seconds

    def passed(self, now: float) -> bool:
        return self._interrupted or now >= self._at

    def _interrupt(self, _signal: int, _frame: object) -> None:
        self._interrupted = True


def arguments(description: str) -> argparse.ArgumentParser:
    """What every client needs to be told."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, required=True, help="TLS port of the proxy, on 127.0.0.1")
    parser.add_argument("--host", required=True, help="server name and Host field")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--warm", type=float, default=0.4, help="seconds of the same before it counts")
    parser.add_argument("--connections", type=int, default=32)
    return parser


def browser_request(host: str, *extra: str) -> bytes:
    """GET / with the eight fields that load.lua sends, and `extra` lines."""
    lines = [
        "GET / HTTP/1.1",
        f"Host: {host}",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 "
        "Safari/537.36",
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        "Accept-Language: en-US,en;q=0.9",
        "Accept-Encoding: gzip, deflate, br, zstd",
        "Referer: https://example.com/somewhere",
        "Sec-Fetch-Mode: navigate",
        "Cookie: session=0123456789abcdef0123456789abcdef",
        *extra,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
