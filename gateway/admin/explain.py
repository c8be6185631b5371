"""`GET /v1/explain?url=…`: a report about one URL, as JSON. The examination itself is `gateway.diagnosis.explain`'s."""

from __future__ import annotations

import msgspec
from aiohttp import web

from gateway.admin.problem import NO_STORE
from gateway.diagnosis.explain import Context, explain
from gateway.diagnosis.url import InvalidUrl

AT_ONCE = 4
"""Examinations at the same time: each may hold a connection to a sandbox for seconds, and people ask one by one."""


class ExplainHandler:
    """One per admin listener."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._running = 0

    async def explain(self, request: web.Request) -> web.Response:
        """200 with a `Report`, reachable or not; 400 without a URL, 429 when others are being examined."""
        urls = request.query.getall("url", [])
        if len(urls) != 1:
            raise web.HTTPBadRequest(text=f"exactly one url is expected: {request.path}?url=https://…")
        if self._running >= AT_ONCE:
            raise web.HTTPTooManyRequests(
                text=f"{AT_ONCE} URLs are being examined at this moment", headers={"Retry-After": "1"}
            )
        self._running += 1
        try:
            report = await explain(urls[0], self._context)
        except InvalidUrl as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        finally:
            self._running -= 1
        return web.Response(body=msgspec.json.encode(report), content_type="application/json", headers=NO_STORE)
