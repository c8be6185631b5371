"""`/inspector/events`: what has changed, four times a second, as server-sent events, for as long as somebody looks.

One task looks, however many watch, and none while nobody does: exchanges never wait for a browser, they do not even
know of it. An event tells of at most `MOST` exchanges, the latest, and how many it leaves out. A viewer that has not
taken the last event when the next one is there misses it, sees so by the event's `after`, and asks for the list anew.
Streams end by themselves after `LONGEST` seconds, within what the listener grants an answer.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Final

import msgspec
from aiohttp import web

from gateway.admin.problem import NO_STORE
from gateway.inspector.store import Store
from gateway.inspector.views import summary
from gateway.tasks import Tasks

INTERVAL: Final = 0.25
LONGEST: Final = 50.0
PATIENCE: Final = 10.0
"""Seconds for an event to be taken."""
MAX_VIEWERS: Final = 32
MOST: Final = 60


class Live:
    """One per gateway; `tasks` own the one who looks."""

    def __init__(self, store: Store, tasks: Tasks) -> None:
        self._store = store
        self._tasks = tasks
        self._event = b""
        self._next = asyncio.Event()  # set, and replaced, when there is another event
        self._looking: asyncio.Task[None] | None = None
        self._ending = False
        self.viewers = 0

    def __repr__(self) -> str:
        return f"<Live {self.viewers} viewers>"

    async def events(self, request: web.Request) -> web.StreamResponse:
        if self.viewers >= MAX_VIEWERS:
            raise web.HTTPServiceUnavailable(text=f"{MAX_VIEWERS} inspectors are open: close one of them")
        response = web.StreamResponse(headers={**NO_STORE, "Content-Type": "text/event-stream"})
        self.viewers += 1
        try:
            if self._looking is None:
                self._looking = self._tasks.spawn(self._watch(), "inspector")
            await response.prepare(request)
            await response.write(b"retry: 1000\n\nevent: hello\ndata: {}\n\n")
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
        while not self._ending and loop.time() < end:
            try:
                async with asyncio.timeout_at(end):
                    await self._next.wait()
            except TimeoutError:
                break
            async with asyncio.timeout(PATIENCE):
                await response.write(self._event)
        with suppress(ConnectionError):
            await response.write_eof()

    async def end(self, _: web.Application) -> None:
        """The listener closes: whoever looks is told no more."""
        self._ending = True
        self._next.set()

    async def _watch(self) -> None:
        seen, last = self._store.version, self._store.last_number
        try:
            while self.viewers:
                await asyncio.sleep(INTERVAL)
                if self._store.version == seen:
                    continue
                self._event = self._look(seen, last)
                seen, last = self._store.version, self._store.last_number
                self._next.set()
                self._next = asyncio.Event()
                if self._ending:
                    self._next.set()
        finally:
            self._looking = None

    def _look(self, seen: int, last: int) -> bytes:
        store = self._store
        changed = store.changed_since(seen)
        new = store.last_number - last
        shown = changed[-MOST:]
        told = {
            "after": seen,
            "version": store.version,
            "cleared": store.cleared,
            "total": store.last_number,
            "left_out": max(new, len(changed)) - len(shown),
            "exchanges": [summary(each, time.monotonic()) for each in shown],
        }
        return b"data: " + msgspec.json.encode(told) + b"\n\n"
