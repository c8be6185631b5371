"""Named, owned tasks: the only place that starts one that outlives a statement.

A bare `create_task` can be collected while it runs, and its exception is seen by nobody. Here every task has a name,
an owner that can end it, and a last word. What has to live as long as its owner is kept: whatever it dies of, it begins
anew, and its owner can say what does not work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable, Iterator
from functools import partial
from math import inf
from typing import Any, Generic, TypeVar

PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before a kept task that has failed begins anew; they double from the one to the other. One that has run for
the longest has recovered: the next failure is a first one."""

log = logging.getLogger("gateway.tasks")

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Tasks:
    """The tasks of one owner."""

    __slots__ = ("_kept", "_running")

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._kept: dict[str, float] = {}  # name -> the loop's time from which on it is believed to work

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, coroutine: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Starts `coroutine`; an exception that nobody awaits is logged under `name`."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def keep(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Runs `work` until it returns, and from its beginning again whenever it fails; no two at a time of one name.

        A failure is logged, but not when it is what was said last.
        """
        if name not in self._kept:
            self._kept[name] = -inf
            self.spawn(self._keep(work, name), name)

    def keeps(self, name: str) -> bool:
        """Whether `keep` has not come to the end of what has this name."""
        return name in self._kept

    @property
    def failing(self) -> list[str]:
        """Names of what is kept and has failed, until it has run for longer than it last had to wait."""
        if not self._kept:
            return []
        now = asyncio.get_running_loop().time()
        return [name for name, works_from in self._kept.items() if works_from > now]

    async def _keep(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        loop, this = asyncio.get_running_loop(), asyncio.current_task()
        assert this is not None
        pause, said = PAUSE, ""
        try:
            while True:
                began = loop.time()
                try:
                    await work()
                    return
                except (Exception, asyncio.CancelledError) as error:
                    if this.cancelling():
                        raise  # nobody but its owner ends it
                    self._kept[name] = inf
                    if loop.time() - began >= LONGEST_PAUSE:
                        pause, said = PAUSE, ""
                    if said != (said := f"{type(error).__name__}: {error}"):
                        log.exception("task %s failed; it begins anew in %g s", name, pause)
                await asyncio.sleep(pause)
                self._kept[name] = loop.time() + pause
                pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            del self._kept[name]

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task %s failed", task.get_name(), exc_info=error)

    async def ended(self) -> None:
        """Waits until all of them have come to their end."""
        while self._running:
            await asyncio.wait(list(self._running))

    async def cancel(self) -> None:
        """Ends all of them and waits until they have."""
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(list(self._running))


class SingleFlight(Generic[K, T]):
    """At most one task per key at a time; whoever wants its result meanwhile waits for the same one.

    Wait with `asyncio.shield` or `asyncio.wait`: a waiter that is cancelled must not cancel it for the others.
    """

    __slots__ = ("_flights", "_tasks")

    def __init__(self, tasks: Tasks) -> None:
        """`tasks` owns what is started."""
        self._tasks = tasks
        self._flights: dict[K, asyncio.Task[T]] = {}

    def __iter__(self) -> Iterator[K]:
        """The keys under way."""
        return iter(self._flights)

    def __len__(self) -> int:
        return len(self._flights)

    def get(self, key: K) -> asyncio.Task[T] | None:
        """The task under way for `key`."""
        task = self._flights.get(key)
        return None if task is None or task.done() else task

    def start(self, key: K, coroutine: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Starts `coroutine` as the task for `key`, for which there is none."""
        task = self._flights[key] = self._tasks.spawn(coroutine, name)
        # A callback, because a task that is cancelled before its first step runs no `finally`.
        task.add_done_callback(partial(self._ended, key))
        return task

    def is_current(self, key: K) -> bool:
        """Whether the running task is the one for `key`, and has not been forgotten."""
        return self._flights.get(key) is asyncio.current_task()

    def forget(self, key: K) -> None:
        """Nobody else joins the task for `key`; it runs on for those who wait."""
        self._flights.pop(key, None)

    def forget_all(self) -> None:
        """As `forget`, for every key."""
        self._flights.clear()

    def _ended(self, key: K, task: asyncio.Task[T]) -> None:
        if self._flights.get(key) is task:
            del self._flights[key]
