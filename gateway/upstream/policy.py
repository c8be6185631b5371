"""Which addresses may be dialed: the wall between somebody's directory record and our network.

An address is dialed only if it lies inside a configured prefix (`upstream.allow`). Special ranges (loopback,
link-local, embedded IPv4, a cloud's metadata service, …) lie inside wide prefixes by accident, so they need a listed
prefix that lies wholly inside the special range itself: `fd00::/8` does not open `fd00:ec2::254`, and only
`::1/128` opens loopback, as `gateway dev` does.

Sandboxes are reached over IPv6 only, so a configuration cannot list an IPv4 prefix. `gateway dev` on a machine without
IPv6 lists 127.0.0.1/32 itself.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from gateway import errnos
from gateway.addresses import Address, Bound, authority, family, leads_to, literal
from gateway.errors import GatewayError, Reason

SPECIAL_RANGES: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(prefix), what)
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
    )
)
"""Range and its name, most specific first where they overlap (RFC 6890 and successors; AWS and GCP metadata)."""


class AddressPolicy:
    """`allow` are the prefixes of `upstream.allow`; `own` are our listeners."""

    __slots__ = ("_allow", "_own")

    def __init__(self, allow: Sequence[IPv4Network | IPv6Network], own: Sequence[Bound] = ()) -> None:
        self._allow = tuple(allow)
        self._own = tuple(own)

    def check(self, address: Address, port: int) -> None:
        """Raises GatewayError(destination_ip_prohibited) saying which rule forbids to dial `address`."""
        self.check_address(address)
        if leads_to(self._own, address, port, _is_local):
            detail = f"{authority(address, port)} is this gateway's own listener"
            raise GatewayError(Reason.DESTINATION_IP_PROHIBITED, detail)

    def check_address(self, address: Address) -> None:
        """As `check`, where there is no port yet: of a record that is about to be written."""
        if why := self._why_not(address):
            raise GatewayError(Reason.DESTINATION_IP_PROHIBITED, f"{literal(address)} is {why}")

    def _why_not(self, address: Address) -> str | None:
        if isinstance(address, IPv4Address):
            return None if any(address in network for network in self._allow) else "an IPv4 address"
        if address.scope_id is not None:
            return "an address with a zone id"
        containing = [net for net in self._allow if isinstance(net, IPv6Network) and address in net]
        for special, what in SPECIAL_RANGES:
            if address in special:
                return None if any(network.subnet_of(special) for network in containing) else what
        return None if containing else "outside the allowed prefixes (upstream.allow)"


def _is_local(address: Address) -> bool:
    """Whether `address` is one of this host's: only then can a socket be bound to it. Sends nothing.

    Raises GatewayError if there is no socket to ask with: then there is none to dial with, either.
    """
    try:
        probe = socket.socket(family(address), socket.SOCK_DGRAM)
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:  # no address of that family is anybody's here
            return False
        meaning = errnos.MEANINGS.get(error.errno or 0)
        reason = meaning.dialing if meaning is not None else Reason.PROXY_INTERNAL_ERROR
        raise GatewayError(reason, f"socket for {literal(address)}: {error.strerror}") from error
    with probe:
        try:
            probe.bind((str(address), 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True
