"""How urgent a response is to its reader (RFC 9218), by the `priority` field or a PRIORITY_UPDATE frame."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

URGENCIES: Final = 8
DEFAULT_URGENCY: Final = 3
_URGENCY: Final = re.compile(rb"(?:\A|,)[ \t]*u=([0-7])(?=[ \t]*(?:[,;]|\Z))")
"""A member of a dictionary (RFC 8941 section 3.2) whose only members of use to us are integers without signs."""


@lru_cache(maxsize=64)
def urgency_of(priority: bytes) -> int:
    """0 to 7, lower first (sections 4 and 5). What is malformed says nothing, and of several the last counts."""
    found = _URGENCY.findall(priority)
    return int(found[-1]) if found else DEFAULT_URGENCY
