"""Lists and parameters (RFC 9110 sections 5.6.1, 5.6.4 and 5.6.6), quotes included."""

from __future__ import annotations

import pytest

from gateway.http.lists import members, parameters

MEMBERS = [
    (b"", []),
    (b" ,\t, ", []),
    (b"a", [b"a"]),
    (b" a ,b,, c d ", [b"a", b"b", b"c d"]),
    (b'a;x="1, 2", b', [b'a;x="1, 2"', b"b"]),
    (b'a;x="\\"", b', [b'a;x="\\""', b"b"]),
    (b'a;x="\\\\", b', [b'a;x="\\\\"', b"b"]),
    (b'"a, b', [b'"a, b']),
    (b'a, "b\\', [b"a", b'"b\\']),
    (b'a\\, b"c"d, e', [b"a\\", b'b"c"d', b"e"]),
]


@pytest.mark.parametrize(("value", "expected"), MEMBERS)
def test_members_stand_between_commas_outside_of_quotes(value: bytes, expected: list[bytes]) -> None:
    assert members(value) == expected


PARAMETERS = [
    (b"a", []),
    (b"a;", []),
    (b"a ; Q = 0.5 ;; b=c", [(b"q", b"0.5"), (b"b", b"c")]),
    (b'a;x="1;q=0";q=1', [(b"x", b'"1;q=0"'), (b"q", b"1")]),
    (b"a;b", [(b"b", b"")]),
    (b'a;x="1;q=0', [(b"x", b'"1;q=0')]),
]


@pytest.mark.parametrize(("member", "expected"), PARAMETERS)
def test_parameters_stand_behind_semicolons_outside_of_quotes(
    member: bytes, expected: list[tuple[bytes, bytes]]
) -> None:
    assert parameters(member) == expected
