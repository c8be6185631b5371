"""The fields of a decoded list as lines, if RFC 9113 section 8.2.1 finds no fault with them: lower-case names, nothing
around a value, and what every version of HTTP forbids.

The same for both directions; what a fault means is the caller's to say.
"""

from __future__ import annotations

from typing import Final, cast

from gateway.errors import GatewayError
from gateway.http.field_lines import RecentLines, field_line
from gateway.http.message import Field, FieldLine, Fields
from gateway.http.octets import LOWER_NAME

_LINE_ENDS: Final = b"\x00\n\r"
recent: Final = RecentLines[object]()


class MalformedField(Exception):
    """What RFC 9113 section 8.1.1 calls malformed; the message is what it is about."""


def field_lines(pairs: Fields) -> list[FieldLine]:
    """The lines of `pairs`. Raises MalformedField, and GatewayError(bad_request) for a control character."""
    # The pairs themselves are asked for: those from a dynamic table are the same objects as last time, which know their
    # hashes. As objects: what a compiler knows to be a pair, it takes apart, and puts together anew for the look-up.
    young = recent.young
    lines: list[FieldLine] = []
    for pair in cast("list[object]", pairs):
        line = young.get(pair)
        lines.append(_look_at(pair) if line is None else line)
    return lines


def _look_at(pair: object) -> FieldLine:
    line = recent.recall(pair)
    if line is None:
        name, value = cast("Field", pair)
        # A colon is in no name: pseudo-fields come first.
        if name.translate(LOWER_NAME) != name:
            raise MalformedField("a field name with an octet that is not allowed")
        # "A field value MUST NOT start or end with an ASCII whitespace character"
        if value.strip() != value:
            raise MalformedField("a field value with white space around it")
        try:
            line = field_line(name, value)
        except GatewayError:
            # "A field value MUST NOT contain the zero value, line feed, or carriage return at any position". What else
            # may not stand in it, every version of HTTP says.
            if value.translate(None, _LINE_ENDS) != value:
                raise MalformedField("a field value with CR, LF or NUL") from None
            raise
        recent.learn(pair, line)
    return line
