"""Which of a machine's addresses its local networks reach."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from gateway.dev.lan.interfaces import LanAddress, chosen, is_lan

UP = 0x1 | 0x40 | 0x1000
"""Up, running, multicast, as Linux has them."""


@pytest.mark.parametrize(
    ("name", "flags", "is_one"),
    [
        ("eth0", UP, True),
        ("wlp3s0", UP, True),
        ("lo", UP | 0x8, False),
        ("eth0", UP & ~0x40, False),  # no cable
        ("eth0", UP & ~0x1, False),
        ("eth0", UP & ~0x1000, False),
        ("other", UP | 0x10, False),  # point to point: somebody's private network
        ("docker0", UP, False),
        ("veth12ab", UP, False),
        ("wg0", UP, False),
    ],
)
def test_interfaces(name: str, flags: int, is_one: bool) -> None:
    assert is_lan(name, flags) is is_one


@pytest.mark.parametrize(
    ("there", "used"),
    [
        (["192.168.1.5", "fe80::1", "2001:db8::5", "fd00::5"], ["192.168.1.5", "fd00::5"]),
        (["10.0.0.5"], ["10.0.0.5"]),
        (["169.254.3.4"], ["169.254.3.4"]),  # two laptops and a cable
        (["fe80::1"], ["fe80::1%eth0"]),
        (["203.0.114.5", "2001:db8::5"], []),  # the Internet would be let in
        (["100.64.1.2"], []),  # a provider's network, or Tailscale's
        (["203.0.114.5", "fe80::1"], ["fe80::1%eth0"]),
    ],
)
def test_addresses(there: list[str], used: list[str]) -> None:
    found = chosen([LanAddress("eth0", ip_address(each)) for each in there])
    assert [each.host for each in found] == used
