"""How many probes begin within a second: so many in all, and so many on behalf of one sandbox.

Looking for causes is work that anybody can ask for by making requests fail.
"""

from __future__ import annotations

from collections import deque


class RateLimit:
    """`per_second` in all; `per_sandbox` of them for each."""

    __slots__ = ("_per_sandbox", "_started")

    def __init__(self, per_second: int, per_sandbox: int) -> None:
        self._per_sandbox = per_sandbox
        self._started: deque[tuple[float, object]] = deque(maxlen=per_second)  # when the latest began, for whom

    def take(self, now: float, whose: object) -> bool:
        """Whether another may begin at `now`, in seconds, on behalf of `whose`; if so it is counted."""
        lately = [who for began, who in self._started if now - began < 1.0]
        if len(lately) == self._started.maxlen or lately.count(whose) >= self._per_sandbox:
            return False
        self._started.append((now, whose))
        return True
