"""How a listening socket is closed without losing a connection: every one is either served or refused.

Closing it resets what it holds: connections that wait in its accept queue, and handshakes of TCP under way. So first
new ones are dropped (`socket_options.refuse_new`), then what is on its way is accepted, then the socket is closed. A
peer that was dropped meanwhile asks again after a second, as TCP does, and is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from gateway.diagnosis.own_sockets import shaking_hands
from gateway.edge.listener import Listener

CHECK_INTERVAL = 0.02
"""Seconds between looks for TCP handshakes under way."""
HANDSHAKE_GRACE = 0.5
"""Seconds that a TCP handshake gets to complete: a round trip to the other side of the world takes 0.3."""


async def drain_listeners(listeners: Sequence[Listener]) -> None:
    """Refuses new connections, accepts those queued or on their way, and closes the listeners.

    Waits while this process has no descriptor for what is queued.
    """
    for listener in listeners:
        listener.refuse_new()
    loop, ports, remaining = asyncio.get_running_loop(), {listener.port for listener in listeners}, list(listeners)
    deadline, pause = loop.time() + HANDSHAKE_GRACE, CHECK_INTERVAL  # the first time for what came before the filter
    while remaining:
        await asyncio.sleep(pause)
        if loop.time() >= deadline or not await asyncio.to_thread(_handshakes_under_way, ports):
            deadline = loop.time()
            remaining = [listener for listener in remaining if not listener.finish()]
            pause = CHECK_INTERVAL if all(listener.awaits_room for listener in remaining) else 0.0


def _handshakes_under_way(ports: Collection[int]) -> bool:
    try:
        return shaking_hands(ports)
    except OSError:
        return True  # unknown: wait for `HANDSHAKE_GRACE`
