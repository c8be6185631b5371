"""Who may use the API: the holder of a token where there is one, else whoever is on this machine.

Health stays open: a balancer has no token. Without a token the listener is on loopback (the configuration sees to
that), and there a page in the operator's own browser is the stranger to keep out: see `_from_this_machine`.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.errors import UserError

API = "/v1/"
"""Prefix of the paths that are guarded."""

_TOKEN = re.compile(r"[\x21-\x7e]+")


def read_token(path: Path | None) -> str:
    """The token in the file of `admin.token_file`, or "" if none is configured.

    Raises UserError with one sentence: a gateway that cannot tell who may come in does not open.
    """
    if path is None:
        return ""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "it is not text"
        raise UserError(f"admin.token_file: {path} cannot be read: {said}") from None
    if not token:
        raise UserError(f"admin.token_file: {path} is empty: put a token in it, e.g. from `openssl rand -hex 32`")
    if not _TOKEN.fullmatch(token):
        raise UserError(f"admin.token_file: {path} holds more than one word of visible ASCII characters")
    return token


def guard(token: str) -> Middleware:
    """A middleware that lets a request to the API pass with `Authorization: Bearer <token>` only.

    With an empty `token`, whoever reaches the listener passes, unless it is a web page.
    """
    allowed = _bearer(token.encode()) if token else _from_this_machine

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if _is_api(request):
            allowed(request)
        return await handler(request)

    return guarded


def _is_api(request: web.Request) -> bool:
    # What counts is the route that was found, whatever spelling of the path led to it; one that leads nowhere is
    # guarded by its path, so that a stranger does not learn which exist.
    resource = request.match_info.route.resource
    return (resource.canonical if resource is not None else request.path).startswith(API)


def _bearer(token: bytes) -> Callable[[web.Request], None]:
    def check(request: web.Request) -> None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token)
        if scheme.lower() != "bearer" or not right:
            raise web.HTTPUnauthorized(
                text="the API asks for the token of admin.token_file: Authorization: Bearer <token>",
                headers={"WWW-Authenticate": 'Bearer realm="gateway"'},
            )

    return check


def _from_this_machine(request: web.Request) -> None:
    """Raises HTTPForbidden for what a web page has its browser send: it could act here without reading any answer."""
    _locally_named(request)
    site = request.headers.get("Sec-Fetch-Site", "none")  # of a browser that does not tell, Origin or Referer does
    pages = [request.headers[name] for name in ("Origin", "Referer") if name in request.headers]
    own = f"{request.scheme}://{request.host}/"
    if site not in ("same-origin", "none") or not all(f"{page}/".startswith(own) for page in pages):
        raise web.HTTPForbidden(text="without a token the API answers to no web page: open the URL itself, or use curl")


def _locally_named(request: web.Request) -> None:
    """Raises HTTPForbidden if the Host field is a name that only DNS knows.

    A web page can have its own name resolve to 127.0.0.1 and would then read our answers as its own ("DNS rebinding").
    """
    try:
        name = request.url.host or ""
    except ValueError:  # of yarl, which reads it as part of a URL
        raise web.HTTPBadRequest(
            text="the Host field is no host: expected one such as localhost:9090 or [::1]:9090"
        ) from None
    if name == "localhost" or name.endswith(".localhost"):
        return
    try:
        ip_address(name)
    except ValueError:
        raise web.HTTPForbidden(
            text="without a token the API answers to addresses and to localhost only, not to other names"
        ) from None
