"""What the app is told about who asks, and whose word is taken for it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest

from gateway.edge.forwarded import MAX_HOPS, VIA, Peer, normalized
from gateway.errors import GatewayError, Reason
from gateway.http import serialize
from gateway.http.head_parser import HeadLimits, parse_request_head
from gateway.http.message import RequestHead

HOST = "5000-a.example.dev"
PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd99::/16")]
BALANCER = "10.0.0.1"
STRANGER = "2001:db8::7"


def asked(*fields: tuple[str, str], host: str = HOST) -> RequestHead:
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return parse_request_head(f"GET / HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n".encode("latin-1"), HeadLimits())


def peer(address: str, scheme: bytes = b"https") -> Peer:
    return Peer(ip_address(address), scheme, PROXIES)


def told(of: Peer, head: RequestHead) -> dict[str, str]:
    """What the app reads, from the octets that go upstream."""
    octets = serialize.request_head(head, head.authority, of.added(head), b"r-1").decode("latin-1")
    lines = [line.partition(": ") for line in octets.split("\r\n")[2:-2]]
    names = [name for name, _, _ in lines]
    assert len(set(names)) == len(names)
    return {name: value for name, _, value in lines if name != "X-Request-Id"}


# --- nobody claims anything ---------------------------------------------------------------------------------------

PLAIN = [
    # the peer, its scheme, Host; X-Forwarded-For, -Host, -Port, -Proto, X-Real-Ip, Forwarded
    (
        "192.0.2.7",
        b"https",
        HOST,
        ("192.0.2.7", HOST, "443", "https", "192.0.2.7", f'for=192.0.2.7;host="{HOST}";proto=https'),
    ),
    (
        "2001:db8::7",
        b"https",
        f"{HOST}:8443",
        (
            "2001:db8::7",
            f"{HOST}:8443",
            "8443",
            "https",
            "2001:db8::7",
            f'for="[2001:db8::7]";host="{HOST}:8443";proto=https',
        ),
    ),
    (
        "192.0.2.7",
        b"http",
        f"{HOST}:",
        ("192.0.2.7", f"{HOST}:", "80", "http", "192.0.2.7", f'for=192.0.2.7;host="{HOST}:";proto=http'),
    ),
    (
        "::1",
        b"http",
        "[::1]:8080",
        ("::1", "[::1]:8080", "8080", "http", "::1", 'for="[::1]";host="[::1]:8080";proto=http'),
    ),
    ("::1", b"http", "[::1]", ("::1", "[::1]", "80", "http", "::1", 'for="[::1]";host="[::1]";proto=http')),
]

NAMES = ("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Real-Ip", "Forwarded")


@pytest.mark.parametrize(("address", "scheme", "host", "values"), PLAIN)
@pytest.mark.parametrize("trusted", [False, True])
def test_the_app_is_told_who_asks(
    address: str, scheme: bytes, host: str, values: tuple[str, ...], trusted: bool
) -> None:
    of = Peer(ip_address(address), scheme, [ip_network(address)] if trusted else [])
    assert of.trusted is trusted
    assert told(of, asked(host=host)) == {**dict(zip(NAMES, values, strict=True)), "Via": "1.1 gateway"}


def test_on_one_connection_each_host_is_told_as_it_is() -> None:
    of = peer(STRANGER)
    for host in ("a.example.dev", "b.example.dev:8443", "b.example.dev:8443", "a.example.dev"):
        assert told(of, asked(host=host))["X-Forwarded-Host"] == host


# --- an untrusted peer claims things ------------------------------------------------------------------------------

CLAIMS = [
    ("X-Forwarded-For", "203.0.113.9"),
    ("X-Forwarded-For", "127.0.0.1, ::1"),
    ("X-Forwarded-Host", "evil.test"),
    ("X-Forwarded-Port", "1"),
    ("X-Forwarded-Proto", "http"),
    ("X-Forwarded-Anything", "evil"),
    ("X-Forwarded-Prefix", "/evil"),
    ("X-Real-Ip", "127.0.0.1"),
    ("Forwarded", "for=127.0.0.1;host=evil.test;proto=http"),
]


@pytest.mark.parametrize(("name", "value"), CLAIMS)
@pytest.mark.parametrize("spell", [str, str.lower, str.upper, lambda name: name.replace("-", "_")])
def test_a_stranger_is_not_believed(name: str, value: str, spell: type[str]) -> None:
    of, plain = peer(STRANGER), peer(STRANGER)
    head = asked((spell(name), value), (name, value))
    assert told(of, head) == told(plain, asked())
    assert of.client(head) == STRANGER
    assert told(of, asked()) == told(plain, asked()), "nothing of it stays on the connection"


@pytest.mark.parametrize("name", ["X_Forwarded_For", "x_forwarded_for", "X-Forwarded_For", "X_Real_Ip"])
def test_not_even_a_proxy_is_believed_with_underscores(name: str) -> None:
    head = asked((name, "203.0.113.9"))
    assert told(peer(BALANCER), head) == told(peer(BALANCER), asked())
    assert peer(BALANCER).client(head) == BALANCER


# --- a trusted proxy claims things --------------------------------------------------------------------------------

CHAINS = [
    # X-Forwarded-For as it comes (None: not at all), as it goes, who is taken for the client
    (None, BALANCER, BALANCER),
    (("192.0.2.7",), f"192.0.2.7, {BALANCER}", "192.0.2.7"),
    (("203.0.113.9, 192.0.2.7",), f"203.0.113.9, 192.0.2.7, {BALANCER}", "192.0.2.7"),
    (("203.0.113.9", "192.0.2.7"), f"203.0.113.9, 192.0.2.7, {BALANCER}", "192.0.2.7"),
    (("192.0.2.7, 10.1.1.1",), f"192.0.2.7, 10.1.1.1, {BALANCER}", "192.0.2.7"),
    (("192.0.2.7,fd99::1 ,10.1.1.1",), f"192.0.2.7, fd99::1, 10.1.1.1, {BALANCER}", "192.0.2.7"),
    (("2001:DB8::7",), f"2001:DB8::7, {BALANCER}", "2001:db8::7"),
    (("10.1.1.1",), f"10.1.1.1, {BALANCER}", BALANCER),
    # as a dual-stack proxy writes it
    (("192.0.2.7, ::ffff:10.1.1.1",), f"192.0.2.7, ::ffff:10.1.1.1, {BALANCER}", "192.0.2.7"),
    (("::ffff:192.0.2.7",), f"::ffff:192.0.2.7, {BALANCER}", "192.0.2.7"),
    (("fe80::7%eth0",), f"fe80::7%eth0, {BALANCER}", "fe80::7"),
    # what is no address ends the search: what stands before it may be anybody's
    (("192.0.2.7, unknown",), f"192.0.2.7, unknown, {BALANCER}", BALANCER),
    (("192.0.2.7:5555",), f"192.0.2.7:5555, {BALANCER}", BALANCER),
    (("1.1.1.1, x, 10.1.1.1",), f"1.1.1.1, x, 10.1.1.1, {BALANCER}", BALANCER),
    (("\xff",), f"\xff, {BALANCER}", BALANCER),
    # RFC 9110 section 5.6.1.2: empty list members are none
    (("",), BALANCER, BALANCER),
    (("192.0.2.7, ,",), f"192.0.2.7, {BALANCER}", "192.0.2.7"),
]


@pytest.mark.parametrize(("values", "chain", "client"), CHAINS)
def test_a_proxys_chain_is_kept_and_continued(values: tuple[str, ...] | None, chain: str, client: str) -> None:
    of = peer(BALANCER)
    head = asked(*(("X-Forwarded-For", value) for value in values or ()))
    fields = told(of, head)
    assert fields["X-Forwarded-For"] == chain
    assert fields["X-Real-Ip"] == client
    assert of.client(head) == client


HOSTS = [
    # X-Forwarded-Host as it comes; as it goes, the port, and host in Forwarded
    ("shop.example", "shop.example", "443"),
    ("shop.example:8443", "shop.example:8443", "8443"),
    ("shop.example, other.example", "shop.example", "443"),
    ("[2001:db8::1]:8443", "[2001:db8::1]:8443", "8443"),
    # what is no host and port is not believed, least of all inside quotes
    ("", HOST, "443"),
    ('a";for=127.0.0.1;host="b', HOST, "443"),
    ('a"', HOST, "443"),
    ("a\\", HOST, "443"),
    ("user@shop.example", HOST, "443"),
    ("shop.example/path", HOST, "443"),
    ("shop example", HOST, "443"),
    ("<script>", HOST, "443"),
]


@pytest.mark.parametrize(("value", "host", "port"), HOSTS)
def test_a_proxys_host_is_taken_if_it_is_one(value: str, host: str, port: str) -> None:
    fields = told(peer(BALANCER), asked(("X-Forwarded-Host", value)))
    assert fields["X-Forwarded-Host"] == host
    assert fields["X-Forwarded-Port"] == port
    assert fields["Forwarded"] == f'for={BALANCER};host="{host}";proto=https'


SCHEMES = [
    (("https",), "https"),
    (("http",), "http"),
    (("HTTPS",), "https"),
    (("https, http",), "https"),
    (("https", "http"), "https"),
    (("",), "http"),
    (("wss",), "http"),
    (("javascript",), "http"),
    (("https;x",), "http"),
]


@pytest.mark.parametrize(("values", "scheme"), SCHEMES)
def test_a_proxys_scheme_is_http_or_https(values: tuple[str, ...], scheme: str) -> None:
    """The balancer ended TLS and speaks plain HTTP to us."""
    fields = told(peer(BALANCER, b"http"), asked(*(("X-Forwarded-Proto", value) for value in values)))
    assert fields["X-Forwarded-Proto"] == scheme
    assert fields["X-Forwarded-Port"] == {"https": "443", "http": "80"}[scheme]
    assert fields["Forwarded"].endswith(f";proto={scheme}")


def test_a_proxys_forwarded_is_kept_and_continued() -> None:
    fields = told(peer(BALANCER), asked(("Forwarded", "for=192.0.2.7;proto=https"), ("forwarded", "for=10.1.1.1")))
    assert fields["Forwarded"] == f'for=192.0.2.7;proto=https, for=10.1.1.1, for={BALANCER};host="{HOST}";proto=https'


# --- the request id -----------------------------------------------------------------------------------------------

REQUEST_IDS = [
    (("abc-123",), b"abc-123"),
    (
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",),
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ),
    (("a", "b"), b"b"),
    (("a, b",), b"b"),
    (("x" * 128,), b"x" * 128),
    (("x" * 129,), None),
    (("",), None),
    (("a b",), None),
    (('a"b',), None),
    (("<script>",), None),
    (("\xe4",), None),
    ((), None),
]


@pytest.mark.parametrize(("values", "request_id"), REQUEST_IDS)
def test_a_proxys_request_id_is_taken_if_it_is_harmless(values: tuple[str, ...], request_id: bytes | None) -> None:
    head = asked(*(("X-Request-Id", value) for value in values))
    assert peer(BALANCER).request_id(head) == request_id
    assert peer(STRANGER).request_id(head) is None


# --- loops --------------------------------------------------------------------------------------------------------

OURS = VIA.decode()
VIAS = [
    # Via as it comes, as it goes on (None: a loop)
    ((), OURS),
    (("1.0 fred, 1.1 p.example",), f"1.0 fred, 1.1 p.example, {OURS}"),
    (("1.1 fred", "HTTP/2 ginger"), f"1.1 fred, HTTP/2 ginger, {OURS}"),
    (("",), OURS),
    ((OURS,), f"{OURS}, {OURS}"),
    ((", ".join([OURS] * (MAX_HOPS - 1)),), ", ".join([OURS] * MAX_HOPS)),
    ((", ".join([OURS] * MAX_HOPS),), None),
    ((OURS,) * MAX_HOPS, None),
    (("1.1 GATEWAY",) * MAX_HOPS, None),
    ((", 1.1 fred, ".join([OURS] * MAX_HOPS),), None),
    (("1.1 gateway2",) * MAX_HOPS, ", ".join(["1.1 gateway2"] * MAX_HOPS + [OURS])),
]


@pytest.mark.parametrize(("values", "goes_on"), VIAS)
@pytest.mark.parametrize("address", [STRANGER, BALANCER])
def test_a_loop_is_noticed_whoever_asks(values: tuple[str, ...], goes_on: str | None, address: str) -> None:
    head = asked(*(("Via", value) for value in values))
    if goes_on is None:
        with pytest.raises(GatewayError) as error:
            peer(address).added(head)
        assert error.value.reason is Reason.PROXY_LOOP_DETECTED
    else:
        assert told(peer(address), head)["Via"] == goes_on


def test_a_request_that_goes_round_is_noticed_after_so_many_hops() -> None:
    """Each hop writes what the next one reads, as it would through an app that proxies back to us."""
    head, hops = asked(), 0
    with pytest.raises(GatewayError):
        while hops <= MAX_HOPS:
            octets = serialize.request_head(head, head.authority, peer(STRANGER).added(head), b"r-1")
            head = parse_request_head(octets, HeadLimits())
            hops += 1
    assert hops == MAX_HOPS


# --- addresses ----------------------------------------------------------------------------------------------------

ADDRESSES = [
    ("192.0.2.7", IPv4Address("192.0.2.7")),
    ("::ffff:192.0.2.7", IPv4Address("192.0.2.7")),
    ("::FFFF:c000:207", IPv4Address("192.0.2.7")),
    ("2001:db8::7", IPv6Address("2001:db8::7")),
    ("fe80::7%eth0", IPv6Address("fe80::7")),
    ("::1", IPv6Address("::1")),
]


@pytest.mark.parametrize(("text", "address"), ADDRESSES)
def test_a_peers_address_is_what_it_means(text: str, address: IPv4Address | IPv6Address) -> None:
    assert normalized(text) == address


def test_trust_is_by_address() -> None:
    assert peer(BALANCER).trusted
    assert peer("fd99::1").trusted
    assert not peer("11.0.0.1").trusted
    assert not peer(STRANGER).trusted
    assert not Peer(ip_address(BALANCER), b"http").trusted
