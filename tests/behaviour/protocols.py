"""Which behaviour tests are run for HTTP/2, too, and why the others are not.

A file here is run for both: its browsers then speak HTTP/2 while the test goes on in HTTP/1.1's spelling
(`http2_wire`). The names below a file are of tests that stay with HTTP/1.1, for their subject is its spelling or its
connection. What is in no table costs waiting that HTTP/2 does not change, starts processes or listeners of its own,
or has a twin in `tests/behaviour/http2`.
"""

from __future__ import annotations

BOTH: dict[str, tuple[str, ...]] = {}
