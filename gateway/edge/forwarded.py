"""Who is asking: the fields that tell the app where a request came from, and whom to believe about it.

From an untrusted peer every such claim is dropped (underscore spellings too) and ours are set. From a trusted proxy
(`edge.trusted_proxies`) its claims are read, and what goes on is one story, told in both lists, ours last:

- **X-Forwarded-For is the proxy's word**, because every balancer that forwards HTTP appends to it; Forwarded is then
  written anew from it. Most balancers know nothing of Forwarded and pass on what a visitor wrote there.
- A proxy that sends no X-Forwarded-For is believed in Forwarded, and X-Forwarded-For is written from that. One whose
  last member is no node (nginx behind a Unix socket appends `unix:`) has spoken all the same: nobody is named, and
  Forwarded, which is the visitor's then, is not asked.
- The *client* is the last one named who is no trusted proxy. What stands before it was said by the client itself: its
  names go on, for whoever counts hops, but nothing that was said about scheme, host or interfaces.
- Of X-Forwarded-Proto and -Host, which may be lists, the member counts that stands as far from the end as the client
  does: it is the word of the proxy that met the client. The port is the host's, whatever X-Forwarded-Port says.
- `ws` and `wss` (Traefik says so of WebSockets) are `http` and `https`, with which a handshake begins.
- Other names for the client (CF-Connecting-IP, True-Client-IP, …) go on if they name the same one: most proxies pass on
  what a visitor wrote there, and only those that set them agree with X-Forwarded-For.

Apps take Forwarded's values as they stand, quotes included, so a host that would need them is not written: one with a
port is in X-Forwarded-Host only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

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
from gateway.http.message import Fields, RequestHead, Section
from gateway.observe.ids import is_acceptable

Network = IPv4Network | IPv6Network

VIA = b"1.1 gateway"
"""Our pseudonym (RFC 9110 section 7.6.3). One name for all gateways: what loops may loop through several."""
_OURS = re.compile(rb"1\.1[ \t]+gateway(?![^\t ,(])")
"""Our hop in a Via, in lower case, with whatever is optional: the name of HTTP, blanks, a comment. One search that
begins with a literal, because a visitor can name thousands."""
SECTIONS_REMEMBERED = 4096
"""Field sections kept for (peer, scheme, authority); about 600 octets each, 3 KiB for the longest names."""
STORIES_REMEMBERED = 4096
"""Stories of trusted proxies kept; about 2 KiB each."""
LONGEST_REMEMBERED = 256
"""Octets of claims in a story that is kept: a visitor can make them longer, and each different."""
MAX_VIAS = 8
"""How often we may find ourselves in Via before it is a loop."""

_CLAIMS = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded")
_SCHEMES = {b"http": b"http", b"https": b"https", b"ws": b"http", b"wss": b"https"}

_Lines = tuple[bytes, ...]
"""The values of one field name, line by line."""


class Proxy:
    """A trusted peer, and what its stories are judged by. The same object for the same values: it is a cheap key."""

    __slots__ = ("networks", "node", "scheme")

    def __init__(self, address: Address, scheme: bytes, networks: tuple[Network, ...]) -> None:
        self.node = node_of(address)
        self.scheme = scheme
        self.networks = networks  # whom else to believe


class Story(NamedTuple):
    """What a trusted proxy's request says about where it came from."""

    client: Address | None
    """None: only trusted proxies are named, or the one who is not wants to stay unknown."""
    fields: Fields


class Peer:
    """The other end of one downstream connection. `scheme` is what it spoke to us: b"http" or b"https"."""

    __slots__ = ("_authority", "_proxy", "_usual", "address", "scheme", "text", "trusted")

    def __init__(self, address: Address, scheme: bytes, trusted_proxies: Sequence[Network] = ()) -> None:
        self.address = address
        self.text = str(address)
        self.scheme = scheme
        self.trusted = any(address in network for network in trusted_proxies)
        self._proxy = _proxy(address, scheme, tuple(trusted_proxies)) if self.trusted else None
        self._authority = b""
        self._usual = Section([])  # what is added for `_authority` to a request that claims nothing

    def added(self, head: RequestHead) -> Section:
        """The fields to send upstream after the request's own. Raises GatewayError(proxy_loop_detected)."""
        if head.authority != self._authority:
            self._authority = head.authority
            self._usual = _usual(self.text, self.scheme, head.authority)
        return self._with_claims(head) if head.forwarding else self._usual

    def client(self, head: RequestHead) -> Address | None:
        """Who asked this trusted proxy; None if it is none, or does not say."""
        return _story(self._proxy, head).client if self._proxy is not None and head.forwarding else None

    def request_id(self, head: RequestHead) -> bytes | None:
        """The request id a trusted proxy has already given."""
        if self.trusted:
            for claim in members(_lines(head, b"x-request-id"))[-1:]:
                if is_acceptable(claim):
                    return claim
        return None

    def _with_claims(self, head: RequestHead) -> Section:
        via = _lines(head, b"via")
        if via and sum([len(_OURS.findall(line.lower())) for line in via]) >= MAX_VIAS:
            raise GatewayError(Reason.PROXY_LOOP_DETECTED, f"Via names this gateway {MAX_VIAS} times")
        if self._proxy is None:
            if not via:
                return self._usual
            fields = self._usual.fields[:]
        else:
            story = _story(self._proxy, head)
            fields = [*_confirmed(head, story.client), *story.fields]
        if via:
            fields[-1] = (b"Via", b", ".join([*filter(None, via), VIA]))
        return Section(fields)


def _confirmed(head: RequestHead, client: Address | None) -> Fields:
    """Other names for the client that this trusted proxy has passed on, as far as they name the one we know."""
    confirmed: dict[bytes, tuple[bytes, bytes]] = {}
    for name, value in head.forwarding:
        lowered = name.lower()
        if lowered in CLIENT_NAMES and client is not None:
            node = parse_node(value)
            if node is not None and node.address == client:
                confirmed[lowered] = (name, node.text.encode())
    return list(confirmed.values())


def _story(proxy: Proxy, head: RequestHead) -> Story:
    claims = tuple([_lines(head, name) for name in _CLAIMS])
    if sum([len(line) for lines in claims for line in lines]) > LONGEST_REMEMBERED:
        return _tell(proxy, head.authority, claims)
    return _remembered(proxy, head.authority, claims)


def _lines(head: RequestHead, name: bytes) -> _Lines:
    """The values of the field `name` (exact spelling, lower case) among the request's claims."""
    return tuple([value for key, value in head.forwarding if key.lower() == name])


def _tell(proxy: Proxy, authority: bytes, claims: tuple[_Lines, ...]) -> Story:
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
    visitor = node_of(client) if client is not None else proxy.node
    return Story(client, _fields(elements, visitor, proxy.node, host, scheme))


_remembered = lru_cache(maxsize=STORIES_REMEMBERED)(_tell)
_proxy = lru_cache(maxsize=SECTIONS_REMEMBERED)(Proxy)


def _client(elements: Sequence[Element], networks: Sequence[Network]) -> tuple[Address | None, int]:
    """The last one named who is no trusted proxy, if not hidden, and the index; the first one's if all are trusted."""
    for index in range(len(elements) - 1, -1, -1):
        address = elements[index].node.address
        if address is None or not any(address in network for network in networks):
            return address, index
    return None, 0


def _member(lines: _Lines, distance: int) -> bytes:
    """The member of a list that stands `distance` from its end, or its first: not every proxy appends. Empty: none."""
    found = members(lines)
    return found[-min(distance, len(found))] if found else b""


@lru_cache(maxsize=SECTIONS_REMEMBERED)
def _usual(peer: str, scheme: bytes, authority: bytes) -> Section:
    """What is added to a request without claims. Remembered, because a balancer's connection carries many names."""
    node = node_of(normalized(peer))
    return Section(_fields([], node, node, authority, scheme))


def _fields(elements: Sequence[Element], client: Node, peer: Node, host: bytes, scheme: bytes) -> Fields:
    """`elements` came before ours, of `peer`. Via stands last, where `_with_claims` finds it."""
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
        (b"Via", VIA),
    ]
