"""The app behind every proxy: the least work that is still HTTP, so that the load's core is not the bottleneck.

    python -m bench.upstream --ports 200

binds that many ports of [::1] (the kernel chooses them), prints them as one line of JSON, and serves until its
standard input closes. Answers: `/` 33 bytes, `/16k`, `/1m`, `/bytes/<n>`, and `/own/<n>/<anything>` n bytes below a
head that no other answer had lately; a body of any method is read, counted and dropped before the answer; an upgrade to
WebSocket is accepted (RFC 6455 section 4.2.2) and every octet echoed as it came. No proxy looks into frames, except one
that ends both WebSockets, and that one does not mind. Who begins with HTTP/2's preface gets `bench.grpc_upstream`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import socket
import sys
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from itertools import cycle
from typing import cast

import uvloop

from bench.grpc_upstream import GrpcApp

BODY = b"thirty-three bytes of plain text\n"
"""What `/` answers; loads that look at content look for this at the end."""
NAMED = {b"/": 33, b"/16k": 16 * 1024, b"/1m": 1024 * 1024}
MAX_SIZE = 64 * 1024 * 1024
BACKLOG = 4096
WATERMARK = 1024 * 1024
_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 section 1.3."""
PREFACE_HEAD = b"PRI * HTTP/2.0"
UNLIKE = 8192
"""Heads of `/own/<n>/…`, given out in turn."""
_DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"


@lru_cache(maxsize=64)
def response(path: bytes) -> bytes:
    """The whole response to `path`, head and content; the same bytes for every request."""
    named = NAMED.get(path, len(BODY))
    size = min(int(path[7:]), MAX_SIZE) if path.startswith(b"/bytes/") else named
    return (
        b"HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-cache\r\n"
        b'ETag: "33-1f"\r\nVary: Accept-Encoding\r\nContent-Length: %d\r\n\r\n' % (_DATE, size)
    ) + content(size)


@lru_cache(maxsize=8)
def content(size: int) -> bytes:
    """Of an answer of so many octets."""
    return (BODY * (size // len(BODY) + 1))[-size:] if size else b""


@lru_cache(maxsize=8)
def unlike(size: int) -> Iterator[bytes]:
    """Heads of which no two in a row of `UNLIKE` have the same entity tag, trace and cookie; without end."""
    return cycle(
        b"HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Type: text/javascript; charset=utf-8\r\nCache-Control: no-cache\r\n"
        b'ETag: W/"%s"\r\nVary: Accept-Encoding\r\nX-Trace-Id: %s\r\nSet-Cookie: seen=%s; Path=/; HttpOnly\r\n'
        b"Content-Length: %d\r\n\r\n" % (_DATE, tag[:16], tag, tag[16:], size)
        for tag in (blake2b(b"%d" % number, digest_size=16).hexdigest().encode() for number in range(UNLIKE))
    )


def answer(path: bytes) -> bytes:
    """Head and content. A query makes a request another, and its answer the same."""
    if not path.startswith(b"/own/"):
        return response(path.partition(b"?")[0])
    size = min(int(path[5:].partition(b"/")[0]), MAX_SIZE)
    return next(unlike(size)) + content(size)


def switching(key: bytes) -> bytes:
    """The 101 response that proves we read the handshake's key."""
    accept = base64.b64encode(hashlib.sha1(key + _WEBSOCKET_GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %s\r\n\r\n" % accept
    )


class App(asyncio.Protocol):
    """One connection. `_left` counts the octets of the current request's body still to come."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport  # set before any data
        self._buffer = b""
        self._left = 0
        self._answer = b""  # to be sent when the body is complete
        self._echo = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(WATERMARK)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._echo:
            self._transport.write(data)
            return
        while data:
            if self._left:
                taken = min(self._left, len(data))
                self._left -= taken
                data = data[taken:]
                if not self._left:
                    self._transport.write(self._answer)
                continue
            if self._buffer:
                data, self._buffer = self._buffer + data, b""
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._buffer = data
                return
            if data[:end] == PREFACE_HEAD:
                grpc = GrpcApp(self._transport)
                self._transport.set_protocol(grpc)
                grpc.data_received(data[end + 4 :])
                return
            self._head(data[:end])
            data = data[end + 4 :]

    def _head(self, head: bytes) -> None:
        line, _, fields = head.partition(b"\r\n")
        _, path, _ = line.split(b" ", 2)
        # One lower() and substring searches: a dict of fields would cost more than everything else here.
        lower = b"\r\n" + fields.lower()
        if b"\r\nupgrade: websocket" in lower:
            key = _value(fields, lower, b"\r\nsec-websocket-key:")
            self._echo = True
            self._transport.write(switching(key))
            return
        if b"\r\ntransfer-encoding:" in lower:
            # Every proxy here forwards a known length; one that does not is to be noticed, not catered for.
            self._transport.write(b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self._transport.close()
            return
        length = _value(fields, lower, b"\r\ncontent-length:")
        if length and int(length):
            self._left = int(length)
            self._answer = answer(path)
            if b"\r\nexpect: 100-continue" in lower:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        else:
            self._transport.write(answer(path))
        if b"\r\nconnection: close" in lower and not self._left:
            self._transport.close()


def _value(fields: bytes, lower: bytes, name: bytes) -> bytes:
    """The value after `name` (which begins with the line break that `lower` has been given in front)."""
    start = lower.find(name)
    if start < 0:
        return b""
    start += len(name) - 2  # `fields` lacks that first line break
    end = fields.find(b"\r\n", start)
    return fields[start : end if end >= 0 else None].strip()


def _bind() -> socket.socket:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("::1", 0))
    return sock


async def serve(count: int) -> None:
    """Serves on `count` ports until standard input ends."""
    loop = asyncio.get_running_loop()
    sockets = [_bind() for _ in range(count)]
    for sock in sockets:
        await loop.create_server(App, sock=sock, backlog=BACKLOG)
    print(json.dumps([sock.getsockname()[1] for sock in sockets]), flush=True)
    finished = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), finished.set)
    await finished.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.upstream", description="the app behind every proxy")
    parser.add_argument("--ports", type=int, default=1)
    uvloop.run(serve(parser.parse_args().ports))
