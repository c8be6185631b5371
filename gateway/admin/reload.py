"""`POST /v1/reload`: as SIGHUP, and says how the configuration was judged. The rolling itself is the supervisor's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec
from aiohttp import web

from gateway.admin.problem import NO_STORE

JUDGED_WITHIN = 30.0
"""Seconds in which the supervisor has read and tried a configuration; it takes a fraction of one."""
INTERVAL = 0.02
"""Seconds between two looks whether it has."""


class Reload(msgspec.Struct, frozen=True):
    """How the last reload went."""

    requested: int = 0
    """Reloads asked for since the start, of which this is the last."""
    state: str = "none"
    """`none` yet, `refused`, `waiting` for a draining generation to end, `rolling`, `done`, or `failed` in the roll."""
    generation: int = 1
    """Of the newest processes."""
    draining: tuple[int, ...] = ()
    """Generations that finish what they have."""
    successful: bool = True
    """Whether the last one that has ended was; true before the first."""
    ended: float = 0.0
    """When it was, in seconds since 1970; 0: none has."""
    error: str = ""
    """Why it was not successful."""
    needs_restart: tuple[str, ...] = ()
    """Settings of the file that a reload does not apply, by name."""


class Reloads(Protocol):
    """The supervisor, as the admin process knows it."""

    def read(self) -> Reload:
        """How the last one went, or goes."""

    def request(self) -> None:
        """Asks for one."""


class ReloadHandler:
    """One per admin listener; `reloads` is None where nothing is reloaded; `ends` says whether the gateway is about to
    end, when nothing is judged any more.
    """

    def __init__(self, reloads: Reloads | None, ends: Callable[[], bool]) -> None:
        self._reloads = reloads
        self._ends = ends

    async def reload(self, request: web.Request) -> web.Response:
        """202 with a `Reload`: it is valid, and rolled out from now on; 422: it is not, and nothing changes; 409: it
        is not judged.
        """
        reloads = self._reloads
        if reloads is None:
            raise web.HTTPConflict(text="`gateway dev` does not reload its configuration: restart it")
        before = reloads.read().requested
        reloads.request()
        for _ in range(round(JUDGED_WITHIN / INTERVAL)):
            reload = reloads.read()
            if reload.requested != before:
                break
            if self._ends():
                raise web.HTTPConflict(text="the gateway does not reload: it is about to end")
            await asyncio.sleep(INTERVAL)
        else:
            raise web.HTTPConflict(text="the gateway does not reload: its supervisor is stuck")
        if reload.state == "refused":
            raise web.HTTPUnprocessableEntity(text=f"not reloaded, nothing has changed: {reload.error}")
        return web.Response(
            status=202, body=msgspec.json.encode(reload), content_type="application/json", headers=NO_STORE
        )
