"""Which addresses may be dialed: the wall between somebody's directory record and our network.

An address is dialed only if it lies inside a configured prefix (`upstream.allow`). Special ranges (loopback,
link-local, embedded IPv4, a cloud's metadata service, …) lie inside wide prefixes by accident, so they need a listed
prefix that lies wholly inside the special range itself: `fd00::/8` does not open `fd00:ec2::254`, and only
`::1/128` opens loopback, as `gateway dev` does.

Sandboxes are reached over IPv6 only, so `upstream.allow` cannot list an IPv4 prefix; `gateway dev` on a machine without
IPv6 lists 127.0.0.1/32 itself. A sandbox's IPv4 address is only looked at (`diagnosis.port_probe`), by the same rule
and `upstream.allow_ipv4`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network

from gateway import errnos
from gateway.addresses import Address, Bound, authority, bind_error, leads_to, literal
from gateway.errors import GatewayError, Reason

Network = IPv4Network | IPv6Network

SPECIAL_RANGES: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(prefix), what)
    for prefix, what in (
        ("::/128", "the unspecified address"),
        ("::1/128", "loopback"),
        ("::/96", "an IPv4-compatible address"),
        ("::ffff:0:0/96", "an IPv4-mapped address"),
        ("::ffff:0:0:0/96", "an IPv4-translated address"),
        ("64:ff9b::/96", "a NAT64 address"),
        ("64:ff9b:1::/48", "a local NAT64 address"),
        ("100::/64", "the discard prefix"),
        ("2001::/32", "a Teredo address"),
        ("2001:db8::/32", "a documentation address"),
        ("3fff::/20", "a documentation address"),
        ("2002::/16", "a 6to4 address"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a site-local address"),
        ("ff00::/8", "a multicast address"),
        ("fd00:ec2::254/128", "a cloud metadata address"),
        ("fd00:ec2::/32", "a cloud service address"),
        ("fd20:ce::254/128", "a cloud metadata address"),
        ("169.254.169.254/32", "a cloud metadata address"),  # AWS, Google Cloud, Azure and most others
        ("100.100.100.200/32", "a cloud metadata address"),  # Alibaba Cloud
        ("168.63.129.16/32", "a cloud service address"),  # Azure's host
        ("192.0.0.192/32", "a cloud metadata address"),  # Oracle Cloud
        ("255.255.255.255/32", "the broadcast address"),
        ("0.0.0.0/8", "the unspecified address or its network"),  # on Linux 0.0.0.0 is this machine
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "a link-local address"),
        ("224.0.0.0/4", "a multicast address"),
        ("240.0.0.0/4", "a reserved address"),
    )
)
"""Range and its name, most specific first where they overlap (RFC 6890 and successors; AWS and GCP metadata)."""


def special_range(address: Address, allow: Sequence[Network]) -> str | None:
    """The special range of `address` that no prefix of `allow` opens; None: it is ordinary, or opened."""
    for special, what in SPECIAL_RANGES:
        if address in special:
            # Of two prefixes that contain one address, the longer lies inside the other.
            opened = any(net.prefixlen >= special.prefixlen for net in allow if address in net)
            return None if opened else what
    return None


class AddressPolicy:
    """`allow` are the prefixes of `upstream.allow`; `own` are our listeners."""

    __slots__ = ("_allow", "_own")

    def __init__(self, allow: Sequence[Network], own: Sequence[Bound] = ()) -> None:
        self._allow = tuple(allow)
        self._own = tuple(own)

    @property
    def allowed(self) -> str:
        """The setting and what it lists, for whoever writes records; no visitor's business."""
        return f"upstream.allow lists {', '.join(map(str, self._allow)) or 'nothing'}"

    def check(self, address: Address, port: int) -> None:
        """Raises GatewayError(destination_ip_prohibited) saying which rule forbids to dial `address`."""
        self.check_address(address)
        if leads_to(self._own, address, port, _is_local):
            detail = f"{authority(address, port)} is this gateway's own listener"
            raise GatewayError(Reason.DESTINATION_IP_PROHIBITED, detail)

    def check_address(self, address: Address) -> None:
        """As `check`, where there is no port yet: of a record that is about to be written."""
        if why := self.why_prohibited(address):
            raise GatewayError(Reason.DESTINATION_IP_PROHIBITED, f"{literal(address)} is {why}")

    def why_prohibited(self, address: Address) -> str | None:
        """What `address` is, so that it must not be dialed; None: it may be."""
        is_allowed = any(address in network for network in self._allow)
        if isinstance(address, IPv4Address):
            if not is_allowed:
                return "an IPv4 address"
        elif address.scope_id is not None:
            return "an address with a zone id"
        what = special_range(address, self._allow)
        return what if what or is_allowed else "outside the allowed prefixes (upstream.allow)"


def _is_local(address: Address) -> bool:
    """As `is_own`, and in doubt it is: an error that says nothing of the address opens no way to ourselves.

    Raises GatewayError if there is no socket to ask with: then there is none to dial with, either.
    """
    failure = bind_error(address)
    if failure in errnos.EXHAUSTED:
        raise GatewayError(errnos.MEANINGS[failure].dialing, f"socket for {literal(address)}: {os.strerror(failure)}")
    return failure not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
