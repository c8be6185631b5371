"""What X-Forwarded-For and Forwarded (RFC 7239) say: who passed a request on, read from octets and written again.

Values in, values out: whom to believe is decided in `edge.forwarded`. Proxies write the two lists from left to right,
so what stands at the end is the word of whoever is nearest, and reading means: from the end, as far as it makes sense.
What does not parse ends that, and with it goes everything before: an open quote may have swallowed any of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

from gateway.http.validate import is_authority

Address = IPv4Address | IPv6Address

MAX_HOPS: Final = 32
"""Hops of a chain that are read and passed on, the nearest (ours; nobody has that many proxies)."""
MAX_READ: Final = 4096
"""Octets of a list that are read, the last (ours): the longest Forwarded would take 10 ms."""
ADDRESSES_REMEMBERED: Final = 4096
"""Parsed addresses kept: whoever connects once often connects again, and balancers always do."""

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TOKENS: Final = re.compile(_TOKEN)
# RFC 7239 section 4: forwarded-pair = token "=" ( token / quoted-string ), separated by semicolons. Blanks around those
# are read, though its grammar has no place for them, and not written.
_PAIR: Final = re.compile(rb'[ \t]*(?:(%b)=(?:(%b)|"((?:[^"\\]|\\.)*)"))?[ \t]*' % (_TOKEN, _TOKEN))
_ESCAPED: Final = re.compile(rb"\\(.)")
_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]{0,31}")
# RFC 7239 section 6, and what is written instead of it: an IPv6 address without brackets, one with a zone (RFC 4007).
_NODE: Final = re.compile(
    r"(?:(?P<v4>[0-9.]{7,15})|\[(?P<bracketed>[0-9A-Fa-f:.]{2,45})(?:%[!-~]{1,32}?)?\]|(?P<obscure>unknown|_[A-Za-z0-9._\-]{1,63}))"
    r"(?::(?:(?P<port>[0-9]{1,5})|_[A-Za-z0-9._\-]{1,63}))?"
    r"|(?P<bare>[0-9A-Fa-f:.]{2,45})(?:%[!-~]{1,32})?",
    re.IGNORECASE,
)


class Node(NamedTuple):
    """Who asked a proxy."""

    address: Address | None
    """None: whoever it is wants to stay unknown."""
    text: str
    """As it stands in X-Forwarded-For: the address, or "unknown"."""
    parameter: bytes
    """As it stands behind `for=`: in brackets and quotes if it is an IPv6 address."""


class Element(NamedTuple):
    """What one proxy has written into Forwarded."""

    node: Node
    parameters: dict[bytes, bytes]
    """By name in lower case, `for` excepted: `host`, `proto`, `by` and extensions, values without their quotes."""


UNKNOWN: Final = Node(None, "unknown", b"unknown")


@lru_cache(maxsize=ADDRESSES_REMEMBERED)
def normalized(address: str) -> Address:
    """An address as it is meant: an IPv4 peer of a dual-stack socket comes as `::ffff:a.b.c.d` and is IPv4.

    Raises ValueError.
    """
    return as_meant(ip_address(address.partition("%")[0]))


def as_meant(address: Address) -> Address:
    """IPv4 that is written as IPv6 (`::ffff:a.b.c.d`) is IPv4."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=ADDRESSES_REMEMBERED)
def node_of(address: Address) -> Node:
    text = str(address)
    return Node(address, text, f'"[{text}]"'.encode() if address.version == 6 else text.encode())


def parse_node(text: bytes) -> Node | None:
    """An address, with or without brackets, port and zone (all three are written: Azure adds ports), or a name of one
    that is hidden. The port goes: it was the other side's, of one connection. None if it is neither.
    """
    found = _NODE.fullmatch(text.decode("latin-1"))
    if found is None or int(found["port"] or 0) > 65535:
        return None
    if found["obscure"]:
        return UNKNOWN if found["obscure"].lower() == "unknown" else Node(None, "unknown", found["obscure"].encode())
    try:
        return node_of(normalized(found["v4"] or found["bracketed"] or found["bare"]))
    except ValueError:
        return None


def members(values: Sequence[bytes]) -> list[bytes]:
    """The members of a list field that came in so many lines, those nearest to us; empty ones are none (RFC 9110
    section 5.6.1.2).
    """
    return [stripped for value in _nearest(values) for member in value.split(b",") if (stripped := member.strip())]


def parse_chain(values: Sequence[bytes]) -> list[Node]:
    """The lines of X-Forwarded-For as nodes, those nearest to us, in order."""
    chain: list[Node] = []
    for member in reversed(members(values)):
        node = parse_node(member)
        if node is None or len(chain) == MAX_HOPS:
            break
        chain.append(node)
    return chain[::-1]


def parse_forwarded(values: Sequence[bytes]) -> list[Element]:
    """The lines of Forwarded as elements, those nearest to us, in order."""
    elements: list[Element] = []
    for line in _nearest(values):  # each for itself: an open quote does not reach into the next one
        start = 0
        while start < len(line):
            element, end = _parse_element(line, start)
            if element is not None:
                elements.append(element)
            elif end < 0:
                elements.clear()
                end = line.find(b",", start)
            start = end + 1 or len(line)
    return elements[-MAX_HOPS:]


def _nearest(lines: Sequence[bytes]) -> list[bytes]:
    """What of `lines` is read: their last `MAX_READ` octets, from a comma on."""
    nearest: list[bytes] = []
    room = MAX_READ
    for line in reversed(lines):
        if len(line) > room:
            comma = line.find(b",", len(line) - room)
            if comma >= 0:
                nearest.append(line[comma + 1 :])
            break
        nearest.append(line)
        room -= len(line)
    return nearest[::-1]


def _parse_element(line: bytes, start: int) -> tuple[Element | None, int]:
    """The element at `start`, None if it is empty, and where the comma after it is (the line's length: nowhere); -1 if
    it does not parse.
    """
    parameters: dict[bytes, bytes] = {}
    while True:
        found = _PAIR.match(line, start)
        assert found is not None  # it matches nothing at all, too
        end = found.end()
        name, token, quoted = found.groups()
        if name is not None:
            name = name.lower()
            if name in parameters:  # RFC 7239 section 4: each parameter MUST NOT occur more than once
                return None, -1
            parameters[name] = token if token is not None else _ESCAPED.sub(rb"\1", quoted)
        if end == len(line) or line[end] == 0x2C:
            break
        if line[end] != 0x3B:
            return None, -1
        start = end + 1
    if not parameters:
        return None, end
    node = parse_node(parameters.pop(b"for", b"unknown"))
    if node is None:
        return None, -1
    _drop_nonsense(parameters)
    return Element(node, parameters), end


def _drop_nonsense(parameters: dict[bytes, bytes]) -> None:
    """What an app would be misled by is not there (RFC 7239 sections 5.1 to 5.4)."""
    if b"by" in parameters:
        by = parse_node(parameters.pop(b"by"))
        if by is not None:
            parameters[b"by"] = by.parameter.strip(b'"')
    if b"host" in parameters and not is_host(parameters[b"host"]):
        del parameters[b"host"]
    if b"proto" in parameters and _SCHEME.fullmatch(parameters[b"proto"]) is None:
        del parameters[b"proto"]


def is_host(value: bytes) -> bool:
    """Whether `value` is host[:port] with a port that exists, as X-Forwarded-Host and `host=` have it."""
    if not is_authority(value):
        return False
    _, colon, port = value[value.find(b"]") + 1 :].partition(b":")
    return not colon or not port or 0 < int(port) <= 65535


def write_element(element: Element) -> bytes:
    """An element of Forwarded; quotes are used where a value is no token, and a host that would need them is left out:
    code-server and hypercorn compare it with Host as it stands.
    """
    pairs = [b"for=" + element.node.parameter]
    for name, value in element.parameters.items():
        if _TOKENS.fullmatch(value) is None:
            if name == b"host":
                continue
            value = b'"%b"' % value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
        pairs.append(name + b"=" + value)
    return b";".join(pairs)
