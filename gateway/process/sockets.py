"""Listening sockets: bound once, by the process that owns them, with errors a person can act on."""

from __future__ import annotations

import errno
import socket

from gateway.config import Listen
from gateway.errors import UserError

BACKLOG = 4096
"""Connections queued per socket while a worker is busy or being replaced; the kernel caps it at net.core.somaxconn."""


def bind(listen: Listen, *, slots: int = 1) -> list[socket.socket]:
    """`slots` listening sockets on one address, sharing it by SO_REUSEPORT if there are several.

    Raises UserError with one sentence: the port is taken, privileged, or the address is not this machine's.
    """
    first = _bind(listen, shared=False)
    if slots == 1:
        _listen(first, listen)
        return [first]
    # Bound alone first: with SO_REUSEPORT a second gateway of the same user would silently take half the traffic.
    address = Listen(listen.host, first.getsockname()[1])
    first.close()
    sockets = [_bind(address, shared=True) for _ in range(slots)]
    for sock in sockets:
        _listen(sock, listen)
    return sockets


def _bind(listen: Listen, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise UserError(f"cannot listen on {listen}: {_explain(error, listen)}") from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((listen.host, listen.port))
    except OSError as error:
        sock.close()
        raise UserError(f"cannot listen on {listen}: {_explain(error, listen)}") from None
    return sock


def _listen(sock: socket.socket, listen: Listen) -> None:
    try:
        sock.listen(BACKLOG)
    except OSError as error:  # two may be bound to one port, but only one of them listens
        sock.close()
        raise UserError(f"cannot listen on {listen}: {_explain(error, listen)}") from None


def _explain(error: OSError, listen: Listen) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {listen.port} is in use by another program (see: ss -ltnp | grep {listen.port})"
    if error.errno == errno.EACCES:
        return f"port {listen.port} needs root or CAP_NET_BIND_SERVICE; ports from 1024 on do not"
    if error.errno == errno.EADDRNOTAVAIL:
        what = "IPv6 is switched off, or the address" if ":" in listen.host else "the address"
        return f"{what} {listen.host} is not one of this machine's (see: ip address)"
    if error.errno == errno.EAFNOSUPPORT:
        return "this machine has no IPv6, which the gateway needs to reach sandboxes"
    return error.strerror or str(error)
