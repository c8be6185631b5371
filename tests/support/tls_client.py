"""A TLS client in memory: octets for the wire come out, octets from the wire go in, and a test moves them."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable

RECORD = 16 * 1024


class TlsClient:
    """One connection of a client that speaks through `incoming` and `outgoing`."""

    def __init__(self, context: ssl.SSLContext, name: str) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)

    def shake_hands_begin(self) -> bytes:
        """The ClientHello."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    def shake_hands(self, exchange: Callable[[bytes], bytes]) -> bytes:
        """Goes through the handshake, `exchange` being the wire: it takes what the client says and returns the answer.

        Returns the client's last flight, which `exchange` has not been given.
        """
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.incoming.write(exchange(self.outgoing.read()))
            else:
                return self.outgoing.read()

    def sealed(self, data: bytes) -> bytes:
        """`data` as the client puts it on the wire, after whatever else it has to say."""
        while data:
            data = data[self.tls.write(data) :]
        return self.outgoing.read()

    def goodbye(self) -> bytes:
        """close_notify, after whatever else the client has to say."""
        with contextlib.suppress(ssl.SSLWantReadError):  # for the other side's, which may come much later
            self.tls.unwrap()
        return self.outgoing.read()

    def read(self, octets: bytes) -> bytes:
        """The content of what has come, `octets` being the latest of it."""
        self.incoming.write(octets)
        pieces = []
        try:
            while piece := self.tls.read(RECORD):
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        return b"".join(pieces)
