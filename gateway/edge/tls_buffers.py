"""The memory that all TLS connections of an event loop work in: a connection of its own has none."""

from __future__ import annotations

import ssl

from gateway.turns import RECORD, Intake


class Buffers:
    """One for each event loop: where every read lands, what OpenSSL reads from and writes to, whose turn it is.

    The BIOs are shared by all connections, because each call leaves both empty: OpenSSL gets whole records, and keeps
    what it has of a handshake to itself. With BIOs of their own, connections would hold on to the largest read they
    ever had. Should octets ever be left behind, they are another connection's ciphertext: nobody else could read them.
    """

    __slots__ = ("incoming", "intake", "outgoing", "read", "record", "turns")

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.read = intake.view
        self.record = intake.view[:RECORD]  # as much as is read of a handshake at a time, and so kept while it waits
        self.turns = intake.turns
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
