"""PROXY headers, bent and broken, read by two programs: what we accept, an independent parser reads the same.

It is more lenient than we are (blanks, signs and zeros in numbers, checksums by choice), so what we refuse proves
nothing, except of headers that are whole: those must be accepted.
"""

from __future__ import annotations

import contextlib
import random
from ipaddress import IPv4Address, IPv6Address

import pytest
from proxyprotocol import ProxyProtocolIncompleteError
from proxyprotocol.result import ProxyResult, is_ipv4, is_ipv6
from proxyprotocol.v1 import ProxyProtocolV1
from proxyprotocol.v2 import ProxyProtocolV2

from gateway.http.forwarding import Address, as_meant
from gateway.http.greeting import PROXY_V2
from gateway.http.proxy_protocol import MAX_V2, ProxyHeader, ProxyHeaderError, ProxyHeaderReader
from tests.unit.http.test_proxy_protocol import checked, tlv, v2

COUNT = 100_000
SHARES = 4
V1, V2 = ProxyProtocolV1(), ProxyProtocolV2()
TYPES = (0x01, 0x02, 0x04, 0x05, 0x30, 0xE0, 0xEA, 0xEE, 0x99)
WORDS = (
    b" ",
    b"  ",
    b"\r",
    b"\n",
    b"\r\n",
    b"0",
    b"00",
    b"65536",
    b":",
    b"::",
    b".",
    b"%1",
    b"PROXY ",
    b"TCP4",
    b"TCP6",
)
WORDS += (b"UNKNOWN", PROXY_V2, b"\0", b"\xff", b"\x21\x11", b"\x20\x00", b"\x03\0\x04", "٣".encode())


def whole(chance: random.Random) -> bytes:
    """A header as it should be."""
    if chance.random() < 0.4:
        if chance.random() < 0.1:
            return b"PROXY UNKNOWN%b\r\n" % chance.choice((b"", b" x", b" ffff::1 ffff::2 1 2"))
        kind, family = chance.choice(((_ipv4, b"TCP4"), (_ipv6, b"TCP6")))
        ends = [str(kind(chance)).encode() for _ in range(2)]
        return b"PROXY %b %b %b %d %d\r\n" % (family, *ends, chance.randrange(65536), chance.randrange(65536))
    content = [
        tlv(chance.choice(TYPES), chance.randbytes(chance.choice((0, 1, 4, 8)))) for _ in range(chance.randrange(4))
    ]
    content += [tlv(0x20, chance.randbytes(5))] * chance.randrange(2)
    family = chance.choice((0x11, 0x21))
    size = 8 if family == 0x11 else 32
    header = v2(0x21, family, chance.randbytes(size + 4), *content)
    if chance.random() < 0.2:
        header = v2(0x20, chance.choice((0, 0x11)), b"")
    return checked(header) if chance.random() < 0.3 else header


def _ipv4(chance: random.Random) -> IPv4Address:
    return IPv4Address(chance.getrandbits(32))


def _ipv6(chance: random.Random) -> IPv6Address:
    return IPv6Address(chance.getrandbits(128) >> chance.choice((0, 64, 96, 120)))


def bent(octets: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(octets) + 1)
        how = chance.randrange(4)
        if how == 0:
            octets = octets[:at] + chance.randbytes(1) + octets[at + 1 :]
        elif how == 1:
            octets = octets[:at] + chance.choice(WORDS) + octets[at:]
        elif how == 2:
            octets = octets[:at] + octets[at + chance.randrange(1, 5) :]
        else:
            octets = octets[:at] + chance.choice(WORDS) + octets[at + chance.randrange(1, 5) :]
    return octets


def ours(octets: bytes, chance: random.Random) -> tuple[ProxyHeader | None, int]:
    """What we read, and of how many octets; None: it is no header, or not whole."""
    reader, rest = ProxyHeaderReader(), octets
    with contextlib.suppress(ProxyHeaderError):
        while rest and reader.header is None:
            piece = rest[: chance.choice((1, 7, 4096))]
            belongs = reader.look(piece)
            assert 0 < belongs <= len(piece)
            rest = rest[belongs:]
    return reader.header, len(octets) - len(rest)


def source(result: ProxyResult) -> tuple[Address, int] | None:
    if is_ipv4(result) or is_ipv6(result):
        address, port = result.source
        return as_meant(address), port
    return None


@pytest.mark.parametrize("share", range(SHARES))
def test_none_is_misread(share: int) -> None:
    chance = random.Random(share)
    accepted = 0
    for _ in range(COUNT // SHARES):
        octets = whole(chance)
        sound = chance.random() < 0.2
        if not sound:
            octets = bent(octets, chance)
        octets += b"\x16\x03\x01" * chance.randrange(2)
        header, length = ours(octets, chance)
        assert header is not None or not sound, octets
        if header is None:
            continue
        accepted += 1
        if octets[12:13] == b"\x20":
            assert header.source is None  # LOCAL: whatever else it holds is skipped, which the other reads
            continue
        parser = V2 if octets.startswith(PROXY_V2) else V1
        try:
            theirs = source(parser.unpack(octets[:length]))
        except (ValueError, ProxyProtocolIncompleteError) as error:
            raise AssertionError(f"{octets[:length]!r} is refused by the other: {error!r}") from error
        assert theirs == (None if header.source is None else (header.source, header.source_port)), octets
    assert accepted > COUNT // SHARES // 5, "enough are accepted for the comparison to mean something"


@pytest.mark.parametrize("share", range(SHARES))
def test_noise_is_read_in_bounds(share: int) -> None:
    chance = random.Random(100 + share)
    for _ in range(2000):
        begin = chance.choice((b"", PROXY_V2, b"PROXY ", PROXY_V2 + b"\x21\x11\x3f\xf0"))
        _, length = ours(begin + chance.randbytes(chance.randrange(200)), chance)
        assert length <= MAX_V2
