"""Dead peers: who is gone without a word while octets are on their way to them, of all connections of a worker.

The kernel is asked (`socket_options.unanswered`), which takes a microsecond or two; so a few connections are looked at
in each turn of the sweeper, and all of them within a third of `timeouts.tcp_keepalive`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

log = logging.getLogger("gateway.edge")


class Connection(Protocol):
    """Either side's."""

    def end_if_dead(self, patience: float) -> None:
        """Ends it if nothing of what was sent has been acknowledged for `patience` seconds."""


class DeadPeerDetector:
    """`keepalive` and `interval`, between two calls of `look`, are seconds; a keepalive of 0 is for never."""

    __slots__ = ("_patience", "_round", "_share", "_step")

    def __init__(self, keepalive: float, interval: float) -> None:
        self._patience = keepalive * 2
        self._share = min(1.0, interval * 3 / keepalive) if keepalive else 0.0  # of all, in one turn
        self._round: list[Connection] = []  # those of this round that are still to be looked at
        self._step = 0

    def look(self, *connections: Iterable[Connection]) -> None:
        """Looks at the next few of them."""
        if not self._share:
            return
        if not self._round:
            self._round = [each for group in connections for each in group]
            self._step = int(len(self._round) * self._share) + 1
        self._round, now = self._round[: -self._step], self._round[-self._step :]
        for connection in now:
            try:
                connection.end_if_dead(self._patience)
            except Exception:  # one connection's bug must not save all others
                log.exception("looking at %r failed", connection)
