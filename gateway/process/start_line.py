"""The first line of `gateway serve`: what it is that starts here, and with what.

Whoever looks into a log months later can tell which program ran, of which commit, with which configuration and which
certificates: nothing else in a log says so.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from importlib import metadata

import gateway
from gateway.build import BUILD as KIND
from gateway.build import COMPILED
from gateway.config import Settings
from gateway.counting import counted
from gateway.printable import shorten
from gateway.process.generation import worker_count
from gateway.tls.errors import CertificateError
from gateway.tls.pair import CertificatePair, read_pair

DISTRIBUTION = "sandbox-gateway"
BUILD = "GATEWAY_BUILD"
"""The environment variable by which an image says of what it was made."""
MAX_BUILD = 64
NAMED = 8
"""Certificates that are named; a line has an end."""
_PATH = 100
"""Characters of each."""


def start_line(settings: Settings, fingerprint: str) -> tuple[str, dict[str, object]]:
    """The line for people, and its parts as keys for JSON. Reads certificates; what is wrong with one, others say."""
    build, certificates = commit(os.environ), _certificates(settings)
    workers = worker_count(settings)
    parts: dict[str, object] = {
        "version": gateway.__version__,
        "python": platform.python_version(),
        "loop": f"uvloop {metadata.version('uvloop')}",
        **({"build": build} if build else {}),
        "compiled": COMPILED,
        "configuration": fingerprint,
        "certificates": certificates,
        "workers": workers,
    }
    program = f"gateway {gateway.__version__} ({', '.join(filter(None, (build, KIND)))})"
    until = ", ".join(f"{path} until {when}" for path, when in certificates.items()) or "none"
    text = (
        f"{program}, Python {parts['python']}, {parts['loop']}; configuration {fingerprint}; certificates: {until}; "
        f"{counted(workers, 'worker')}"
    )
    return text, parts


def commit(environ: Mapping[str, str]) -> str:
    """Of which commit this program is: as the image says, or as pip has noted at an installation from git (PEP 610);
    empty: unknown.
    """
    if build := environ.get(BUILD, ""):
        return shorten(build, MAX_BUILD)
    try:
        noted = json.loads(metadata.distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
        return shorten(str(noted.get("vcs_info", {}).get("commit_id", "")), MAX_BUILD)
    except (metadata.PackageNotFoundError, ValueError, AttributeError):
        return ""


def _certificates(settings: Settings) -> dict[str, str]:
    """By file, when each expires."""
    found: dict[str, str] = {}
    for pair in settings.tls.certificates[:NAMED] if settings.edge.listen else ():
        try:
            when = f"{read_pair(CertificatePair(pair.cert, pair.key)).not_after:%Y-%m-%dT%H:%M:%SZ}"
        except CertificateError:
            when = "unreadable"
        found[shorten(str(pair.cert), _PATH)] = when
    return found
