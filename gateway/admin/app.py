"""The admin's HTTP application (aiohttp.web: comfort matters here, microseconds do not).

`/livez` says that this process runs. `/readyz` says whether every worker answers and none is draining: 200 or 503,
with the workers' own words as JSON.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

Ask = Callable[[], Awaitable[list[dict[str, object] | None]]]
"""Asks every worker how it is; one item per slot, None for a worker that does not answer."""


class Health:
    """`draining` is set when the gateway is about to stop: readiness fails first, so that balancers look away."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self.draining = False

    async def live(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(self, request: web.Request) -> web.Response:
        workers = await self._ask()
        if self.draining:
            status = "draining"
        elif workers and all(worker is not None and worker["state"] == "ready" for worker in workers):
            status = "ready"
        else:
            status = "not ready"
        body = msgspec.json.encode({"status": status, "workers": workers})
        return web.Response(
            status=200 if status == "ready" else 503,
            body=body,
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )


def make_app(health: Health) -> web.Application:
    """The application; it holds no socket."""
    app = web.Application()
    app.router.add_get("/livez", health.live)
    app.router.add_get("/readyz", health.ready)
    return app
