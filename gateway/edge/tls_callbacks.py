"""Whom a TLS transport calls: who let the connection in, and what speaks on it once it is secure."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.edge.tls_transport import TlsTransport


class SecureProtocol(Protocol):
    """What speaks on a secure connection: an `asyncio.Protocol`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...

    def data_received(self, data: bytes) -> None: ...

    def eof_received(self) -> bool | None:
        """The other side sends no more (close_notify); whether the connection stays open for what is written."""

    def hung_up(self) -> None:
        """The other side has closed the connection: nobody listens any more."""

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def passable(self) -> int:
        """As `WideReading.passable`, of decrypted octets."""


class Doorkeeper(Protocol):
    """Who let the connection in; hears `knocked` now and then, and one of the other three, once."""

    def knocked(self, transport: TlsTransport, octets: int) -> bool:
        """`octets` of a handshake have come: `shake_hands` is to be called. False: there is no room to keep them."""

    def secured(self, transport: TlsTransport) -> SecureProtocol:
        """The handshake is done: what shall speak? It is told `connection_made` next."""

    def spoke_plain(self, tcp: asyncio.Transport, octets: bytes) -> None:
        """Plain HTTP: the TCP transport, which needs another protocol, and what has come so far."""

    def turned_away(self, error: Exception | None) -> None:
        """The connection has ended before it was secure; None: without a word."""
