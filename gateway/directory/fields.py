"""The fields of a record, each read from a value that somebody has written: into a file, a request, a registry.

Every reader raises ValueError with a sentence: what is expected, and what is there.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import msgspec

from gateway.config.values import parse_host_mask, quote
from gateway.printable import shorten


def read_address(value: object) -> IPv6Address:
    try:
        address = IPv6Address(value) if isinstance(value, str) else None  # a number would be an address, too
    except ValueError:
        address = None
    if address is None or address.scope_id is not None:
        raise ValueError(f"expected an IPv6 address without zone, such as fd00::5, got {shown(value)}")
    return address


def read_ipv4(value: object) -> IPv4Address | None:
    """None, as the value itself: not given."""
    if value is None:
        return None
    try:
        if isinstance(value, str):
            return IPv4Address(value)
    except ValueError:
        pass  # told below, as whatever is not even a string
    raise ValueError(f"expected an IPv4 address such as 10.0.0.5, got {shown(value)}")


def read_host(value: object) -> str:
    """Empty: not given."""
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        raise ValueError(f"expected a host such as localhost:{{port}}, got {shown(value)}")
    return parse_host_mask(value)


def shown(value: object) -> str:
    """As JSON has it, shortened."""
    if isinstance(value, str):
        return quote(value)
    try:
        return shorten(msgspec.json.encode(value).decode(), 60)
    except (ValueError, OverflowError):
        return "a number of thousands of digits"
