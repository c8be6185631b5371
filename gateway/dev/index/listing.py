"""The sandboxes of this gateway and what is at their ports. Values only; who asks and how it looks is elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from gateway.diagnosis.port_line import PortLine


class Port(msgspec.Struct, frozen=True):
    """A port that is exposed. `ready` is None where nobody looks."""

    port: int
    url: str
    ready: bool | None
    state: str
    advice: str = ""
    lan: str = ""
    """Its URL in the local network; empty: it has none."""


class Listed(msgspec.Struct, frozen=True):
    """A sandbox. `template` is its URL with `<port>` for the port."""

    id: str
    address: str
    template: str
    ports: list[Port]


class LocalNetwork(Protocol):
    """See `lan.lan`."""

    def url(self, sandbox_id: str, port: int) -> str: ...

    @property
    def page_url(self) -> str: ...


class Listing:
    """One per gateway. `addresses` are the records' as they are now, by id; `lines` what is at the exposed ports."""

    def __init__(
        self,
        addresses: Callable[[], Mapping[str, str]],
        exposed: Sequence[tuple[str, int]],
        lines: Mapping[int, PortLine],
        template: str,
        lan: LocalNetwork | None = None,
    ) -> None:
        """`template`: a URL with `<port>` and `<id>` in it. `lan`: None where no other device is let in."""
        self._addresses = addresses
        self._exposed = exposed
        self._lines = lines
        self._template = template
        self.lan = lan

    def all(self) -> list[Listed]:
        """In the order of the command line, then those that were added."""
        addresses = self._addresses()
        first = [sandbox_id for sandbox_id, _ in self._exposed if sandbox_id in addresses]
        return [self._one(each, addresses[each]) for each in dict.fromkeys([*first, *sorted(addresses)])]

    def _one(self, sandbox_id: str, address: str) -> Listed:
        template = self._template.replace("<id>", sandbox_id)
        ports = [self._port(sandbox_id, port, template) for owner, port in self._exposed if owner == sandbox_id]
        return Listed(sandbox_id, address, template, ports)

    def _port(self, sandbox_id: str, port: int, template: str) -> Port:
        url = template.replace("<port>", str(port))
        lan = self.lan.url(sandbox_id, port) if self.lan else ""
        line = self._lines.get(port)
        if line is None:
            return Port(port, url, None, "the built-in demo", lan=lan)
        return Port(port, url, line.ready, line.state, line.advice, lan)
