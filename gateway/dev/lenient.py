"""`gateway dev --loopback4`: what refuses at ::1 is looked for at 127.0.0.1, which no sandbox's neighbour could do.

For those who want the URL only. The gateway's own listeners are nobody's app there either.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from gateway.addresses import LOOPBACK, LOOPBACK4, Bound, leads_to
from gateway.errors import GatewayError, Reason
from gateway.upstream.dial import OpenSocket, connected_socket


def leniently(own: Sequence[Bound]) -> OpenSocket:
    """A way to connect that takes 127.0.0.1 for ::1 where only that accepts; `own` are our listeners."""

    async def connect(address: str, port: int, patience: float, give_up: Callable[[], bool]) -> socket.socket:
        try:
            return await connected_socket(address, port, patience, give_up)
        except GatewayError as error:
            refused = error.reason is Reason.CONNECTION_REFUSED and address == str(LOOPBACK)
            if not refused or leads_to(own, LOOPBACK4, port):
                raise
            failure = error.failure()
        try:
            return await connected_socket(str(LOOPBACK4), port, patience, give_up)
        except GatewayError:
            raise failure.error() from None  # of the two, what a sandbox would answer

    return connect
