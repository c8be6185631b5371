"""Looks at ports that are under way: whoever asks for the same joins one, and nobody waits behind machines that boot.

A machine that boots does not answer, not even with a refusal, so a look at it lasts until its dial gives up; and a
platform that starts a thousand asks for each of them again and again. So what has gone unanswered longest makes room:

- `HELD` askers wait. For one more, who has waited longest is told what is known so far, which is no answer yet. Its
  dial goes on without it: who asks again joins it, or hears of its success for `KEPT` seconds.
- `DIALS` dials are under way. For one more, that one ends which nobody has waited for longest.

A port that listens says so within a round trip, however many others do not. Knows no HTTP and does not look itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from ipaddress import IPv4Address

from gateway import descriptors
from gateway.addresses import authority
from gateway.admin.ports import PortState
from gateway.directory.sandbox import Sandbox
from gateway.errors import Failure, GatewayError
from gateway.tasks import Tasks

HELD = 64
"""Fewer than the connections that one client has (`gateway.client.AT_ONCE`): it must not wait for itself."""
DIALS = 1024
"""Or as many as there are descriptors for beside the listener's connections."""
KEPT = 3.0
"""Seconds; longer than the longest pause of a client that waits (`gateway.client.LONGEST_PAUSE`)."""

_Key = tuple[tuple[str, str, str], int, IPv4Address | None]


class _Look:
    """One look. It is under way, or it has found a port that listens while nobody waited."""

    __slots__ = ("askers", "began", "key", "task")

    def __init__(self, key: _Key, began: float, task: asyncio.Task[PortState | Failure]) -> None:
        self.key = key
        self.began = began
        self.task = task
        self.askers = 0  # who wait for it


class Looks:
    """One per admin listener. `look` is one look at a port, which `tasks` own while they are under way."""

    def __init__(self, look: Callable[[Sandbox, int], Awaitable[PortState]], tasks: Tasks) -> None:
        self._look = look
        self._tasks = tasks
        self._known: dict[_Key, _Look] = {}
        self._waiting: dict[asyncio.Future[None], _Look] = {}  # who wait, in the order in which they came
        self._unawaited: dict[_Key, _Look] = {}  # under way although nobody waits, in the order in which that began
        self._dialing: set[_Look] = set()

    async def at(self, sandbox: Sandbox, port: int) -> PortState:
        """What is found at `port`, or, if many others are asked for meanwhile, that there is no answer yet.

        Raises GatewayError as a look does.
        """
        loop, key = asyncio.get_running_loop(), (sandbox.origin, port, sandbox.ipv4)
        dials = min(DIALS, descriptors.for_downstream())
        if len(self._waiting) >= min(HELD, dials):
            self._dismiss(next(iter(self._waiting)))
        look = self._known.get(key)
        if look is None:
            if len(self._dialing) >= dials:
                self._end(next(iter(self._unawaited.values())))
            look = self._begin(key, sandbox, port)
        elif look.task.done():
            del self._known[key]
            return _outcome(look)
        self._unawaited.pop(key, None)
        waiter = loop.create_future()
        self._waiting[waiter] = look
        look.askers += 1
        try:
            await asyncio.wait((look.task, waiter), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._dismiss(waiter)
        if look.task.done():
            return _outcome(look)
        where, seconds = authority(sandbox.address, port), loop.time() - look.began
        return PortState("timeout", f"connect to {where}: no answer within {seconds:.2f} s, and others are asked for")

    def _begin(self, key: _Key, sandbox: Sandbox, port: int) -> _Look:
        task = self._tasks.spawn(self._make(sandbox, port), f"look at port {port} of {sandbox.id}")
        look = self._known[key] = _Look(key, asyncio.get_running_loop().time(), task)
        self._dialing.add(look)
        task.add_done_callback(partial(self._ended, look))
        return look

    async def _make(self, sandbox: Sandbox, port: int) -> PortState | Failure:
        try:
            return await self._look(sandbox, port)
        except GatewayError as error:
            return error.failure()  # a value: several may be told of it, or nobody

    def _dismiss(self, waiter: asyncio.Future[None]) -> None:
        """It waits no longer, if it still does: what is known by now is its answer."""
        look = self._waiting.pop(waiter, None)
        if look is None:
            return
        if not waiter.done():
            waiter.set_result(None)
        look.askers -= 1
        if not look.askers and not look.task.done():
            self._unawaited[look.key] = look

    def _end(self, look: _Look) -> None:
        del self._unawaited[look.key]
        self._dialing.discard(look)
        self._forget(look)
        look.task.cancel()

    def _ended(self, look: _Look, task: asyncio.Task[PortState | Failure]) -> None:
        if self._known.get(look.key) is not look:
            return  # see _end
        self._dialing.discard(look)
        self._unawaited.pop(look.key, None)
        if look.askers or task.cancelled() or task.exception() is not None or not _is_good_news(task.result()):
            self._forget(look)
        else:
            asyncio.get_running_loop().call_later(KEPT, self._forget, look)

    def _forget(self, look: _Look) -> None:
        if self._known.get(look.key) is look:
            del self._known[look.key]


def _is_good_news(outcome: PortState | Failure) -> bool:
    return isinstance(outcome, PortState) and outcome.state == "listening"


def _outcome(look: _Look) -> PortState:
    outcome = look.task.result()
    if isinstance(outcome, Failure):
        raise outcome.error()
    return outcome
