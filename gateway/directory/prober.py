"""Finds out when a backend that was away is back: one question at a time, however many requests would like to know.

The question is one that somebody wants an answer to anyway, so what is asked is what is needed, and the answer is used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from gateway.directory.availability import Availability

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
"""Seconds between two questions; they double from the one to the other."""


class Fetch(Protocol):
    """Asks the backend about an id, or joins who does."""

    def __call__(self, sandbox_id: str, *, probe: bool) -> asyncio.Task[Any]: ...


class Prober:
    """Of one worker. `wanted` is the id to ask about next: the last one that somebody asked for."""

    def __init__(self, availability: Availability, fetch: Fetch, clock: Callable[[], float]) -> None:
        self.wanted = ""
        self._availability = availability
        self._fetch = fetch
        self._clock = clock
        self._asking: asyncio.Task[Any] | None = None
        self._asked = float("-inf")  # when that one was asked, or when the last one was answered

    async def run(self) -> None:
        """Asks until the backend answers."""
        pause = FIRST_PAUSE
        while self._availability.away:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            if self.wanted:
                await asyncio.wait([self._ask(self.wanted)])

    async def is_back(self, sandbox_id: str, patience: float) -> bool:
        """Whether the backend answers again, for a request about an id of which nothing is known.

        It waits for the question under way, but no longer than until that one is `patience` old. When there is none,
        its own is the question, unless one has failed just now.
        """
        self.wanted = sandbox_id
        if self._asking is None:
            if self._clock() - self._asked < FIRST_PAUSE:
                return False
            self._ask(sandbox_id)
        assert self._asking is not None
        left = self._asked + patience - self._clock()
        if left > 0:
            await asyncio.wait([self._asking], timeout=left)
        return not self._availability.away

    def _ask(self, sandbox_id: str) -> asyncio.Task[Any]:
        if self._asking is None:
            self._asked = self._clock()
            self._asking = self._fetch(sandbox_id, probe=True)
            self._asking.add_done_callback(self._ended)
        return self._asking

    def _ended(self, _: object) -> None:
        self._asking = None
        self._asked = self._clock()

    def close(self) -> None:
        """No more questions."""
        self.wanted = ""
