"""`/events`: the status, once a second, as server-sent events, for as long as somebody looks.

One task looks, however many watch, and none while nobody does. A viewer that has not taken the last event when the
next one is there misses it, and one that takes none for `PATIENCE` seconds is let go: nothing piles up. Streams end by
themselves after `LONGEST` seconds, within what the listener grants an answer, and a browser comes back at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
from aiohttp import web

from gateway.admin.metrics import Sources
from gateway.admin.problem import NO_STORE
from gateway.metrics import BYTES, CONNECTIONS, FAILURES, FIRST_BYTE, LOOP_LAG, REQUEST_DURATION, REQUESTS
from gateway.observe.totals import Totals
from gateway.tasks import Tasks

INTERVAL = 1.0
"""Seconds between two events."""
LONGEST = 50.0
PATIENCE = 10.0
MAX_VIEWERS = 32
WINDOW = 10
"""Looks over which latencies are told: one second alone may have few requests."""


class Live:
    """`look` is how the gateway is just now, as `/v1/status` tells it; `tasks` own the one who looks."""

    def __init__(self, look: Callable[[], Awaitable[dict[str, Any]]], sources: Sources, tasks: Tasks) -> None:
        self._look = look
        self._sources = sources
        self._tasks = tasks
        self._event = b""
        self._next = asyncio.Event()  # set, and replaced, when there is another event
        self._looking: asyncio.Task[None] | None = None
        self.viewers = 0
        self.ending = False

    def __repr__(self) -> str:
        return f"<Live {self.viewers} viewers>"

    async def events(self, request: web.Request) -> web.StreamResponse:
        """GET /events."""
        if self.viewers >= MAX_VIEWERS:
            raise web.HTTPServiceUnavailable(text=f"{MAX_VIEWERS} status pages are open: close one of them")
        response = web.StreamResponse(headers={**NO_STORE, "Content-Type": "text/event-stream"})
        self.viewers += 1
        try:
            if self._looking is None:
                self._looking = self._tasks.spawn(self._watch(), "status page")
            await response.prepare(request)
            await response.write(b"retry: 1000\n\n")
            await self._show(response)
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            self.viewers -= 1
        return response

    async def _show(self, response: web.StreamResponse) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + LONGEST
        while not self.ending and loop.time() < end:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(end):
                    await self._next.wait()
            async with asyncio.timeout(PATIENCE):
                await response.write(self._event)
        with suppress(ConnectionError):
            await response.write_eof()

    def end(self) -> None:
        """The listener closes: whoever looks is told no more."""
        self.ending = True
        self._next.set()

    async def _watch(self) -> None:
        clock = asyncio.get_running_loop().time
        before: deque[tuple[float, Totals]] = deque(maxlen=WINDOW)
        try:
            while self.viewers:
                status = await self._look()
                now = clock(), self._sources.totals()
                told = {"status": status, **(_rates(now, before) if before else {})}
                before.append(now)
                self._event = b"data: " + msgspec.json.encode(told) + b"\n\n"
                self._next.set()
                self._next = asyncio.Event()
                if self.ending:
                    self._next.set()
                await asyncio.sleep(INTERVAL)
        finally:
            self._looking = None


def _rates(now: tuple[float, Totals], before: deque[tuple[float, Totals]]) -> dict[str, Any]:
    """What happened each second since the last look, which may have had to wait for a worker, and how long it took in
    the last ten."""
    (time, totals), (earlier, last_totals) = now, before[-1]
    seconds = max(time - earlier, INTERVAL / 10)
    last, window = totals - last_totals, totals - before[0][1]
    return {
        "rates": {
            "requests": last.sum(REQUESTS) / seconds,
            "failures": last.sum(FAILURES) / seconds,
            "connections": last.sum(CONNECTIONS, side="downstream") / seconds,
            "received": last.sum(BYTES, side="downstream", direction="received") / seconds,
            "sent": last.sum(BYTES, side="downstream", direction="sent") / seconds,
        },
        "latency": {
            name: {f"p{share * 100:g}": window.quantile(metric, share, **labels) for share in (0.5, 0.9, 0.99)}
            for name, metric, labels in (
                ("duration", REQUEST_DURATION, {"kind": "response"}),
                ("first_byte", FIRST_BYTE, {"kind": "response"}),
                ("loop_lag", LOOP_LAG, dict[str, str]()),
            )
        },
    }
