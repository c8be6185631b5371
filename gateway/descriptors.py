"""How many file descriptors this process may have, and what they are reserved for.

A connection through the gateway needs two. So half of them are for downstream: each connection that was accepted gets
one for the app, however many more wait. The streams of an HTTP/2 connection may take one each; so a quarter is kept
from apps, for whoever comes to the door: other visitors, and a balancer that asks whether anybody is there. A reserve
is left for files, the directory's sockets and probes.
"""

from __future__ import annotations

import contextlib
import resource
import sys

SPARE = 128
"""Reserved, or an eighth of the limit if that is less."""
BASE = 32
"""Reserved at least, or half of the limit: a worker without connections has 18 (measured), and probes."""
PER_CONNECTION = 2
"""Downstream's and the app's."""


def limit() -> int:
    """The soft limit in force, which may be changed from outside while the process runs (prlimit(1))."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def for_connections() -> int:
    """Descriptors for connections."""
    most = limit()
    return most - max(min(SPARE, most // 8), min(BASE, most // 2))


def for_downstream() -> int:
    """Connections from downstream that fit, each with one to its app."""
    return max(for_connections() // PER_CONNECTION, 1)


def for_apps(downstream: int) -> int:
    """Connections to apps that may be in use, while there are so many from downstream."""
    most = for_connections()
    return max(min(most * 3 // 4, most - downstream), 1)


def raise_limit() -> int:
    """Raises the soft limit to the hard one, as Go programs do by themselves; the limit then in force.

    The soft one is 1,024 on most systems for the sake of select(2), which nothing here uses.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS promises more than it grants
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return limit()


def shortage(connections: int) -> str | None:
    """A warning if so many connections per process do not fit; None: they do."""
    needed = connections * PER_CONNECTION
    if needed <= for_connections():
        return None
    return (
        f"limits.connections = {connections} may need {needed + SPARE} file descriptors in each worker, "
        f"and there are {limit()}: raise the limit (LimitNOFILE= in systemd, ulimit -n), "
        f"or set limits.connections = {for_downstream()}; more than these wait to be let in"
    )
