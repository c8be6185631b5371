from __future__ import annotations

from hpack.table import HeaderTable

from gateway.http.h2.static_table import STATIC_FIELDS


def test_it_is_that_of_appendix_a() -> None:
    assert tuple(STATIC_FIELDS) == HeaderTable.STATIC_TABLE
