"""What `make test` runs: pytest, where IPv6 is, and on a compiled gateway twice.

Nearly every test with a socket is on ::1. A machine without IPv6, such as a container of Docker's by default, runs them
in a network namespace of their own, which has it; where none can be made, `tests/conftest.py` leaves them out.

Fakes cannot stand in the place of what is compiled. The tests that have some bear the mark `pure`: where the gateway is
compiled they are left out, and then run on its sources. Run from the project's root: python -m tests.run
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from gateway.build import COMPILED
from tests.support.network import WITH_IPV6, has_ipv6, prefix

ON_SOURCES = {"GATEWAY_PURE": "1", "TESTS_OF_SOURCES": "1"}
NONE_COLLECTED = 5
"""pytest's exit status where no test was asked for."""


def command(arguments: Sequence[str]) -> list[str]:
    """What to run for the tests that `arguments` ask of pytest."""
    pytest = [sys.executable, "-m", "pytest", *arguments]
    if has_ipv6():
        return pytest
    namespace = prefix(WITH_IPV6)
    if namespace is None:
        return pytest
    print("tests: no IPv6 here, so they run in a network namespace of their own, which has it", flush=True)
    return [*namespace, *pytest]


def both(found: Sequence[str]) -> int:
    """Of a compiled gateway: what passes through the compiled modules, then what needs their sources."""
    print("tests: of the compiled gateway; those with fakes in its place follow, on its sources", flush=True)
    first = subprocess.run(found, check=False).returncode
    print("tests: those with fakes in the place of what is compiled, on its sources", flush=True)
    second = subprocess.run(found, check=False, env={**os.environ, **ON_SOURCES}).returncode
    if NONE_COLLECTED in (first, second):
        return first if second == NONE_COLLECTED else second
    return first or second


if __name__ == "__main__":
    found = command(sys.argv[1:])
    if COMPILED:
        sys.exit(both(found))
    os.execvp(found[0], found)
