"""What a TLS transport calls: the handler of its handshake, and the protocol on it once it is secure."""

from __future__ import annotations

from typing import Protocol

from gateway.transport import StreamTransport


class SecureProtocol(Protocol):
    """What speaks on a secure connection: an `asyncio.Protocol`."""

    def connection_made(self, transport: StreamTransport) -> None: ...

    def data_received(self, data: bytes) -> None: ...

    def eof_received(self) -> bool | None:
        """The other side sends no more (close_notify); whether the connection stays open for what is written."""

    def hung_up(self) -> None:
        """The other side has closed the connection: nothing more is delivered."""

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def discarded(self, octets: int) -> None:
        """So many have come that nobody will read: after close_notify, the other side's or ours. Whoever has enough of
        it aborts."""

    def passable(self) -> int:
        """As `WideReading.passable`, of decrypted octets."""


class HandshakeHandler(Protocol):
    """What is told of a handshake: `handshake_received` any number of times, and one of the other three, once."""

    def handshake_received(self, octets: int) -> bool:
        """`octets` of a handshake have come: `shake_hands` is to be called. False: there is no room to keep them."""

    def handshake_completed(self) -> SecureProtocol:
        """Returns what speaks on the connection; its `connection_made` is called next."""

    def plain_http_received(self, tcp: StreamTransport, octets: bytes) -> None:
        """The TCP transport, which needs another protocol, and what has come so far."""

    def handshake_failed(self, error: Exception | None) -> None:
        """The connection has ended before it was secure; None: it was closed."""
