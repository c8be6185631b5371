"""The fields of a decoded list as lines, if RFC 9113 section 8.2.1 finds no fault with them: lower-case names, nothing
around a value, and what every version of HTTP forbids.

The same for both directions; what a fault means is the caller's to say.
"""

from __future__ import annotations

from typing import Final

from gateway.errors import GatewayError
from gateway.http.field_lines import RecentLines
from gateway.http.fields import MAX_REMEMBERED_NAMES, REMEMBERED_NAME, classify
from gateway.http.h2.decoder import DecodedField
from gateway.http.message import FieldLine
from gateway.http.octets import LOWER_NAME, check_value

_LINE_ENDS: Final = b"\x00\n\r"
_SPACE: Final = 0x20
recent: Final = RecentLines[object]()
_roles: Final[dict[bytes, int]] = {}
"""Of names that were found to be in lower case."""


class MalformedField(Exception):
    """What RFC 9113 section 8.1.1 calls malformed; the message is what it is about."""


def field_lines(fields: list[DecodedField]) -> list[FieldLine]:
    """The lines of `fields`. Raises MalformedField, and GatewayError(bad_request) for a control character."""
    lines: list[FieldLine] = []
    for field in fields:
        line = field.line
        lines.append(_look_at(field) if line is None else line)
    return lines


def _look_at(field: DecodedField) -> FieldLine:
    # As an object: what a compiler knows to be a pair, it takes apart, and puts together anew for each look-up.
    pair: object = (field.name, field.value)
    line = recent.young.get(pair)
    if line is None:
        line = recent.recall(pair)
        if line is None:
            line = _new_line(field.name, field.value)
            recent.learn(pair, line)
    field.line = line
    return line


def _new_line(name: bytes, value: bytes) -> FieldLine:
    role = _roles.get(name)
    if role is None:
        role = _role(name)
    # "A field value MUST NOT start or end with an ASCII whitespace character"
    if value and (value[0] <= _SPACE or value[-1] <= _SPACE) and value.strip() != value:
        raise MalformedField("a field value with white space around it")
    try:
        check_value(value)
    except GatewayError:
        # "A field value MUST NOT contain the zero value, line feed, or carriage return at any position". What else may
        # not stand in it, every version of HTTP says.
        if value.translate(None, _LINE_ENDS) != value:
            raise MalformedField("a field value with CR, LF or NUL") from None
        raise
    return FieldLine((name, value), role, name + b": " + value)


def _role(name: bytes) -> int:
    # A colon is in no name: pseudo-fields come first.
    if name.translate(LOWER_NAME) != name:
        raise MalformedField("a field name with an octet that is not allowed")
    role = classify(name)
    if len(_roles) < MAX_REMEMBERED_NAMES and len(name) <= REMEMBERED_NAME:
        _roles[name] = role
    return role
