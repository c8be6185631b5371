"""Where `gateway dev` listens: the port that was asked for, or the next free one; and who has it, if no other will do.

Never a port that an app is to have: the gateway may well be started first.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gateway.config import Listen
from gateway.dev.holders import holder
from gateway.errors import UserError
from gateway.process.sockets import AddressInUse, bind

TRIES = 100
"""Ports that are looked at, one after the other."""
_LAST = 65535


@dataclass(frozen=True, slots=True)
class PortChoice:
    """Which port will do."""

    strict: bool
    """That one or none."""
    avoid: Collection[int] = ()
    """The apps' own."""
    flag: str = "--listen-port"
    """What chooses another, for the sentence of an error."""


def listen(hosts: Sequence[str], port: int, choice: PortChoice) -> list[socket.socket]:
    """A listening socket on each of `hosts`, all of one port. Raises UserError with one sentence."""
    taken: AddressInUse | None = None
    for candidate in range(port, min(port + TRIES, _LAST + 1)) if port else [0] * TRIES:
        if candidate and candidate in choice.avoid:
            continue
        try:
            return _bind_all(hosts, candidate)
        except AddressInUse as error:
            taken = taken or error
            if choice.strict:
                break
    if taken is None:
        raise UserError(
            f"port {port} is to be exposed, and the gateway cannot listen there, too: {choice.flag} chooses another"
        )
    if choice.strict:
        who = holder(port)
        raise UserError(
            f"cannot listen on {taken.listen}: {who or f'port {port} is in use'}; {choice.flag} chooses another"
        )
    raise UserError(f"{taken}, and the {TRIES - 1} ports after it are, too; {choice.flag} chooses another")


def _bind_all(hosts: Sequence[str], port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for host in hosts:
            sockets += bind(Listen(host, port))
            port = sockets[0].getsockname()[1]
    except UserError:
        for sock in sockets:
            sock.close()
        raise
    return sockets
