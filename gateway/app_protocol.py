"""What is spoken to an app: HTTP/1.1, or HTTP/2 without TLS (h2c), as a sandbox's record says.

A record says it for all ports, for some, or not at all, which is "auto": gRPC is asked by h2c, everything else by
HTTP/1.1, and what an app answers is learned from. That choice is kept as text, as registries store it:

    ""                      auto, for every port
    "h2c"                   HTTP/2 for every port
    "http1 50051=h2c"       HTTP/1.1, but for port 50051

Knows no request and no connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final


class AppProtocol(StrEnum):
    """What a record asks for. Strings, because they are part of keys, and an Enum's hash is a call."""

    AUTO = "auto"
    HTTP1 = "http1"
    H2C = "h2c"


AUTO: Final = AppProtocol.AUTO
HTTP1: Final = AppProtocol.HTTP1
H2C: Final = AppProtocol.H2C
"""By themselves: see `message.NO_BODY`."""

MAX_PORTS: Final = 32
"""Ports of which one record says something of its own: as many as fit into every backend's."""

_WORDS: Final = tuple(each.value for each in AppProtocol)
_EXPECTED: Final = 'auto, http1 or h2c, or such a word by port: {"default": "auto", "ports": {"50051": "h2c"}}'
_TEXT: Final = re.compile(r"(auto|http1|h2c)((?: [1-9][0-9]{0,4}=(?:auto|http1|h2c))*)")


def of_json(value: object) -> str:
    """The text of what a file or a request says; a text is one already. Raises ValueError with a sentence."""
    if value is None or value == "":
        return ""
    if isinstance(value, str):
        match = _TEXT.fullmatch(value)
        if match is None:
            raise ValueError(f"expected {_EXPECTED}")
        return _text(match[1], dict(each.split("=") for each in match[2].split()))
    if not isinstance(value, Mapping) or value.keys() - {"default", "ports"}:
        raise ValueError(f"expected {_EXPECTED}")
    ports = value.get("ports", {})
    if not isinstance(ports, Mapping):
        raise ValueError(f"expected {_EXPECTED}")
    return _text(value.get("default", AUTO.value), ports)


def _text(default: object, ports: Mapping[Any, object]) -> str:
    if default not in _WORDS or not all(word in _WORDS for word in ports.values()):
        raise ValueError(f"expected {_EXPECTED}")
    if len(ports) > MAX_PORTS:
        raise ValueError(f"expected at most {MAX_PORTS} ports")
    numbered = sorted((_port(port), word) for port, word in ports.items() if word != default)
    own = [f"{port}={word}" for port, word in numbered]
    return " ".join([str(default), *own]) if own or default != AUTO.value else ""


def _port(text: object) -> int:
    if isinstance(text, str) and re.fullmatch("[1-9][0-9]{0,4}", text) and int(text) <= 65535:
        return int(text)
    raise ValueError("expected ports from 1 to 65535 under “ports”")


def as_json(text: str) -> str | dict[str, object]:
    """What `of_json` reads as `text`: a word, or an object where ports differ."""
    default, *ports = text.split()
    if not ports:
        return default
    return {"default": default, "ports": dict(each.split("=") for each in ports)}


@lru_cache(maxsize=4096)
def protocol_of(text: str, port: int) -> AppProtocol:
    """What a record's `text` says of `port`."""
    default, *ports = text.split() or [AUTO.value]
    own = dict(each.split("=") for each in ports)
    return AppProtocol(own.get(str(port), default))
