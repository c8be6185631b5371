"""A record out of what lies in a registry, where others may have written: nothing about it is taken for granted.

A file, a server or a platform that writes there itself may hold values of any type and any octets under a sandbox's id.
Such a record is broken: it leads nowhere, and is nobody else's outage.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config.values import quote
from gateway.directory.fields import read_fields
from gateway.directory.sandbox import Sandbox

_TEXTS = ("address", "generation", "ipv4", "host")
_OPTIONAL = ("ipv4", "host")
"""Of them those that are empty where there is none."""
MAX_TEXT = 1024
"""Characters of a field: an address or a host has fewer, and a generation is in every line of the log about it."""


def read_sandbox(sandbox_id: str, record: Mapping[str, object]) -> Sandbox:
    """The record of these values; its `lifetime` is what is left of it, in seconds.

    Raises ValueError: `has the address "x", which is none`.
    """
    given = {name: record.get(name) for name in _TEXTS if name not in _OPTIONAL or record.get(name) not in (None, "")}
    for name, value in given.items():
        if not _is_text(value):
            raise _none(name, value)
    values, wrong = read_fields(given, _TEXTS)
    for name in wrong:
        raise _none(name, given[name])
    left = record.get("lifetime")
    if left is not None and not isinstance(left, int | float):
        raise _none("lifetime", left)
    return Sandbox(sandbox_id, **values, lifetime=left)


def _is_text(value: object) -> bool:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # octets that were no UTF-8 are kept as surrogates
        return False
    return True


def _none(field: str, value: object) -> ValueError:
    shown = value if isinstance(value, str) else f"{value!r:.60}"
    return ValueError(f"has the {field} {quote(shown)}, which is none")
