"""How a listening socket is closed so that nobody is lost: whoever was let in is served, everybody else is refused.

Closing it resets what it holds: connections that wait to be accepted, also those that came between the last `accept()`
and the close, and those whose handshake is under way. So first the kernel is told to drop what asks to be let in (a
filter on the socket, which needs no privilege), then what is on its way arrives and is accepted, and then the socket is
closed. Who asked in between asks again after a second, as TCP does, and is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import struct
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from gateway.diagnosis.own_sockets import shaking_hands

if TYPE_CHECKING:
    from gateway.edge.listener import Listener

LOOK = 0.02
"""Seconds between looks at what is still to come."""
LATEST = 0.5
"""Seconds that a handshake gets to be completed: a round trip to the other side of the world takes 0.3."""

# linux/filter.h and asm-generic/socket.h; Python's socket module has none of these.
_SO_ATTACH_FILTER = 26
_INSTRUCTION = struct.Struct("=HBBI")
_SYN, _ACK, _FLAGS = 0x02, 0x10, 13
"""Of the TCP header (RFC 9293 section 3.1), which is what the filter sees."""
_DROP_SYN = b"".join(
    _INSTRUCTION.pack(*instruction)
    for instruction in (
        (0x30, 0, 0, _FLAGS),  # load the octet of the flags
        (0x54, 0, 0, _SYN | _ACK),
        (0x15, 0, 1, _SYN),  # the first packet of a connection has SYN without ACK
        (0x06, 0, 0, 0),  # drop
        (0x06, 0, 0, 0xFFFFFFFF),  # pass whole
    )
)


def refuse_new(sock: socket.socket) -> None:
    """Nobody new gets in by this listening socket, whichever process holds it; it lets in whom it has answered.

    Accepted sockets inherit the filter, which means nothing to them. Where the kernel has no such filters (gVisor), a
    connection that comes within the moment between the last `accept()` and the close is reset.
    """
    program = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
    described = struct.pack("HP", len(_DROP_SYN) // _INSTRUCTION.size, ctypes.addressof(program))
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)


async def last_call(listeners: Sequence[Listener]) -> None:
    """Refuses what is new, accepts what is queued or on its way, and closes the listeners.

    Lasts as long as this process has no descriptor for what is queued.
    """
    for listener in listeners:
        listener.refuse_new()
    loop, ports, open_ones = asyncio.get_running_loop(), {listener.port for listener in listeners}, list(listeners)
    latest = loop.time() + LATEST
    while open_ones:
        await asyncio.sleep(LOOK)  # at first for what passed the filter before it was there
        if loop.time() >= latest or not await asyncio.to_thread(_any_on_its_way, ports):
            latest = loop.time()
            open_ones = [listener for listener in open_ones if not listener.finish()]


def _any_on_its_way(ports: Collection[int]) -> bool:
    try:
        return shaking_hands(ports)
    except OSError:
        return True  # the kernel does not tell: time will
