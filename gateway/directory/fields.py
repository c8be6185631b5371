"""The fields of a record, each read from a value that somebody has written: into a file, a request, a registry.

One table of readers, whose results have the names of `Sandbox`'s attributes. A reader is given None where there is no
such field, and raises ValueError with a sentence: what is expected, and what is there. Whose record it is, where it
stands and what becomes of a wrong one, its three users know (file.py, stored.py, admin/records.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import msgspec

from gateway import app_protocol
from gateway.config.values import MAX_DURATION, parse_host_mask, quote
from gateway.printable import shorten


def read_fields(record: Mapping[str, object], names: Iterable[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """What the fields `names` of `record` say, and what is wrong with those that say nothing."""
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for name in names:
        try:
            values[name] = _READERS[name](record.get(name))
        except ValueError as error:
            wrong[name] = str(error)
    return values, wrong


def _read_address(value: object) -> IPv6Address:
    if value is None:
        raise ValueError("is required: the sandbox's IPv6 address, such as fd00::5")
    try:
        address = IPv6Address(value) if isinstance(value, str) else None  # a number would be an address, too
    except ValueError:
        address = None
    if address is None or address.scope_id is not None:
        raise ValueError(f"expected an IPv6 address without zone, such as fd00::5, got {_shown(value)}")
    return address


def _read_generation(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    except ValueError:
        pass  # hexadecimal is read at any length, and shown at none
    raise ValueError(f"expected a string or a number, got {_shown(value)}")


def _read_ipv4(value: object) -> IPv4Address | None:
    if value is None:
        return None
    try:
        if isinstance(value, str):
            return IPv4Address(value)
    except ValueError:
        pass  # told below, as whatever is not even a string
    raise ValueError(f"expected an IPv4 address such as 10.0.0.5, got {_shown(value)}")


def _read_host(value: object) -> str:
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        raise ValueError(f"expected a host such as localhost:{{port}}, got {_shown(value)}")
    return parse_host_mask(value)


def _read_protocol(value: object) -> str:
    try:
        return app_protocol.of_json(value)
    except ValueError as error:
        raise ValueError(f"{error}, got {_shown(value)}") from None


def _read_lifetime(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_DURATION:
        raise ValueError(f"expected seconds, more than 0 and at most {MAX_DURATION:.0f}, got {_shown(value)}")
    return float(value)


_READERS: dict[str, Callable[[object], object]] = {
    "address": _read_address,
    "generation": _read_generation,
    "ipv4": _read_ipv4,
    "host": _read_host,
    "protocol": _read_protocol,
    "lifetime": _read_lifetime,
}


def _shown(value: object) -> str:
    """As JSON has it, shortened."""
    if isinstance(value, str):
        return quote(value)
    try:
        return shorten(msgspec.json.encode(value).decode(), 60)
    except (ValueError, OverflowError):
        return "a number of thousands of digits"
