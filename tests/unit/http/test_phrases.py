"""Status phrases are the registry's, whatever Python runs."""

from __future__ import annotations

from http.client import responses

import pytest

from gateway.http.phrases import phrase_for

RENAMED = {
    413: b"Content Too Large",
    414: b"URI Too Long",
    416: b"Range Not Satisfiable",
    422: b"Unprocessable Content",
}
"""What RFC 9110 calls otherwise than its predecessors, and Python only since 3.13."""
RESERVED = {306, 418}


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (100, b"Continue"),
        (200, b"OK"),
        (203, b"Non-Authoritative Information"),
        (404, b"Not Found"),
        (421, b"Misdirected Request"),
        (431, b"Request Header Fields Too Large"),
        (504, b"Gateway Timeout"),
        (511, b"Network Authentication Required"),
        *RENAMED.items(),
    ],
)
def test_a_registered_status_has_its_registered_phrase(status: int, phrase: bytes) -> None:
    assert phrase_for(status) == phrase


@pytest.mark.parametrize("status", [0, 99, 104, 299, 306, 418, 430, 499, 509, 599, 600, 1000, -1])
def test_a_status_that_nobody_registered_has_none(status: int) -> None:
    assert phrase_for(status) == b""


def test_no_status_that_python_knows_is_missing() -> None:
    # A second table to compare with; the phrases agree in all versions but for the renamed ones.
    known = {status: phrase.encode() for status, phrase in responses.items() if status not in RESERVED}
    assert {status: RENAMED.get(status, phrase) for status, phrase in known.items()} == {
        status: phrase_for(status) for status in known
    }
