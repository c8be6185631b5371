"""The drain of a serving process: new connections are refused, what is queued or under way is finished."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from gateway.edge.edge import Edge
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
    edge: Edge,
    listeners: Sequence[Listener],
    drain_timeout: float,
    shutdown: Shutdown,
    listeners_closed: Callable[[], None] = lambda: None,
) -> None:
    """Drains and closes `edge`; cuts off what is not finished after `drain_timeout` seconds or at the second signal."""

    async def finish() -> None:
        await drain_listeners(listeners)
        listeners_closed()
        await edge.drained()

    edge.drain()
    finishing = edge.tasks.spawn(finish(), "drain")
    hurried = edge.tasks.spawn(shutdown.hurried.wait(), "told to hurry")
    await asyncio.wait((finishing, hurried), timeout=drain_timeout, return_when=asyncio.FIRST_COMPLETED)
    if not finishing.done():
        finishing.cancel()
        when = "as told" if hurried.done() else f"that did not finish within {drain_timeout:g} s"
        if edge.connections:
            log.warning("closing %d connections %s", edge.connections, when)
    for listener in listeners:
        listener.close()
    await edge.close()
