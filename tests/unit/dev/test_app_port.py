"""What is typed for an app of this machine."""

from __future__ import annotations

import pytest

from gateway.cli_guesses import likely_of, with_verb
from gateway.dev.app_port import AppPort, NoApp, parse_app


@pytest.mark.parametrize(
    ("text", "sandbox_id", "port"),
    [
        ("5000", "", 5000),
        ("shop=5000", "shop", 5000),
        (":5000", "", 5000),
        ("localhost:3000", "", 3000),
        ("LOCALHOST:3000", "", 3000),
        ("127.0.0.1:3000", "", 3000),
        ("0.0.0.0:3000", "", 3000),
        ("[::1]:3000", "", 3000),
        ("http://localhost:3000", "", 3000),
        ("http://localhost:3000/path?x=1#y", "", 3000),
        ("https://localhost:3000/", "", 3000),
        ("shop=http://[::]:3000/", "shop", 3000),
    ],
)
def test_understood(text: str, sandbox_id: str, port: int) -> None:
    assert parse_app(text) == AppPort(sandbox_id, port)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not PORT"),
        ("http://5000", "is not PORT"),
        ("http://localhost", "is not PORT"),
        ("http://example.com:80", "is not this machine"),
        ("10.0.0.1:80", "is not this machine"),
        ("https://5000-local.sandbox.localhost:8443/", "is not this machine"),
        ("0", "is not a port"),
        ("65536", "is not a port"),
        ("05", "is not a port"),
        ("9" * 5000, "is not a port"),
        ("=5000", "is not a sandbox id"),
        ("A=5000", "is not a sandbox id"),
        ("a\x1b[2J=5000", "is not a sandbox id"),
    ],
)
def test_refused(text: str, said: str) -> None:
    with pytest.raises(NoApp, match=said) as refused:
        parse_app(text)
    assert "\x1b" not in str(refused.value)


def test_a_command_that_begins_with_an_app_is_dev() -> None:
    assert with_verb(["5000", "--strict-port"]) == ["dev", "5000", "--strict-port"]
    assert with_verb(["http://localhost:3000"]) == ["dev", "http://localhost:3000"]
    for other in ([], ["dev", "5000"], ["--help"], ["srve"]):
        assert with_verb(other) == other


@pytest.mark.parametrize(
    ("word", "likely"),
    [("srve", "serve"), ("http", "dev"), ("Serve", "serve"), ("trust", "certs trust"), ("xyzzy", "")],
)
def test_a_wrong_verb_has_a_likely_one(word: str, likely: str) -> None:
    assert likely_of(word, ["dev", "serve", "certs", "explain"]) == likely
