"""What the kernel holds of a connection, read past its transport."""

from __future__ import annotations

import socket
from collections.abc import Iterator


def is_quiet(sock: socket.socket) -> bool:
    """Whether nothing waits to be read: no FIN, no reset, no stray octet."""
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def has_ended(sock: socket.socket) -> bool:
    """Whether its end waits to be read, before anything else."""
    try:
        return not sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def left_in(sock: socket.socket) -> Iterator[bytes]:
    """What waits to be read, up to the end or an error; for a transport that has given up without reading it."""
    try:
        while data := sock.recv(65536):
            yield data
    except OSError:
        return  # nothing (more) was there
