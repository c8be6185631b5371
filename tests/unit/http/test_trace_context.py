"""Which `traceparent` says of which trace a request is a part: the specification's own examples, and near misses."""

from __future__ import annotations

import pytest

from gateway.http.trace_context import parse

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def value(version: str = "00", trace: str = TRACE, parent: str = PARENT, flags: str = "01", more: str = "") -> bytes:
    return f"{version}-{trace}-{parent}-{flags}{more}".encode()


@pytest.mark.parametrize(
    ("field", "sampled"),
    [
        (value(), True),
        (value(flags="00"), False),
        (value(flags="ff"), True),
        (value(flags="02"), False),
        (value(version="01"), True),
        (value(version="cc", more="-what-the-future-will-be-like"), True),
    ],
)
def test_what_is_valid(field: bytes, sampled: bool) -> None:
    assert parse([field]) == (TRACE, PARENT, sampled)


@pytest.mark.parametrize(
    "field",
    [
        value(version="ff"),
        value(version="0"),
        value(version="0x"),
        value(trace="0" * 32),
        value(trace=TRACE[:-1]),
        value(trace=TRACE.upper()),
        value(trace=TRACE[:-1] + "é"),
        value(parent="0" * 16),
        value(parent=PARENT + "0"),
        value(flags="1"),
        value(more="-more"),
        value(version="01", more=".more"),
        value(more="\n"),
        b" " + value(),
        b"",
        b"00",
        b"-" * 55,
    ],
)
def test_what_is_not(field: bytes) -> None:
    assert parse([field]) is None


def test_two_are_none() -> None:
    assert parse([value(), value()]) is None
    assert parse([]) is None
