"""A record out of what lies in a registry, where others may have written: nothing about it is taken for granted.

A file, a server or a platform that writes there itself may hold values of any type and any octets under a sandbox's id.
Such a record is broken: it leads nowhere, and is nobody else's outage.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.config.values import quote
from gateway.directory.fields import read_fields
from gateway.directory.sandbox import Broken, Sandbox

TEXTS = ("address", "generation", "ipv4", "host", "protocol")
"""The fields that are stored as text."""
_OPTIONAL = ("ipv4", "host", "protocol")
"""Of them those that are empty where there is none."""
MAX_TEXT = 1024
"""Characters of a field: an address or a host has fewer, and a generation is in every line of the log about it."""


def read_sandbox(sandbox_id: str, where: str, record: Mapping[str, object]) -> Sandbox | Broken:
    """The record of these values, found at `where`; its `lifetime` is what is left of it, in seconds."""
    given = {name: record[name] for name in TEXTS if name not in _OPTIONAL or record[name] not in (None, "")}
    texts = {name: value for name, value in given.items() if _is_text(value)}
    values, wrong = read_fields(texts, given)
    left: Any = record["lifetime"]
    if left is not None and not isinstance(left, int | float):
        wrong["lifetime"] = "no number"
    for name, value in record.items():
        if name in wrong or (name in given and name not in texts):
            shown = value if isinstance(value, str) else f"{value!r:.60}"
            return Broken(sandbox_id, f"{where} has the {name} {quote(shown)}, which is none")
    return Sandbox(sandbox_id, **values, lifetime=left)


def _is_text(value: object) -> bool:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        return False
    return value.encode(errors="ignore").decode() == value  # octets that were no UTF-8 are kept as surrogates
