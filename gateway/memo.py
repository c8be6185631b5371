"""Memories of bounded size, as plain dicts: on the hot path a look-up in one costs a third of what a call to
`functools.lru_cache` does, where it is compiled.
"""

from __future__ import annotations

from itertools import islice
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def remember(memory: dict[K, V], key: K, value: V, most: int) -> None:
    """Keeps `value`, which is not in `memory`; once that has `most`, those that were kept longest go, an eighth."""
    if len(memory) >= most:
        # Not one by one: whoever looks for a dict's first entry passes all that were deleted before it. With 8192, that
        # made each new key cost 7 µs.
        for oldest in list(islice(memory, most // 8 + 1)):
            del memory[oldest]
    memory[key] = value
