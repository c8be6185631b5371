"""X-Forwarded-For and Forwarded, read and written: nodes in every spelling that is met, and what breaks a line."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from gateway.http.forwarding import (
    MAX_HOPS,
    MAX_READ,
    UNKNOWN,
    is_host,
    node_of,
    normalized,
    parse_chain,
    parse_forwarded,
    parse_node,
    write_element,
)

NODES = [
    (b"192.0.2.7", "192.0.2.7", b"192.0.2.7"),
    (b"192.0.2.7:4711", "192.0.2.7", b"192.0.2.7"),
    (b"192.0.2.7:_port", "192.0.2.7", b"192.0.2.7"),
    (b"2001:DB8::7", "2001:db8::7", b'"[2001:db8::7]"'),
    (b"[2001:db8::7]", "2001:db8::7", b'"[2001:db8::7]"'),
    (b"[2001:db8::7]:4711", "2001:db8::7", b'"[2001:db8::7]"'),
    (b"fe80::7%eth0", "fe80::7", b'"[fe80::7]"'),
    (b"[fe80::7%eth0.5]:80", "fe80::7", b'"[fe80::7]"'),
    (b"::ffff:192.0.2.7", "192.0.2.7", b"192.0.2.7"),
    (b"::1", "::1", b'"[::1]"'),
    (b"unknown", "unknown", b"unknown"),
    (b"UNKNOWN", "unknown", b"unknown"),
    (b"_gazonk", "unknown", b"_gazonk"),
    (b"_SEVKISEK:_x", "unknown", b"_SEVKISEK"),
]


@pytest.mark.parametrize(("text", "plain", "parameter"), NODES)
def test_a_node_is_read_and_written(text: bytes, plain: str, parameter: bytes) -> None:
    node = parse_node(text)
    assert node is not None
    assert (node.text, node.parameter) == (plain, parameter)
    assert parse_node(node.parameter.strip(b'"')) == node


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"x",
        b"localhost",
        b"192.0.2",
        b"192.0.2.256",
        b"192.0.2.07",
        b"0x7f.1",
        b"192.0.2.7:",
        b"192.0.2.7:65536",
        b"192.0.2.7:http",
        b"192.0.2.7 ",
        b"192.0.2.7, 192.0.2.8",
        b"2001:db8::7::1",
        b"[2001:db8::7",
        b"2001:db8::7]",
        b"[2001:db8::7]4711",
        b"[]",
        b"_",
        b"_\xe4",
        b"_a b",
        b'"192.0.2.7"',
        b"\xb2.1.1.1",
        b"1" * 8000,
    ],
)
def test_what_is_no_node(text: bytes) -> None:
    assert parse_node(text) is None


def test_nodes_are_the_same_however_they_are_met() -> None:
    assert node_of(IPv4Address("192.0.2.7")) == parse_node(b"192.0.2.7:1")
    assert node_of(IPv6Address("2001:db8::7")) == parse_node(b"[2001:db8::7]")
    assert normalized("fe80::1%eth0") == IPv6Address("fe80::1")


def test_a_chain_is_read_from_its_end() -> None:
    assert [node.text for node in parse_chain([b"a, 1.1.1.1", b"2.2.2.2,3.3.3.3:80"])] == [
        "1.1.1.1",
        "2.2.2.2",
        "3.3.3.3",
    ]
    assert parse_chain([b"1.1.1.1, a"]) == []
    assert len(parse_chain([b"1.1.1.1," * 1000])) == MAX_HOPS


EXAMPLES = [
    # RFC 7239 sections 4, 5 and 6
    (b'for="_gazonk"', [b"for=_gazonk"]),
    (b'For="[2001:db8:cafe::17]:4711"', [b'for="[2001:db8:cafe::17]"']),
    (b"for=192.0.2.60;proto=http;by=203.0.113.43", [b"for=192.0.2.60;proto=http;by=203.0.113.43"]),
    (b"for=192.0.2.43, for=198.51.100.17", [b"for=192.0.2.43", b"for=198.51.100.17"]),
    (
        b'for=192.0.2.43, for="[2001:db8:cafe::17]", for=unknown',
        [b"for=192.0.2.43", b'for="[2001:db8:cafe::17]"', b"for=unknown"],
    ),
    (b"for=_hidden, for=_SEVKISEK", [b"for=_hidden", b"for=_SEVKISEK"]),
    (b'host="a.example:80";for=1.1.1.1', [b"for=1.1.1.1"]),
    (b'for=1.1.1.1;secret="a\\"b, c;d"', [b'for=1.1.1.1;secret="a\\"b, c;d"']),
    (b'for=1.1.1.1;secret=""', [b'for=1.1.1.1;secret=""']),
    (b'for="1.1\\.1.1"', [b"for=1.1.1.1"]),
    # what it has no place for, and is met
    (b" for=1.1.1.1 ; proto=https , ;,", [b"for=1.1.1.1;proto=https"]),
    (b'for="2001:db8::1"', [b'for="[2001:db8::1]"']),
    # nonsense in one parameter does not take the node along
    (b'for=1.1.1.1;host="a b";proto="h t";by="x y"', [b"for=1.1.1.1"]),
    # what breaks an element breaks all before it
    (b"for=1.1.1.1, for", []),
    (b"for=1.1.1.1, for=2.2.2.2 3.3.3.3", []),
    (b"for=1.1.1.1, for = 2.2.2.2, for=3.3.3.3", [b"for=3.3.3.3"]),
    (b'for=1.1.1.1, for="2.2.2.2, for=3.3.3.3', [b"for=3.3.3.3"]),
    (b'for=1.1.1.1, for="2.2.2.2"x, for=3.3.3.3', [b"for=3.3.3.3"]),
    (b"for=1.1.1.1;For=2.2.2.2, for=3.3.3.3", [b"for=3.3.3.3"]),
    (b"for=1.1.1.1, for=x, for=3.3.3.3", [b"for=3.3.3.3"]),
]


@pytest.mark.parametrize(("line", "written"), EXAMPLES)
def test_elements_are_read_and_written(line: bytes, written: list[bytes]) -> None:
    assert [write_element(element) for element in parse_forwarded([line])] == written


def test_lines_are_one_list_and_break_for_themselves() -> None:
    assert len(parse_forwarded([b"for=1.1.1.1", b"for=2.2.2.2, for=3.3.3.3"])) == 3
    assert [element.node.text for element in parse_forwarded([b'for=1.1.1.1;x="', b'for=2.2.2.2;x="a"'])] == ["2.2.2.2"]
    assert parse_forwarded([b"for=1.1.1.1", b"x"]) == []


def test_an_element_that_names_nobody_names_the_unknown() -> None:
    assert [element.node for element in parse_forwarded([b"proto=https"])] == [UNKNOWN]


def test_only_so_much_is_read() -> None:
    (*_, last) = parse_forwarded([b"for=1.1.1.1, " * 2000 + b"for=2.2.2.2"])
    assert last.node.text == "2.2.2.2"
    assert len(parse_forwarded([b"for=1.1.1.1", b'x="' + b"y" * MAX_READ + b'"'])) == 0
    near = b'for=3.3.3.3;x="' + b"y" * (MAX_READ - 16) + b'"'
    assert [element.node.text for element in parse_forwarded([b"for=1.1.1.1, for=2.2.2.2", near])] == ["3.3.3.3"]


HOSTS = [
    (b"a.example", True),
    (b"a.example:443", True),
    (b"a.example:", True),
    (b"[::1]", True),
    (b"[::1]:80", True),
    (b"8080", True),
    (b"", False),
    (b"a.example:0", False),
    (b"a.example:65536", False),
    (b"[::1]:99999", False),
    (b"a b", False),
    (b'a"', False),
    (b"a,b", False),
]


@pytest.mark.parametrize(("value", "expected"), HOSTS)
def test_a_host_has_a_port_that_exists(value: bytes, expected: bool) -> None:
    assert is_host(value) is expected
