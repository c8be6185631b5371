"""What every connection needs of its transport: batched writes, a null transport, and the octets in flight."""

from __future__ import annotations

import fcntl
import logging
import socket
import sys
import termios
from collections.abc import Callable
from typing import Any, Final, Protocol

log: Final = logging.getLogger("gateway.transport")

AT_ONCE: Final = 64
"""Transports written in one go. More would keep the first of them waiting for milliseconds."""
LARGE: Final = 24 * 1024
"""Octets that are written without waiting: there is nothing to gain, and the other side may have to be paused. More
would be taken from a read's share of what a connection may hold (`turns.READ`)."""
LINGER_OCTETS: Final = 4 * 1024 * 1024
"""What a closing connection still reads and throws away, so that a reset does not overtake the answer."""


class StreamTransport(Protocol):
    """A transport of the event loop's, or one of ours that stands on it: what `asyncio.Transport` has.

    By what it can do and not by its class: deriving from asyncio's would make every call here one by name, in a class
    that cannot be compiled.
    """

    def write(self, data: Any) -> None: ...

    def write_eof(self) -> None: ...

    def can_write_eof(self) -> bool: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...

    def is_closing(self) -> bool: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_extra_info(self, name: str, default: Any = None) -> Any: ...

    def set_protocol(self, protocol: Any) -> None: ...


class StreamProtocol(Protocol):
    """What a transport tells: what `asyncio.BaseProtocol` has, and the rest of `asyncio.BufferedProtocol` unless the
    transport is a TLS one, which hands out octets.
    """

    def connection_made(self, transport: Any) -> None: ...

    def connection_lost(self, exc: Exception | None) -> None: ...

    def eof_received(self) -> bool | None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class WriteBatcher:
    """The transports of one side, downstream or upstream, of an event loop that have something to write.

    All writes of one turn of the loop happen together at its end: reads and writes then run in long series, and each
    peer is woken once. Under load that saves a fifth of a request; without load a turn is one read long.
    """

    __slots__ = ("_call_soon", "_waiting", "cells", "sent")

    def __init__(
        self, call_soon: Callable[[Callable[[], None]], object], cells: list[int] | None = None, sent: int = 0
    ) -> None:
        """`sent` is the one of `cells` in which octets are counted."""
        self._call_soon = call_soon
        self.cells = [0] if cells is None else cells
        self.sent = sent
        self._waiting: list[GatheringTransport] = []

    def add(self, transport: GatheringTransport) -> None:
        waiting = self._waiting
        waiting.append(transport)
        count = len(waiting)
        if count == 1:
            self._call_soon(self.flush)
        elif count == AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Writes everything now."""
        waiting, self._waiting = self._waiting, []
        octets = 0
        for transport in waiting:
            try:
                octets += transport.waiting
                transport.write_out()
            except Exception:  # one connection's bug must not silence all others
                log.exception("writing to %r failed", transport)
                transport.abort()
        self.cells[self.sent] += octets


class GatheringTransport:
    """A transport, TCP or TLS, whose writes wait for the end of the turn. Only `abort` overtakes them.

    What is gathered is lost, too, if the event loop closes the transport below by itself: on an end of file that
    `eof_received` does not want to survive. `flush` first.
    """

    __slots__ = ("_below", "_gathered", "_write_batcher", "waiting")

    def __init__(self, below: StreamTransport, write_batcher: WriteBatcher) -> None:
        self._below = below
        self._write_batcher = write_batcher
        self._gathered: list[bytes] = []
        self.waiting = 0  # octets in `_gathered`

    def __repr__(self) -> str:
        return f"<GatheringTransport {self.waiting} before {self._below!r}>"

    def write(self, data: Any) -> None:
        """`data` is bytes, and not empty."""
        waiting = self.waiting
        self.waiting = all_waiting = waiting + len(data)
        self._gathered.append(data)
        if all_waiting >= LARGE:
            self.flush()
        elif not waiting:
            self._write_batcher.add(self)

    def flush(self) -> None:
        """Writes what is gathered without waiting for the end of the turn."""
        if self.waiting:
            batcher = self._write_batcher
            batcher.cells[batcher.sent] += self.waiting
            self.write_out()

    def write_out(self) -> None:
        """Writes what is gathered, unless the transport below is closing; whoever calls counts it."""
        gathered = self._gathered
        if gathered:
            self._gathered = []
            self.waiting = 0
            below = self._below
            if not below.is_closing():
                below.write(b"".join(gathered))  # one alone is not copied

    def hand_over(self, protocol: StreamProtocol) -> None:
        """The transport below is `protocol`'s from here on, which is told of it."""
        self.flush()
        self._below.set_protocol(protocol)
        protocol.connection_made(self._below)

    def write_eof(self) -> None:
        self.flush()
        self._below.write_eof()

    def close(self) -> None:
        self.flush()
        self._below.close()

    def abort(self) -> None:
        self._gathered = []
        self.waiting = 0
        self._below.abort()

    def get_write_buffer_size(self) -> int:
        return self.waiting + self._below.get_write_buffer_size()

    def is_closing(self) -> bool:
        return self._below.is_closing()

    def can_write_eof(self) -> bool:
        return self._below.can_write_eof()

    def pause_reading(self) -> None:
        self._below.pause_reading()

    def resume_reading(self) -> None:
        self._below.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._below.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._below.get_extra_info(name, default)

    def set_protocol(self, protocol: Any) -> None:
        self._below.set_protocol(protocol)


class _Closed:
    """The null transport: closed, and every call is a no-op."""

    def is_closing(self) -> bool:
        return True

    def close(self) -> None: ...

    def abort(self) -> None: ...

    def write(self, data: Any) -> None: ...

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def write_eof(self) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def set_protocol(self, protocol: Any) -> None: ...


class _Unconnected(GatheringTransport):
    """Gathers nothing."""

    def write(self, data: Any) -> None: ...


CLOSED_TRANSPORT: GatheringTransport = _Unconnected(_Closed(), WriteBatcher(lambda callback: None))
"""A connection's transport before `connection_made` and after `connection_lost`: keeping the real one would be a
reference cycle."""


def room(transport: StreamTransport) -> int:
    """Octets that the kernel is sure to take at once (Linux; elsewhere 0): half of what is left of its buffer, whose
    size includes the kernel's bookkeeping.
    """
    sock = transport.get_extra_info("socket")
    if sys.platform != "linux" or sock is None or (descriptor := sock.fileno()) < 0:
        return 0
    # The event loop's own object for it makes a duplicate of the descriptor for every question.
    own = socket.SocketType(fileno=descriptor)
    try:
        size = own.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    finally:
        own.detach()
    return size // 2 - undelivered(transport)


def undelivered(transport: StreamTransport) -> int:
    """Octets in flight: in the transport's buffer and, on Linux, in the kernel's.

    The kernel may hold megabytes, so the transport's buffer alone may not move for minutes while a slow reader reads.
    """
    size = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    if sys.platform == "linux" and sock is not None:
        descriptor = sock.fileno()
        if descriptor >= 0:
            size += int.from_bytes(fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0\0\0\0"), sys.byteorder, signed=True)
    return size
