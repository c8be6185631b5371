"""Options and state of TCP sockets, whatever the system calls them.

A peer that is gone acknowledges nothing. An idle connection is probed (`keep_alive`); while octets are in flight there
are no probes, and the kernel retransmits for a quarter of an hour, so it is asked since when nothing has been
acknowledged (`unanswered`).

TCP_USER_TIMEOUT would do both, and is not used: Linux applies it to a closed window, too, although the other side
acknowledges the probes. A slow reader, or an app that is stopped in a debugger, is alive.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import sys
import termios

PROBES = 4
"""Unanswered probes after which the connection is gone; a second apart at least, so fewer where there is no time."""

if sys.platform == "darwin":
    _IDLE = getattr(socket, "TCP_KEEPALIVE", 0x10)
else:
    _IDLE = socket.TCP_KEEPIDLE

_INFO = struct.Struct("=2xBB20xI28xI")
"""Of Linux' tcp_info: retransmits, probes, unacked, last_ack_recv; octets 2, 3, 24 and 56."""
_CLOSED = b"\x07"
"""The first octet, the state: TCP_CLOSE."""
_UNANSWERED = 3
"""Retransmissions of the same octets, or probes of a closed window, at least: one lost segment is no silence."""

# linux/filter.h and asm-generic/socket.h; Python's socket module has none of these.
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
_INSTRUCTION = struct.Struct("=HBBI")
_SYN, _ACK, _FLAGS = 0x02, 0x10, 13
"""Of the TCP header (RFC 9293 section 3.1), which the filter sees."""
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


def no_delay(sock: socket.socket) -> None:
    """Disables Nagle's algorithm; accepted sockets inherit it from the listening one."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def keep_alive(sock: socket.socket, seconds: float) -> None:
    """Probes after so many seconds of silence, a whole number; the connection is gone after twice as many. 0: never.

    On Linux accepted sockets inherit it from the listening one.
    """
    if not seconds:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, _IDLE, int(seconds))
    probes = min(PROBES, int(seconds))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, int(seconds / probes))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, probes)


def broken(sock: socket.socket | None) -> OSError | None:
    """The error that has ended the connection (a reset, unanswered probes), if any.

    While reading is paused the event loop does not report it. An orderly end is no error: there may be octets to read.
    Linux; elsewhere always None.
    """
    if sys.platform != "linux" or sock is None or sock.fileno() < 0:
        return None
    if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != _CLOSED:
        return None
    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # which clears it: the caller ends the connection
    return OSError(number, os.strerror(number)) if number else None


def has_unread(sock: socket.socket) -> bool:
    """Whether octets wait to be read; an end is none."""
    if sock.fileno() < 0:
        return False
    return fcntl.ioctl(sock.fileno(), termios.FIONREAD, b"\0\0\0\0") != b"\0\0\0\0"


def unanswered(sock: socket.socket | None) -> float:
    """Seconds for which nothing has been acknowledged although something is in flight; 0: nothing is.

    While the other side's window is closed, only probes are sent, up to two minutes apart, and a peer that is alive
    acknowledges each. Linux; elsewhere always 0.
    """
    if sys.platform != "linux" or sock is None or sock.fileno() < 0:
        return 0.0
    octets = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    retransmits, probes, unacked, milliseconds = _INFO.unpack(octets)
    silent = probes >= _UNANSWERED or (unacked and retransmits >= _UNANSWERED)
    return float(milliseconds) / 1000 if silent else 0.0


def refuse_new(sock: socket.socket) -> None:
    """A listening socket drops the first packet of every new connection, whichever process holds it; TCP handshakes
    under way complete.

    Accepted sockets inherit the filter, to no effect. Where the kernel has no such filters (gVisor), a connection that
    comes between the last `accept()` and the close is reset.
    """
    program = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
    described = struct.pack("HP", len(_DROP_SYN) // _INSTRUCTION.size, ctypes.addressof(program))
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)


def accept_new(sock: socket.socket) -> None:
    """Undoes `refuse_new`, whichever process has called that."""
    with contextlib.suppress(OSError):  # it has no filter, or the kernel none
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
