"""W3C Trace Context: of which trace a request is a part, by its `traceparent` (https://www.w3.org/TR/trace-context/).

Whatever it says, the field goes on as it came: what is not valid here may be to the app.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

_TRACEPARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE, _NO_PARENT = b"0" * 32, b"0" * 16
_SAMPLED: Final = 1
"""Bit of the flags: whoever sent it records the trace."""


class TraceParent(NamedTuple):
    """What a valid field says; ids are lower-case hexadecimal digits."""

    trace_id: str
    parent_id: str
    """Of the span that the request was made in."""
    sampled: bool


def parse(values: Sequence[bytes]) -> TraceParent | None:
    """The only one of the field's values; None if there are several, or it is not valid (section 3.2)."""
    if len(values) != 1:
        return None
    match = _TRACEPARENT.fullmatch(values[0])
    if match is None:
        return None
    version, trace_id, parent_id, flags, more = match.groups()
    # A later version may have more behind it; this one has not, and ff is none.
    if version == b"ff" or trace_id == _NO_TRACE or parent_id == _NO_PARENT or (more and version == b"00"):
        return None
    return TraceParent(trace_id.decode(), parent_id.decode(), bool(int(flags, 16) & _SAMPLED))
