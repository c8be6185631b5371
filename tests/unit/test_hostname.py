"""What a hostname names: every spelling that is a target, and the reason of every one that is not."""

from __future__ import annotations

import pytest

from gateway.errors import GatewayError, Reason
from gateway.hostname import MAX_LABEL, HostnameParser, Target, is_sandbox_id

DOMAIN = "sandbox.example.dev"
OTHER = "example.dev"
"""Also served, and the end of DOMAIN: the longer one has to win."""
PARSER = HostnameParser([OTHER, DOMAIN])

TARGETS = [
    # what is asked for, the port, the id, the domain
    ("5000-abc123.sandbox.example.dev", 5000, "abc123", DOMAIN),
    ("5000-abc123.example.dev", 5000, "abc123", OTHER),
    ("1-a.example.dev", 1, "a", OTHER),
    ("65535-a.example.dev", 65535, "a", OTHER),
    ("80-0.example.dev", 80, "0", OTHER),
    ("80-007.example.dev", 80, "007", OTHER),
    ("5000-8000.example.dev", 5000, "8000", OTHER),
    # hyphens belong to the id: only the first one separates
    ("5000-my-app-7.example.dev", 5000, "my-app-7", OTHER),
    ("5000-8000-x.example.dev", 5000, "8000-x", OTHER),
    ("5000-a--b.example.dev", 5000, "a--b", OTHER),
    ("5000-xn--bcher-kva.example.dev", 5000, "xn--bcher-kva", OTHER),
    # letter case, one trailing dot, the listener's port
    ("5000-ABC123.Sandbox.EXAMPLE.dev", 5000, "abc123", DOMAIN),
    ("5000-abc123.example.dev.", 5000, "abc123", OTHER),
    ("5000-abc123.example.dev:8443", 5000, "abc123", OTHER),
    ("5000-abc123.example.dev:", 5000, "abc123", OTHER),  # an empty port is a port too (RFC 3986 section 3.2.3)
    ("5000-abc123.example.dev.:8443", 5000, "abc123", OTHER),
    ("5000-abc123.example.dev:0", 5000, "abc123", OTHER),
    ("5000-abc123.example.dev:65535", 5000, "abc123", OTHER),
    ("5000-abc123.example.dev:00443", 5000, "abc123", OTHER),
    # a label has 63 octets
    (f"5000-{'a' * 58}.example.dev", 5000, "a" * 58, OTHER),
    (f"1-{'a' * 61}.example.dev", 1, "a" * 61, OTHER),
    (f"65535-{'a' * 57}.example.dev", 65535, "a" * 57, OTHER),
]

REFUSED = [
    # what is asked for, the reason
    # --- not ours
    ("", Reason.UNKNOWN_DOMAIN),
    (".", Reason.UNKNOWN_DOMAIN),
    (":443", Reason.UNKNOWN_DOMAIN),
    ("localhost", Reason.UNKNOWN_DOMAIN),
    ("5000-abc123", Reason.UNKNOWN_DOMAIN),
    ("5000-abc123.example.com", Reason.UNKNOWN_DOMAIN),
    ("5000-abc123.example.com:8443", Reason.UNKNOWN_DOMAIN),
    ("5000-abc123.example.com:x", Reason.UNKNOWN_DOMAIN),
    ("other.test:99999", Reason.UNKNOWN_DOMAIN),
    ("5000-abc123.example.dev.evil.test", Reason.UNKNOWN_DOMAIN),
    ("5000-abc123.notexample.dev", Reason.UNKNOWN_DOMAIN),
    ("5000-abc123.example.dev..", Reason.UNKNOWN_DOMAIN),
    ("notexample.dev", Reason.UNKNOWN_DOMAIN),
    ("127.0.0.1", Reason.UNKNOWN_DOMAIN),
    ("127.0.0.1:8443", Reason.UNKNOWN_DOMAIN),
    ("[::1]", Reason.UNKNOWN_DOMAIN),
    ("[::1]:8443", Reason.UNKNOWN_DOMAIN),
    ("[fd00::5%25eth0]", Reason.UNKNOWN_DOMAIN),
    ("::1", Reason.UNKNOWN_DOMAIN),
    ("fd00::5", Reason.UNKNOWN_DOMAIN),
    # U+212A and U+0130 become ASCII letters when lowered carelessly, U+3002 and U+FF0E a dot
    ("5000-\u212a.example.dev", Reason.UNKNOWN_DOMAIN),
    ("5000-abc.examp\u0130e.dev", Reason.UNKNOWN_DOMAIN),
    ("5000-abc\u3002example.dev", Reason.UNKNOWN_DOMAIN),
    ("5000-abc\uff0eexample.dev", Reason.UNKNOWN_DOMAIN),
    ("\uff15000-abc.example.dev", Reason.UNKNOWN_DOMAIN),
    ("\u0665000-abc.example.dev", Reason.UNKNOWN_DOMAIN),
    ("5000-b\xfccher.example.dev", Reason.UNKNOWN_DOMAIN),
    ("5000-abc.example.dev:\u0664\u0664\u0663", Reason.UNKNOWN_DOMAIN),
    # --- ours, but no <port>-<id>
    ("example.dev", Reason.INVALID_HOSTNAME),
    ("sandbox.example.dev", Reason.INVALID_HOSTNAME),
    ("SANDBOX.example.dev.:8443", Reason.INVALID_HOSTNAME),
    (".example.dev", Reason.INVALID_HOSTNAME),
    ("www.example.dev", Reason.INVALID_HOSTNAME),
    ("5000.example.dev", Reason.INVALID_HOSTNAME),
    ("abc123.example.dev", Reason.INVALID_HOSTNAME),
    ("abc123-5000.example.dev", Reason.INVALID_HOSTNAME),
    ("-5000-abc.example.dev", Reason.INVALID_HOSTNAME),
    ("-abc.example.dev", Reason.INVALID_HOSTNAME),
    ("5000-.example.dev", Reason.INVALID_HOSTNAME),
    ("5000--.example.dev", Reason.INVALID_HOSTNAME),
    ("5000--abc.example.dev", Reason.INVALID_HOSTNAME),
    ("5000-abc-.example.dev", Reason.INVALID_HOSTNAME),
    ("5000_abc.example.dev", Reason.INVALID_HOSTNAME),
    ("5000-a_b.example.dev", Reason.INVALID_HOSTNAME),
    ("5000-a b.example.dev", Reason.INVALID_HOSTNAME),
    (" 5000-abc.example.dev", Reason.INVALID_HOSTNAME),
    ("5000-abc\n.example.dev", Reason.INVALID_HOSTNAME),
    ("5000-abc\0.example.dev", Reason.INVALID_HOSTNAME),
    ("5000-abc%2e.example.dev", Reason.INVALID_HOSTNAME),
    ("user@5000-abc.example.dev", Reason.INVALID_HOSTNAME),
    ("5,000-abc.example.dev", Reason.INVALID_HOSTNAME),
    ("+5000-abc.example.dev", Reason.INVALID_HOSTNAME),
    ("0x50-abc.example.dev", Reason.INVALID_HOSTNAME),
    ("5e3-abc.example.dev", Reason.INVALID_HOSTNAME),
    ("*.example.dev", Reason.INVALID_HOSTNAME),
    # one label, not two
    ("a.5000-abc.example.dev", Reason.INVALID_HOSTNAME),
    ("5000-abc.x.sandbox.example.dev", Reason.INVALID_HOSTNAME),
    ("5000-abc.sandbox.example.dev.example.dev", Reason.INVALID_HOSTNAME),
    ("5000-abc..example.dev", Reason.INVALID_HOSTNAME),
    ("[5000-abc.example.dev", Reason.INVALID_HOSTNAME),
    # one octet too many
    (f"5000-{'a' * 59}.example.dev", Reason.INVALID_HOSTNAME),
    (f"5000-{'a' * 300}.example.dev", Reason.INVALID_HOSTNAME),
    # what follows the colon
    ("5000-abc.example.dev:x", Reason.INVALID_HOSTNAME),
    ("5000-abc.example.dev:-1", Reason.INVALID_HOSTNAME),
    ("5000-abc.example.dev: 443", Reason.INVALID_HOSTNAME),
    ("5000-abc.example.dev:65536", Reason.INVALID_HOSTNAME),
    ("5000-abc.example.dev:000443", Reason.INVALID_HOSTNAME),
    ("5000-abc.example.dev:443:443", Reason.INVALID_HOSTNAME),
    ("5000-abc.example.dev:443.", Reason.INVALID_HOSTNAME),
    # --- only the port is wrong
    ("0-abc.example.dev", Reason.INVALID_PORT),
    ("00-abc.example.dev", Reason.INVALID_PORT),
    ("05000-abc.example.dev", Reason.INVALID_PORT),
    ("000080-abc.example.dev", Reason.INVALID_PORT),
    ("65536-abc.example.dev", Reason.INVALID_PORT),
    ("99999-abc.example.dev", Reason.INVALID_PORT),
    ("100000-abc.example.dev", Reason.INVALID_PORT),
    (f"{'9' * 59}-abc.example.dev", Reason.INVALID_PORT),
]


@pytest.mark.parametrize(("authority", "port", "sandbox_id", "domain"), TARGETS)
def test_a_hostname_names_a_port_of_a_sandbox(authority: str, port: int, sandbox_id: str, domain: str) -> None:
    assert PARSER.parse(authority) == Target(port, sandbox_id, domain)


@pytest.mark.parametrize(("authority", "reason"), REFUSED)
def test_every_other_name_is_refused_with_its_own_reason(authority: str, reason: Reason) -> None:
    with pytest.raises(GatewayError) as refusal:
        PARSER.parse(authority)
    assert refusal.value.reason is reason
    assert refusal.value.detail


@pytest.mark.parametrize("authority", [authority for authority, _ in REFUSED if len(authority) > 100])
def test_a_refusal_of_a_long_name_is_short(authority: str) -> None:
    with pytest.raises(GatewayError) as refusal:
        PARSER.parse(authority)
    assert len(refusal.value.detail) < 150


@pytest.mark.parametrize("order", [[OTHER, DOMAIN], [DOMAIN, OTHER]])
def test_the_longest_domain_wins_in_whatever_order_they_are_configured(order: list[str]) -> None:
    parser = HostnameParser(order)
    assert parser.domains == (DOMAIN, OTHER)
    assert parser.parse("5000-abc.sandbox.example.dev") == Target(5000, "abc", DOMAIN)


def test_without_the_longer_domain_its_names_have_a_label_too_many() -> None:
    with pytest.raises(GatewayError) as refusal:
        HostnameParser([OTHER]).parse("5000-abc.sandbox.example.dev")
    assert refusal.value.reason is Reason.INVALID_HOSTNAME


def test_domains_are_configured_in_any_letter_case() -> None:
    assert HostnameParser(["Example.DEV"]).parse("80-a.example.dev") == Target(80, "a", "example.dev")


@pytest.mark.parametrize(("length", "accepted"), [(253, True), (254, False)])
def test_a_name_has_at_most_253_octets(length: int, accepted: bool) -> None:
    domain = ".".join(["d" * 62] * 4)[: length - len("5000-a.")]
    name = f"5000-a.{domain}"
    assert len(name) == length
    if accepted:
        assert HostnameParser([domain]).parse(f"{name}.") == Target(5000, "a", domain)
    else:
        with pytest.raises(GatewayError) as refusal:
            HostnameParser([domain]).parse(name)
        assert refusal.value.reason is Reason.INVALID_HOSTNAME


@pytest.mark.parametrize(("authority", "port", "sandbox_id", "domain"), TARGETS)
def test_a_target_spells_the_name_that_leads_to_it(authority: str, port: int, sandbox_id: str, domain: str) -> None:
    target = Target(port, sandbox_id, domain)
    assert target.host == authority.lower().partition(":")[0].removesuffix(".")
    assert PARSER.parse(target.host) == target


SANDBOX_IDS = [
    ("a", True),
    ("0", True),
    ("abc123", True),
    ("my-app-7", True),
    ("a--b", True),
    ("a" * 57, True),
    ("a" * 58, False),
    ("", False),
    ("-", False),
    ("-a", False),
    ("a-", False),
    ("A", False),
    ("a.b", False),
    ("a_b", False),
    ("a b", False),
    ("a\n", False),
    ("\xe4", False),
    ("\u0661", False),
]


@pytest.mark.parametrize(("text", "is_one"), SANDBOX_IDS)
def test_a_sandbox_id_fits_behind_every_port(text: str, is_one: bool) -> None:
    assert is_sandbox_id(text) is is_one
    if is_one:
        assert len(f"65535-{text}") <= MAX_LABEL
        assert PARSER.parse(f"65535-{text}.{OTHER}").sandbox_id == text


@pytest.mark.parametrize(
    ("authority", "domain"),
    [
        ("99999-a.eu.example.dev:8443", "eu.example.dev"),
        ("99999-a.EXAMPLE.dev.", "example.dev"),
        ("example.dev", "example.dev"),
        ("99999-a.elsewhere.example", "example.dev"),
        ("notexample.dev", "example.dev"),
        ("[::1]", "example.dev"),
    ],
)
def test_an_example_lies_in_the_domain_that_was_asked_for(authority: str, domain: str) -> None:
    assert HostnameParser(["eu.example.dev", "example.dev"]).nearest(authority) == domain
