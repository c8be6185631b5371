"""The sandboxes of this gateway and what is at their ports. Values only; who asks and how it looks is elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from gateway.diagnosis.port_line import PortLine


class Port(msgspec.Struct, frozen=True):
    """A port that is exposed. `ready` is None where nobody looks."""

    port: int
    url: str
    ready: bool | None
    state: str
    advice: str = ""


class Listed(msgspec.Struct, frozen=True):
    """A sandbox. `template` is its URL with `<port>` for the port."""

    id: str
    address: str
    template: str
    ports: list[Port]


class Listing:
    """One per gateway. `addresses` are the records' as they are now, by id; `lines` what is at the exposed ports."""

    def __init__(
        self,
        addresses: Callable[[], Mapping[str, str]],
        exposed: Sequence[tuple[str, int]],
        lines: Mapping[int, PortLine],
        template: str,
    ) -> None:
        """`template`: a URL with `<port>` and `<id>` in it."""
        self._addresses = addresses
        self._exposed = exposed
        self._lines = lines
        self._template = template

    def all(self) -> list[Listed]:
        """In the order of the command line, then those that were added."""
        addresses = self._addresses()
        first = [sandbox_id for sandbox_id, _ in self._exposed if sandbox_id in addresses]
        return [self._one(each, addresses[each]) for each in dict.fromkeys([*first, *sorted(addresses)])]

    def _one(self, sandbox_id: str, address: str) -> Listed:
        template = self._template.replace("<id>", sandbox_id)
        ports = [self._port(port, template) for owner, port in self._exposed if owner == sandbox_id]
        return Listed(sandbox_id, address, template, ports)

    def _port(self, port: int, template: str) -> Port:
        url = template.replace("<port>", str(port))
        line = self._lines.get(port)
        if line is None:
            return Port(port, url, None, "the built-in demo")
        return Port(port, url, line.ready, line.state, line.advice)
