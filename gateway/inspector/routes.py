"""The inspector's paths on the admin listener of `gateway dev`.

    GET    /                                           the page, with /inspector.css and /inspector.js
    GET    /inspector/exchanges                        the list, oldest first
    DELETE /inspector/exchanges                        clears it
    GET    /inspector/events                           what changes: see `live`
    GET    /inspector/exchanges/{number}?after=0       one of them; of its messages those after that number
    GET    /inspector/exchanges/{number}/{side}/body   octets of its request or response; ?decoded without its encoding
    GET    /inspector/exchanges/{number}/problem       the gateway's own page that was its answer
    POST   /inspector/exchanges/{number}/replay        sends it again; a JSON body says what is edited
    GET    /inspector/har                              all of it as HAR
    GET    /inspector/explain?url=…                    as /v1/explain

`admin.auth` guards them like the status page: without a token, from this machine and from no other site's page. What
acts asks for `application/json`, too, which no form can send and no script of another site without asking first.

What an app has sent is answered as octets to be saved, under a policy that lets nothing of it run.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.admin.explain import ExplainHandler
from gateway.admin.problem import NO_STORE
from gateway.admin.status_page import PageFile
from gateway.diagnosis.explain import Context
from gateway.errors import GatewayError
from gateway.inspector import har
from gateway.inspector.captured import Captured
from gateway.inspector.decoding import decoded
from gateway.inspector.live import Live
from gateway.inspector.replay import Edited, NotReplayable, Replays
from gateway.inspector.store import Store
from gateway.inspector.views import details, media_type_of, summary
from gateway.problems.page import CONTENT_SECURITY_POLICY as PROBLEM_POLICY

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data: blob:;"
    " frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
INERT: Final = {
    **NO_STORE,
    "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
    "Content-Disposition": "attachment",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}
MAX_EDIT: Final = 1024 * 1024
"""Octets of what is edited, as JSON."""

_FILES: Final = {
    "/": ("inspector.html", "text/html"),
    "/inspector.css": ("inspector.css", "text/css"),
    "/inspector.js": ("inspector.js", "text/javascript"),
}
_EXCHANGE: Final = "/inspector/exchanges/{number}"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Inspector:
    """What `admin.app` has at home here. `facts` are what the page says of this gateway."""

    def __init__(self, live: Live, store: Store, replays: Replays, context: Context, facts: dict[str, Any]) -> None:
        self._store = store
        self._live = live
        self._replays = replays
        self._facts = facts
        handlers: dict[tuple[str, str], Handler] = {
            ("GET", "/inspector/exchanges"): self._list,
            ("DELETE", "/inspector/exchanges"): self._clear,
            ("GET", "/inspector/events"): live.events,
            ("GET", _EXCHANGE): self._one,
            ("GET", _EXCHANGE + "/{side}/body"): self._body,
            ("GET", _EXCHANGE + "/problem"): self._problem,
            ("POST", _EXCHANGE + "/replay"): self._replay,
            ("GET", "/inspector/har"): self._har,
            ("GET", "/inspector/explain"): ExplainHandler(context).explain,
        }
        folder = files("gateway.inspector") / "page"
        for path, (name, content_type) in _FILES.items():
            handlers["GET", path] = PageFile((folder / name).read_bytes(), content_type, POLICY).send
        self._handlers = handlers
        self.paths = sorted({path for _, path in handlers})

    def add_routes(self, app: web.Application) -> None:
        for (method, path), handler in self._handlers.items():
            app.router.add_route(method, path, handler)
        app.on_shutdown.append(self._live.end)

    # --- reading -----------------------------------------------------------------------------------------------------

    async def _list(self, request: web.Request) -> web.Response:
        store, now = self._store, time.monotonic()
        told = {
            "version": store.version,
            "total": store.last_number,
            "gateway": self._facts,
            "exchanges": [summary(each, now) for each in store],
        }
        return _json(told)

    async def _one(self, request: web.Request) -> web.Response:
        return _json(details(self._asked(request), time.monotonic(), _number(request.query.get("after", "0"))))

    async def _body(self, request: web.Request) -> web.Response:
        captured = self._asked(request)
        side = request.match_info["side"]
        if side not in ("request", "response"):
            raise web.HTTPNotFound(text="a body is the request's or the response's")
        body, head = (
            (captured.request, captured.head) if side == "request" else (captured.response, captured.response_head)
        )
        octets, note = bytes(body.octets), ""
        if "decoded" in request.query:
            octets, note = decoded(octets, (head and head.get(b"content-encoding")) or b"")
        headers = {**INERT, "X-Note": note} if note else INERT
        return web.Response(body=octets, content_type="application/octet-stream", headers=headers)

    async def _problem(self, request: web.Request) -> web.Response:
        """Our own page, whoever's names it tells; framed by ours, without its script."""
        captured = self._asked(request)
        head = captured.response_head
        if head is None or head.get(b"x-gateway-error") is None or media_type_of(head) != "text/html":
            raise web.HTTPNotFound(text="its answer is no page of the gateway's")  # which alone has that field
        policy = f"{PROBLEM_POLICY.decode()}; frame-ancestors 'self'; sandbox"
        return web.Response(
            body=bytes(captured.response.octets),
            content_type="text/html",
            charset="utf-8",
            headers={**INERT, "Content-Security-Policy": policy, "Content-Disposition": "inline"},
        )

    async def _har(self, request: web.Request) -> web.StreamResponse:
        stamp = time.strftime("%Y-%m-%d-%H%M%S")
        headers = {**INERT, "Content-Disposition": f'attachment; filename="gateway-{stamp}.har"'}
        response = web.StreamResponse(headers={**headers, "Content-Type": "application/json"})
        await response.prepare(request)
        for piece in har.pieces(list(self._store), time.monotonic()):
            await response.write(piece)  # others have a turn
        await response.write_eof()
        return response

    # --- acting ------------------------------------------------------------------------------------------------------

    async def _clear(self, request: web.Request) -> web.Response:
        _not_by_a_form(request)
        self._store.clear()
        return web.Response(status=204)

    async def _replay(self, request: web.Request) -> web.Response:
        _not_by_a_form(request)
        captured = self._asked(request)
        try:
            edited = msgspec.json.decode(await request.clone(client_max_size=MAX_EDIT).read() or b"{}", type=Edited)
            again = self._replays.send(captured, edited)
        except msgspec.MsgspecError as error:
            raise web.HTTPBadRequest(text=f"what is edited: {error}") from None
        except GatewayError as error:
            raise web.HTTPBadRequest(text=f"no valid request: {error.detail or error.reason}") from None
        except NotReplayable as error:
            raise web.HTTPConflict(text=str(error)) from None
        return _json(summary(again, time.monotonic()))

    def _asked(self, request: web.Request) -> Captured:
        captured = self._store.get(_number(request.match_info["number"]))
        if captured is None:
            raise web.HTTPNotFound(text="this exchange is not kept any more")
        return captured


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0


def _not_by_a_form(request: web.Request) -> None:
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="what acts asks for Content-Type: application/json")


def _json(told: object) -> web.Response:
    headers = {**NO_STORE, "X-Content-Type-Options": "nosniff"}
    return web.Response(body=msgspec.json.encode(told), content_type="application/json", headers=headers)
