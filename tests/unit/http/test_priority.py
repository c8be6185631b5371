"""What a priority field says."""

from __future__ import annotations

import pytest

from gateway.http import priority
from gateway.http.priority import urgency_of


@pytest.mark.parametrize(
    ("field", "urgency"),
    [
        (b"", 3),
        (b"u=0", 0),
        (b"u=7", 7),
        (b"i", 3),
        (b"i, u=5", 5),
        (b"u=1,i", 1),
        (b"u=2;x=1, i", 2),
        (b" \tu=4 ", 4),
        (b"u=1, u=6", 6),
        (b"u=8", 3),
        (b"u=-1", 3),
        (b"u=10", 3),
        (b"u=1.5", 3),
        (b"u", 3),
        (b"U=1", 3),
        (b"xu=1", 3),
        (b'x="u=1"', 3),
        (b"u= 1", 3),
    ],
)
def test_what_a_priority_field_says(field: bytes, urgency: int) -> None:
    """RFC 9218 section 4; what is out of range or of another type says nothing."""
    assert urgency_of(field) == urgency


def test_what_was_read_is_remembered_within_bounds() -> None:
    for number in range(10 * priority.REMEMBERED):
        assert urgency_of(b"x%d, u=1" % number) == 1
        assert len(priority._urgencies) <= priority.REMEMBERED
    assert urgency_of(b"u=1" + b" " * priority.REMEMBERED_OCTETS) == 1
    assert max(map(len, priority._urgencies)) <= priority.REMEMBERED_OCTETS


def test_nonsense_is_read_in_no_time() -> None:
    assert urgency_of(b"u=1," + b" " * 100_000 + b"u") == 1
