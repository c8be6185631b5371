from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.errors import GatewayError, Reason
from gateway.http import field_lines, head_parser, roles
from gateway.http.field_lines import (
    ASKED,
    GENERATION_OCTETS,
    REMEMBERED,
    REMEMBERED_OCTETS,
    K,
    RecentLines,
    field_line,
)
from gateway.http.h2.field_lines import MalformedField
from gateway.http.h2.field_lines import field_lines as h2_field_lines
from gateway.http.head_parser import HeadLimits, parse_field_lines, parse_request_head, parse_response_head
from gateway.http.message import FieldLine, FieldSection
from tests.support.field_lines import decoded

LIMITS = HeadLimits()


def asked(line: bytes) -> object:
    return parse_request_head(b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n", LIMITS)


def answered(line: bytes) -> object:
    return parse_response_head(b"HTTP/1.1 200 OK\r\n" + line + b"\r\n\r\n", LIMITS, b"GET")


GATES = [(asked, Reason.BAD_REQUEST), (answered, Reason.HTTP_PROTOCOL_ERROR)]


@pytest.mark.parametrize(("gate", "reason"), GATES)
@pytest.mark.parametrize("value", [b"\0", b"a\0", b"\n", b"a\nB: c", b"\r", b"\x0b", b"\x1b[0m", b"\x7f", b"a\r"])
@pytest.mark.parametrize("name", [b"A", b"Connection", b"X-Forwarded-For", b"Keep-Alive", b"X-Gateway-Error"])
def test_no_control_character_passes_in_a_value(
    gate: Callable[[bytes], object], reason: Reason, name: bytes, value: bytes
) -> None:
    for _ in range(2):  # what is refused is not remembered as right
        with pytest.raises(GatewayError) as error:
            gate(name + b": x" + value + b"x")
        assert error.value.reason is reason


@pytest.mark.parametrize(("gate", "reason"), GATES)
@pytest.mark.parametrize(
    "name", [b"", b" ", b" A", b"\tA", b"A B", b":method", b"A\0", b"\xe4", b"(A)", b"A\r", b"\nA"]
)
def test_a_name_is_a_token(gate: Callable[[bytes], object], reason: Reason, name: bytes) -> None:
    with pytest.raises(GatewayError) as error:
        gate(name + b": 1")
    assert error.value.reason is reason


@pytest.mark.parametrize(("gate", "reason"), GATES)
def test_a_line_has_a_colon(gate: Callable[[bytes], object], reason: Reason) -> None:
    with pytest.raises(GatewayError, match="no colon") as error:
        gate(b"A")
    assert error.value.reason is reason


def test_white_space_around_a_value_is_none_of_it() -> None:
    (line,) = parse_field_lines(b"A:\t b c \t\r\n\r\n", LIMITS)
    assert line.pair == (b"A", b"b c")
    assert line.line == b"A: b c"


def learn(recent: RecentLines[K], key: K, line: FieldLine) -> None:
    """As of what came before."""
    for _ in range(2):
        recent.learn(key, line)


def test_what_was_seen_is_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    block = b"X-Seen: 1\r\nx-seen: 1\r\nX-Seen:1\r\n\r\n"
    pairs = [(b"x-seen", b"1"), (b"x-seen", b"2")]
    for _ in range(2):  # the first time, it is only noted that they were there
        seen = parse_field_lines(block, LIMITS), h2_field_lines(decoded(pairs))
    monkeypatch.setattr(field_lines, "KNOWN_ROLES", None)
    monkeypatch.setattr(head_parser, "KNOWN_ROLES", None)
    assert parse_field_lines(block, LIMITS) == seen[0]
    assert h2_field_lines(decoded(pairs)) == seen[1]
    assert len({id(line) for line in (*seen[0], *seen[1])}) == 5, "each is known as it was sent"


def test_what_comes_again_stays_and_what_does_not_goes() -> None:
    recent = RecentLines[bytes]()
    line = field_line(b"a", b"1")
    learn(recent, b"again", line)
    learn(recent, b"then", field_line(b"a", b"2"))
    for number in range(3 * REMEMBERED):
        learn(recent, b"%d" % number, field_line(b"a", b"3"))
        assert (recent.young.get(b"again") or recent.recall(b"again")) is line
        assert len(recent) <= 2 * REMEMBERED
    assert b"then" not in recent.young
    assert recent.recall(b"then") is None


def test_what_comes_once_is_not_kept() -> None:
    recent = RecentLines[bytes]()
    for number in range(REMEMBERED):
        recent.learn(b"%d" % number, field_line(b"a", b"1"))
        recent.recall(b"%d" % number)
    assert recent.unseen == REMEMBERED
    assert len(recent) < REMEMBERED // 20, "one in 256 has the mark of who was last in its place"
    for _ in range(2):
        recent.learn(b"again", field_line(b"a", b"1"))
    assert recent.recall(b"again") or recent.young[b"again"]


def test_two_that_are_noted_in_one_place_are_both_kept() -> None:
    recent = RecentLines[int]()
    line = field_line(b"a", b"1")
    for _ in range(2):
        for key in (1 << 32, 2 << 32):  # a number is its own hash
            recent.learn(key, line)
    assert len(recent) == 2


@pytest.mark.parametrize("key", [0, ASKED - 2, ASKED - 1, ASKED, -1, (1 << 61) - 2])
def test_every_hash_has_a_place(key: int) -> None:
    recent = RecentLines[int]()
    for _ in range(2):
        recent.learn(key, field_line(b"a", b"1"))
    assert len(recent) == 1


def test_long_lines_are_not_kept() -> None:
    recent = RecentLines[bytes]()
    for octets, kept in ((REMEMBERED_OCTETS, 1), (REMEMBERED_OCTETS + 1, 1)):
        learn(recent, b"%d" % octets, field_line(b"a", b"x" * (octets - 3)))
        assert len(recent) == kept


def test_a_generation_has_its_octets() -> None:
    recent = RecentLines[int]()
    line = field_line(b"a", b"x" * (REMEMBERED_OCTETS - 3))
    for number in range(3 * GENERATION_OCTETS // REMEMBERED_OCTETS):
        learn(recent, number, line)
        assert len(recent) <= 2 * GENERATION_OCTETS // REMEMBERED_OCTETS


@pytest.mark.parametrize(
    "pair", [(b"A", b"1"), (b"a:", b"1"), (b"a", b" 1"), (b"a", b"1\t"), (b"a", b"1\0"), (b"a", b"\r")]
)
def test_http2_calls_it_malformed(pair: tuple[bytes, bytes]) -> None:
    for _ in range(2):
        with pytest.raises(MalformedField):
            h2_field_lines(decoded([pair]))


def test_a_section_is_written_from_its_lines() -> None:
    section = FieldSection([field_line(b"A", b"1"), field_line(b"cookie", b"x")])
    assert [line.role for line in section.field_lines] == [roles.PASS, roles.COOKIE]
    assert section.lines == b"A: 1\r\ncookie: x\r\n"
    assert section.fields == [(b"A", b"1"), (b"cookie", b"x")]
    assert FieldSection([]).lines == b""
