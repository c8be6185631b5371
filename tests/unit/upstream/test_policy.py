"""Which addresses are dialed: every special range, what opens it and what does not, and never ourselves."""

from __future__ import annotations

import errno
import os
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest

from gateway.addresses import Address, authority, literal
from gateway.errors import GatewayError, Reason
from gateway.upstream.policy import SPECIAL_RANGES, AddressPolicy

ULA = ("fd00::/8",)
EVERYTHING = ("::/0",)
OUTSIDE = "outside the allowed prefixes (upstream.allow)"

ROWS = [
    # address, upstream.allow, the rule that forbids it (None: it is dialed)
    # --- the allowed prefixes
    ("fd00::5", ULA, None),
    ("fd00:1234::", ULA, None),
    ("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ULA, None),
    ("fc00::1", ULA, OUTSIDE),
    ("fe00::1", ULA, OUTSIDE),
    ("2a00::1", ULA, OUTSIDE),
    ("fd00::5", (), OUTSIDE),
    ("fd00::5", ("fd00::5/128",), None),
    ("fd00::6", ("fd00::5/128",), OUTSIDE),
    ("fd12:3456:789a:1::5", ("fd12:3456:789a:1::/64",), None),
    ("fd12:3456:789a:2::5", ("fd12:3456:789a:1::/64",), OUTSIDE),
    ("2a01:4f8::1", ("fd00::/8", "2a01:4f8::/32"), None),
    ("2a01:4f9::1", ("fd00::/8", "2a01:4f8::/32"), OUTSIDE),
    ("2001:db7::1", EVERYTHING, None),
    ("2a00:1450:4001:80b::200e", EVERYTHING, None),
    # --- a special range is forbidden inside a prefix that is wider than it
    ("::", EVERYTHING, "the unspecified address"),
    ("::1", EVERYTHING, "loopback"),
    ("::2", EVERYTHING, "an IPv4-compatible address"),
    ("::7f00:1", EVERYTHING, "an IPv4-compatible address"),
    ("::169.254.169.254", EVERYTHING, "an IPv4-compatible address"),
    ("::ffff:127.0.0.1", EVERYTHING, "an IPv4-mapped address"),
    ("::ffff:10.0.0.1", EVERYTHING, "an IPv4-mapped address"),
    ("::ffff:169.254.169.254", EVERYTHING, "an IPv4-mapped address"),
    ("::ffff:0:7f00:1", EVERYTHING, "an IPv4-translated address"),
    ("64:ff9b::7f00:1", EVERYTHING, "a NAT64 address"),
    ("64:ff9b::169.254.169.254", EVERYTHING, "a NAT64 address"),
    ("64:ff9b:1::1", EVERYTHING, "a local NAT64 address"),
    ("64:ff9b:1:ffff:ffff:ffff:a9fe:a9fe", EVERYTHING, "a local NAT64 address"),
    ("100::1", EVERYTHING, "the discard prefix"),
    ("2001::1", EVERYTHING, "a Teredo address"),
    ("2001:0:7f00:1::", EVERYTHING, "a Teredo address"),
    ("2001:db8::1", EVERYTHING, "a documentation address"),
    ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", EVERYTHING, "a documentation address"),
    ("3fff::1", EVERYTHING, "a documentation address"),
    ("2002::1", EVERYTHING, "a 6to4 address"),
    ("2002:7f00:1::1", EVERYTHING, "a 6to4 address"),
    ("fe80::1", EVERYTHING, "a link-local address"),
    ("febf:ffff::1", EVERYTHING, "a link-local address"),
    ("fec0::1", EVERYTHING, "a site-local address"),
    ("ff00::1", EVERYTHING, "a multicast address"),
    ("ff02::1", EVERYTHING, "a multicast address"),
    ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", EVERYTHING, "a multicast address"),
    # --- the neighbours of a special range are ordinary
    ("::1:0:0", ("::/0",), None),
    ("64:ff9b::1:0:0", EVERYTHING, None),
    ("64:ff9b:2::1", EVERYTHING, None),
    ("2001:1::1", EVERYTHING, None),
    ("2001:db9::1", EVERYTHING, None),
    ("2003::1", EVERYTHING, None),
    ("fe7f::1", EVERYTHING, None),
    ("feff::1", EVERYTHING, "a site-local address"),
    # --- cloud metadata lies inside fd00::/8
    ("fd00:ec2::254", ULA, "a cloud metadata address"),
    ("fd00:ec2::254", ("fd00:ec2::/32",), "a cloud metadata address"),
    ("fd00:ec2::254", ("fd00:ec2::/64",), "a cloud metadata address"),
    ("fd00:ec2::254", ("fd00:ec2::254/128",), None),
    ("fd00:ec2::23", ULA, "a cloud service address"),
    ("fd00:ec2::23", ("fd00:ec2::/32",), None),
    ("fd00:ec1:ffff::1", ULA, None),
    ("fd00:ec3::1", ULA, None),
    ("fd20:ce::254", ULA, "a cloud metadata address"),
    ("fd20:ce::254", ("fd20:ce::/32",), "a cloud metadata address"),
    ("fd20:ce::254", ("fd20:ce::254/128",), None),
    ("fd20:ce::253", ULA, None),
    # --- a special range is opened by a prefix wholly inside it, and by nothing else
    ("::1", ("::1/128",), None),
    ("::1", ("::/127",), "loopback"),
    ("::1", ("::/96",), "loopback"),
    ("::1", ("::2/128",), "loopback"),
    ("::", ("::1/128",), "the unspecified address"),
    ("::", ("::/128",), None),
    ("::2", ("::1/128",), "an IPv4-compatible address"),
    ("::2", ("::/96",), None),
    ("fd00::5", ("::1/128",), OUTSIDE),
    ("::1", ("fd00::/8", "::1/128"), None),
    ("::1", ("::/0", "::1/128"), None),
    ("::ffff:127.0.0.1", ("::1/128",), "an IPv4-mapped address"),
    ("::ffff:10.0.0.1", ("::ffff:0:0/96",), None),
    ("::ffff:10.0.0.1", ("::ffff:10.0.0.0/104",), None),
    ("::ffff:11.0.0.1", ("::ffff:10.0.0.0/104",), "an IPv4-mapped address"),
    ("::ffff:10.0.0.1", ("::/64",), "an IPv4-mapped address"),
    ("fe80::1", ("fe80::/10",), None),
    ("fe80::1", ("fe80::/64",), None),
    ("fe80:0:0:1::1", ("fe80::/64",), "a link-local address"),
    ("fe80::1", ("fe80::/9",), "a link-local address"),
    ("2001:db8::1", ("2001:db8::/32",), None),
    ("2001:db8::1", ("2001:db8::/48",), None),
    ("2001:db8:1::1", ("2001:db8::/48",), "a documentation address"),
    ("2001:db8::1", ("2001::/16",), "a documentation address"),
    ("64:ff9b::1", ("64:ff9b::/96",), None),
    ("64:ff9b:1::1", ("64:ff9b::/32",), "a local NAT64 address"),
    ("2002::1", ("2002::/16",), None),
    ("2001::1", ("2001::/32",), None),
    ("ff02::1", ("ff02::/16",), None),
    # --- a zone id is refused even where the address would be allowed
    ("fe80::1%eth0", ("fe80::/10",), "an address with a zone id"),
    ("fe80::1%1", EVERYTHING, "an address with a zone id"),
    ("fd00::5%lo", ULA, "an address with a zone id"),
    ("::1%lo", ("::1/128",), "an address with a zone id"),
]


def refusal(policy: AddressPolicy, address: str, port: int = 5000) -> str | None:
    """The rule that forbids to dial `address`, in the error's own words."""
    try:
        policy.check(ip_address(address), port)
    except GatewayError as error:
        assert error.reason is Reason.DESTINATION_IP_PROHIBITED
        start = f"{literal(ip_address(address))} is "
        if OURSELVES in error.detail:
            start = f"{authority(ip_address(address), port)} is "
        assert error.detail.startswith(start)
        return error.detail.removeprefix(start)
    return None


@pytest.mark.parametrize(("address", "allow", "rule"), ROWS)
def test_an_address_is_dialed_or_the_rule_is_named(address: str, allow: tuple[str, ...], rule: str | None) -> None:
    policy = AddressPolicy([IPv6Network(prefix) for prefix in allow])
    assert refusal(policy, address) == rule


REFUSED = ["::/128", "::1/128", "::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"]
REFUSED += ["2001:db8::/32", "fe80::/10", "ff00::/8", "fd00:ec2::254/128", "fd20:ce::254/128"]


@pytest.mark.parametrize("prefix", REFUSED)
def test_every_range_that_must_be_refused_is_in_the_table(prefix: str) -> None:
    network = IPv6Network(prefix)
    assert network in [special for special, _ in SPECIAL_RANGES]
    policy = AddressPolicy([IPv6Network("::/0"), IPv6Network("fd00::/8")])
    for address in (network[0], network[-1]):
        assert refusal(policy, str(address)) is not None


def test_the_more_specific_range_stands_first() -> None:
    """The first that contains an address decides: a wider one before it would open what it contains."""
    for index, (special, _) in enumerate(SPECIAL_RANGES):
        for earlier, _ in SPECIAL_RANGES[:index]:
            assert special == earlier or earlier.prefixlen > special.prefixlen or special[0] not in earlier


# --- IPv4: where `gateway dev` allows it, and nowhere else -----------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.5", "169.254.169.254", "0.0.0.0", "203.0.113.9"])
@pytest.mark.parametrize("allow", [EVERYTHING, ULA, ("::ffff:0:0/96",), ("::1/128",), ()])
def test_no_ipv6_prefix_opens_an_ipv4_address(address: str, allow: tuple[str, ...]) -> None:
    assert refusal(AddressPolicy([IPv6Network(prefix) for prefix in allow]), address) == "an IPv4 address"


def test_loopback_over_ipv4_opens_that_one_address() -> None:
    policy = AddressPolicy([IPv4Network("127.0.0.1/32")])
    assert refusal(policy, "127.0.0.1") is None
    assert refusal(policy, "127.0.0.2") == "an IPv4 address"
    assert refusal(policy, "::1") == "loopback"
    assert refusal(policy, "::ffff:127.0.0.1") == "an IPv4-mapped address"
    assert refusal(policy, "fd00::5") == OUTSIDE


# --- never ourselves ----------------------------------------------------------------------------------------------

OURSELVES = "this gateway's own listener"
HERE = IPv6Address("::1")
ELSEWHERE = IPv6Address("fd00::5")

LISTENERS = [
    # the listener, what is dialed, the rule
    ((ELSEWHERE, 8443), ("fd00::5", 8443), OURSELVES),
    ((ELSEWHERE, 8443), ("fd00:0:0::5", 8443), OURSELVES),
    ((ELSEWHERE, 8443), ("fd00::5", 8444), None),
    ((ELSEWHERE, 8443), ("fd00::6", 8443), None),
    ((HERE, 8443), ("::1", 8443), OURSELVES),
    ((HERE, 8443), ("::1", 5000), None),
    # what `gateway dev` listens on where there is no IPv6
    ((IPv4Address("127.0.0.1"), 8443), ("127.0.0.1", 8443), OURSELVES),
    ((IPv4Address("127.0.0.1"), 8443), ("127.0.0.1", 5000), None),
    ((IPv4Address("0.0.0.0"), 8443), ("127.0.0.1", 8443), OURSELVES),
    ((IPv4Address("0.0.0.0"), 8443), ("::1", 8443), None),
    # bound to every address: then each of this host's own is it, and no other's
    pytest.param((None, 8443), ("::1", 8443), OURSELVES, marks=pytest.mark.ipv6),
    ((None, 8443), ("127.0.0.1", 8443), OURSELVES),
    ((None, 8443), ("::1", 5000), None),
    ((None, 8443), ("fd00::5", 8443), None),
    ((None, 8443), ("fd00::5", 5000), None),
]


@pytest.mark.parametrize(("listener", "dialed", "rule"), LISTENERS)
def test_the_gateway_does_not_dial_itself(
    listener: tuple[Address | None, int], dialed: tuple[str, int], rule: str | None
) -> None:
    allow = [IPv6Network("fd00::/8"), IPv6Network("::1/128"), IPv4Network("127.0.0.1/32")]
    policy = AddressPolicy(allow, [(None, 1), listener])
    assert refusal(policy, *dialed) == rule


@pytest.mark.ipv6
def test_asking_whether_an_address_is_ours_takes_no_port() -> None:
    """The listener is bound while the policy asks, as it is in the running gateway."""
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as listener:
        listener.bind(("::1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        policy = AddressPolicy([IPv6Network("::1/128")], [(None, port)])
        assert refusal(policy, "::1", port) == OURSELVES


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EINVAL, errno.EADDRINUSE])
def test_an_address_that_cannot_be_asked_about_counts_as_ours(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """In a sandboxed service, for example: then a listener on every address is never dialed."""

    def refused(self: socket.socket, address: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket.socket, "bind", refused)
    assert refusal(AddressPolicy([IPv6Network("fd00::/8")], [(None, 8443)]), "fd00::5", 8443) == OURSELVES


def test_without_a_descriptor_nothing_is_said_about_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = AddressPolicy([IPv6Network("fd00::/8")], [(None, 8443)])

    def exhausted(*arguments: object, **keywords: object) -> socket.socket:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket, "socket", exhausted)
    with pytest.raises(GatewayError) as error:
        policy.check(IPv6Address("fd00::5"), 8443)
    assert error.value.reason is Reason.OVERLOADED
    policy.check(IPv6Address("fd00::5"), 5000)  # nobody has to be asked about this one
