"""The drain of a serving process: new connections are refused, what is queued or under way is finished."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from gateway.counting import counted
from gateway.edge.drain import Drain
from gateway.edge.listener import Listener
from gateway.edge.listener_drain import drain_listeners

log = logging.getLogger("gateway.process")


class Shutdown:
    """The first signal begins a drain, the second one cuts it short."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.hurried = asyncio.Event()

    def signal(self) -> None:
        (self.hurried if self.begun.is_set() else self.begun).set()


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
