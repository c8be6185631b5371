"""Whether a slow reader is reading: what has been written and has not arrived yet."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import sys
import termios
from typing import cast


def undelivered(transport: asyncio.Transport) -> int:
    """Octets on their way: in the transport's buffer and, on Linux, in the kernel's.

    The kernel may hold megabytes, so the transport's buffer alone stands still for minutes while a slow reader is
    doing its best.
    """
    size = transport.get_write_buffer_size()
    if sys.platform == "linux":
        descriptor = transport.get_extra_info("socket").fileno()
        if descriptor >= 0:
            (unacknowledged,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0\0\0\0"))
            size += cast("int", unacknowledged)
    return size
