"""The admin's HTTP application (aiohttp.web: comfort matters here, microseconds do not).

`/livez` says that this process runs. `/readyz` says whether every worker answers, none is draining, and every domain
has a valid certificate left: 200 or 503, with the workers' own words as JSON, and who did not answer by the name that
the log has for it. What is `failing` in a process that serves nevertheless is named, and is no reason to send its
visitors elsewhere: a fault that all gateways meet would leave nowhere. `/v1/` is the operator's API and the platform's,
behind `auth.guard`; `/v1/status` says more than readiness does, and always 200.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Protocol

import msgspec
from aiohttp import web

from gateway.admin.auth import guard
from gateway.admin.explain import ExplainHandler
from gateway.admin.listener import AdminSite, timed
from gateway.admin.live import Live
from gateway.admin.malformed import complaints
from gateway.admin.metrics import MetricsHandler, Sources
from gateway.admin.overview import Answer, overview, without_details
from gateway.admin.problem import NO_STORE, as_problems
from gateway.admin.reload import ReloadHandler, Reloads
from gateway.admin.sandboxes import MAX_BODY, Sandboxes
from gateway.admin.status_page import AWAY
from gateway.admin.status_page import add_routes as add_status_page
from gateway.diagnosis.explain import Context
from gateway.diagnosis.url import MAX_URL
from gateway.observe.counters import told as counted
from gateway.tasks import Tasks

Ask = Callable[[], Awaitable[list[Answer]]]
"""Asks every worker; one answer per slot."""

SHUTDOWN = 1.0
"""Seconds that requests under way get at the end; nothing here is worth more."""
LONGEST_LINE = 12 * MAX_URL + 1024
"""Octets of a request line: a character of a URL to be explained may take four octets, and each of them three."""


class Health:
    """`draining` is set when the gateway is about to stop: readiness fails first, so that balancers look away.

    `tasks` are this process's own; `reloads` is None for a gateway that cannot reload.
    """

    def __init__(
        self, ask: Ask, tasks: Tasks | None = None, reloads: Reloads | None = None, sources: Sources | None = None
    ) -> None:
        self._ask = ask
        self.sources = sources or Sources()
        self.reloads = reloads
        self.tasks = Tasks() if tasks is None else tasks
        self.live_status = Live(self.look, self.sources, self.tasks)
        self.draining = False
        self.unserved: Callable[[], list[str]] = list
        """Sentences about domains for which no valid certificate is left: visitors had better be sent elsewhere."""

    async def live(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def end(self, _: web.Application) -> None:
        """The listener closes."""
        self.live_status.end()

    async def is_ready(self) -> bool:
        """What a balancer is told."""
        return self._judge(await self._ask(), self.unserved()) == "ready"

    def _judge(self, workers: list[Answer], unserved: list[str]) -> str:
        if self.draining:
            return "draining"
        if not unserved and workers and all(worker is not None and worker["state"] == "ready" for worker in workers):
            return "ready"
        return "not ready"

    async def ready(self, request: web.Request) -> web.Response:
        workers = await self._ask()
        unserved = self.unserved()
        status = self._judge(workers, unserved)
        told: dict[str, object] = {"status": status, "workers": [without_details(worker) for worker in workers]}
        if self.reloads is not None:
            told["config_last_reload_successful"] = self.reloads.read().successful
        told["counters"] = counted(self.sources.totals())
        if None in workers:
            told["unanswered"] = [f"worker {slot}" for slot, worker in enumerate(workers) if worker is None]
        if unserved:
            told["certificates"] = unserved
        failing = [f"{who}: {task}" for who, task in self._failing(workers)]
        if failing:
            told["failing"] = failing
        body = msgspec.json.encode(told)
        return web.Response(
            status=200 if status == "ready" else 503, body=body, content_type="application/json", headers=NO_STORE
        )

    async def status(self, request: web.Request) -> web.Response:
        """What an operator wants to know at a glance; always 200."""
        return web.Response(
            body=msgspec.json.encode(await self.look()), content_type="application/json", headers=NO_STORE
        )

    async def look(self) -> dict[str, Any]:
        """How everything is just now."""
        workers, unserved = await self._ask(), self.unserved()
        told = {
            "status": self._judge(workers, unserved),
            "draining": self.draining,
            "certificates": unserved,
            "failing": [f"{who}: {task}" for who, task in self._failing(workers)],
            **overview(workers, self.sources),
        }
        if self.reloads is not None:
            told["reload"] = msgspec.to_builtins(self.reloads.read())
        return told

    def _failing(self, workers: list[Answer]) -> Iterator[tuple[str, str]]:
        for slot, worker in enumerate(workers):
            for task in (worker or {}).get("failing", ()):
                yield f"worker {slot}", task
        for task in self.tasks.failing:
            yield "admin", task


def _no_token() -> str:
    return ""


class Home(Protocol):
    """What is at `/` in place of the status page, which is at `/status` then."""

    @property
    def paths(self) -> Sequence[str]:
        """As its routes have them: they are guarded like the status page."""

    def add_routes(self, app: web.Application) -> None: ...


def make_app(
    health: Health, context: Context, token: Callable[[], str] = _no_token, home: Home | None = None
) -> web.Application:
    """The application; it holds no socket. `token()` is what the API asks for now; empty: nothing."""
    guarded = guard(token, home.paths if home is not None else ())
    app = web.Application(middlewares=[timed, as_problems, guarded], client_max_size=MAX_BODY)
    app.router.add_get("/livez", health.live)
    app.router.add_get("/readyz", health.ready)
    app.router.add_get("/metrics", MetricsHandler(health.sources, health.is_ready, health.tasks).metrics)
    if home is None:
        add_status_page(app.router)
    else:
        add_status_page(app.router, AWAY)
        home.add_routes(app)
    app.router.add_get("/events", health.live_status.events, allow_head=False)
    app.on_shutdown.append(health.end)
    app.router.add_get("/v1/explain", ExplainHandler(context).explain)
    app.router.add_get("/v1/status", health.status)
    app.router.add_post("/v1/reload", ReloadHandler(health.reloads, lambda: health.draining).reload)
    Sandboxes(context).add_routes(app.router)
    return app


async def start(app: web.Application, sock: socket.socket) -> web.AppRunner:
    """Serves `app` on a listening socket; `await runner.cleanup()` ends it."""
    # No body is unpacked: aiohttp would unpack all that has come before it counts.
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=complaints(),
        shutdown_timeout=SHUTDOWN,
        auto_decompress=False,
        max_line_size=LONGEST_LINE,
    )
    await runner.setup()
    await AdminSite(runner, sock).start()
    return runner
