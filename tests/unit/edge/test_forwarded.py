"""What the app is told about who asks, and whose word is taken for it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest

from gateway.edge import forwarded
from gateway.edge.forwarded import MAX_VIAS, VIA, Peer
from gateway.errors import GatewayError, Reason
from gateway.http import serialize
from gateway.http.forwarding import MAX_HOPS, normalized
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
        ("192.0.2.7", HOST, "443", "https", "192.0.2.7", f"for=192.0.2.7;host={HOST};proto=https"),
    ),
    (
        "2001:db8::7",
        b"https",
        f"{HOST}:8443",
        ("2001:db8::7", f"{HOST}:8443", "8443", "https", "2001:db8::7", 'for="[2001:db8::7]";proto=https'),
    ),
    (
        "192.0.2.7",
        b"http",
        f"{HOST}:",
        ("192.0.2.7", f"{HOST}:", "80", "http", "192.0.2.7", "for=192.0.2.7;proto=http"),
    ),
    (
        "::1",
        b"http",
        "[::1]:8080",
        ("::1", "[::1]:8080", "8080", "http", "::1", 'for="[::1]";proto=http'),
    ),
    ("::1", b"http", "[::1]", ("::1", "[::1]", "80", "http", "::1", 'for="[::1]";proto=http')),
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
    *(
        (name, "127.0.0.1")
        for name in (
            "CF-Connecting-IP",
            "CF-Connecting-IPv6",
            "CF-Pseudo-IPv4",
            "True-Client-IP",
            "X-Client-IP",
            "Client-IP",
            "X-Cluster-Client-IP",
            "X-ProxyUser-Ip",
            "Fastly-Client-IP",
            "Fly-Client-IP",
            "X-Envoy-External-Address",
            "X-Forwarded",
            "Forwarded-For",
            "X-Original-Forwarded-For",
            "Proxy-Client-IP",
            "WL-Proxy-Client-IP",
            "X-Azure-ClientIP",
            "X-Appengine-User-IP",
            "X-Remote-Addr",
            "X-Originating-IP",
            "X-Vercel-Forwarded-For",
            "X-Coming-From",
            "Coming-From",
            "Forwarded-For-IP",
            "Cdn-Src-Ip",
            "Cdn-Real-Ip",
        )
    ),
    ("X-SSL-Client-Verify", "SUCCESS"),
    ("X_SSL_Client_S_DN", "CN=admin"),
    ("ssl-client-verify", "SUCCESS"),
    ("X-Client-Cert", "MIIB"),
    ("X-ARR-ClientCert", "MIIB"),
    ("X-Amzn-Mtls-Clientcert-Subject", "CN=admin"),
    ("X-Original-URL", "/admin"),
    ("X-Rewrite-URL", "/admin"),
    ("X-Original-Host", "evil.test"),
    ("X-Forwarded-Server", "evil.test"),
    ("X-Forwarded-Scheme", "http"),
    ("X-Forwarded-Ssl", "off"),
    ("X-Forwarded-User", "admin"),
    ("X-HTTP-Host-Override", "evil.test"),
    ("X-Scheme", "http"),
    ("Front-End-Https", "on"),
    ("CF-Visitor", '{"scheme":"http"}'),
    ("X-Script-Name", "/evil"),
    ("Script-Name", "/evil"),
    ("X-Envoy-Original-Path", "/admin"),
    ("X-Envoy-Max-Retries", "99"),
    ("Client-Cert", ":MIIB:"),
    ("X-Sendfile-Type", "X-Accel-Redirect"),
    ("X-Accel-Mapping", "/=/"),
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
@pytest.mark.parametrize(
    "spell",
    [
        str,
        str.lower,
        str.upper,
        lambda name: name.replace("-", "_"),
        lambda name: name.replace("-", "."),
        lambda name: f"HTTP_{name.replace('-', '_').upper()}",
    ],
)
def test_a_stranger_is_not_believed(name: str, value: str, spell: type[str]) -> None:
    of, plain = peer(STRANGER), peer(STRANGER)
    head = asked((spell(name), value), (name, value))
    assert told(of, head) == told(plain, asked())
    assert of.client(head) is None
    assert told(of, asked()) == told(plain, asked()), "nothing of it stays on the connection"


PASSING = [
    "X-Requested-With",
    "X-Host",
    "HTTP-Referer",
    "Remote-User",
    "CF-IPCountry",
    "CF-Ray",
    "Cdn-Loop",
    "X-Correlation-Id",
]


@pytest.mark.parametrize("name", PASSING)
def test_what_names_nobody_passes(name: str) -> None:
    assert told(peer(STRANGER), asked((name, "x"))) == {name: "x", **told(peer(STRANGER), asked())}


CLIENT = [("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-Proto", "https")]
ALSO = [
    # another name for the client as a proxy sends it; as the app gets it
    ("CF-Connecting-IP", "203.0.113.7", "203.0.113.7"),
    ("true-client-ip", "203.0.113.7:4711", "203.0.113.7"),
    ("X-Envoy-External-Address", "203.0.113.7", "203.0.113.7"),
    ("CF-Connecting-IP", "6.6.6.6", None),
    ("CF-Connecting-IP", "6.6.6.6, 203.0.113.7", None),
    ("CF_Connecting_IP", "203.0.113.7", None),
    ("X-Client-IP", "unknown", None),
    ("X-Client-IP", BALANCER, None),
    ("X-Original-URL", "/admin", None),
    ("X-Envoy-Original-Path", "/admin", None),
]


@pytest.mark.parametrize(("name", "value", "passes"), ALSO)
def test_a_proxy_is_believed_who_agrees_with_itself(name: str, value: str, passes: str | None) -> None:
    """CF-Connecting-IP behind anybody but Cloudflare is the visitor's own word."""
    usual = told(peer(BALANCER), asked(*CLIENT))
    expected = {name: passes, **usual} if passes else usual
    assert told(peer(BALANCER), asked(*CLIENT, (name, value))) == expected
    assert told(peer(BALANCER), asked((name, value))) == told(peer(BALANCER), asked()), "nobody is known"


@pytest.mark.parametrize("name", ["X_Forwarded_For", "x_forwarded_for", "X-Forwarded_For", "X_Real_Ip"])
def test_not_even_a_proxy_is_believed_with_underscores(name: str) -> None:
    head = asked((name, "203.0.113.9"))
    assert told(peer(BALANCER), head) == told(peer(BALANCER), asked())
    assert peer(BALANCER).client(head) is None


# --- a trusted proxy claims things --------------------------------------------------------------------------------

CHAINS = [
    # X-Forwarded-For as it comes (None: not at all), as it goes before the balancer's own address, who is the client
    (None, "", None),
    (("192.0.2.7",), "192.0.2.7", "192.0.2.7"),
    (("203.0.113.9, 192.0.2.7",), "203.0.113.9, 192.0.2.7", "192.0.2.7"),
    (("203.0.113.9", "192.0.2.7"), "203.0.113.9, 192.0.2.7", "192.0.2.7"),
    (("192.0.2.7, 10.1.1.1",), "192.0.2.7, 10.1.1.1", "192.0.2.7"),
    (("192.0.2.7,fd99::1 ,10.1.1.1",), "192.0.2.7, fd99::1, 10.1.1.1", "192.0.2.7"),
    (("2001:DB8::7",), "2001:db8::7", "2001:db8::7"),
    (("10.1.1.1",), "10.1.1.1", None),
    # with ports and brackets (Azure, an ALB that is told to)
    (("203.0.113.7:4711",), "203.0.113.7", "203.0.113.7"),
    (("[2001:db8::1]:4711",), "2001:db8::1", "2001:db8::1"),
    (("[2001:db8::1]",), "2001:db8::1", "2001:db8::1"),
    (("1.1.1.1, 203.0.113.7:4711, 10.1.1.1:80",), "1.1.1.1, 203.0.113.7, 10.1.1.1", "203.0.113.7"),
    (("[fe80::7%eth0]:80",), "fe80::7", "fe80::7"),
    # as a dual-stack proxy writes it
    (("192.0.2.7, ::ffff:10.1.1.1",), "192.0.2.7, 10.1.1.1", "192.0.2.7"),
    (("::ffff:192.0.2.7",), "192.0.2.7", "192.0.2.7"),
    (("[::ffff:192.0.2.7]:80",), "192.0.2.7", "192.0.2.7"),
    (("fe80::7%eth0",), "fe80::7", "fe80::7"),
    # who is hidden ends the search: what stands before may be anybody's
    (("192.0.2.7, unknown",), "192.0.2.7, unknown", None),
    (("192.0.2.7, Unknown, 10.1.1.1",), "192.0.2.7, unknown, 10.1.1.1", None),
    # what is no node ends the chain: it is not the word of any proxy
    (("1.1.1.1, x, 10.1.1.1",), "10.1.1.1", None),
    (("1.1.1.1, x, 192.0.2.7",), "192.0.2.7", "192.0.2.7"),
    (("192.0.2.7, x",), "", None),
    (("192.0.2.7:99999",), "", None),
    (("192.0.2.7:",), "", None),
    (("010.1.1.1",), "", None),
    (("[192.0.2.7]",), "192.0.2.7", "192.0.2.7"),
    (("\xff",), "", None),
    (('"192.0.2.7"',), "", None),
    # RFC 9110 section 5.6.1.2: empty list members are none
    (("",), "", None),
    (("192.0.2.7, ,",), "192.0.2.7", "192.0.2.7"),
]


@pytest.mark.parametrize(("values", "chain", "client"), CHAINS)
def test_a_proxys_chain_is_read_and_continued(values: tuple[str, ...] | None, chain: str, client: str | None) -> None:
    of = peer(BALANCER)
    head = asked(*(("X-Forwarded-For", value) for value in values or ()))
    fields = told(of, head)
    assert fields["X-Forwarded-For"] == ", ".join(filter(None, [chain, BALANCER]))
    assert fields["X-Real-Ip"] == (client or BALANCER)
    assert of.client(head) == (ip_address(client) if client else None)
    assert nodes(fields["Forwarded"]) == fields["X-Forwarded-For"].split(", "), "both lists tell one story"


def nodes(forwarded: str) -> list[str]:
    """Whom Forwarded names, as X-Forwarded-For would."""
    return [
        element.partition(";")[0].removeprefix("for=").strip('"').removeprefix("[").removesuffix("]")
        for element in forwarded.split(", ")
    ]


def test_a_chain_is_bounded() -> None:
    members = [f"203.0.{number // 256}.{number % 256}" for number in range(1000)]
    fields = told(
        peer(BALANCER),
        asked(("X-Forwarded-For", ", ".join(members[:500])), ("X-Forwarded-For", ", ".join(members[500:]))),
    )
    assert fields["X-Forwarded-For"].split(", ") == [*members[-MAX_HOPS:], BALANCER], "the nearest are kept"
    assert len(nodes(fields["Forwarded"])) == MAX_HOPS + 1
    elements = ", ".join(f"for={member}" for member in members[:400])
    assert len(nodes(told(peer(BALANCER), asked(("Forwarded", elements)))["Forwarded"])) == MAX_HOPS + 1


OURS = f"for={BALANCER};host={HOST};proto=https"
VISITOR = f"for=203.0.113.7;host={HOST};proto=https"
"""The element of a client that the balancer has named, with what it has said about scheme and host."""

CHAINS = [
    # X-Forwarded-For, Forwarded; what the app is told by Forwarded
    # A balancer that writes X-Forwarded-For only: what comes in Forwarded is the visitor's, whatever it says.
    ("203.0.113.7", "for=127.0.0.1", f"{VISITOR}, {OURS}"),
    ("203.0.113.7", "for=203.0.113.7", f"{VISITOR}, {OURS}"),
    ("203.0.113.7", "for=203.0.113.7;host=evil.test;proto=http", f"{VISITOR}, {OURS}"),
    ("203.0.113.7", "for=127.0.0.1;host=evil.test, for=203.0.113.7", f"{VISITOR}, {OURS}"),
    ("203.0.113.7", f"for=203.0.113.7, for={BALANCER}", f"{VISITOR}, {OURS}"),
    ("203.0.113.7", 'for=6.6.6.6;by="', f"{VISITOR}, {OURS}"),
    ("127.0.0.1, 203.0.113.7", "for=127.0.0.1;host=evil.test, for=203.0.113.7", f"for=127.0.0.1, {VISITOR}, {OURS}"),
    ("203.0.113.7, 10.1.1.1", None, f"{VISITOR}, for=10.1.1.1, {OURS}"),
    ("10.1.1.1", None, f"for=10.1.1.1;host={HOST};proto=https, {OURS}"),
    ("6.6.6.6, unknown", None, f"for=6.6.6.6, for=unknown;host={HOST};proto=https, {OURS}"),
    ("2001:db8::1", None, f'for="[2001:db8::1]";host={HOST};proto=https, {OURS}'),
    # Whoever appends what is no node has spoken, too. (nginx behind a Unix socket appends "unix:".)
    ("203.0.113.7, unix:", "for=127.0.0.1;host=evil.test;proto=http", OURS),
    ("nonsense", "for=203.0.113.7", OURS),
    # A proxy that writes Forwarded only.
    (None, "for=203.0.113.7;proto=https", f"for=203.0.113.7;proto=https, {OURS}"),
    (None, "for=203.0.113.7;proto=wss", f"for=203.0.113.7;proto=https, {OURS}"),
    (None, 'for=203.0.113.7;host="a:80";proto=ftp', f"for=203.0.113.7;proto=https, for={BALANCER};proto=https"),
    (None, "For=203.0.113.7; PROTO=https ;by=_x", f"for=203.0.113.7;proto=https;by=_x, {OURS}"),
    (None, "for=127.0.0.1;host=evil.test;proto=http, for=203.0.113.7", f"for=127.0.0.1, for=203.0.113.7, {OURS}"),
    ("", "for=203.0.113.7", f"for=203.0.113.7, {OURS}"),
    (None, 'for="[2001:DB8::1]:4711"', f'for="[2001:db8::1]", {OURS}'),
    (None, 'for="203.0.113.7:4711";by=203.0.113.43', f"for=203.0.113.7;by=203.0.113.43, {OURS}"),
    (None, 'for=_gazonk;by="[2001:db8::9]"', f'for=_gazonk;by="[2001:db8::9]", {OURS}'),
    (None, "for=unknown, for=10.1.1.1", f"for=unknown, for=10.1.1.1, {OURS}"),
    (None, "proto=https", f"for=unknown;proto=https, {OURS}"),
    (None, r'for=203.0.113.7;x="a\"b\\c, for=6.6.6.6"', rf'for=203.0.113.7;x="a\"b\\c, for=6.6.6.6", {OURS}'),
    # What does not parse is not there, and nothing that stands before it.
    (None, 'for=6.6.6.6;by="', OURS),
    (None, 'for=6.6.6.6;by=", for=203.0.113.7', f"for=203.0.113.7, {OURS}"),
    (None, 'for=6.6.6.6;by=", for="[2001:db8::1]"', f'for="[2001:db8::1]", {OURS}'),
    (None, 'for=6.6.6.6;by="\\", for=203.0.113.7', f"for=203.0.113.7, {OURS}"),
    (None, "for=1.1.1.1, for=6.6.6.6 x, for=203.0.113.7", f"for=203.0.113.7, {OURS}"),
    (None, "for=6.6.6.6;for=127.0.0.1, for=203.0.113.7", f"for=203.0.113.7, {OURS}"),
    (None, "for=203.0.113.7, for=", OURS),
    (None, "for=nonsense", OURS),
    (None, "for", OURS),
    (None, "for=2001:db8::1", OURS),
    (None, ";;,, ,for=203.0.113.7;", f"for=203.0.113.7, {OURS}"),
    (None, "for=203.0.113.7;host=<script>;proto=1x;by=[", OURS),
    (None, 'for=203.0.113.7;host="<script>";proto=1x;by="["', f"for=203.0.113.7, {OURS}"),
]


@pytest.mark.parametrize(("chain", "forwarded", "expected"), CHAINS)
def test_both_lists_say_the_same(chain: str | None, forwarded: str | None, expected: str) -> None:
    claims = [("X-Forwarded-For", chain)] * (chain is not None) + [("Forwarded", forwarded)] * (forwarded is not None)
    fields = told(peer(BALANCER), asked(*claims))
    assert fields["Forwarded"] == expected
    assert fields["X-Forwarded-Host"] == ("a:80" if 'host="a:80"' in str(forwarded) else HOST)
    assert told(peer(STRANGER), asked(*claims)) == told(peer(STRANGER), asked())


def test_each_line_of_forwarded_is_read_for_itself() -> None:
    """An open quote in a visitor's line does not swallow the balancer's."""
    head = asked(("Forwarded", 'for=6.6.6.6;by="'), ("forwarded", "for=203.0.113.7"))
    assert told(peer(BALANCER), head)["Forwarded"] == f"for=203.0.113.7, {OURS}"


def test_a_forwarded_that_is_believed_says_scheme_and_host() -> None:
    of = peer(BALANCER, b"http")
    head = asked(
        (
            "Forwarded",
            'for=6.6.6.6;host=evil.test, for=203.0.113.7;proto=HTTPS;host="shop.example:8443", for=10.1.1.1;proto=http',
        )
    )
    fields = told(of, head)
    assert str(of.client(head)) == "203.0.113.7"
    assert (fields["X-Forwarded-Proto"], fields["X-Forwarded-Host"], fields["X-Forwarded-Port"]) == (
        "https",
        "shop.example:8443",
        "8443",
    )
    assert fields["X-Forwarded-For"] == f"6.6.6.6, 203.0.113.7, 10.1.1.1, {BALANCER}"
    assert fields["Forwarded"] == (
        f"for=6.6.6.6, for=203.0.113.7;proto=https, for=10.1.1.1;proto=http, for={BALANCER};proto=https"
    )


BALANCERS = [
    # name; what it sends for a visitor 203.0.113.7 who has sent his own claims; scheme, host, port as the app is told
    (
        "AWS ALB",
        [
            ("X-Forwarded-For", "6.6.6.6, 203.0.113.7"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Port", "443"),
            ("Forwarded", "for=127.0.0.1;host=evil.test"),
            ("X-Forwarded-Host", HOST),
        ],
        ("https", HOST, "443"),
    ),
    (
        "AWS ALB with client ports",
        [("X-Forwarded-For", "203.0.113.7:52411"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Port", "443")],
        ("https", HOST, "443"),
    ),
    (
        "Google",
        [("X-Forwarded-For", "6.6.6.6,203.0.113.7,10.9.9.9"), ("X-Forwarded-Proto", "https"), ("Via", "1.1 google")],
        ("https", HOST, "443"),
    ),
    (
        "Azure Application Gateway",
        [
            ("X-Forwarded-For", "203.0.113.7:4711"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Port", "443"),
            ("X-Original-Host", HOST),
        ],
        ("https", HOST, "443"),
    ),
    (
        "HAProxy, option forwardfor and add-header",
        [
            ("X-Forwarded-For", "6.6.6.6"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-For", "203.0.113.7"),
        ],
        ("https", HOST, "443"),
    ),
    (
        "HAProxy, option forwarded",
        [("Forwarded", f'proto=https;host="{HOST}";for=203.0.113.7')],
        ("https", HOST, "443"),
    ),
    (
        "nginx, $proxy_add_x_forwarded_for",
        [
            ("X-Real-IP", "203.0.113.7"),
            ("X-Forwarded-For", "6.6.6.6, 203.0.113.7"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "shop.example"),
        ],
        ("https", "shop.example", "443"),
    ),
    (
        "Traefik",
        [
            ("X-Forwarded-For", "203.0.113.7"),
            ("X-Forwarded-Host", "shop.example:8443"),
            ("X-Forwarded-Port", "8443"),
            ("X-Forwarded-Proto", "wss"),
            ("X-Forwarded-Server", "traefik-1"),
            ("X-Real-Ip", "203.0.113.7"),
        ],
        ("https", "shop.example:8443", "8443"),
    ),
    (
        "Caddy",
        [("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-Host", "shop.example"), ("X-Forwarded-Proto", "https")],
        ("https", "shop.example", "443"),
    ),
    (
        "Envoy",
        [
            ("X-Forwarded-For", "203.0.113.7,10.1.1.1"),
            ("X-Forwarded-Proto", "https"),
            ("X-Envoy-External-Address", "203.0.113.7"),
        ],
        ("https", HOST, "443"),
    ),
    (
        "Cloudflare before another proxy",
        [
            ("X-Forwarded-For", "203.0.113.7, 10.1.1.1"),
            ("X-Forwarded-Proto", "https"),
            ("CF-Connecting-IP", "203.0.113.7"),
            ("CF-Visitor", '{"scheme":"https"}'),
        ],
        ("https", HOST, "443"),
    ),
    (
        "Apache before Apache",
        [
            ("X-Forwarded-For", "203.0.113.7, 10.1.1.1"),
            ("X-Forwarded-Host", "evil.test, shop.example, inner.example"),
            ("X-Forwarded-Server", "a.example, b.example"),
        ],
        ("http", "shop.example", "80"),
    ),
]


@pytest.mark.parametrize(("fields", "expected"), [row[1:] for row in BALANCERS], ids=[row[0] for row in BALANCERS])
def test_balancers_as_they_are(fields: list[tuple[str, str]], expected: tuple[str, str, str]) -> None:
    """They end TLS and speak plain HTTP to us."""
    of, head = peer(BALANCER, b"http"), asked(*fields)
    goes = told(of, head)
    assert str(of.client(head)) == goes["X-Real-Ip"] == "203.0.113.7"
    assert (goes["X-Forwarded-Proto"], goes["X-Forwarded-Host"], goes["X-Forwarded-Port"]) == expected
    host = "" if ":" in expected[1] else f";host={expected[1]}"
    assert goes["Forwarded"].endswith(f", for={BALANCER}{host};proto={expected[0]}")
    assert "evil" not in str(goes)
    assert "X-Forwarded-Server" not in goes


HOSTS = [
    # X-Forwarded-Host as it comes; as it goes, and the port
    ("shop.example", "shop.example", "443"),
    ("shop.example:8443", "shop.example:8443", "8443"),
    ("[2001:db8::1]:8443", "[2001:db8::1]:8443", "8443"),
    ("8080", "8080", "443"),
    # the last member is the balancer's own word
    ("evil.test, shop.example", "shop.example", "443"),
    # what is no host and port is not believed, least of all inside quotes
    ("", HOST, "443"),
    ('a";for=127.0.0.1;host="b', HOST, "443"),
    ('a"', HOST, "443"),
    ("a\\", HOST, "443"),
    ("user@shop.example", HOST, "443"),
    ("shop.example/path", HOST, "443"),
    ("shop example", HOST, "443"),
    ("<script>", HOST, "443"),
    ("shop.example:0", HOST, "443"),
    ("shop.example:99999", HOST, "443"),
    ("shop.example:", "shop.example:", "443"),
]


@pytest.mark.parametrize(("value", "host", "port"), HOSTS)
def test_a_proxys_host_is_taken_if_it_is_one(value: str, host: str, port: str) -> None:
    fields = told(peer(BALANCER), asked(("X-Forwarded-Host", value), ("X-Forwarded-Port", "1")))
    assert fields["X-Forwarded-Host"] == host
    assert fields["X-Forwarded-Port"] == port, "the host's own, whatever X-Forwarded-Port says"
    named = "" if ":" in host else f";host={host}"
    assert fields["Forwarded"] == f"for={BALANCER}{named};proto=https", "without quotes: apps take it as it stands"


def test_a_host_field_with_a_port_that_does_not_exist_makes_none() -> None:
    assert told(peer(STRANGER), asked(host=f"{HOST}:99999"))["X-Forwarded-Port"] == "443"


SCHEMES = [
    (("https",), "https"),
    (("http",), "http"),
    (("HTTPS",), "https"),
    # the last member is the balancer's own word
    (("http, https",), "https"),
    (("http", "https"), "https"),
    (("https", "http"), "http"),
    (("",), "http"),
    (("wss",), "https"),
    (("WSS",), "https"),
    (("ws",), "http"),
    (("https, ws",), "http"),
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


def test_a_scheme_is_the_word_of_the_proxy_that_met_the_client() -> None:
    """Two proxies that append: the outer one met the client over TLS, the inner one the outer one over plain HTTP."""
    claims = (("X-Forwarded-For", "6.6.6.6, 203.0.113.7, 10.1.1.1"), ("X-Forwarded-Proto", "http, https, http"))
    assert told(peer(BALANCER, b"http"), asked(*claims))["X-Forwarded-Proto"] == "https"


def test_a_resolved_claim_is_cached_no_longer_than_it_is_true() -> None:
    """On one connection of a balancer come many visitors, with the same names and others."""
    of = peer(BALANCER)
    for visitor in ("203.0.113.7", "203.0.113.8", "203.0.113.7"):
        for host in ("a.example.dev", "b.example.dev"):
            fields = told(of, asked(("X-Forwarded-For", visitor), host=host))
            assert (fields["X-Real-Ip"], fields["X-Forwarded-Host"]) == (visitor, host)


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

OWN_VIA = VIA.decode()
VIAS = [
    # Via as it comes, as it goes on (None: a loop)
    ((), OWN_VIA),
    (("1.0 fred, 1.1 p.example",), f"1.0 fred, 1.1 p.example, {OWN_VIA}"),
    (("1.1 fred", "HTTP/2 ginger"), f"1.1 fred, HTTP/2 ginger, {OWN_VIA}"),
    (("",), OWN_VIA),
    (("", "1.1 fred", ""), f"1.1 fred, {OWN_VIA}"),
    ((OWN_VIA,), f"{OWN_VIA}, {OWN_VIA}"),
    (("x," * 3000 + ", ".join([OWN_VIA] * MAX_VIAS),), None),
    ((", ".join([OWN_VIA] * (MAX_VIAS - 1)),), ", ".join([OWN_VIA] * MAX_VIAS)),
    ((", ".join([OWN_VIA] * MAX_VIAS),), None),
    ((OWN_VIA,) * MAX_VIAS, None),
    (("1.1 GATEWAY",) * MAX_VIAS, None),
    ((", 1.1 fred, ".join([OWN_VIA] * MAX_VIAS),), None),
    (("1.1 gateway2",) * MAX_VIAS, ", ".join(["1.1 gateway2"] * MAX_VIAS + [OWN_VIA])),
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
    with pytest.raises(GatewayError) as raised:
        while hops <= MAX_VIAS:
            octets = serialize.request_head(head, head.authority, peer(STRANGER).added(head), b"r-1")
            head = parse_request_head(octets, HeadLimits())
            hops += 1
    assert hops == MAX_VIAS
    assert raised.value.reason is Reason.PROXY_LOOP_DETECTED


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


def test_long_claims_are_not_cached() -> None:
    """A visitor can make each one different, and as long as a head may be."""
    of = peer(BALANCER)
    of.added(asked(("X-Forwarded-For", "203.0.113.7")))
    before = forwarded._resolve_cached.cache_info().currsize
    for number in range(20):
        of.added(asked(("X-Forwarded-For", f"{number}, " * 100 + "203.0.113.7")))
    assert forwarded._resolve_cached.cache_info().currsize == before
