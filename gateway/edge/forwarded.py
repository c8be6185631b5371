"""Forwarded and X-Forwarded-*: what the app is told of a request's origin, and which claims about it are believed.

From an untrusted peer every claim is dropped (underscore spellings too) and ours are set. From a trusted proxy
(`edge.trusted_proxies`) the claims are read, and both lists go on with the same content, our element last:

- **X-Forwarded-For is the proxy's**, because every balancer that forwards HTTP appends to it; Forwarded is then written
  anew from it. Most balancers know nothing of Forwarded and pass on the client's.
- A proxy that sends no X-Forwarded-For is believed in Forwarded, and X-Forwarded-For is written from that. If the last
  member of X-Forwarded-For is no node (nginx behind a Unix socket appends `unix:`), the client is unknown, and
  Forwarded, which is the client's then, is not read.
- The *client* is the last node named that is no trusted proxy. Nodes before it are the client's own claims: they go on,
  for whoever counts hops, but without their scheme, host and interfaces.
- X-Forwarded-Proto and -Host may be lists: the member as far from the end as the client counts, which the proxy next to
  the client has set. The port is the host's, whatever X-Forwarded-Port says.
- `ws` and `wss` (from Traefik, for WebSockets) are `http` and `https`, with which a handshake begins.
- Other fields with the client's address (CF-Connecting-IP, True-Client-IP, …) go on if they agree: most proxies pass on
  the client's own, and only those that set them agree with X-Forwarded-For.

Apps take Forwarded's values as they stand, quotes included, so a host that would need them is not written: one with a
port is in X-Forwarded-Host only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from typing import Final, NamedTuple

from gateway.errors import GatewayError, Reason
from gateway.http.fields import CLIENT_NAMES
from gateway.http.forwarding import (
    Address,
    Element,
    Node,
    is_host,
    members,
    node_of,
    normalized,
    parse_chain,
    parse_forwarded,
    parse_node,
    write_element,
)
from gateway.http.message import Fields, FieldSection, RequestHead
from gateway.http.proxy_protocol import ProxyHeader
from gateway.observe.access_log import ProxyInfo, shown
from gateway.observe.ids import ConnectionIds, is_acceptable
from gateway.printable import printable_ascii

Network = IPv4Network | IPv6Network

VIA: Final = b"1.1 gateway"
"""Our pseudonym (RFC 9110 section 7.6.3). One name for all gateways: what loops may loop through several."""
VIA_HTTP_2: Final = b"2.0 gateway"
"""The same of what came by HTTP/2: the version stands for how a message was received."""
_OURS: Final = re.compile(rb"[12]\.[01][ \t]+gateway(?![^\t ,(])")
"""Our hop in a Via, in lower case, with whatever is optional: the name of HTTP, blanks, a comment. One search that
begins with two digits, because a request can name thousands."""
SECTIONS_CACHED: Final = 4096
"""Field sections by (peer, scheme, authority, version); about 600 octets each, 3 KiB for the longest names."""
RESOLVED_CACHED: Final = 4096
"""`ForwardedInfo` by trusted proxy, authority and claims; about 2 KiB each."""
MAX_CACHED: Final = 256
"""Octets of claims that are cached: a client can send longer ones, each different."""
MAX_FOREIGN_ID: Final = 128
"""Octets of somebody else's request id that are written down: as many as one that is believed may have."""
MAX_VIAS: Final = 8
"""How often we may find ourselves in Via before it is a loop."""

_CLAIMS: Final = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded")
_SCHEMES: Final = {b"http": b"http", b"https": b"https", b"ws": b"http", b"wss": b"https"}

_Lines = tuple[bytes, ...]
"""The values of one field name, line by line."""


class TrustedProxy:
    """The same object for the same values (`_proxy`): a cheap cache key."""

    __slots__ = ("networks", "node", "scheme")

    def __init__(self, address: Address, scheme: bytes, networks: tuple[Network, ...]) -> None:
        self.node = node_of(address)
        self.scheme = scheme
        self.networks = networks  # of all trusted proxies


class ForwardedInfo(NamedTuple):
    """Where a request came from, by the claims of a trusted proxy."""

    client: Address | None
    """None: only trusted proxies are named, or an obfuscated node."""
    fields: Fields


class Peer:
    """The other end of one downstream connection. `scheme` is what it spoke to us: b"http" or b"https"."""

    __slots__ = (
        "_authority",
        "_proxy",
        "_usual",
        "address",
        "ids",
        "protocol",
        "proxy",
        "scheme",
        "text",
        "tls",
        "trusted",
        "via",
    )

    def __init__(
        self,
        address: Address,
        scheme: bytes,
        trusted_proxies: Sequence[Network] = (),
        header: ProxyHeader | None = None,
    ) -> None:
        """`address` is what the PROXY protocol's `header` says, if there is one and it says so."""
        self.proxy = proxy_info(header) if header is not None else None
        self.ids = ConnectionIds(header.unique_id) if header is not None and is_acceptable(header.unique_id) else None
        """Makes request ids; None: the worker's own."""
        self.address = address
        self.text = str(address)
        self.scheme = scheme
        self.protocol = "HTTP/1.1"
        """What is spoken, as far as is known."""
        self.via = VIA
        """What we are called in Via."""
        self.tls = ""
        """The version that ended here, as OpenSSL has it: `TLSv1.3`."""
        self.trusted = any(address in network for network in trusted_proxies)
        self._proxy = _proxy(address, scheme, tuple(trusted_proxies)) if self.trusted else None
        self._authority = b""
        self._usual = FieldSection.of([])  # what is added for `_authority` to a request that claims nothing

    def added(self, head: RequestHead) -> FieldSection:
        """The fields to send upstream after the request's own. Raises GatewayError(proxy_loop_detected)."""
        if head.authority != self._authority:
            self._authority = head.authority
            self._usual = _usual(self.text, self.scheme, head.authority, self.via)
        return self._with_claims(head) if head.forwarding else self._usual

    def client(self, head: RequestHead) -> Address | None:
        """The client of this trusted proxy; None if it is none, or does not say."""
        return _forwarded_info(self._proxy, head).client if self._proxy is not None and head.forwarding else None

    def request_id(self, head: RequestHead) -> bytes | None:
        """The X-Request-Id of a trusted proxy."""
        if self.trusted:
            for claim in members(_lines(head, b"x-request-id"))[-1:]:
                if is_acceptable(claim):
                    return claim
        return None

    def unused_request_id(self, head: RequestHead, used: bytes) -> str:
        """The X-Request-Id that came with a request which goes by another one, `used`, as a log may show it."""
        claims = _lines(head, b"x-request-id")
        if not claims or used in claims:
            return ""
        return printable_ascii(b", ".join(claims)[:MAX_FOREIGN_ID].decode("latin-1"), "·")

    def _with_claims(self, head: RequestHead) -> FieldSection:
        via = _lines(head, b"via")
        if via and sum([len(_OURS.findall(line.lower())) for line in via]) >= MAX_VIAS:
            raise GatewayError(Reason.PROXY_LOOP_DETECTED, f"Via names this gateway {MAX_VIAS} times")
        if self._proxy is None:
            if not via:
                return self._usual
            fields = self._usual.fields[:-1]
        else:
            info = _forwarded_info(self._proxy, head)
            fields = [*_confirmed(head, info.client), *info.fields]
        fields.append((b"Via", b", ".join([*filter(None, via), self.via])))
        return FieldSection.of(fields)


def proxy_info(header: ProxyHeader) -> ProxyInfo | None:
    """What the access log has of a header, if it has anything."""
    authority = shown(header.authority.decode(errors="backslashreplace"))
    unique_id = "" if is_acceptable(header.unique_id) else header.unique_id.hex()  # else it is in the request's
    return (
        ProxyInfo(shown(header.endpoint), authority, unique_id) if header.endpoint or authority or unique_id else None
    )


def _confirmed(head: RequestHead, client: Address | None) -> Fields:
    """Other fields with the client's address, as far as they agree."""
    confirmed: dict[bytes, tuple[bytes, bytes]] = {}
    for name, value in head.forwarding:
        lowered = name.lower()
        if lowered in CLIENT_NAMES and client is not None:
            node = parse_node(value)
            if node is not None and node.address == client:
                confirmed[lowered] = (name, node.text.encode())
    return list(confirmed.values())


def _forwarded_info(proxy: TrustedProxy, head: RequestHead) -> ForwardedInfo:
    claims = tuple([_lines(head, name) for name in _CLAIMS])
    if sum([len(line) for lines in claims for line in lines]) > MAX_CACHED:
        return _resolve(proxy, head.authority, claims)
    return _resolve_cached(proxy, head.authority, claims)


def _lines(head: RequestHead, name: bytes) -> _Lines:
    """The values of the field `name` (exact spelling, lower case) among the request's claims."""
    return tuple([value for key, value in head.forwarding if key.lower() == name])


def _resolve(proxy: TrustedProxy, authority: bytes, claims: tuple[_Lines, ...]) -> ForwardedInfo:
    """By the rules above."""
    chain, protos, hosts, forwarded = claims
    appends = bool(members(chain))
    elements = [Element(node, {}) for node in parse_chain(chain)] if appends else parse_forwarded(forwarded)
    client, met = _client(elements, proxy.networks)
    said = elements[met].parameters if elements else {}
    distance = max(len(elements) - met, 1)
    schemes = (said.get(b"proto", b"").lower(), _member(protos, distance).lower())
    scheme = next((_SCHEMES[each] for each in schemes if each in _SCHEMES), proxy.scheme)
    names = (said.get(b"host", b""), _member(hosts, distance))
    host = next((each for each in names if is_host(each)), authority)
    if appends:
        said.update({b"host": host, b"proto": scheme})
    elif b"proto" in said:
        said[b"proto"] = scheme
    for element in elements[:met]:
        element.parameters.clear()
    node = node_of(client) if client is not None else proxy.node
    return ForwardedInfo(client, _fields(elements, node, proxy.node, host, scheme))


_resolve_cached = lru_cache(maxsize=RESOLVED_CACHED)(_resolve)
_proxy = lru_cache(maxsize=SECTIONS_CACHED)(TrustedProxy)


def _client(elements: Sequence[Element], networks: Sequence[Network]) -> tuple[Address | None, int]:
    """The last node that is no trusted proxy, if not obfuscated, and its index; 0 if all are trusted."""
    for index in range(len(elements) - 1, -1, -1):
        address = elements[index].node.address
        if address is None or not any(address in network for network in networks):
            return address, index
    return None, 0


def _member(lines: _Lines, distance: int) -> bytes:
    """The member of a list that stands `distance` from its end, or its first: not every proxy appends. Empty: none."""
    found = members(lines)
    return found[-min(distance, len(found))] if found else b""


@lru_cache(maxsize=SECTIONS_CACHED)
def _usual(peer: str, scheme: bytes, authority: bytes, via: bytes) -> FieldSection:
    """What is added to a request without claims. Cached, because a balancer's connection carries many names."""
    node = node_of(normalized(peer))
    return FieldSection.of([*_fields([], node, node, authority, scheme), (b"Via", via)])


def _fields(elements: Sequence[Element], client: Node, peer: Node, host: bytes, scheme: bytes) -> Fields:
    """`elements` came before ours, of `peer`. All but Via."""
    _, _, port = host[host.find(b"]") + 1 :].partition(b":")
    if not port or not is_host(host):
        port = b"443" if scheme == b"https" else b"80"
    port = port.lstrip(b"0")  # which it may have before it (RFC 3986 section 3.2.3)
    elements = [*elements, Element(peer, {b"host": host, b"proto": scheme})]
    return [
        (b"X-Forwarded-For", ", ".join([element.node.text for element in elements]).encode()),
        (b"X-Forwarded-Host", host),
        (b"X-Forwarded-Port", port),
        (b"X-Forwarded-Proto", scheme),
        (b"X-Real-Ip", client.text.encode()),
        (b"Forwarded", b", ".join(map(write_element, elements))),
    ]
