"""Opening many connections, each proven by one answer, before anything is measured."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import cycle

from bench.load.engine import CONNECTIONS_PER_SOURCE, PATIENCE, Connection, Engine

AT_ONCE = 64
"""Handshakes under way at a time: a queue that is never long enough to overflow."""


class Opening:
    """A `Handler` that sends one of `requests`, in turn, on every new connection and collects those whose answer is
    `complete`.
    """

    def __init__(
        self, engine: Engine, count: int, requests: Sequence[bytes], complete: Callable[[bytes], bool]
    ) -> None:
        self._engine = engine
        self._count = count
        self._requests = cycle(requests)
        self._complete = complete
        self._begun = 0
        self.done: list[Connection] = []
        self.failures: dict[str, int] = {}

    def run(self) -> list[Connection]:
        """All connections, open and idle. Ends the program if one cannot be had: a smaller number would mislead."""
        for _ in range(min(AT_ONCE, self._count)):
            self._next()
        self._engine.run(self._finished, PATIENCE + self._count / 100)
        if len(self.done) < self._count:
            why = self.failures or "timeout"
            sys.exit(f"only {len(self.done)} of {self._count} connections could be opened: {why}")
        return self.done

    def _finished(self) -> bool:
        return len(self.done) + sum(self.failures.values()) >= self._count

    def _next(self) -> None:
        if self._begun < self._count:
            self._begun += 1
            self._engine.open(self, source=1 + self._begun // CONNECTIONS_PER_SOURCE)

    def opened(self, connection: Connection) -> None:
        connection.send(next(self._requests))

    def received(self, connection: Connection, data: bytes) -> None:
        connection.buffer += data
        if self._complete(connection.buffer):
            connection.buffer = b""
            self.done.append(connection)
            self._next()

    def lost(self, connection: Connection, why: str) -> None:
        why = connection.buffer.partition(b"\r\n")[0].decode("latin-1") or why  # an answer that was not the one
        self.failures[why] = self.failures.get(why, 0) + 1
        self._next()
