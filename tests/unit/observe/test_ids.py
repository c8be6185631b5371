"""Request ids: never twice, in order, and foreign ones only if they are harmless."""

from __future__ import annotations

import re

import pytest

from gateway.observe.ids import RequestIds, is_acceptable


def test_an_id_is_short_and_plain() -> None:
    ids = RequestIds()
    assert re.fullmatch(rb"[0-9a-f]{12}-000001", ids.new())
    assert re.fullmatch(rb"[0-9a-f]{12}-000002", ids.new())


def test_no_id_is_given_twice() -> None:
    ids = RequestIds()
    assert len({ids.new() for _ in range(10_000)}) == 10_000


def test_ids_of_one_worker_sort_by_age() -> None:
    ids = RequestIds()
    given = [ids.new() for _ in range(10_000)]
    assert sorted(given) == given


def test_workers_do_not_share_ids() -> None:
    prefixes = {RequestIds().new().partition(b"-")[0] for _ in range(100)}
    assert len(prefixes) == 100


def test_our_own_ids_are_acceptable() -> None:
    assert is_acceptable(RequestIds().new())


FOREIGN = [
    (b"a", True),
    (b"7b2a1c0e-6f0f-4f0e-9d5a-0b6c8f1d2e3f", True),
    (b"Root=1-67891233-abcdef012345678912345678", True),
    (b"a.b_c:d/e+f=g@h", True),
    (b"x" * 128, True),
    (b"x" * 129, False),
    (b"", False),
    (b"a b", False),
    (b"a,b", False),
    (b"a;b", False),
    (b'a"', False),
    (b"<b>", False),
    (b"a\n", False),
    (b"a\r\nX: y", False),
    (b"\x1b[31m", False),
    (b"\0", False),
    (b"\xe4", False),
    (b"a%0a", False),
]


@pytest.mark.parametrize(("value", "acceptable"), FOREIGN)
def test_a_foreign_id_goes_on_only_if_it_is_harmless(value: bytes, acceptable: bool) -> None:
    assert is_acceptable(value) is acceptable
