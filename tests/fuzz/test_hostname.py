"""The hostname parser against whatever can be typed: parse and format are inverse, nothing else escapes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import GatewayError, Reason
from gateway.hostname import MAX_LABEL, HostnameParser, Target, is_sandbox_id

DOMAINS = ("sandbox.example.dev", "example.dev", "sandbox.localhost")
PARSER = HostnameParser(DOMAINS)
FUZZ = settings(deadline=None, max_examples=200)
REASONS = (Reason.UNKNOWN_DOMAIN, Reason.INVALID_HOSTNAME, Reason.INVALID_PORT)

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
sandbox_ids = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,55}[a-z0-9])?", fullmatch=True)
targets = st.builds(Target, st.integers(1, 65535), sandbox_ids, st.sampled_from(DOMAINS))
suffixes = st.tuples(st.sampled_from(("", ".")), st.just("") | st.integers(0, 65535).map(lambda port: f":{port}"))


@st.composite
def spellings(draw: st.DrawFn) -> tuple[Target, str]:
    """A target, and one of the ways to write its name."""
    target = draw(targets)
    cases = draw(st.lists(st.booleans(), min_size=len(target.host), max_size=len(target.host)))
    host = "".join(char.upper() if upper else char for char, upper in zip(target.host, cases, strict=True))
    return target, host + "".join(draw(suffixes))


def outcome(authority: str) -> Target | Reason:
    try:
        return PARSER.parse(authority)
    except GatewayError as error:
        assert error.reason in REASONS
        assert len(error.detail) < 200
        return error.reason


@FUZZ
@given(spellings())
def test_every_spelling_of_a_target_leads_back_to_it(spelling: tuple[Target, str]) -> None:
    target, authority = spelling
    assert PARSER.parse(authority) == target
    assert is_sandbox_id(target.sandbox_id)


@FUZZ
@given(st.text() | st.text(LETTERS + "-.:[]@%_ \t\r\n\0") | st.text(st.characters(codec="latin-1")))
def test_no_text_raises_anything_but_the_three_reasons(text: str) -> None:
    outcome(text)


@FUZZ
@given(st.text(LETTERS + "-.:_", max_size=80), st.sampled_from(DOMAINS))
def test_what_is_accepted_is_what_a_target_spells(label: str, domain: str) -> None:
    found = outcome(f"{label}.{domain}")
    if isinstance(found, Target):
        assert found.host == f"{label}.{domain}"
        assert 1 <= found.port <= 65535
        assert len(f"{found.port}-{found.sandbox_id}") <= MAX_LABEL
        assert PARSER.parse(found.host) == found


@FUZZ
@given(st.integers(), sandbox_ids)
def test_only_a_port_from_1_to_65535_is_one(port: int, sandbox_id: str) -> None:
    found = outcome(f"{port}-{sandbox_id}.example.dev")
    if 1 <= port <= 65535:
        assert found == Target(port, sandbox_id, "example.dev")
    else:
        assert found in (Reason.INVALID_PORT, Reason.INVALID_HOSTNAME)


@FUZZ
@given(targets, st.integers(0, 300), st.characters())
def test_one_foreign_character_never_leads_to_another_sandbox(target: Target, at: int, char: str) -> None:
    host = target.host
    at %= len(host)
    found = outcome(host[:at] + char + host[at + 1 :])
    if isinstance(found, Target):  # then the change made another valid name, and exactly that one is meant
        assert found.host == (host[:at] + char + host[at + 1 :]).lower().partition(":")[0].removesuffix(".")
