"""The PROXY protocol: what a balancer that passes connections on says of each before its first octet.

Versions 1 (a line of text) and 2 (binary) of HAProxy's proxy-protocol.txt; sections below are that document's. A header
is configured and required, never guessed. What follows it, a ClientHello in the same segment, is somebody else's: so
a reader is shown octets that are still in the kernel, and says how many of them are the header's.

UDP and Unix sockets (section 2.2) are refused: nothing that comes by them ends up at a TCP listener by right. So is a
header whose parts do not fit its length, or whose checksum is wrong: what it says decides whom an app believes to see.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from gateway.http.forwarding import Address, as_meant
from gateway.http.greeting import PROXY_V2

V1_BEGINS: Final = b"PROXY "
MAX_V1: Final = 107
"""Octets of a line with its CRLF, at most (section 2.1)."""
MAX_V2: Final = 4096
"""Octets of a binary header, as in nginx; 65,551 could be said. One of 16 KiB, all TLVs and a checksum, takes 9 ms."""
MAX_UNIQUE_ID: Final = 128
"""Octets (section 2.2.5)."""

_V2_FIXED: Final = 16
"""Octets before what the length counts: the signature, version and command, family, length."""
_LOCAL, _PROXY = 0x20, 0x21
_UNSPEC: Final = 0x00
_ADDRESSES: Final = {0x11: 12, 0x21: 36}
"""TCP over IPv4 and IPv6: octets of both addresses and ports."""
_AUTHORITY, _CRC32C, _UNIQUE_ID, _SSL, _GCP, _AWS, _AZURE = 0x02, 0x03, 0x05, 0x20, 0xE0, 0xEA, 0xEE
_SSL_FIXED: Final = 5
"""Octets of PP2_TYPE_SSL before its own TLVs: `client`, a set of flags, and the result of a verification."""
_CLIENT_SSL: Final = 0x01
"""The flag for "the client connected over SSL/TLS"."""

_LINE: Final = re.compile(
    rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})"
)
_UNKNOWN: Final = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?")


class ProxyHeaderError(ValueError):
    """What is wrong, as a sentence."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a header says."""

    version: int
    source: Address | None = None
    """The client's; None if the balancer speaks for itself (LOCAL) or does not know (UNKNOWN, UNSPEC): then the address
    of the connection holds."""
    source_port: int = 0
    over_tls: bool = False
    """Whether the client speaks TLS with the balancer."""
    unique_id: bytes = b""
    """Of the connection; opaque."""
    authority: bytes = b""
    """The name that the client asked for (SNI, say)."""
    endpoint: str = ""
    """Of a cloud's private link: `aws:<VPC endpoint id>`, `azure:<link id>` or `gcp:<PSC connection id>`."""


class ProxyHeaderReader:
    """Reads one header, however it is cut."""

    __slots__ = ("_octets", "header")

    def __init__(self) -> None:
        self._octets = b""
        self.header: ProxyHeader | None = None
        """Set once it is complete."""

    def __repr__(self) -> str:
        return f"<ProxyHeaderReader {self._octets[:20]!r} {self.header}>"

    @property
    def count(self) -> int:
        """Octets of the header so far."""
        return len(self._octets)

    def look(self, ahead: bytes) -> int:
        """How many of the octets `ahead`, which come next and are not empty, belong to the header: as long as it is not
        complete, that is all of them, or all that may be judged now. Raises ProxyHeaderError.
        """
        known = len(self._octets)
        octets = self._octets + ahead
        if octets.startswith(PROXY_V2):
            end = self._end_v2(octets)
        elif octets.startswith(V1_BEGINS):
            end = self._end_v1(octets)
        elif PROXY_V2.startswith(octets) or V1_BEGINS.startswith(octets):
            end = len(octets)
        else:
            raise ProxyHeaderError("the connection does not begin with a PROXY header")
        self._octets = octets[:end]
        return end - known

    def _end_v1(self, octets: bytes) -> int:
        end = octets.find(b"\r\n", 0, MAX_V1)
        if end < 0:
            if len(octets) >= MAX_V1:
                raise ProxyHeaderError(f"a PROXY header of version 1 has no end within {MAX_V1} octets")
            return len(octets)
        self.header = parse_v1(octets[:end])
        return end + 2

    def _end_v2(self, octets: bytes) -> int:
        if len(octets) < _V2_FIXED:
            return len(octets)
        end = _V2_FIXED + int.from_bytes(octets[14:16], "big")
        if end > MAX_V2:
            raise ProxyHeaderError(f"a PROXY header of {end} octets is longer than {MAX_V2}")
        if len(octets) < end:
            return len(octets)
        self.header = parse_v2(octets[:end])
        return end


def parse_v1(line: bytes) -> ProxyHeader:
    """A line without its CRLF. Raises ProxyHeaderError."""
    if _UNKNOWN.fullmatch(line):
        return ProxyHeader(1)
    found = _LINE.fullmatch(line)
    if found is None:
        raise ProxyHeaderError("a PROXY header of version 1 is not as section 2.1 of its specification says")
    family, source, destination, *ports = (part.decode() for part in found.groups())
    kind = IPv4Address if family == "TCP4" else IPv6Address
    try:
        address, _ = kind(source), kind(destination)
    except AddressValueError as error:
        raise ProxyHeaderError(f"a PROXY header names no {family} address: {error}") from None
    port, other = map(int, ports)
    if max(port, other) > 0xFFFF:
        raise ProxyHeaderError(f"a PROXY header names port {max(port, other)}")
    return ProxyHeader(1, as_meant(address), port)


def parse_v2(octets: bytes) -> ProxyHeader:
    """A whole binary header. Raises ProxyHeaderError."""
    command, family = octets[12], octets[13]
    if command not in (_LOCAL, _PROXY):
        raise ProxyHeaderError(f"a PROXY header has version and command 0x{command:02x}")
    if command == _LOCAL or family == _UNSPEC:
        return ProxyHeader(2)  # section 2.2: the rest of the header is skipped
    size = _ADDRESSES.get(family)
    if size is None:
        raise ProxyHeaderError(f"a PROXY header is for family and protocol 0x{family:02x}, which is no TCP")
    if len(octets) < _V2_FIXED + size:
        raise ProxyHeaderError("a PROXY header has no room for its addresses")
    if size == 12:
        source, port = struct.unpack_from("!I4xH", octets, _V2_FIXED)
        address: Address = IPv4Address(source)
    else:
        packed, port = struct.unpack_from("!16s16xH", octets, _V2_FIXED)
        address = as_meant(IPv6Address(packed))
    told, checked = _Told(), False
    for kind, at, value in _tlvs(octets, _V2_FIXED + size):
        told.read(kind, value)
        if kind == _CRC32C:
            if checked:  # hundreds can be right all at once, and each is computed from the whole header
                raise ProxyHeaderError("a PROXY header has two checksums")
            _check(octets, at, value)
            checked = True
    return ProxyHeader(2, address, port, told.over_tls, told.unique_id, told.authority, told.endpoint)


@dataclass(slots=True)
class _Told:
    """What TLVs (section 2.2) say that is of use; unknown ones are skipped."""

    over_tls: bool = False
    unique_id: bytes = b""
    authority: bytes = b""
    endpoint: str = ""

    def read(self, kind: int, value: bytes) -> None:
        if kind == _AUTHORITY:
            self.authority = value
        elif kind == _UNIQUE_ID:
            if len(value) > MAX_UNIQUE_ID:
                raise ProxyHeaderError(f"a PROXY header has a unique id of {len(value)} octets")
            self.unique_id = value
        elif kind == _SSL:
            if len(value) < _SSL_FIXED:
                raise ProxyHeaderError("a PROXY header has a TLV for TLS that is too short")
            for _ in _tlvs(value, _SSL_FIXED):
                """They have to fit; nothing of the client's TLS is of use here."""
            self.over_tls = bool(value[0] & _CLIENT_SSL)
        elif kind == _AWS and value[:1] == b"\x01":
            self.endpoint = f"aws:{value[1:].decode('ascii', 'backslashreplace')}"
        elif kind == _AZURE and value[:1] == b"\x01" and len(value) == 5:
            self.endpoint = f"azure:{int.from_bytes(value[1:], 'little')}"
        elif kind == _GCP and len(value) == 8:
            self.endpoint = f"gcp:{int.from_bytes(value, 'big')}"


def _tlvs(octets: bytes, at: int) -> Iterator[tuple[int, int, bytes]]:
    """Type, where the value begins, value. Raises ProxyHeaderError if the last one does not end where `octets` do."""
    while at < len(octets):
        if at + 3 > len(octets):
            raise ProxyHeaderError("a PROXY header ends within a TLV")
        kind, length = struct.unpack_from("!BH", octets, at)
        at += 3
        if at + length > len(octets):
            raise ProxyHeaderError("a PROXY header ends within a TLV")
        yield kind, at, octets[at : at + length]
        at += length


def _check(octets: bytes, at: int, value: bytes) -> None:
    """Section 2.2.3: the checksum is of the whole header with zeros in its own place."""
    if len(value) != 4:
        raise ProxyHeaderError("a PROXY header has a checksum that is none")
    if crc32c(octets[:at] + bytes(4) + octets[at + 4 :]) != int.from_bytes(value, "big"):
        raise ProxyHeaderError("a PROXY header has a wrong checksum")


def _table() -> tuple[int, ...]:
    """Of the Castagnoli polynomial, reflected."""
    table = []
    for octet in range(256):
        remainder = octet
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x82F63B78 if remainder & 1 else 0)
        table.append(remainder)
    return tuple(table)


_TABLE: Final = _table()


def crc32c(octets: bytes) -> int:
    """CRC-32C (RFC 9260 appendix A). A microsecond takes ten octets; headers have a hundred."""
    table, remainder = _TABLE, 0xFFFFFFFF
    for octet in octets:
        remainder = table[(remainder ^ octet) & 0xFF] ^ remainder >> 8
    return remainder ^ 0xFFFFFFFF
