"""Two things every connection needs of its transport: one to have when there is none, and what a slow reader owes."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import sys
import termios
from typing import Any, cast


class _Gone(asyncio.Transport):
    """The transport of a connection that is not connected (yet, or any more): closed, and silent about it.

    A connection takes it up again in `connection_lost`: with the real one it would be a cycle that holds a TLS
    transport's 256 KiB until the garbage collector comes by.
    """

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


GONE: asyncio.Transport = _Gone()


def undelivered(transport: asyncio.Transport) -> int:
    """Octets on their way: in the transport's buffer and, on Linux, in the kernel's.

    The kernel may hold megabytes, so the transport's buffer alone stands still for minutes while a slow reader is
    doing its best.
    """
    size = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    if sys.platform == "linux" and sock is not None:
        descriptor = sock.fileno()
        if descriptor >= 0:
            (unacknowledged,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0\0\0\0"))
            size += cast("int", unacknowledged)
    return size
