"""A token bucket: how many requests in a row, and how many per second after that."""

from __future__ import annotations

from collections.abc import Callable


class Bucket:
    """Full at first. `clock` is in seconds and never goes back; `rate` is tokens per second, `burst` what it holds."""

    __slots__ = ("_burst", "_clock", "_since", "_tokens", "rate")

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self.rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._since = clock()  # when `_tokens` was right

    def take(self) -> float:
        """Takes a token and returns 0.0; without one, the seconds until there is one."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._since) * self.rate)
        self._since = now
        if self._tokens < 1:
            return (1 - self._tokens) / self.rate
        self._tokens -= 1
        return 0.0
