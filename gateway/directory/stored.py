"""A record out of what lies in a registry, where others may have written: nothing about it is taken for granted.

A file, a server or a platform that writes there itself may hold values of any type and any octets under a sandbox's id.
Such a record is broken: it leads nowhere, and is nobody else's outage.
"""

from __future__ import annotations

from gateway.config.values import quote
from gateway.directory.fields import read_address, read_host, read_ipv4
from gateway.directory.sandbox import Sandbox

MAX_TEXT = 1024
"""Characters of a field: an address or a host has fewer, and a generation is in every line of the log about it."""


def read_sandbox(
    sandbox_id: str, address: object, generation: object, ipv4: object, host: object, left: object = None
) -> Sandbox:
    """The record of these values; `left` is in seconds. Raises ValueError: `has the address "x", which is none`."""
    try:
        where = read_address(_text(address))
    except ValueError:
        raise _none("address", address) from None
    try:
        sandbox = Sandbox(sandbox_id, where, _text(generation))
    except ValueError:
        raise _none("generation", generation) from None
    try:
        sandbox.ipv4 = read_ipv4(_text(ipv4)) if ipv4 not in (None, "") else None
    except ValueError:
        raise _none("ipv4", ipv4) from None
    try:
        sandbox.host = read_host(_text(host)) if host not in (None, "") else ""
    except ValueError:
        raise _none("host", host) from None
    if left is not None and not isinstance(left, int | float):
        raise _none("lifetime", left)
    sandbox.lifetime = left
    return sandbox


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError("it is no text, or too much")
    value.encode()  # UnicodeEncodeError: octets that were no UTF-8 are kept as surrogates
    return value


def _none(field: str, value: object) -> ValueError:
    shown = value if isinstance(value, str) else f"{value!r:.60}"
    return ValueError(f"has the {field} {quote(shown)}, which is none")
