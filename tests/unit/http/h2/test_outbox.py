"""A queue of octets."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.http.h2.outbox import Outbox


def test_chunks_are_cut_and_joined() -> None:
    outbox = Outbox()
    for chunk in (b"abc", b"defgh", b"i"):
        outbox.add(chunk)
    assert [outbox.take(size) for size in (1, 2, 3, 1, 2)] == [b"a", b"bc", b"def", b"g", b"hi"]
    outbox.add(b"jk")
    assert outbox.take(2) == b"jk"


def test_a_whole_chunk_is_not_copied() -> None:
    outbox, chunk = Outbox(), bytes(1_000)
    outbox.add(chunk)
    assert outbox.take(1_000) is chunk


@given(st.lists(st.binary(min_size=1, max_size=20)), st.data())
def test_what_goes_in_comes_out(chunks: list[bytes], draw: st.DataObject) -> None:
    outbox, left = Outbox(), b"".join(chunks)
    for chunk in chunks:
        outbox.add(chunk)
    ends = sorted(draw.draw(st.sets(st.integers(1, len(left))))) if left else []
    for begin, end in pairwise([0, *ends]):
        size = end - begin
        assert outbox.take(size) == left[:size]
        left = left[size:]
