"""Field pairs as the gate takes them, for tests that begin behind a codec."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.http.field_lines import field_line
from gateway.http.message import Field, FieldLine


def judged(pairs: Iterable[Field]) -> list[FieldLine]:
    """Raises GatewayError as a codec's look at them does."""
    return [field_line(name, value) for name, value in pairs]
