"""The workers' event loop for tests that have both ends of a connection in one process: each end finds the other.

What a connection holds is told from outside, by what its sockets have given to the process and taken from it; and it is
kept from reading as the event loop alone can do it. Linux only.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from typing import Any
from weakref import WeakSet

import uvloop

_INFO = struct.Struct("=120xQQ")
"""Of Linux' tcp_info: bytes_acked, bytes_received."""


STEP = 0.01
"""Seconds that pass at once, at most."""


class Loop(uvloop.Loop):
    """Its time, which is the gateway's, stands still while a busy machine keeps the process from running: a deadline
    passes when there was time to meet it. How long the gateway itself holds the loop is for `time.thread_time`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._transports: WeakSet[asyncio.Transport] = WeakSet()
        self._now = self._last = super().time()
        self._tick()

    def _tick(self) -> None:
        self.time()
        self.call_later(STEP / 2, self._tick)

    def time(self) -> float:
        last, self._last = self._last, super().time()
        self._now += min(self._last - last, STEP)
        return self._now

    async def create_connection(self, *arguments: Any, **options: Any) -> Any:
        made = await super().create_connection(*arguments, **options)
        if options.get("ssl") is None:
            self._transports.add(made[0])
        return made

    async def connect_accepted_socket(self, *arguments: Any, **options: Any) -> Any:
        made = await super().connect_accepted_socket(*arguments, **options)
        self._transports.add(made[0])
        return made

    def other_end(self, transport: asyncio.Transport) -> asyncio.Transport:
        """Of the same connection; it was dialed, or accepted by who speaks TLS itself or none."""
        names = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        for other in self._transports:
            tell = other.get_extra_info
            if not other.is_closing() and (tell("sockname"), tell("peername")) == names:
                return other
        raise LookupError(f"{names} is not connected")


def octets_read(transport: asyncio.Transport) -> int:
    """Octets that the process has read from the connection, ever."""
    _, received = _counts(transport.get_extra_info("socket"))
    return received - octets_unread(transport)


def octets_unread(transport: asyncio.Transport) -> int:
    """Octets that are here for the process to read."""
    return _queued(transport.get_extra_info("socket"), termios.FIONREAD)


def octets_written(transport: asyncio.Transport) -> int:
    """Octets that the kernel has taken, ever; what it has not is `get_write_buffer_size`."""
    sock = transport.get_extra_info("socket")
    acknowledged, _ = _counts(sock)
    while True:
        written = acknowledged + _queued(sock, termios.TIOCOUTQ)
        before, (acknowledged, _) = acknowledged, _counts(sock)
        if acknowledged == before:
            return written


def _counts(sock: socket.socket) -> tuple[int, int]:
    acknowledged, received = _INFO.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size))
    return acknowledged, received


def _queued(sock: socket.socket, which: int) -> int:
    (octets,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), which, b"\0\0\0\0"))
    return int(octets)


class Waiting:
    """Octets that wait in the process on their way from one connection to another, once all of them have passed.

    Framing makes them more or fewer on the way, evenly: so what is read and what is written are parts of their wholes.
    """

    def __init__(self, source: asyncio.Transport, sink: asyncio.Transport) -> None:
        """Nothing is on its way yet."""
        self._source = source
        self._sink = sink
        self._began = octets_read(source), octets_written(sink)
        self._looks: list[tuple[int, int, int]] = []  # read and written since, and not taken by the kernel

    def look(self) -> None:
        """How many are there now?"""
        read, written = self._began
        unsent = self._sink.get_write_buffer_size()
        self._looks.append((octets_read(self._source) - read, octets_written(self._sink) - written, unsent))

    def most(self) -> float:
        """There were at a look."""
        self.look()
        all_read, all_written, _ = self._looks[-1]
        ratio = all_read / all_written
        return max(unsent + read - (written + unsent) * ratio for read, written, unsent in self._looks)
