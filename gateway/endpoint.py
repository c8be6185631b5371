"""Where a request goes: a port of a sandbox, in the form by which everything upstream is kept."""

from __future__ import annotations

from typing import NamedTuple

from gateway.addresses import authority
from gateway.app_protocol import AppProtocol


class Origin(NamedTuple):
    """Whose an address is. Text, because hashing an IPv6Address takes a microsecond, and three strings a twentieth."""

    sandbox_id: str
    generation: str
    address: str


class Endpoint(NamedTuple):
    """One port of an origin: a recycled address under a new generation never meets an old connection."""

    origin: Origin
    port: int

    @property
    def address(self) -> str:
        return self.origin.address

    @property
    def sandbox_id(self) -> str:
        return self.origin.sandbox_id

    def by(self, protocol: AppProtocol) -> AppKey:
        return (self.origin, self.port, protocol)

    def __str__(self) -> str:
        """For messages: `[fd00::5]:5000`."""
        return authority(self.origin.address, self.port)


AppKey = tuple[Origin, int, AppProtocol]
"""An endpoint, and what is spoken to it, HTTP1 or H2C: what connections are kept by. A plain tuple, which costs half of
a named one to make."""
