"""The drain of a serving process: new connections are refused, what is queued or under way is finished."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from math import inf
from typing import Final

from gateway.counting import counted
from gateway.edge.drain import Drain
from gateway.edge.listener import Listener
from gateway.edge.listener_drain import drain_listeners

log = logging.getLogger("gateway.process")


ONE_SIGNAL: Final = 0.1
"""Seconds, after the turn of the event loop that the first signal came in, in which a second one is the first, told
again: uvloop does that where one comes while it reads another, as the SIGTERM of a gateway that ends without a delay
comes behind SIGUSR1."""


class Shutdown:
    """The first signal begins a drain, the second one cuts it short."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.hurried = asyncio.Event()
        self._told = -inf

    def signal(self) -> None:
        if not self.begun.is_set():
            self._told = inf  # until the next turn is over, however long: what is told twice is read in that
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._has_turned)
            self.begun.set()
        elif time.monotonic() > self._told + ONE_SIGNAL:
            self.hurried.set()

    def _has_turned(self) -> None:
        self._told = time.monotonic()


async def drain(
    plan: Drain,
    listeners: Sequence[Listener],
    shutdown: Shutdown,
    listeners_closed: Callable[[], None] = lambda: None,
) -> None:
    """Drains and closes the plan's edge; cuts off what is not finished in its time, or at the second signal."""
    edge = plan.edge

    async def finish() -> None:
        await drain_listeners(listeners)
        listeners_closed()
        await edge.drained()

    plan.begin()
    finishing = edge.tasks.spawn(finish(), "drain")
    hurried = edge.tasks.spawn(shutdown.hurried.wait(), "told to hurry")
    goodbyes = edge.tasks.spawn(plan.run(), "goodbyes")
    await asyncio.wait((finishing, hurried), timeout=plan.timeout, return_when=asyncio.FIRST_COMPLETED)
    goodbyes.cancel()
    if not finishing.done():
        finishing.cancel()
        when = "as told" if hurried.done() else f"that did not finish within {plan.timeout:g} s"
        if edge.connections:
            log.warning("closing %s %s", counted(edge.connections, "connection"), when)
    plan.end()
    for listener in listeners:
        listener.close()
    await edge.close()
