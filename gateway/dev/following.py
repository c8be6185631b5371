"""What is at the exposed ports, now and whenever that changes: an app starts, is mended, ends.

This machine's books are looked at once a second, which no app notices; only what has changed in them is dialed and
probed, as for a request. Where there are no such books (macOS), ports are dialed, less often. Knows no terminal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from gateway.addresses import LOOPBACK4, Address, Bound, leads_to
from gateway.diagnosis import own_sockets, port_line
from gateway.diagnosis.explain import DIAL_TIMEOUT
from gateway.diagnosis.findings import AppSocket, RefusalFindings
from gateway.diagnosis.port_line import PortLine
from gateway.diagnosis.port_probe import EVERYWHERE, EVERYWHERE4, PortProbe, is_probed
from gateway.errors import GatewayError, Reason
from gateway.hostname import Target
from gateway.upstream.dial import connected_socket

LOOK_INTERVAL = 1.0
"""Seconds between two looks at the machine's books: 0.1 ms each."""
DIAL_INTERVAL = 3.0
"""Seconds between two dials where there are none."""
LOOKS = 2
"""After a change: a probe gives what it has found for a second, and an app may listen before it accepts."""

_Books = Mapping[int, frozenset[own_sockets.Listening]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the exposed ports are."""

    address: Address
    domain: str
    own: Sequence[Bound]
    """Our listeners."""
    lenient: bool
    """127.0.0.1 will do as well."""


class PortWatch:
    """The exposed ports. `told` is called with a port and its line whenever that has changed."""

    def __init__(
        self, ports: Collection[int], place: Place, probe: PortProbe, told: Callable[[int, PortLine], None]
    ) -> None:
        self.lines: dict[int, PortLine] = {}
        self._ports = frozenset(ports)
        self._place = place
        self._probe = probe
        self._told = told
        self._books: _Books = {}
        self._due = dict.fromkeys(self._ports, 1)

    async def first_look(self) -> dict[int, PortLine]:
        """A line for each port; `told` is told of none of them."""
        await self._read_books()
        for port in sorted(self._ports):
            self.lines[port] = await self._look(port)
        return dict(self.lines)

    async def follow(self) -> None:
        """For ever."""
        while True:
            has_books = await self._read_books()
            for port in sorted(self._ports):
                if has_books and not self._due[port]:
                    continue
                self._due[port] = max(self._due[port] - 1, 0)
                line = await self._look(port)
                if line != self.lines.get(port):
                    self.lines[port] = line
                    self._told(port, line)
            await asyncio.sleep(LOOK_INTERVAL if has_books else DIAL_INTERVAL)

    async def _read_books(self) -> bool:
        """Notes what has changed; False: there are no books."""
        try:
            found = await asyncio.to_thread(own_sockets.listening, self._ports)
        except OSError:
            return False
        books: _Books = {
            port: frozenset(each._replace(waiting=0) for each in found if each.port == port) for port in self._ports
        }
        for port in self._ports:
            if books[port] != self._books.get(port):
                self._due[port] = LOOKS
        self._books = books
        return True

    async def _look(self, port: int) -> PortLine:
        place = self._place
        target = Target(port, "local", place.domain)
        try:
            sock = await connected_socket(str(place.address), port, DIAL_TIMEOUT)
        except GatewayError as error:
            failure = error.failure()
        else:
            sock.close()
            return port_line.ready(await asyncio.to_thread(self._listener, port))
        if not is_probed(failure):
            return port_line.failed(failure, RefusalFindings(), target, str(place.address))
        timed_out = failure.reason is Reason.CONNECTION_TIMEOUT
        found = await self._probe.find(place.address, port, whose=self, timed_out=timed_out)
        failure = found.explain(failure, str(place.address), port)
        listener = port_line.only_on_localhost(found)
        if place.lenient and listener is not None and not leads_to(place.own, LOOPBACK4, port):
            return port_line.ready_leniently(listener, target, failure)
        return port_line.failed(failure, found, target, str(place.address))

    def _listener(self, port: int) -> AppSocket | None:
        """Who listens where a connection was accepted. Blocking."""
        address = self._place.address
        reached = (address, EVERYWHERE, EVERYWHERE4) if address.version == 4 else (address, EVERYWHERE)
        for each in self._books.get(port, ()):
            if each.address in reached and (pid := own_sockets.holder(each.inode)):
                return AppSocket(str(each.address), port, own_sockets.program(pid), pid)
        return None
