"""How people name an app of this machine: 5000, shop=5000, localhost:3000, or http://localhost:3000/, as a dev server
prints it. Knows what may be typed, not what is there.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from gateway.config.values import quote
from gateway.hostname import is_sandbox_id

DEFAULT_ID = "local"
"""The sandbox of a port that is given none."""

_APP = re.compile(
    r"(?:(?P<id>[^=:/]*)=)?"
    r"(?:(?P<scheme>https?)://)?"
    r"(?:(?P<host>[^\s:/@\[\]]+|\[[0-9a-fA-F:.]*\])?:)?"
    r"(?P<port>[0-9]+)"
    r"(?:[/?#].*)?"
)
_HERE = re.compile(r"localhost|127(?:\.[0-9]+){1,3}|0\.0\.0\.0|\[::1?\]", re.IGNORECASE)
_DIGITS = 18
"""Of a number; Python does not read thousands of them."""


class NoApp(ValueError):
    """The sentence for what was typed instead."""


class AppPort(NamedTuple):
    """A port of this machine, and the sandbox it is to be of; empty: not said."""

    sandbox_id: str
    port: int


def parse_app(text: str) -> AppPort:
    """Raises NoApp."""
    match = _APP.fullmatch(text)
    if match is None or (match["scheme"] and not match["host"]):
        raise NoApp(f"{quote(text)} is not PORT or ID=PORT, for example 5000, shop=5000 or http://localhost:5000")
    if match["host"] and not _HERE.fullmatch(match["host"]):
        raise NoApp(f"{quote(match['host'])} is not this machine: gateway dev exposes what listens on localhost")
    number = int(match["port"][:_DIGITS])  # with more it is none either
    if not 1 <= number <= 65535 or match["port"][0] == "0":
        raise NoApp(f"{quote(match['port'])} is not a port between 1 and 65535")
    name = match["id"]
    if name is not None and not is_sandbox_id(name):
        raise NoApp(f"{quote(name)} is not a sandbox id (a-z, 0-9, inner hyphens)")
    return AppPort(name or "", number)
