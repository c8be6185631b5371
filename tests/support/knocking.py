"""Somebody who opens connections to every listener of a gateway all the time, and remembers which were not served."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from tests.support.serving import PATIENCE, Serving

PAUSE = 0.02
"""Seconds between two connections of one thread."""


class Knocking:
    """One thread for each listener; each request has a connection of its own, and none is tried twice."""

    def __init__(self, gateway: Serving) -> None:
        self._gateway = gateway
        self._end = threading.Event()
        self._changed = threading.Condition()
        self._served = [0] * len(gateway.doors)
        self.failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._knock, args=(number, *door[:2])) for number, door in enumerate(gateway.doors)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.some_more()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def some_more(self, count: int = 20) -> None:
        """Returns when each listener was asked so often again."""
        with self._changed:
            wanted = [served + count for served in self._served]
            if not self._changed.wait_for(
                lambda: all(a >= b for a, b in zip(self._served, wanted, strict=True)), PATIENCE
            ):
                raise TimeoutError(f"asked {self._served} times, not {wanted}; {self.failures[:5]}")

    def _knock(self, number: int, host: str, port: int) -> None:
        while not self._end.wait(PAUSE):
            try:
                answer = self._gateway.get(host, port)
                failure = "" if answer.startswith(b"HTTP/1.1 200 ") else repr(answer[:100])
            except OSError as error:
                failure = repr(error)
            with self._changed:
                self._served[number] += 1
                if failure:
                    self.failures.append(f"[{host}]:{port}, request {self._served[number]}: {failure}")
                self._changed.notify_all()
