"""Lists as fields carry them (RFC 9110 section 5.6): members between commas, parameters behind semicolons.

What stands between quotes is one piece, whatever is in it; a quote left open reaches to the end. For fields that say
what somebody wants. Those that frame or route a message have tokens only, and `validate` cuts them at every comma.
"""

from __future__ import annotations

import re
from typing import Final

_QUOTED: Final = rb'"(?:[^"\\]|\\.)*"?'
_MEMBER: Final = re.compile(rb'(?:[^,"]|%b)+' % _QUOTED, re.DOTALL)
_PARAMETER: Final = re.compile(rb'(?:[^;"]|%b)+' % _QUOTED, re.DOTALL)


def members(value: bytes) -> list[bytes]:
    """The members of a list; empty ones are none (section 5.6.1.2)."""
    return [stripped for member in _MEMBER.findall(value) if (stripped := member.strip(b" \t"))]


def parameters(member: bytes) -> list[tuple[bytes, bytes]]:
    """The parameters behind the first semicolon (section 5.6.6), names in lower case, values as they stand."""
    pairs = [piece.partition(b"=") for piece in _PARAMETER.findall(member.partition(b";")[2])]
    return [(name.strip(b" \t").lower(), value.strip(b" \t")) for name, _, value in pairs]
