"""How many of a crowd of exchanges end in one turn of the event loop."""

from __future__ import annotations

import asyncio
import itertools

from tests.behaviour.harness import SANDBOX, Gateway


def look_each_turn(gateway: Gateway) -> list[int]:
    """How many exchanges there are in each turn of the event loop from now on, until there are none."""
    loop, seen = asyncio.get_running_loop(), [gateway.edge.exchanges[SANDBOX]]

    def look() -> None:
        seen.append(gateway.edge.exchanges.get(SANDBOX, 0))
        if seen[-1]:
            loop.call_soon(look)

    loop.call_soon(look)
    return seen


def most_at_once(seen: list[int]) -> int:
    """How many of them have ended in one turn."""
    return max(before - after for before, after in itertools.pairwise(seen))
