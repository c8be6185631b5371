"""What tests need beside Python, and what happens when it is missing.

Owns the list of programs that come from the system's packages, the same as in `tests/setup.sh`; a test suite with needs
of its own adds them to COMPONENTS.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import pytest


@dataclass(frozen=True, slots=True)
class Component:
    """Something that a test needs: how to see that it is there, and how to get it."""

    is_there: Callable[[], bool]
    install: str


def program(name: str) -> str | None:
    """Where the program `name` is. Daemons live in sbin, which not everybody has on the path."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]))


def command(name: str, package: str) -> Component:
    return Component(lambda: program(name) is not None, f"sudo apt-get install -y {package}")


def module(name: str) -> Component:
    return Component(lambda: importlib.util.find_spec(name) is not None, 'pip install -e ".[test]"')


COMPONENTS = {
    "chromium": command("chromium", "chromium"),
    "chromedriver": command("chromedriver", "chromium-driver"),
    "certutil": command("certutil", "libnss3-tools"),
    "curl": command("curl", "curl"),
    "knotd": command("knotd", "knot"),
    "node": command("node", "nodejs"),
    "openssl": command("openssl", "openssl"),
    "redis-server": command("redis-server", "redis-server"),
}


def require(*names: str) -> None:
    """Skips the test, naming what is missing; with CI=true, where everything must run, fails it instead."""
    for name in names:
        component = COMPONENTS[name]
        if not component.is_there():
            message = f"{name} is missing; install it with: {component.install}"
            if os.environ.get("CI") == "true":
                pytest.fail(message, pytrace=False)
            pytest.skip(message)
