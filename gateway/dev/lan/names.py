"""What the exposed apps are called in the local network: `5000-anna.local` on the machine `anna`. Values only.

The name is read as any other, `<port>-<id>.<domain>`: `anna` is another id of the sandbox that it leads to.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gateway.dev.app_port import DEFAULT_ID
from gateway.dev.options import DEMO_ID, Exposed
from gateway.hostname import MAX_LABEL
from gateway.tls.local_ca import LAN_DOMAIN

_NO_LABEL = re.compile(r"[^a-z0-9]+")
_LONGEST_ID = MAX_LABEL - len("65535-")
_ROOM = len("-99")
"""For the number of a name that somebody else has already."""
NAMELESS = "gateway"
"""A machine whose own name says nothing."""


class LanNames:
    """Of one gateway. `number` above 1 stands behind each, where the names without it are another machine's."""

    def __init__(self, machine: str, exposed: Sequence[Exposed], number: int = 1) -> None:
        self.number = number
        self._machine = machine
        self.exposed = exposed
        self.alias_of = {each: _alias(machine, each.sandbox_id, number) for each in exposed}
        """The id in the local network, of each exposed app."""

    @property
    def hosts(self) -> list[str]:
        """`5000-anna.local`, in the order of the command line."""
        return [self.host(each) for each in self.exposed]

    def host(self, exposed: Exposed) -> str:
        return f"{exposed.port}-{self.alias_of[exposed]}.{LAN_DOMAIN}"

    def authorities(self, port: int) -> frozenset[bytes]:
        """What a browser may say of them, in lower case; the port that https implies is not said."""
        with_port = [f"{host}:{port}" for host in self.hosts]
        return frozenset(name.encode() for name in (*with_port, *(self.hosts if port == 443 else ())))

    def next(self) -> LanNames:
        """Others, for these are somebody else's."""
        return LanNames(self._machine, self.exposed, self.number + 1)


@dataclass(frozen=True, slots=True)
class LanPlace:
    """What is exposed, and where."""

    names: LanNames
    port: int
    """The public one."""
    avoid: Collection[int]
    """The apps' own ports."""
    domain: str
    """Of this machine's own names, in which the local network has no part."""


def machine_name() -> str:
    """This machine's, fit to be part of a name."""
    label = _NO_LABEL.sub("-", socket.gethostname().partition(".")[0].lower()).strip("-")
    return NAMELESS if label in ("", "localhost") else label


def _alias(machine: str, sandbox_id: str, number: int) -> str:
    whole = machine if sandbox_id in (DEFAULT_ID, DEMO_ID) else f"{sandbox_id}-{machine}"
    alias = whole[: _LONGEST_ID - _ROOM].rstrip("-")
    return alias if number == 1 else f"{alias}-{number}"
