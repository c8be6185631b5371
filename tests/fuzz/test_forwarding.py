"""Whatever comes in X-Forwarded-* and Forwarded, what goes out is RFC 7239, tells one story, and ends with ours.

The grammar here is written from the RFC's ABNF, not from the code it judges.
"""

from __future__ import annotations

import re
import time
from ipaddress import ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.edge.forwarded import Peer
from gateway.http.forwarding import MAX_HOPS, parse_chain, parse_forwarded
from gateway.http.hop import OF_REQUEST
from gateway.http.message import RequestHead
from gateway.http.validate import check_request, request_section
from tests.support.field_lines import judged

HOST = b"5000-a.example.dev"
BALANCER = "10.0.0.1"

FUZZ = settings(deadline=None, max_examples=500)

# RFC 7239 section 4 and 6, RFC 9110 sections 5.6.2 to 5.6.4, RFC 3986 section 3.2.2.
TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
PAIR = rb"(?:%b)=(?:%b|%b)" % (TOKEN, TOKEN, QUOTED)
ELEMENT = rb"%b(?:;%b)*" % (PAIR, PAIR)
FORWARDED = re.compile(rb"%b(?:, %b)*" % (ELEMENT, ELEMENT))
NODE = re.compile(rb'for=(?:([0-9]{1,3}(?:\.[0-9]{1,3}){3})|"\[([0-9a-f:.]+)\]"|(unknown|_[A-Za-z0-9._-]+))(?=[;,]|\Z)')


def elements(value: bytes) -> list[bytes]:
    """The elements of a Forwarded that is valid."""
    assert FORWARDED.fullmatch(value), value
    return re.findall(ELEMENT, value)


# --- what may come ------------------------------------------------------------------------------------------------

octets = st.binary(max_size=60).map(lambda value: bytes(octet for octet in value if octet >= 0x20 and octet != 0x7F))
nodes = st.sampled_from(
    [
        b"203.0.113.7",
        b"203.0.113.7:4711",
        b"10.1.1.1",
        b"2001:db8::1",
        b"[2001:db8::1]",
        b"[2001:db8::1]:4711",
        b'"[2001:db8::1]:4711"',
        b"::ffff:10.1.1.1",
        b"fe80::1%eth0",
        b"unknown",
        b"_hidden",
        b'"_hidden:_port"',
        b"nonsense",
        b"",
        b'"',
        b"\\",
        b'"\\"',
        b"203.0.113.7, ",
    ]
)
names = st.sampled_from([b"for", b"For", b"by", b"host", b"proto", b"secret", b"for ", b"", b"f\xe4r"])
values = (
    nodes | octets | st.sampled_from([b"https", b"http", b"evil.test", b'"evil.test:99999"', b'"a\\"b"', b'"a,b;c=d"'])
)
glue = st.sampled_from([b";", b"; ", b", ", b",", b" ;", b'"', b"=", b" "])
pairs = st.tuples(names, st.sampled_from([b"=", b"=", b"=", b" = ", b""]), values).map(b"".join)
forwarded = st.lists(st.tuples(pairs | octets, glue).map(b"".join), max_size=8).map(b"".join)
chain = st.lists(st.tuples(nodes | octets, st.sampled_from([b", ", b",", b" "])).map(b"".join), max_size=8).map(
    b"".join
)
claims = st.lists(
    st.tuples(st.sampled_from([b"Forwarded", b"forwarded"]), forwarded)
    | st.tuples(st.sampled_from([b"X-Forwarded-For", b"x-forwarded-for", b"X_Forwarded_For"]), chain)
    | st.tuples(st.sampled_from([b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Forwarded-Port"]), values | chain),
    max_size=6,
)


def head(fields: list[tuple[bytes, bytes]]) -> RequestHead:
    section, _ = request_section(
        OF_REQUEST[1], judged([(b"Host", HOST), *[(name, value.strip()) for name, value in fields]])
    )
    head = RequestHead(b"GET", b"/", "HTTP/1.1", section)
    check_request(head)
    return head


@FUZZ
@given(claims, st.sampled_from([BALANCER, "fd99::1", "203.0.113.9"]), st.sampled_from([b"http", b"https"]))
def test_what_goes_out_is_valid_and_ours_is_last(
    fields: list[tuple[bytes, bytes]], address: str, scheme: bytes
) -> None:
    peer = Peer(ip_address(address), scheme, [ip_network("10.0.0.0/8"), ip_network("fd99::/16")])
    request = head(fields)
    told = dict(peer.added(request).fields)
    *before, ours = elements(told[b"Forwarded"])
    host, proto = told[b"X-Forwarded-Host"], told[b"X-Forwarded-Proto"]
    bracketed = f'"[{address}]"' if ":" in address else address
    named = b";host=" + host if re.fullmatch(TOKEN, host) else b""
    assert ours == b"for=%b%b;proto=%b" % (bracketed.encode(), named, proto)
    assert b'host="' not in told[b"Forwarded"]
    assert proto in (b"http", b"https")
    assert 0 < int(told[b"X-Forwarded-Port"]) <= 65535
    # Both lists name the same hops, each of them an address, or hidden.
    chain = told[b"X-Forwarded-For"].decode().split(", ")
    assert len(chain) == len(before) + 1 <= MAX_HOPS + 1
    for element, member in zip([*before, ours], chain, strict=True):
        node = NODE.match(element)
        assert node, element
        if node[3]:
            assert member == "unknown"
        else:
            assert ip_address((node[1] or node[2]).decode()) == ip_address(member)
    # What a client has said about itself says nothing but names.
    client = peer.client(request)
    assert told[b"X-Real-Ip"].decode() == (str(client) if client is not None else address)
    if client is not None:
        met = len(chain) - 1 - chain[::-1].index(str(client))
        assert all(b";" not in element for element in before[:met])
    if not peer.trusted:
        assert client is None and not before


@FUZZ
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_octets_are_read(one: bytes, other: bytes) -> None:
    parse_chain([one, other])
    parse_forwarded([one, other])


@FUZZ
@given(forwarded)
def test_what_a_visitor_wrote_takes_nothing_from_what_is_appended(visitors: bytes) -> None:
    """A balancer appends to the line as it is, whatever is open there."""
    for element in (
        b"for=203.0.113.7",
        b'for="[2001:db8::1]:4711"',
        b'for=203.0.113.7;host="a.example:8443";proto=https',
    ):
        last = parse_forwarded([visitors + b", " + element])[-1]
        assert last == parse_forwarded([element])[0]


def test_no_line_takes_long() -> None:
    """Of the longest lines that come: the worst shapes of quotes, commas and blanks."""
    size = 32 * 1024
    for shape in (
        b'a="',
        b'a="\\",',
        b'a=",',
        b",",
        b";",
        b" ",
        b"a",
        b"a=b;",
        b"for=1.1.1.1,",
        b'"',
        b"\\",
        b"[",
        b"1.",
        b'x="a,',
    ):
        line = (shape * size)[:size]
        begin = time.thread_time()
        parse_forwarded([line])
        parse_forwarded([b'for="' + line])
        parse_chain([line])
        assert time.thread_time() - begin < 0.1, shape
