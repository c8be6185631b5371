"""What the command line asks of `gateway dev`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DEFAULT_DOMAIN = "sandbox.localhost"
"""Browsers and curl resolve *.localhost to loopback by themselves. Two labels, because OpenSSL and Chromium refuse a
wildcard directly under a single one."""

DEMO_ID = "demo"
"""The sandbox of the built-in demo app."""


@dataclass(frozen=True, slots=True)
class Exposed:
    """One app of this machine under a public name: `<port>-<sandbox_id>.<domain>`."""

    sandbox_id: str
    port: int


@dataclass(frozen=True, slots=True)
class DevOptions:
    """What the command line asks for. `exposed` empty means: the built-in demo."""

    exposed: Sequence[Exposed]
    listen_port: int
    certs: Path
    """Where the local authority is kept, absolute."""
    domain: str
    colour: bool
    strict_port: bool = False
    """The ports asked for, or none: otherwise the next free ones will do."""
    loopback4: bool = False
    """127.0.0.1 is forwarded to as well, which is more lenient than a sandbox."""
    lan: Path | None = None
    """Where the authority for names of the local network is kept, absolute; None: the network is let have nothing."""
