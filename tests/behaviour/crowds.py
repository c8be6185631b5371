"""How much of what concerns a crowd happens in one turn of the event loop."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from tests.behaviour.harness import SANDBOX, Gateway


def each_turn(count: Callable[[], int], last: int) -> list[int]:
    """`count` in each turn of the event loop from now on, until it is `last`."""
    loop, seen = asyncio.get_running_loop(), [count()]

    def look() -> None:
        seen.append(count())
        if seen[-1] != last:
            loop.call_soon(look)

    loop.call_soon(look)
    return seen


def look_each_turn(gateway: Gateway) -> list[int]:
    """How many exchanges there are in each turn of the event loop from now on, until there are none."""
    return each_turn(lambda: gateway.edge.exchanges.get(SANDBOX, 0), 0)


def most_at_once(seen: list[int]) -> int:
    """How many have come, or gone, in one turn."""
    return max(abs(after - before) for before, after in itertools.pairwise(seen))
