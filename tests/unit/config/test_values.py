"""Durations, sizes, addresses, networks, domains, masks: what is accepted, what is refused, parse(format(x)) == x."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import values
from gateway.config.values import Listen


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5.0),
        ("0s", 0.0),
        ("500ms", 0.5),
        ("5ms", 0.005),
        ("5m", 300.0),
        ("5m5ms", 300.005),
        ("1h", 3600.0),
        ("1h30m", 5400.0),
        ("1d2h3m4s5ms", 93784.005),
        ("090s", 90.0),
        ("365d", 365 * 86400.0),
    ],
)
def test_duration_accepted(text: str, seconds: float) -> None:
    assert values.parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "5 s",
        " 5s",
        "5s\n",
        "-5s",
        "+5s",
        "1.5s",
        "5S",
        "5sec",
        "30m1h",
        "5s5s",
        "1e3s",
        "٥s",
        "366d",
        "9999999999999s",
    ],
)
def test_duration_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        values.parse_duration(text)


@given(st.integers(min_value=0, max_value=int(values.MAX_DURATION * 1000)))
def test_duration_parse_and_format_are_inverse(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert values.parse_duration(values.format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"), [(75.0, "75s"), (300.0, "5m"), (3600.0, "1h"), (1.5, "1500ms"), (86400.0, "1d"), (0.0, "0s")]
)
def test_duration_is_written_short(seconds: float, text: str) -> None:
    assert values.format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [("0B", 0), ("1B", 1), ("32KiB", 32768), ("1MiB", 1048576), ("2GiB", 2147483648), ("010KiB", 10240)],
)
def test_size_accepted(text: str, size: int) -> None:
    assert values.parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "32", "KiB", "32 KiB", "32K", "32KB", "32kib", "-1B", "1.5MiB", "1MiB1KiB", "1B\n", "٣B"]
)
def test_size_refused(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        values.parse_size(text)


@given(st.integers(min_value=0, max_value=values.MAX_SIZE))
def test_size_parse_and_format_are_inverse(size: int) -> None:
    assert values.parse_size(values.format_size(size)) == size


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("[::]:443", Listen("::", 443)),
        ("[0:0:0:0:0:0:0:1]:8443", Listen("::1", 8443)),
        ("[fe80::1%eth0]:80", Listen("fe80::1%eth0", 80)),
        ("127.0.0.1:9090", Listen("127.0.0.1", 9090)),
        ("0.0.0.0:0", Listen("0.0.0.0", 0)),
    ],
)
def test_listen_accepted(text: str, listen: Listen) -> None:
    assert values.parse_listen(text) == listen


@pytest.mark.parametrize(
    "text",
    [
        "",
        "443",
        ":443",
        "*:443",
        "localhost:443",
        "::1:443",
        "[::1]",
        "[::1]443",
        "[::1:443",
        "[127.0.0.1]:443",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:0443",
        "127.0.0.1:+443",
        "127.0.0.1:4４3",
        "127.0.0.1:443 ",
        "127.1:443",
        "https://[::]:443",
    ],
)
def test_listen_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected an address and a port"):
        values.parse_listen(text)


@given(st.ip_addresses(), st.integers(min_value=0, max_value=65535))
def test_listen_parse_and_str_are_inverse(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    listen = Listen(str(address), port)
    assert values.parse_listen(str(listen)) == listen


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("::1", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::", False), ("0.0.0.0", False), ("fd00::1", False)],
)
def test_listen_knows_loopback(host: str, loopback: bool) -> None:
    assert Listen(host, 1).is_loopback is loopback


@pytest.mark.parametrize(
    "text", ["", "fd00::/129", "fd00::5/8", "example.dev", "10.0.0.0/33", "fe80::%eth0/64", "10.0.0.0/8 "]
)
def test_network_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a network"):
        values.parse_network(text)


def test_network_refused_says_when_it_is_an_address() -> None:
    with pytest.raises(ValueError, match="bits set behind its prefix"):
        values.parse_network("fd00::5/8")


@given(st.ip_addresses(), st.integers(min_value=0, max_value=128))
def test_network_parse_and_str_are_inverse(address: ipaddress.IPv4Address | ipaddress.IPv6Address, prefix: int) -> None:
    network = ipaddress.ip_network((address, min(prefix, address.max_prefixlen)), strict=False)
    assert values.parse_network(str(network)) == network


def test_sandbox_prefix_is_ipv6() -> None:
    assert values.parse_sandbox_prefix("::1/128") == ipaddress.IPv6Network("::1/128")
    with pytest.raises(ValueError, match="IPv6 only"):
        values.parse_sandbox_prefix("10.0.0.0/8")


def test_ipv4_prefix_is_ipv4() -> None:
    assert values.parse_ipv4_prefix("10.0.0.0/8") == ipaddress.IPv4Network("10.0.0.0/8")
    assert values.parse_ipv4_prefix("10.0.0.5") == ipaddress.IPv4Network("10.0.0.5/32")
    with pytest.raises(ValueError, match="expected an IPv4 network"):
        values.parse_ipv4_prefix("fd00::/8")
    with pytest.raises(ValueError, match=r'such as "10\.0\.0\.0/8"'):
        values.parse_ipv4_prefix("10.0.0.1/8")


LONGEST_DOMAIN = ".".join(["a" * 63, "b" * 63, "c" * 61])
"""189 octets: a label of 63 and a dot in front make 253."""


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("sandbox.example.dev", "sandbox.example.dev"),
        ("Sandbox.EXAMPLE.dev", "sandbox.example.dev"),
        ("localhost", "localhost"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("1.a", "1.a"),
        (LONGEST_DOMAIN, LONGEST_DOMAIN),
    ],
)
def test_domain_accepted(text: str, domain: str) -> None:
    assert values.parse_domain(text) == domain


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a domain"),
        (".", "no dot at its beginning or end"),
        (".example.dev", "no dot at its beginning or end"),
        ("example.dev.", "no dot at its beginning or end"),
        ("*.example.dev", 'write "example.dev", without the wildcard'),
        ("bücher.example", "xn--"),
        ("\u212a.example", "xn--"),  # U+212A, whose lower case is an innocent k
        ("a..b", "expected a domain"),
        ("-a.example", "expected a domain"),
        ("a-.example", "expected a domain"),
        ("a_b.example", "expected a domain"),
        ("a b", "expected a domain"),
        ("example.dev:443", "expected a domain"),
        ("https://example.dev", "expected a domain"),
        ("example.dev\n", "expected a domain"),
        ("127.0.0.1", "expected a domain"),
        ("::1", "expected a domain"),
        ("a" * 64, "expected a domain"),
        ("a" + LONGEST_DOMAIN, "expected a domain"),
        (LONGEST_DOMAIN + "c", "at most 189"),
    ],
)
def test_domain_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        values.parse_domain(text)


@pytest.mark.parametrize(
    "text",
    [
        "preserve",
        "localhost",
        "localhost:{port}",
        "LOCALHOST:3000",
        "my_app.internal:{port}",
        "p{port}.app",
        "127.0.0.1:{port}",
        "[::1]",
        "[::1]:{port}",
        "{port}.x:{port}",
    ],
)
def test_host_mask_accepted(text: str) -> None:
    assert values.parse_host_mask(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "localhost:",
        "localhost:0",
        "localhost:65536",
        "localhost:{port}0",
        "localhost:x",
        "http://localhost",
        "a/b",
        "user@host",
        "a,b",
        "::1",
        "[::1",
        "[::1]x",
        "[fe80::1%eth0]",
        "[127.0.0.1]",
        "a..b",
        ".a",
        "a b",
        "{",
        "{port",
        "x\r\ny: z",
        "bücher",
        "a" * 254,
    ],
)
def test_host_mask_refused(text: str) -> None:
    with pytest.raises(ValueError, match='expected "preserve"'):
        values.parse_host_mask(text)


@pytest.mark.parametrize("text", ["{id}.x", "localhost:{PORT}", "{}", "localhost:{port}.{id}"])
def test_host_mask_names_a_foreign_placeholder(text: str) -> None:
    with pytest.raises(ValueError, match="is not a placeholder"):
        values.parse_host_mask(text)


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("10.0.0.53", Listen("10.0.0.53", 53)),
        ("10.0.0.53:5353", Listen("10.0.0.53", 5353)),
        ("fd00:0::53", Listen("fd00::53", 53)),
        ("[fd00::53]:5353", Listen("fd00::53", 5353)),
    ],
)
def test_nameserver_accepted(text: str, server: Listen) -> None:
    assert values.parse_nameserver(text) == server
    assert values.parse_nameserver(str(server)) == server


@pytest.mark.parametrize(
    "text", ["", "ns1.example", "10.0.0.53:", "10.0.0.53:0", "[fd00::53]", "10.0.0.53:70000", "53"]
)
def test_nameserver_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected an address such as"):
        values.parse_nameserver(text)


@pytest.mark.parametrize(
    "text",
    [
        "redis://localhost",
        "redis://localhost/",
        "redis://127.0.0.1:6379/0",
        "redis://:secret@[fd00::9]:6380/15",
        "rediss://user:s%2Fcret@redis.internal:6380/3",
        "unix:///run/redis.sock",
        "unix://:secret@/run/redis.sock?db=2",
    ],
)
def test_redis_url_accepted(text: str) -> None:
    assert values.parse_redis_url(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost:6379",
        "http://u:secret@localhost",
        "redis://",
        "redis://u:secret@",
        "redis://u:secret@localhost:x",
        "redis://u:secret@localhost:0",
        "redis://u:secret@[::1",
        "redis://u:secret@localhost/zero",
        "redis://u:secret@localhost/0/1",
        "redis://u:secret@localhost/0?db=1",
        "redis://u:secret@localhost/0#1",
        "redis://u:secret@locälhost/0",
        "unix://u:secret@",
    ],
)
def test_redis_url_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match="URL") as error:
        values.parse_redis_url(text)
    assert "secret" not in str(error.value)


@given(st.text())
def test_quote_is_one_bounded_line(text: str) -> None:
    quoted = values.quote(text)
    assert quoted.isprintable()
    assert len(quoted) <= 60 * len("\\U0010ffff") + 2


@pytest.mark.parametrize(
    "parse",
    [
        values.parse_duration,
        values.parse_size,
        values.parse_listen,
        values.parse_nameserver,
        values.parse_redis_url,
        values.parse_network,
        values.parse_sandbox_prefix,
        values.parse_domain,
        values.parse_host_mask,
    ],
)
@given(text=st.text())
def test_any_text_is_a_value_or_a_sentence(parse: Callable[[str], object], text: str) -> None:
    try:
        parse(text)
    except ValueError as error:
        assert "\n" not in str(error)
        assert str(error)


@pytest.mark.parametrize("text", ["", "/", "/healthz", "/-/ready", "/.well-known/x~y", "/a%20b;c=d"])
def test_health_path_accepted(text: str) -> None:
    assert values.parse_health_path(text) == text


@pytest.mark.parametrize("text", ["healthz", "/a b", "/a?b", "/a#b", "*", "/ä", "/a\n", "/\x7f", "http://x/"])
def test_health_path_refused(text: str) -> None:
    with pytest.raises(ValueError, match='expected a path such as "/healthz"'):
        values.parse_health_path(text)
