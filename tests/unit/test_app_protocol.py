"""What a record says is spoken to its apps: read, kept as text, told again, and asked by port."""

from __future__ import annotations

import pytest

from gateway.app_protocol import AUTO, H2C, HTTP1, MAX_PORTS, as_json, of_json, protocol_of


@pytest.mark.parametrize(
    ("said", "text", "told"),
    [
        (None, "", None),
        ("", "", None),
        ("auto", "", None),
        ("h2c", "h2c", "h2c"),
        ("http1", "http1", "http1"),
        ({}, "", None),
        ({"default": "h2c", "ports": {"80": "h2c"}}, "h2c", "h2c"),
        ("auto 80=http1 9=h2c", "auto 9=h2c 80=http1", {"default": "auto", "ports": {"9": "h2c", "80": "http1"}}),
        ({"ports": {"50051": "h2c"}}, "auto 50051=h2c", {"default": "auto", "ports": {"50051": "h2c"}}),
    ],
)
def test_it_is_kept_in_one_form(said: object, text: str, told: object) -> None:
    assert of_json(said) == text
    assert of_json(text) == text
    if text:
        assert as_json(text) == told
        assert of_json(as_json(text)) == text


@pytest.mark.parametrize(
    "said",
    [
        7,
        True,
        "h2",
        "H2C",
        "h2c ",
        "50051=h2c",
        "auto 0=h2c",
        "auto 65536=h2c",
        "auto 080=h2c",
        {"default": None},
        {"default": ["h2c"]},
        {"port": {}},
        {"ports": []},
        {"ports": {"a": "h2c"}},
        {"ports": {80: "h2c"}},
        {"ports": {"80": "grpc"}},
        {"ports": {str(port): "h2c" for port in range(1, MAX_PORTS + 2)}},
    ],
)
def test_what_it_cannot_be_is_refused(said: object) -> None:
    with pytest.raises(ValueError, match=r"^expected "):
        of_json(said)


def test_it_is_asked_by_port() -> None:
    assert protocol_of("", 80) is AUTO
    assert protocol_of("h2c", 80) is H2C
    assert protocol_of("http1 50051=h2c 9=auto", 50051) is H2C
    assert protocol_of("http1 50051=h2c 9=auto", 9) is AUTO
    assert protocol_of("http1 50051=h2c 9=auto", 80) is HTTP1
