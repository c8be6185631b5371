"""Where a supervisor is found by another one that wants the same addresses: an abstract Unix socket for each of them.

Its name holds the user and the address, so that nothing has to be configured, and nothing lies about that has to be
removed. Like the addresses, such names belong to the network namespace. Anybody may take one: so each side looks at
who the other is, and speaks to processes of its own user only. Linux alone has them; elsewhere nobody is found.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
from collections.abc import Iterable, Iterator

from gateway.addresses import authority
from gateway.config import Listen
from gateway.process.handover import signal_when_readable

log = logging.getLogger("gateway.process")

BACKLOG = 8
_CREDENTIALS = struct.Struct("3i")
"""struct ucred of SO_PEERCRED: pid, uid, gid."""


class Rendezvous:
    """The names of this gateway. Nothing here waits; SIGIO says when to call `accept`."""

    def __init__(self, addresses: Iterable[Listen]) -> None:
        self._addresses = [each for each in addresses if each.port]
        self._sockets: list[socket.socket] = []

    def __repr__(self) -> str:
        return f"<Rendezvous {', '.join(map(str, self._addresses))} open={len(self._sockets)}>"

    def open(self) -> None:
        """Can be found from now on, as far as nobody else has the names."""
        if sys.platform != "linux" or self._sockets:
            return
        for address in self._addresses:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                sock.bind(_name(address))
                sock.listen(BACKLOG)
                signal_when_readable(sock)
            except OSError as error:
                sock.close()
                log.warning("a gateway that is started later will not find this one at %s: %s", address, error.strerror)
                continue
            self._sockets.append(sock)

    def accept(self) -> Iterator[socket.socket]:
        """Those who have come, a few of them at a time."""
        for sock in self._sockets:
            for _ in range(BACKLOG):
                try:
                    connection, _ = sock.accept()
                except OSError:  # nobody is left, or there is no descriptor: who waits gives up
                    break
                if _is_ours(connection):
                    yield connection
                else:
                    connection.close()

    def close(self) -> None:
        """Another one may have the names."""
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()


def find(addresses: Iterable[Listen]) -> Iterator[socket.socket]:
    """A connection to each of our user's supervisors that can be found at one of `addresses`; one may come twice."""
    if sys.platform != "linux":
        return
    for address in addresses:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.setblocking(False)  # one that accepts nobody is nobody
        try:
            connection.connect(_name(address))
        except OSError:
            connection.close()
            continue
        if _is_ours(connection):
            yield connection
        else:
            log.warning("another user's process pretends to be a gateway at %s: it is not asked", address)
            connection.close()


def _name(address: Listen) -> str:
    return f"\0gateway/{os.getuid()}/{authority(address.host, address.port)}"


def _is_ours(connection: socket.socket) -> bool:
    try:
        octets = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError:
        return False
    _, uid, _ = _CREDENTIALS.unpack(octets)
    return bool(uid == os.getuid())
