"""How urgent a response is to its reader (RFC 9218), by the `priority` field or a PRIORITY_UPDATE frame."""

from __future__ import annotations

import re
from typing import Final

from gateway.memo import remember

URGENCIES: Final = 8
DEFAULT_URGENCY: Final = 3
REMEMBERED: Final = 64
"""Values of the field."""
REMEMBERED_OCTETS: Final = 64
"""Of the longest that is remembered; browsers send six."""
_urgencies: Final[dict[bytes, int]] = {}
_URGENCY: Final = re.compile(rb"(?:\A|,)[ \t]*u=([0-7])(?=[ \t]*(?:[,;]|\Z))")
"""A member of a dictionary (RFC 8941 section 3.2) whose only members of use to us are integers without signs."""


def urgency_of(priority: bytes) -> int:
    """0 to 7, lower first (sections 4 and 5). What is malformed says nothing, and of several the last counts."""
    urgency = _urgencies.get(priority)
    if urgency is None:
        found = _URGENCY.findall(priority)
        urgency = int(found[-1]) if found else DEFAULT_URGENCY
        if len(priority) <= REMEMBERED_OCTETS:
            remember(_urgencies, priority, urgency, REMEMBERED)
    return urgency
