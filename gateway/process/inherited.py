"""Listening sockets that another process has opened, a supervisor before this one or the service manager, and how they
are shared out among the workers.

With fewer workers than sockets some get two: each socket has a queue of its own (SO_REUSEPORT), and closing it would
reset what waits there. With more, the others get sockets of their own beside those. Of sockets that the service manager
keeps they get the same ones again: what is beside those nobody would keep, and the kernel allows it to their user only.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable, Sequence

from gateway.addresses import Bound, bound_to
from gateway.config import Listen
from gateway.counting import counted
from gateway.errors import UserError
from gateway.process.sockets import bind, bind_beside

log = logging.getLogger("gateway.process")


class Inherited:
    """By what they are bound to, in the order in which they came."""

    def __init__(self, sockets: Iterable[socket.socket] = (), *, kept: bool = False) -> None:
        """`kept`: the service manager holds them as well."""
        self._kept = kept
        self._sockets: dict[Bound, list[socket.socket]] = {}
        for sock in sockets:
            self._sockets.setdefault(bound_to(*sock.getsockname()[:2]), []).append(sock)

    def __repr__(self) -> str:
        return f"<Inherited {', '.join(f'{count} of {bound}' for bound, count in self._counts())}>"

    def bind(self, listen: Listen, *, slots: int = 1) -> list[list[socket.socket]]:
        """As `sockets.bind`, with what there is; one or more for each slot."""
        there = self._sockets.pop(bound_to(listen.host, listen.port), [])
        if not there:
            return [[sock] for sock in bind(listen, slots=slots)]
        by_slot = [there[number::slots] for number in range(slots)]
        for number in range(len(there), slots):
            by_slot[number] = [self._another(listen, there, number)]
        return by_slot

    def close(self) -> None:
        """Closes what nobody has asked for. Whoever else holds it goes on with it."""
        for bound, count in self._counts():
            address, port = bound
            log.info(
                "not listening on %s any more (passed on: %s)", f"[{address or '::'}]:{port}", counted(count, "socket")
            )
        for sockets in self._sockets.values():
            for sock in sockets:
                sock.close()
        self._sockets.clear()

    def _counts(self) -> list[tuple[Bound, int]]:
        return [(bound, len(sockets)) for bound, sockets in self._sockets.items()]

    def _another(self, listen: Listen, there: Sequence[socket.socket], number: int) -> socket.socket:
        if not self._kept:
            try:
                return bind_beside(listen, there)
            except UserError as error:
                log.warning("workers share sockets: %s", error)
        return there[number % len(there)].dup()
