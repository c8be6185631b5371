"""Which addresses this machine has in its local networks. Asks the system, and knows nothing of who listens there.

Of IPv4 those for private use, of IPv6 unique local ones: at a global address the Internet would be let in. A link-local
one is used only where its interface has no other, for few programs can do anything with one that a name stands for.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
from ipaddress import ip_address, ip_network
from typing import NamedTuple

import ifaddr

from gateway.addresses import Address, family

_NO_LAN = (
    *("docker", "br-", "veth", "cni", "podman", "lxc", "lxdbr", "virbr", "vnet", "vmnet", "vboxnet", "bridge"),
    *("tun", "tap", "wg", "ppp", "utun", "tailscale", "zt"),
    *("awdl", "llw"),
)
"""How interfaces are called that lead to containers and virtual machines of this machine, into somebody's private
network, or to Apple's devices directly."""
_UNIQUE_LOCAL = ip_network("fc00::/7")

# linux/sockios.h and linux/if.h; on macOS sys/sockio.h and net/if.h
_GET_FLAGS, _MULTICAST = (0xC0206911, 0x8000) if sys.platform == "darwin" else (0x8913, 0x1000)
_UP, _LOOPBACK, _POINT_TO_POINT, _RUNNING = 0x1, 0x8, 0x10, 0x40
_IFREQ = struct.Struct("16sH22x")


class LanAddress(NamedTuple):
    """One address of one interface."""

    interface: str
    address: Address

    @property
    def host(self) -> str:
        """As a socket binds it: a link-local address says where."""
        return f"{self.address}%{self.interface}" if self.address.is_link_local and self.is_ipv6 else str(self.address)

    @property
    def is_ipv6(self) -> bool:
        return self.address.version == 6


def lan_addresses() -> list[LanAddress]:
    """Those of interfaces that are up and connected, IPv4 first. They can be bound to: a new IPv6 address only after it
    was found to be nobody else's.
    """
    found: list[LanAddress] = []
    for adapter in ifaddr.get_adapters():
        if is_lan(adapter.name, _flags(adapter.name)):
            found += chosen([_address(adapter.name, each) for each in adapter.ips])
    found = [each for each in found if _can_be_bound(each)]
    return sorted(found, key=lambda each: (each.address.version, each.interface, each.address.packed))


def is_lan(name: str, flags: int) -> bool:
    """Whether an interface leads to a local network, by its name and flags."""
    needed = _UP | _RUNNING | _MULTICAST
    return flags & (needed | _LOOPBACK | _POINT_TO_POINT) == needed and not name.startswith(_NO_LAN)


def chosen(addresses: list[LanAddress]) -> list[LanAddress]:
    """Of one interface."""
    routed = [each for each in addresses if each.address in _UNIQUE_LOCAL or _is_private4(each.address)]
    return routed or [each for each in addresses if each.is_ipv6 and each.address.is_link_local]


def _is_private4(address: Address) -> bool:
    return address.version == 4 and address.is_private and not address.is_loopback


def _address(interface: str, found: ifaddr.IP) -> LanAddress:
    text = found.ip[0] if isinstance(found.ip, tuple) else found.ip
    return LanAddress(interface, ip_address(text.partition("%")[0]))


def _can_be_bound(address: LanAddress) -> bool:
    try:
        with socket.socket(family(address.host), socket.SOCK_DGRAM) as sock:
            sock.bind(socket.getaddrinfo(address.host, 0, flags=socket.AI_NUMERICHOST)[0][4])
    except OSError:
        return False
    return True


def _flags(name: str) -> int:
    """Of an interface; 0: it is gone."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            flags: int = _IFREQ.unpack(fcntl.ioctl(sock, _GET_FLAGS, _IFREQ.pack(name.encode(), 0)))[1]
            return flags
    except OSError:
        return 0
