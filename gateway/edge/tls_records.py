"""Records of TLS as they are on the wire, whatever they hold: how they begin, how long they are."""

from __future__ import annotations

from typing import Final

from gateway.turns import RECORD

HEADER: Final = 5
"""Octets before a record's fragment: type, version, length (RFC 8446 section 5.1)."""
LARGEST_RECORD: Final = HEADER + RECORD + 2048
"""Octets of a record on the wire at most (RFC 5246 section 6.2.3)."""
HANDSHAKE_RECORD: Final = 0x16
"""First octet of a ClientHello's record (RFC 8446 section 5.1)."""

NO_ROOM: Final = b"\x15\x03\x03\x00\x02\x02\x50"
"""A record with an alert: fatal, internal_error (RFC 8446 section 6). There is none for "too busy"."""

NO_TLS: Final = b"\x15\x03\x01\x00\x02\x02\x46"
"""Fatal, protocol_version: for who speaks SSLv2, a balancer's header, or no TLS at all."""


def length_of(record: bytes) -> int:
    """Octets of the record whose header `record` begins with."""
    return HEADER + (record[3] << 8 | record[4])
