"""The memory that all TLS connections of an event loop share."""

from __future__ import annotations

import ssl

from gateway.turns import RECORD, Intake


class Buffers:
    """One per event loop: where every read lands, and the BIOs that OpenSSL reads from and writes to.

    The BIOs can be shared because each call leaves both empty: OpenSSL gets whole records, and buffers what it has of a
    handshake itself. BIOs of their own would keep the largest read that a connection ever had. Should octets ever be
    left behind, they are ciphertext that only their own connection could decrypt.
    """

    __slots__ = ("incoming", "intake", "outgoing", "record")

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.record = intake.view[:RECORD]  # for handshakes, whose reads are kept while they wait
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
