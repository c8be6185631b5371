"""Addresses of both families: as text, as a socket's family, and what a machine without IPv6 says of itself."""

from __future__ import annotations

import errno
import os
import resource
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NoReturn

import pytest

from gateway import addresses
from gateway.addresses import LOOPBACK, LOOPBACK4, SWITCH_ON, authority, family, is_own, lack_of_ipv6, literal

SEVERAL = [
    ("fd00::5", "[fd00::5]", "[fd00::5]:5000", socket.AF_INET6),
    ("::1", "[::1]", "[::1]:5000", socket.AF_INET6),
    ("127.0.0.1", "127.0.0.1", "127.0.0.1:5000", socket.AF_INET),
]
INTERFACE = b"00000000000000000000000000000001 01 80 10 80       lo\n"


@pytest.mark.parametrize(("text", "bracketed", "with_port", "of_family"), SEVERAL)
def test_an_address_stands_in_a_text_as_in_a_url(
    text: str, bracketed: str, with_port: str, of_family: socket.AddressFamily
) -> None:
    for address in (text, ip_address(text)):
        assert literal(address) == bracketed
        assert authority(address, 5000) == with_port
        assert family(address) == of_family


def test_this_machines_own_addresses_are_told_from_others() -> None:
    assert is_own(LOOPBACK4)
    assert not is_own(IPv4Address("192.0.2.1"))
    assert not is_own(IPv6Address("2001:db8::1"))


@pytest.mark.ipv6
def test_a_machine_with_ipv6_lacks_nothing() -> None:
    assert is_own(LOOPBACK)
    assert lack_of_ipv6() == ""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "if_inet6"


def failing(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Nothing can be bound."""

    class Socket(socket.socket):
        def __init__(self, family: int, kind: int) -> None:
            super().__init__(socket.AF_INET, kind)  # these tests run without IPv6, too

        def bind(self, address: object) -> NoReturn:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(addresses.socket, "socket", Socket)


def test_a_kernel_without_ipv6_is_told(monkeypatch: pytest.MonkeyPatch, table: Path) -> None:
    def without_inet6(family: int, kind: int) -> NoReturn:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))

    monkeypatch.setattr(addresses.socket, "socket", without_inet6)
    assert "ipv6.disable=1" in lack_of_ipv6(table)


@pytest.mark.parametrize("content", [None, b""])
def test_ipv6_that_is_switched_off_is_told_with_the_switch(
    monkeypatch: pytest.MonkeyPatch, table: Path, content: bytes | None
) -> None:
    failing(monkeypatch, errno.EADDRNOTAVAIL)
    if content is not None:
        table.write_bytes(content)
    assert lack_of_ipv6(table).startswith("IPv6 is switched off (")
    assert SWITCH_ON in lack_of_ipv6(table)


def test_ipv6_on_another_interface_than_loopback_is_ipv6(monkeypatch: pytest.MonkeyPatch, table: Path) -> None:
    failing(monkeypatch, errno.EADDRNOTAVAIL)
    table.write_bytes(INTERFACE)
    assert lack_of_ipv6(table) == ""


def test_a_failure_that_says_nothing_about_ipv6_is_no_lack_of_it(monkeypatch: pytest.MonkeyPatch, table: Path) -> None:
    failing(monkeypatch, errno.EMFILE)
    assert lack_of_ipv6(table) == ""


def test_without_a_descriptor_nobody_can_tell_whose_an_address_is() -> None:
    """“Not ours” would let a look dial the gateway's own listeners, and offer them as the sandbox's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            is_own(LOOPBACK4)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert is_own(LOOPBACK4)
