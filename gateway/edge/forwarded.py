"""Who is asking: the fields that tell the app where a request came from, and whom to believe about it.

From an untrusted peer every such claim is dropped (underscore spellings too) and ours are set. From a trusted proxy
(`edge.trusted_proxies`) its claims are kept and ours appended.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from gateway.errors import GatewayError, Reason
from gateway.http.message import Fields, RequestHead, Section
from gateway.http.validate import is_authority
from gateway.observe.ids import is_acceptable

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

VIA = b"1.1 gateway"
"""Our pseudonym (RFC 9110 section 7.6.3). One name for all gateways: what loops may loop through several."""
ADDRESSES_REMEMBERED = 4096
"""Parsed peer addresses kept: whoever connects once often connects again, and balancers always do."""
SECTIONS_REMEMBERED = 4096
"""Field sections kept for (peer, scheme, authority); about 600 octets each, 3 KiB for the longest names."""
MAX_HOPS = 8
"""How often we may find ourselves in Via before it is a loop."""


@lru_cache(maxsize=ADDRESSES_REMEMBERED)
def normalized(address: str) -> Address:
    """A socket's peer address; an IPv4 peer of a dual-stack socket comes as `::ffff:a.b.c.d` and is IPv4."""
    parsed = ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed


class Peer:
    """The other end of one downstream connection. `scheme` is what it spoke to us: b"http" or b"https"."""

    __slots__ = ("_authority", "_networks", "_usual", "address", "scheme", "text", "trusted")

    def __init__(self, address: Address, scheme: bytes, trusted_proxies: Sequence[Network] = ()) -> None:
        self.address = address
        self.text = str(address)
        self.scheme = scheme
        self._networks = trusted_proxies
        self.trusted = any(address in network for network in trusted_proxies)
        self._authority = b""
        self._usual = Section([])  # what is added for `_authority` to a request that claims nothing

    def added(self, head: RequestHead) -> Section:
        """The fields to send upstream after the request's own. Raises GatewayError(proxy_loop_detected)."""
        if head.authority != self._authority:
            self._authority = head.authority
            self._usual = _usual(self.text, self.scheme, head.authority)
        return self._with_claims(head) if head.forwarding else self._usual

    def client(self, head: RequestHead) -> str:
        """The address the request came from: the last one in X-Forwarded-For that is no trusted proxy's own."""
        if self.trusted and head.forwarding:
            for claim in reversed(_claims(head, b"x-forwarded-for")):
                try:
                    address = normalized(claim.decode("latin-1"))
                except ValueError:
                    break
                if not any(address in network for network in self._networks):
                    return str(address)
        return self.text

    def request_id(self, head: RequestHead) -> bytes | None:
        """The request id a trusted proxy has already given."""
        if self.trusted:
            for claim in _claims(head, b"x-request-id")[-1:]:
                if is_acceptable(claim):
                    return claim
        return None

    def _with_claims(self, head: RequestHead) -> Section:
        via = _claims(head, b"via")
        if sum(hop.lower() == VIA for hop in via) >= MAX_HOPS:
            raise GatewayError(Reason.PROXY_LOOP_DETECTED, f"Via names this gateway {MAX_HOPS} times")
        if self.trusted:
            chain = [*_claims(head, b"x-forwarded-for"), self.text.encode()]
            scheme = (_claims(head, b"x-forwarded-proto") or [self.scheme])[0].lower()
            # Many proxies pass on what X-Forwarded-Host a client sent; in Forwarded it must not end its quotes.
            named = _claims(head, b"x-forwarded-host")[:1]
            fields = _fields(
                self.text,
                named[0] if named and is_authority(named[0]) else head.authority,
                b", ".join(chain).decode("latin-1"),
                self.client(head),
                scheme if scheme in (b"http", b"https") else self.scheme,
                b", ".join(_claims(head, b"forwarded")),
            )
        else:
            fields = self._usual.fields[:]
        if via:
            fields[-1] = (b"Via", b", ".join([*via, VIA]))
        return Section(fields)


@lru_cache(maxsize=SECTIONS_REMEMBERED)
def _usual(peer: str, scheme: bytes, authority: bytes) -> Section:
    """What is added to a request without claims. Remembered, because a balancer's connection carries many names."""
    return Section(_fields(peer, authority, peer, peer, scheme, b""))


def _fields(peer: str, authority: bytes, chain: str, client: str, scheme: bytes, forwarded: bytes) -> Fields:
    """Via stands last, where `_with_claims` finds it."""
    port = authority.rpartition(b":")[2]
    if not port.isdigit():
        port = b"443" if scheme == b"https" else b"80"
    # RFC 7239 section 6: an IPv6 address is bracketed, and with its colons quoted.
    node = f'"[{peer}]"' if ":" in peer else peer
    element = b'for=%b;host="%b";proto=%b' % (node.encode(), authority, scheme)
    return [
        (b"X-Forwarded-For", chain.encode("latin-1")),
        (b"X-Forwarded-Host", authority),
        (b"X-Forwarded-Port", port),
        (b"X-Forwarded-Proto", scheme),
        (b"X-Real-Ip", client.encode()),
        (b"Forwarded", forwarded + b", " + element if forwarded else element),
        (b"Via", VIA),
    ]


def _claims(head: RequestHead, name: bytes) -> list[bytes]:
    """The members of the list field `name` (exact spelling, lower case) among the request's claims."""
    values = [value for key, value in head.forwarding if key.lower() == name]
    return [stripped for value in values for member in value.split(b",") if (stripped := member.strip())]
