"""Ports of a test's own: nobody else on this machine listens on them, at any address.

A free port of `::1` may be somebody's on `127.0.0.1`: another suite's, a browser's. Of an app that has stopped the
gateway then says that it listens on IPv4 only, and has reason to.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from pytest import MonkeyPatch

FILLING = 4
"""Connections; Linux keeps one more than the backlog says."""


def alone(listen: Callable[[], socket.socket]) -> tuple[socket.socket, socket.socket]:
    """What `listen` makes, on a port that is free in the other family too, and a socket that keeps it free."""
    while True:
        sock = listen()
        keeper = _keeper(sock)
        if keeper is not None:
            return sock, keeper
        sock.close()


@contextmanager
def silent_port() -> Iterator[int]:
    """A port of ::1 that never answers: its listener's queue is full, and the kernel drops what else comes."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_STREAM))
        full.bind(("::1", 0))
        full.listen(0)
        for _ in range(FILLING):
            sock = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_STREAM))
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        yield full.getsockname()[1]


def switch_off(monkeypatch: MonkeyPatch) -> None:
    """Lets a `silent_port` be another machine's that answers nowhere: nothing else is known of it."""
    monkeypatch.setattr("gateway.diagnosis.port_probe.is_own", lambda address: False)
    monkeypatch.setattr("gateway.diagnosis.port_probe.PLAUSIBLE_PORTS", ())
    monkeypatch.setattr("gateway.diagnosis.own_sockets.connections", lambda address: [])


def _keeper(sock: socket.socket) -> socket.socket | None:
    """Bound to the port of `sock` in the other family, and listening to nobody; None if somebody has it."""
    port = sock.getsockname()[1]
    if sock.family == socket.AF_INET6:
        keeper, everywhere = socket.socket(socket.AF_INET), "0.0.0.0"
    else:
        keeper, everywhere = socket.socket(socket.AF_INET6), "::"
        keeper.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        keeper.bind((everywhere, port))
    except OSError:
        keeper.close()
        return None
    return keeper
