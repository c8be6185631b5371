"""A program for a network namespace of its own: dials where routes, routers and ports say no; prints what came of it.

    unshare --net python -m tests.support.kernel_says        one JSON object: case -> [reason, detail, title]

The title is the wording's if it is a case of its own, else empty.

Routers are played by a TUN device: what is sent to [fd00:9::<type * 256 + code>] is answered with that ICMPv6 error
(RFC 4443) by a router, what is sent to [fd00:9::1:<the same>] by that address itself, and to [fd00:9::ffff] with a TCP
reset.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
import struct
import subprocess
import threading
from ipaddress import IPv6Address
from pathlib import Path

from gateway.errors import GatewayError
from gateway.upstream.dial import connected_socket

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
TCP, ICMPV6 = 6, 58
RESETS = 0xFFFF
ROUTER = IPv6Address("fd00:9::aaaa")
PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")

ICMPV6_ERRORS = {
    "no route": (1, 0),
    "administratively prohibited": (1, 1),
    "beyond scope of source": (1, 2),
    "address unreachable": (1, 3),
    "port unreachable": (1, 4),
    "source failed policy": (1, 5),
    "reject route": (1, 6),
    "error in source routing header": (1, 7),
    "headers too long": (1, 8),
    "hop limit exceeded": (3, 0),
    "erroneous header": (4, 0),
    "unknown next header": (4, 1),
}
ROUTES = ("blackhole", "unreachable", "prohibit", "throw")
SET_UP = """
ip link set lo up
ip link set tun0 up
ip -6 address add fd00:9::1/64 dev tun0 nodad
ip link set tun1 addrgenmode none
ip link set tun1 up
ip -6 route add fd00:a::/64 dev tun1
"""


def main() -> None:
    """Sets the namespace up and prints the answers."""
    device, _ = tun(b"tun0"), tun(b"tun1")
    for number, kind in enumerate(ROUTES):
        run(f"ip -6 route add {kind} fd00:{number + 1}::/64")
    for line in SET_UP.strip().splitlines():
        run(line)
    threading.Thread(target=play_router, args=(device,), daemon=True).start()
    print(json.dumps(asyncio.run(ask())))


def tun(name: bytes) -> int:
    """The other end of a network interface."""
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name, IFF_TUN | IFF_NO_PI))
    return device


def run(line: str) -> None:
    subprocess.run(line.split(), check=True)


async def ask() -> dict[str, tuple[str, str, str]]:
    says = {}
    for number, kind in enumerate(ROUTES):
        says[f"{kind} route"] = await dial(f"fd00:{number + 1}::5")
    for name, (kind, code) in ICMPV6_ERRORS.items():
        says[name] = await dial(f"fd00:9::{kind * 256 + code:x}")
        says[f"{name} of itself"] = await dial(f"fd00:9::1:{kind * 256 + code:x}")
    says["reset"] = await dial(f"fd00:9::{RESETS:x}")
    says["no port left"] = await every_port_taken()
    says["nothing leads there"] = await dial("fd00:b::5")
    run("ip -6 address flush dev tun0")
    run("ip link set lo down")  # or ::1 would be the source
    says["no address of ours"] = await dial("fd00:a::5")
    return says


async def dial(address: str, port: int = 80) -> tuple[str, str, str]:
    try:
        (await connected_socket(address, port, 5.0)).close()
    except GatewayError as error:
        return str(error.reason), error.detail, error.wording.title if error.wording else ""
    return "connected", ""


async def every_port_taken() -> tuple[str, str, str]:
    PORT_RANGE.write_text("40000 40003")
    listener = socket.create_server(("::1", 80), family=socket.AF_INET6)
    taken = []
    try:
        while len(taken) < 10:
            taken.append(await connected_socket("::1", 80, 5.0))
    except GatewayError as error:
        return str(error.reason), error.detail, error.wording.title if error.wording else ""
    finally:
        for sock in (listener, *taken):
            sock.close()
    return "connected", ""


# --- the router -----------------------------------------------------------------------------------------------------


def play_router(device: int) -> None:
    while True:
        packet = os.read(device, 2048)
        if packet[6] != TCP:
            continue
        source, destination = packet[8:24], packet[24:40]
        sender = destination
        asked = int.from_bytes(destination[-2:], "big")
        if asked == RESETS:
            kind, body = TCP, reset_to(packet[40:60])
        else:
            if not destination[-3]:
                sender = ROUTER.packed
            kind, body = ICMPV6, struct.pack("!BBHI", asked >> 8, asked & 255, 0, 0) + packet[:1232]
        at = 16 if kind == TCP else 2
        pseudo = sender + source + struct.pack("!II", len(body), kind)
        body = body[:at] + struct.pack("!H", checksum(pseudo + body)) + body[at + 2 :]
        header = struct.pack("!IHBB", 0x60000000, len(body), kind, 64) + sender + source
        os.write(device, header + body)


def reset_to(syn: bytes) -> bytes:
    source, destination, sequence = struct.unpack("!HHI", syn[:8])
    return struct.pack("!HHIIHHHH", destination, source, 0, sequence + 1, 0x5014, 0, 0, 0)


def checksum(octets: bytes) -> int:
    """RFC 1071."""
    octets += b"\0" * (len(octets) % 2)
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


if __name__ == "__main__":
    main()
