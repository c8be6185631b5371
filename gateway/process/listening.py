"""The gateway's listening sockets: made once, by the supervisor, and inherited by every process that it starts.

Each worker slot has a socket of its own for each public address (SO_REUSEPORT); whoever takes a slot takes over its
queues, so that nothing is lost when a process is replaced.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway.addresses import Bound
from gateway.config import Listen, Settings
from gateway.edge.listener import own_listeners
from gateway.process.inherited import Inherited


class Role(StrEnum):
    """What is spoken to whoever connects."""

    TLS = "tls"
    PLAIN = "plain"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class BoundSocket:
    """A listening socket, and the setting that it was made for."""

    role: Role
    listen: Listen
    """As configured: port 0 is none in particular."""
    socket: socket.socket


class ListeningSockets:
    """By slot: `slots[number]`; and the admin's."""

    def __init__(self, slots: Sequence[Sequence[BoundSocket]], admin: BoundSocket) -> None:
        self.slots = slots
        self.admin = admin

    def __iter__(self) -> Iterator[BoundSocket]:
        for slot in self.slots:
            yield from slot
        yield self.admin

    @property
    def own(self) -> tuple[Bound, ...]:
        """What all of them listen on: none is ever dialed."""
        return own_listeners([each.socket for each in self])

    @classmethod
    def bind(cls, settings: Settings, count: int, inherited: Inherited) -> ListeningSockets:
        """What `settings` ask for, for `count` workers: inherited or bound. Raises UserError as `sockets.bind` does."""
        slots: list[list[BoundSocket]] = [[] for _ in range(count)]
        wanted = [(Role.TLS, listen) for listen in settings.edge.listen]
        wanted += [(Role.PLAIN, listen) for listen in settings.edge.listen_plain]
        for role, listen in wanted:
            for slot, sockets in zip(slots, inherited.bind(listen, slots=count), strict=True):
                slot += [BoundSocket(role, listen, sock) for sock in sockets]
        [[admin, *more]] = inherited.bind(settings.admin.listen)
        for sock in more:  # only whoever has passed them on knows why
            sock.close()
        return cls(slots, BoundSocket(Role.ADMIN, settings.admin.listen, admin))
