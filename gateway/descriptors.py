"""How many file descriptors this process may have, and what they are kept for.

A connection through the gateway needs two, and an idle one to an app one that somebody else may need. So half is
for downstream: whoever was let in finds one for the app, however many more want to be let in. What is left when
connections have taken theirs is for files, the directory's sockets, and a look at what listens where.
"""

from __future__ import annotations

import contextlib
import resource
import sys

SPARE = 128
"""Of the limit, or an eighth of it if that is less: never taken by connections that only wait."""
BASE = 32
"""What is spared at least, or half of the limit: a worker without connections has 18 (measured), and then looks."""
PER_CONNECTION = 2
"""Downstream's and the app's."""


def limit() -> int:
    """The soft limit in force, which may be changed from outside while the process runs (prlimit(1))."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def for_connections() -> int:
    """What connections may have of it."""
    most = limit()
    return most - max(min(SPARE, most // 8), min(BASE, most // 2))


def for_downstream() -> int:
    """How many connections from downstream there may be, each with one to its app."""
    return max(for_connections() // PER_CONNECTION, 1)


def raise_limit() -> int:
    """Raises the soft limit to the hard one, as Go programs do by themselves; the limit then in force.

    The soft one is 1,024 on most systems for the sake of select(2), which nothing here uses.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS promises more than it grants
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return limit()


def shortage(connections: int) -> str | None:
    """What is to be said if so many connections per process cannot be held; None: they can."""
    needed = connections * PER_CONNECTION
    if needed <= for_connections():
        return None
    return (
        f"limits.connections = {connections} may need {needed + SPARE} file descriptors in each worker, "
        f"and there are {limit()}: raise the limit (LimitNOFILE= in systemd, ulimit -n), "
        f"or set limits.connections = {for_downstream()}; more than these wait to be let in"
    )
