"""What `make test` runs: pytest, where IPv6 is.

Nearly every test with a socket is on ::1. A machine without IPv6, such as a container of Docker's by default, runs them
in a network namespace of their own, which has it; where none can be made, `tests/conftest.py` leaves them out. Run from
the project's root: python -m tests.run
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from tests.support.network import WITH_IPV6, has_ipv6, prefix


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


if __name__ == "__main__":
    found = command(sys.argv[1:])
    os.execvp(found[0], found)
