"""Checks of ports that are under way: whoever asks for the same joins one, and nobody waits behind machines that boot.

A machine that boots does not answer, not even with a refusal, so a check of it lasts until its dial gives up; and a
platform that starts a thousand asks for each of them again and again. So what has gone unanswered longest makes room:

- `MAX_WAITING` wait. For one more, who has waited longest is told what is known so far, which is no answer yet. Its
  dial goes on without it: who asks again joins it, or hears of its success for `RESULT_KEPT` seconds.
- `MAX_DIALS` dials are under way. For one more, that one ends which nobody has waited for longest.

A port that listens says so within a round trip, however many others do not. Knows no HTTP and does not dial itself.
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

MAX_WAITING = 64
"""Fewer than the connections that one client has (`gateway.client.AT_ONCE`): it must not wait for itself."""
MAX_DIALS = 1024
"""Or as many as there are descriptors for beside the listener's connections."""
RESULT_KEPT = 3.0
"""Seconds; longer than the longest pause of a client that waits (`gateway.client.LONGEST_PAUSE`)."""

_Key = tuple[tuple[str, str, str], int, IPv4Address | None]


class _Check:
    """One check. It is under way, or it has found a port that listens while nobody waited."""

    __slots__ = ("began", "key", "task", "waiters")

    def __init__(self, key: _Key, began: float, task: asyncio.Task[PortState | Failure]) -> None:
        self.key = key
        self.began = began
        self.task = task
        self.waiters = 0  # who wait for it


class PortChecks:
    """One per admin listener. `check` is one check of a port, which `tasks` own while they are under way."""

    def __init__(self, check: Callable[[Sandbox, int], Awaitable[PortState]], tasks: Tasks) -> None:
        self._check = check
        self._tasks = tasks
        self._known: dict[_Key, _Check] = {}
        self._waiting: dict[asyncio.Future[None], _Check] = {}  # who wait, in the order in which they came
        self._unawaited: dict[_Key, _Check] = {}  # under way although nobody waits, in the order in which that began
        self._dialing: set[_Check] = set()

    async def at(self, sandbox: Sandbox, port: int) -> PortState:
        """What is found at `port`, or, if many others are asked for meanwhile, that there is no answer yet.

        Raises GatewayError as a check does.
        """
        loop, key = asyncio.get_running_loop(), (sandbox.origin, port, sandbox.ipv4)
        dials = min(MAX_DIALS, descriptors.for_downstream())
        if len(self._waiting) >= min(MAX_WAITING, dials):
            self._dismiss(next(iter(self._waiting)))
        check = self._known.get(key)
        if check is None:
            if len(self._dialing) >= dials:
                self._end(next(iter(self._unawaited.values())))
            check = self._begin(key, sandbox, port)
        elif check.task.done():
            del self._known[key]
            return _outcome(check)
        self._unawaited.pop(key, None)
        waiter = loop.create_future()
        self._waiting[waiter] = check
        check.waiters += 1
        try:
            await asyncio.wait((check.task, waiter), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._dismiss(waiter)
        if check.task.done():
            return _outcome(check)
        where, seconds = authority(sandbox.address, port), loop.time() - check.began
        return PortState("timeout", f"connect to {where}: no answer within {seconds:.2f} s, and others are asked for")

    def _begin(self, key: _Key, sandbox: Sandbox, port: int) -> _Check:
        task = self._tasks.spawn(self._make(sandbox, port), f"look at port {port} of {sandbox.id}")
        check = self._known[key] = _Check(key, asyncio.get_running_loop().time(), task)
        self._dialing.add(check)
        task.add_done_callback(partial(self._ended, check))
        return check

    async def _make(self, sandbox: Sandbox, port: int) -> PortState | Failure:
        try:
            return await self._check(sandbox, port)
        except GatewayError as error:
            return error.failure()  # a value: several may be told of it, or nobody

    def _dismiss(self, waiter: asyncio.Future[None]) -> None:
        """It waits no longer, if it still does: what is known by now is its answer."""
        check = self._waiting.pop(waiter, None)
        if check is None:
            return
        if not waiter.done():
            waiter.set_result(None)
        check.waiters -= 1
        if not check.waiters and not check.task.done():
            self._unawaited[check.key] = check

    def _end(self, check: _Check) -> None:
        del self._unawaited[check.key]
        self._dialing.discard(check)
        self._forget(check)
        check.task.cancel()

    def _ended(self, check: _Check, task: asyncio.Task[PortState | Failure]) -> None:
        if self._known.get(check.key) is not check:
            return  # see _end
        self._dialing.discard(check)
        self._unawaited.pop(check.key, None)
        if check.waiters or task.cancelled() or task.exception() is not None or not _is_good_news(task.result()):
            self._forget(check)
        else:
            asyncio.get_running_loop().call_later(RESULT_KEPT, self._forget, check)

    def _forget(self, check: _Check) -> None:
        if self._known.get(check.key) is check:
            del self._known[check.key]


def _is_good_news(outcome: PortState | Failure) -> bool:
    return isinstance(outcome, PortState) and outcome.state == "listening"


def _outcome(check: _Check) -> PortState:
    outcome = check.task.result()
    if isinstance(outcome, Failure):
        raise outcome.error()
    return outcome
