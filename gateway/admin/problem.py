"""The API's errors as RFC 9457 documents. The failures of proxied requests are not its business: see `problems`."""

from __future__ import annotations

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.http.phrases import phrase_for

NO_STORE = {"Cache-Control": "no-store"}

_BY_THE_BODY = ("content-type", "content-length")


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """`about:blank` says that the status is all there is to the type (RFC 9457 section 4.2.1)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


@web.middleware
async def as_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns aiohttp's exceptions, raised by a handler or by the router, into problem documents."""
    try:
        return await handler(request)
    except web.HTTPClientError as error:
        detail = error.text or ""
        if detail == f"{error.status}: {error.reason}":  # aiohttp's own words; ours say more
            detail = f"{request.method} {request.path} is not offered here"
        title = phrase_for(error.status).decode()
        problem = Problem(title=title, status=error.status, detail=detail)
        kept = {name: value for name, value in error.headers.items() if name.lower() not in _BY_THE_BODY}
        return web.Response(
            status=error.status,
            reason=title,  # aiohttp's own is the standard library's
            body=msgspec.json.encode(problem),
            content_type="application/problem+json",
            headers={**kept, **NO_STORE},
        )
