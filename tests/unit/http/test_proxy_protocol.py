"""PROXY protocol headers: what they say, where they end, and what is none. Written out octet by octet."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, ip_address

import pytest

from gateway.http.greeting import PROXY_V2
from gateway.http.proxy_protocol import (
    MAX_V1,
    MAX_V2,
    ProxyHeader,
    ProxyHeaderError,
    ProxyHeaderReader,
    crc32c,
)

TCP4 = bytes([192, 0, 2, 1, 192, 0, 2, 2]) + struct.pack("!HH", 4711, 443)
TCP6 = ip_address("2001:db8::1").packed + ip_address("2001:db8::2").packed + struct.pack("!HH", 4711, 443)
CLIENT4, CLIENT6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")


def v2(command: int = 0x21, family: int = 0x11, addresses: bytes = TCP4, *tlvs: bytes) -> bytes:
    content = addresses + b"".join(tlvs)
    return PROXY_V2 + bytes([command, family]) + struct.pack("!H", len(content)) + content


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def checked(header: bytes, wrong: int = 0) -> bytes:
    """With a checksum as its last TLV."""
    (length,) = struct.unpack_from("!H", header, 14)
    header = header[:14] + struct.pack("!H", length + 7) + header[16:] + tlv(3, bytes(4))
    return header[:-4] + struct.pack("!I", crc32c(header) ^ wrong)


GOOD = {
    "v1 TCP4": (b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n", ProxyHeader(1, CLIENT4, 4711)),
    "v1 TCP6": (b"PROXY TCP6 2001:DB8::1 2001:db8::2 4711 443\r\n", ProxyHeader(1, CLIENT6, 4711)),
    "v1 mapped": (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 0 65535\r\n", ProxyHeader(1, CLIENT4, 0)),
    "v1 unknown": (b"PROXY UNKNOWN\r\n", ProxyHeader(1)),
    "v1 unknown, more": (b"PROXY UNKNOWN ffff:f... 65535 \xff\r\n", ProxyHeader(1)),
    "v1 107 octets": (b"PROXY UNKNOWN " + b"x" * (MAX_V1 - 16) + b"\r\n", ProxyHeader(1)),
    "v2 TCP4": (v2(), ProxyHeader(2, CLIENT4, 4711)),
    "v2 TCP6": (v2(0x21, 0x21, TCP6), ProxyHeader(2, CLIENT6, 4711)),
    "v2 local": (v2(0x20, 0x00, b""), ProxyHeader(2)),
    "v2 local, anything": (v2(0x20, 0x31, b"\xff" * 9), ProxyHeader(2)),
    "v2 unspec": (v2(0x21, 0x00, b""), ProxyHeader(2)),
    "v2 longest": (v2(0x21, 0x11, TCP4, tlv(4, bytes(MAX_V2 - 16 - 12 - 3))), ProxyHeader(2, CLIENT4, 4711)),
    "authority": (v2(0x21, 0x11, TCP4, tlv(2, b"a.dev")), ProxyHeader(2, CLIENT4, 4711, authority=b"a.dev")),
    "unique id": (v2(0x21, 0x11, TCP4, tlv(5, b"ab-1")), ProxyHeader(2, CLIENT4, 4711, unique_id=b"ab-1")),
    "TLS": (
        v2(0x21, 0x11, TCP4, tlv(0x20, b"\x01\0\0\0\0" + tlv(0x21, b"TLSv1.3"))),
        ProxyHeader(2, CLIENT4, 4711, over_tls=True),
    ),
    "no TLS": (v2(0x21, 0x11, TCP4, tlv(0x20, b"\x06\0\0\0\1")), ProxyHeader(2, CLIENT4, 4711)),
    "AWS": (v2(0x21, 0x11, TCP4, tlv(0xEA, b"\x01vpce-0a1")), ProxyHeader(2, CLIENT4, 4711, endpoint="aws:vpce-0a1")),
    "Azure": (
        v2(0x21, 0x11, TCP4, tlv(0xEE, b"\x01\x02\x01\0\0")),
        ProxyHeader(2, CLIENT4, 4711, endpoint="azure:258"),
    ),
    "GCP": (v2(0x21, 0x11, TCP4, tlv(0xE0, struct.pack("!Q", 77))), ProxyHeader(2, CLIENT4, 4711, endpoint="gcp:77")),
    "unknown TLVs": (
        v2(0x21, 0x11, TCP4, tlv(0x99, b""), tlv(0xEA, b"\x02x"), tlv(4, b"..")),
        ProxyHeader(2, CLIENT4, 4711),
    ),
    "checksum": (checked(v2(0x21, 0x11, TCP4, tlv(0x99, b"x"))), ProxyHeader(2, CLIENT4, 4711)),
}  # fmt: skip

BAD = {
    "two spaces": b"PROXY TCP4  192.0.2.1 192.0.2.2 4711 443\r\n",
    "a space at the end": b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443 \r\n",
    "a zero before": b"PROXY TCP4 192.0.2.01 192.0.2.2 4711 443\r\n",
    "a zero before the port": b"PROXY TCP4 192.0.2.1 192.0.2.2 04711 443\r\n",
    "a large port": b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 443\r\n",
    "the other family": b"PROXY TCP6 192.0.2.1 192.0.2.2 4711 443\r\n",
    "a zone": b"PROXY TCP6 fe80::1%1 ::1 4711 443\r\n",
    "a sign": b"PROXY TCP4 192.0.2.1 192.0.2.2 +4711 443\r\n",
    "lower case": b"PROXY tcp4 192.0.2.1 192.0.2.2 4711 443\r\n",
    "another protocol": b"PROXY UDP4 192.0.2.1 192.0.2.2 4711 443\r\n",
    "too little": b"PROXY TCP4 192.0.2.1\r\n",
    "a bare LF": b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\n\r\n",
    "a bare CR": b"PROXY UNKNOWN \rx\r\n",
    "108 octets": b"PROXY UNKNOWN " + b"x" * (MAX_V1 - 15) + b"\r\n",
    "no end": b"PROXY UNKNOWN " + b"x" * MAX_V1,
    "a request": b"GET / HTTP/1.1\r\n",
    "a request that begins alike": b"PROXYX / HTTP/1.1\r\n",
    "a ClientHello": b"\x16\x03\x01\0\x05",
    "almost a signature": PROXY_V2[:-1] + b"\r",
    "version 1, binary": v2(0x11),
    "version 3": v2(0x31),
    "another command": v2(0x22),
    "UDP": v2(0x21, 0x12),
    "Unix": v2(0x21, 0x31, bytes(216)),
    "no such family": v2(0x21, 0x41),
    "addresses cut short": v2(0x21, 0x21, TCP6[:-1]),
    "a TLV's head cut short": v2(0x21, 0x11, TCP4, b"\x04\0"),
    "a TLV cut short": v2(0x21, 0x11, TCP4, tlv(4, b"abc")[:-1]),
    "TLS cut short": v2(0x21, 0x11, TCP4, tlv(0x20, b"\1\0\0\0")),
    "TLVs of TLS cut short": v2(0x21, 0x11, TCP4, tlv(0x20, b"\1\0\0\0\0\x21")),
    "a long unique id": v2(0x21, 0x11, TCP4, tlv(5, bytes(129))),
    "a wrong checksum": checked(v2(), wrong=1),
    "a checksum of two octets": v2(0x21, 0x11, TCP4, tlv(3, b"ab")),
    "too long": PROXY_V2 + b"\x21\x11" + struct.pack("!H", MAX_V2 - 15),
}


def read(octets: bytes, size: int) -> tuple[ProxyHeader | None, bytes]:
    """The header and what follows it; at most `size` octets come at a time."""
    reader = ProxyHeaderReader()
    while octets and reader.header is None:
        belongs = reader.look(octets[:size])
        assert 0 < belongs <= min(size, len(octets))
        octets = octets[belongs:]
    return reader.header, octets


@pytest.mark.parametrize("size", [1, 2, 3, 5, 11, 16, 17, 1 << 20])
@pytest.mark.parametrize(("octets", "header"), GOOD.values(), ids=GOOD)
def test_what_follows_a_header_is_left(octets: bytes, header: ProxyHeader, size: int) -> None:
    if len(octets) > 1000 and size < 100:
        size = 997
    assert read(octets + b"\x16\x03\x01\r\n", size) == (header, b"\x16\x03\x01\r\n")


@pytest.mark.parametrize(("octets", "header"), GOOD.values(), ids=GOOD)
def test_a_header_cut_anywhere_is_the_same(octets: bytes, header: ProxyHeader) -> None:
    for cut in range(1, min(len(octets), 200)):
        reader = ProxyHeaderReader()
        assert reader.look(octets[:cut]) == cut
        assert reader.header is None
        assert reader.look(octets[cut:] + b"next") == len(octets) - cut
        assert reader.header == header


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("octets", BAD.values(), ids=BAD)
def test_what_is_no_header(octets: bytes, size: int) -> None:
    with pytest.raises(ProxyHeaderError):
        read(octets, size)


def test_the_checksum_is_castagnolis() -> None:
    """RFC 3720 section B.4."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"123456789") == 0xE3069283


def test_a_second_checksum_is_refused_however_right() -> None:
    """A header has room for hundreds, each computed from the whole. These two are right together."""
    with pytest.raises(ProxyHeaderError, match="two checksums"):
        read(v2(0x21, 0x11, TCP4, tlv(3, bytes.fromhex("b9ee3d74")), tlv(3, bytes.fromhex("a652f7b0"))), 1 << 20)


def test_a_mapped_address_is_ipv4() -> None:
    mapped = ip_address("::ffff:192.0.2.1").packed + bytes(16) + struct.pack("!HH", 1, 2)
    header, _ = read(v2(0x21, 0x21, mapped), 1 << 20)
    assert header is not None
    assert header.source == IPv4Address("192.0.2.1")
