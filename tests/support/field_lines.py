"""Field pairs as the gate takes them, for tests that begin behind a codec."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.http.field_lines import field_line
from gateway.http.h2.decoder import DecodedField
from gateway.http.message import Field, FieldLine, Fields


def judged(pairs: Iterable[Field]) -> list[FieldLine]:
    """Raises GatewayError as a codec's look at them does."""
    return [field_line(name, value) for name, value in pairs]


def decoded(pairs: Iterable[Field]) -> list[DecodedField]:
    """As an HTTP/2 connection's decoder brings them."""
    return [DecodedField(name, value) for name, value in pairs]


def pairs_of(fields: Iterable[DecodedField]) -> Fields:
    """The other way round."""
    return [(field.name, field.value) for field in fields]
