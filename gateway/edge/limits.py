"""Limits: connections of a worker and of one source, exchanges of one client behind a trusted proxy and of one sandbox.

Every `admit` that has counted is followed by its `dismiss`, once. Every refusal is counted and told of (`notices`).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from gateway import descriptors
from gateway.config import Settings
from gateway.config.values import format_size
from gateway.counting import counted
from gateway.errors import GatewayError, Reason
from gateway.http.forwarding import Address
from gateway.metrics import CONNECTIONS
from gateway.observe.counters import Counters
from gateway.observe.notices import Notice, Notices

_ACCEPTED: Final = CONNECTIONS.at("downstream")


class Acceptor(Protocol):
    """A listener that waits for room."""

    def accept_again(self) -> None:
        """There is room again."""


class Limits:
    """One per worker; `call_soon` is its event loop's."""

    def __init__(
        self,
        settings: Settings,
        call_soon: Callable[[Callable[[], None]], object],
        counters: Counters,
        notices: Notices,
    ) -> None:
        self._cells = counters.cells
        self._limits = settings.limits
        self._connections_refused = counters.connections_refused
        self._exchanges_refused = counters.exchanges_refused
        self._notices = _RefusalNotices(settings, notices)
        self._exchanges_per_sandbox = settings.limits.exchanges_per_sandbox
        self._trusted_proxies = settings.edge.trusted_proxies
        self._call_soon = call_soon
        self.connections = 0  # admitted and not yet dismissed, those still shaking hands included
        self.exchanges: dict[str, int] = {}  # sandbox id -> exchanges under way; no entry means none
        self.per_source: dict[int, int] = {}  # the same of connections, and of clients' exchanges, by source
        self.awaiting_room: deque[Acceptor] = deque()  # FIFO

    # --- connections ---------------------------------------------------------------------------------------------

    def admit(self, address: Address) -> bool:
        """Whether one more connection from `address` is within the limits; if so it is counted in."""
        limits = self._limits
        if self.connections >= limits.connections:
            self._connections_refused.connections += 1
            self._notices.connections.happened(address)
            return False
        source = _source(address)
        count = self.per_source.get(source, 0)
        if count >= limits.connections_per_address and self.source(address) is not None:
            self._connections_refused.connections_per_address += 1
            self._notices.connections_per_address.happened(address)
            return False
        self.per_source[source] = count + 1
        self.connections += 1
        self._cells[_ACCEPTED] += 1
        return True

    def readmit(self, address: Address, client: Address) -> bool:
        """A connection counted for a balancer's `address` is `client`'s: from now on it counts for that, if that is
        within the limits.
        """
        source = _source(client)
        count = self.per_source.get(source, 0)
        if count >= self._limits.connections_per_address and self.source(client) is not None:
            self._connections_refused.connections_per_address += 1
            self._notices.connections_per_address.happened(client)
            return False
        self.per_source[source] = count + 1
        self._count_out(address)
        return True

    def dismiss(self, address: Address) -> None:
        """A connection has closed."""
        self.connections -= 1
        self._count_out(address)
        if self.awaiting_room:
            self._call_soon(self.accept_again)

    def no_handshake_room(self, address: Address) -> None:
        """A ClientHello of `address` could not be kept until its turn."""
        self._connections_refused.handshake_bytes += 1
        self._notices.handshake_bytes.happened(address)

    def source(self, address: Address) -> int | None:
        """The source that `address` counts for; None for a trusted proxy, which is not limited."""
        return None if any(address in network for network in self._trusted_proxies) else _source(address)

    # --- exchanges -----------------------------------------------------------------------------------------------

    def admit_client(self, client: Address) -> None:
        """Counts an exchange of a client behind a trusted proxy, as nginx's limit_conn does behind its realip module.
        Raises GatewayError(connection_limit_reached), and is to be dismissed even then.
        """
        source = _source(client)
        self.per_source[source] = count = self.per_source.get(source, 0) + 1
        if count > self._limits.connections_per_address:
            self._exchanges_refused.connections_per_address += 1
            self._notices.exchanges_per_client.happened(client)
            raise GatewayError(
                Reason.CONNECTION_LIMIT_REACHED, f"{counted(count - 1, 'exchange')} of {client} under way"
            )

    def dismiss_client(self, client: Address) -> None:
        self._count_out(client)

    def admit_exchange(self, sandbox_id: str) -> None:
        """Raises GatewayError(connection_limit_reached), counting nothing."""
        count = self.exchanges.get(sandbox_id, 0)
        if count >= self._exchanges_per_sandbox:
            self._exchanges_refused.exchanges_per_sandbox += 1
            self._notices.exchanges_per_sandbox.happened(sandbox_id)
            raise GatewayError(Reason.CONNECTION_LIMIT_REACHED, f"{counted(count, 'exchange')} under way")
        self.exchanges[sandbox_id] = count + 1

    def dismiss_exchange(self, sandbox_id: str) -> None:
        count = self.exchanges[sandbox_id] - 1
        if count:
            self.exchanges[sandbox_id] = count
        else:
            del self.exchanges[sandbox_id]

    def _count_out(self, address: Address) -> None:
        source = _source(address)
        count = self.per_source[source] - 1
        if count:
            self.per_source[source] = count
        else:
            del self.per_source[source]

    # --- descriptors ---------------------------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether there is a descriptor for the app's side of one more connection and of each that is open.

        Without one new connections wait in the kernel's queue; a limit that can be held refuses (see `admit`).
        """
        fits = descriptors.for_downstream()
        return self.connections < fits or fits >= self._limits.connections

    def await_room(self, acceptor: Acceptor) -> None:
        """`acceptor.accept_again` is called when there is room."""
        self.awaiting_room.append(acceptor)

    def accept_again(self) -> None:
        """Calls waiting acceptors while there is room: a connection has closed, or the descriptor limit was raised."""
        while self.awaiting_room and self.has_room:
            self.awaiting_room.popleft().accept_again()


class _RefusalNotices:
    """What is said of refusals: by which setting, and whom the last one met."""

    __slots__ = (
        "connections",
        "connections_per_address",
        "exchanges_per_client",
        "exchanges_per_sandbox",
        "handshake_bytes",
    )

    def __init__(self, settings: Settings, notices: Notices) -> None:
        limits = settings.limits

        def notice(text: str) -> Notice:
            return notices.add(logging.WARNING, text)

        self.connections = notice(
            f"connections refused: %d, the last from %s (limits.connections = {limits.connections} for each worker)"
        )
        per_address = f"limits.connections_per_address = {limits.connections_per_address}"
        self.connections_per_address = notice(
            f"connections refused: %d, the last from %s ({per_address}; a balancer belongs into edge.trusted_proxies)"
        )
        self.exchanges_per_client = notice(f"requests refused: %d, the last from %s ({per_address})")
        self.exchanges_per_sandbox = notice(
            "requests refused: %d, the last to sandbox %s"
            f" (limits.exchanges_per_sandbox = {limits.exchanges_per_sandbox} for each worker)"
        )
        self.handshake_bytes = notice(
            f"handshakes refused: %d, the last from %s (limits.handshake_bytes = {format_size(limits.handshake_bytes)})"
        )


def _source(address: Address) -> int:
    """The source of an address: an IPv4 address, or an IPv6 /64, which is what one subscriber gets.

    A number, because hashing an address object takes a microsecond; below zero for IPv4, so that the two differ.
    """
    return ~int(address) if address.version == 4 else int(address) >> 64
