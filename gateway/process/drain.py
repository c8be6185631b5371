"""The end of a process that serves: new connections are refused, what is queued or under way is finished."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from gateway.edge.edge import Edge
from gateway.edge.listener import Listener
from gateway.edge.listener_drain import drain_listeners

log = logging.getLogger("gateway.process")


class Ending:
    """Told once: finish. Told again: now."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.hurried = asyncio.Event()

    def tell(self) -> None:
        (self.hurried if self.begun.is_set() else self.begun).set()


async def drain(
    edge: Edge, listeners: Sequence[Listener], patience: float, ending: Ending, left: Callable[[], None] = lambda: None
) -> None:
    """Drains and closes `edge`; what is not finished after `patience` seconds, or when told to hurry, is cut off.

    `left` is called when nothing will be accepted any more. Listeners that are closed already are another process's.
    """

    async def finish() -> None:
        await drain_listeners(listeners)
        left()
        await edge.drained()

    edge.drain()
    finishing = edge.tasks.spawn(finish(), "drain")
    hurried = edge.tasks.spawn(ending.hurried.wait(), "told to hurry")
    await asyncio.wait((finishing, hurried), timeout=patience, return_when=asyncio.FIRST_COMPLETED)
    if not finishing.done():
        finishing.cancel()
        when = "as told" if hurried.done() else f"that did not finish within {patience:g} s"
        log.warning("closing %d connections %s", edge.connections, when)
    for listener in listeners:
        listener.close()
    await edge.close()
