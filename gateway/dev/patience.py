"""Requests that have waited long for the app are told while they wait: until the answer comes there is no line of them.

What they ended as is in their line, as of every request. Looks at the edge once a second; nothing in a request's own
way knows of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from gateway.counting import counted
from gateway.edge.drain import sinks_of
from gateway.edge.edge import Edge
from gateway.edge.exchange import Exchange
from gateway.http.message import RequestHead
from gateway.observe.access_log import MAX_TEXT

PATIENCE = 10.0
"""Seconds: longer than most answers, and shorter than what a person waits before they look elsewhere."""
LOOK_INTERVAL = 1.0
MOST_TOLD = 5
"""Lines of one look; of more there is a number."""


class SlowApps:
    """`say` is told a sentence of each request that has waited `PATIENCE` seconds, once."""

    def __init__(self, edge: Edge, say: Callable[[str], None]) -> None:
        self._edge = edge
        self._say = say
        self._told: set[Exchange] = set()

    async def follow(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        slow = [
            sink
            for connection in self._edge.downstreams
            for sink in sinks_of(connection)
            if isinstance(sink, Exchange) and (since := sink.waits_for_app_since) and now - since >= PATIENCE
        ]
        news = [exchange for exchange in slow if exchange not in self._told]
        for exchange in news[:MOST_TOLD]:
            self._say(f"{_asked(exchange.request)} has waited {PATIENCE:.0f} s for the app")
        if len(news) > MOST_TOLD:
            more = counted(len(news) - MOST_TOLD, "more request")
            self._say(f"the same of {more}")
        self._told = set(slow)


def _asked(head: RequestHead) -> str:
    path = head.target[:MAX_TEXT].partition(b"?")[0]
    return f"{head.method.decode()} {head.section.host}{path.decode()}"
