"""Who may use the API: the holder of a token where there is one, else whoever is on this machine.

The file of the token is read again when it changes: one that cannot be read, or is empty, leaves the token as it was,
because neither nobody nor everybody is what its owner meant.

Health stays open: a balancer has no token. Without a token the listener is on loopback (the configuration sees to
that), and there a page in the operator's own browser is the stranger to keep out: see `_from_this_machine`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import logging
import re
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.admin import status_page
from gateway.errors import UserError
from gateway.file_changes import INTERVAL, FileChanges

API = "/v1/"
"""Prefix of the paths that are guarded."""
PAGES = (*status_page.PATHS, "/metrics")
"""Guarded as well. They only tell, so a browser may log in to them (Basic, any user name, the token as password), which
it will then do unasked: to the API itself that is no way in."""

LONGEST_TOKEN = 4096
"""Characters."""

log = logging.getLogger("gateway.admin")

_TOKEN = re.compile(r"[\x21-\x7e]+")


def read_token(path: Path | None) -> str:
    """The token in the file of `admin.token_file`, or "" if none is configured.

    Raises UserError with one sentence: a gateway that cannot tell who may come in does not open.
    """
    if path is None:
        return ""
    try:
        with path.open(encoding="utf-8") as file:
            token = file.read(LONGEST_TOKEN + 1).strip()
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "it is not text"
        raise UserError(f"admin.token_file: {path} cannot be read: {said}") from None
    if not token:
        raise UserError(f"admin.token_file: {path} is empty: put a token in it, e.g. from `openssl rand -hex 32`")
    if not _TOKEN.fullmatch(token):
        raise UserError(f"admin.token_file: {path} holds more than one word of visible ASCII characters")
    return token


class TokenFile:
    """The token in the file of `admin.token_file`; empty if none is configured."""

    def __init__(self, path: Path | None) -> None:
        """Raises UserError, as `read_token`."""
        self._path = path
        self._files = FileChanges(*([path] if path is not None else []))
        self._said: object = None  # the state of the file that was complained of last
        self.token = read_token(path)
        self.speaks = True
        """Whether this process tells of the file; all others log at debug."""

    def look(self) -> None:
        """Looks at the file, and reads it if it has changed. Never fails."""
        if self._path is None or not self._files.look() or (self._path.exists() and not self._path.is_file()):
            return  # a pipe, from which a token can be read once
        try:
            token = read_token(self._path)
        except UserError as error:  # not marked as read: rights may change without a trace in the file
            if self._files.at_rest and self._said != self._files.state:
                self._said = self._files.state
                self._say(logging.ERROR, "%s; the token from before is asked for", error)
            return
        if self._files.have_moved_on():
            return
        self._files.mark_read()
        if token != self.token or self._said is not None:
            self._say(logging.INFO, "admin.token_file: %s has changed, its token is asked for now", self._path)
        self.token, self._said = token, None

    async def watch(self) -> None:
        """Looks again and again until cancelled. In a thread: a network file system may hang."""
        loop = asyncio.get_running_loop()
        while self._path is not None:
            await asyncio.sleep(INTERVAL)
            await loop.run_in_executor(None, self.look)

    def _say(self, level: int, message: str, *arguments: object) -> None:
        log.log(level if self.speaks else logging.DEBUG, message, *arguments)


def guard(token: Callable[[], str], more_pages: Sequence[str] = ()) -> Middleware:
    """A middleware that lets a request to the API pass with `Authorization: Bearer <token>` only.

    While `token()` is empty, whoever reaches the listener passes, unless it is a web page. `more_pages` are guarded as
    `PAGES` are.
    """
    pages = frozenset((*PAGES, *more_pages))

    def allowed(request: web.Request) -> None:
        if current := token():
            _check_token(request, current.encode(), is_page=_path(request) in pages)
        else:
            _from_this_machine(request, is_page=_path(request) in pages)

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        path = _path(request)
        if path.startswith(API) or path in pages:
            allowed(request)
        return await handler(request)

    return guarded


def _path(request: web.Request) -> str:
    # What counts is the route that was found, whatever spelling of the path led to it; one that leads nowhere is
    # guarded by its path, so that a stranger does not learn which exist.
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else request.path


def _check_token(request: web.Request, token: bytes, *, is_page: bool) -> None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    scheme, secret = scheme.lower(), given.strip().encode("utf-8", "surrogateescape")
    if is_page and scheme == "basic":
        secret = _password(secret)
    right = hmac.compare_digest(secret, token)
    if right and scheme == "bearer":
        return
    if right and is_page and scheme == "basic":
        _not_for_another_site(request)
        return
    challenge = 'Basic realm="gateway", charset="UTF-8"' if is_page else 'Bearer realm="gateway"'
    how = "as the password, with any user name, or as " if is_page else ""
    raise web.HTTPUnauthorized(
        text=f"the API asks for the token of admin.token_file: {how}Authorization: Bearer <token>",
        headers={"WWW-Authenticate": challenge},
    )


def _not_for_another_site(request: web.Request) -> None:
    """Raises HTTPForbidden if another site's page has the browser send its login.

    It could read no answer, but hold all places of `/events`. A link is followed: then the whole window is ours.
    """
    if request.headers.get("Sec-Fetch-Site", "") not in ("", "same-origin", "none") and not _is_opened(request):
        raise web.HTTPForbidden(text="this is shown to no other site's page: open the URL itself")


def _is_opened(request: web.Request) -> bool:
    """Whether a link to it was followed, from wherever; a form that is sent there is more than that."""
    return request.headers.get("Sec-Fetch-Dest") == "document" and request.method == "GET"


def _password(credentials: bytes) -> bytes:
    """Of RFC 7617; empty if there is none."""
    try:
        return base64.b64decode(credentials, validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


def _from_this_machine(request: web.Request, *, is_page: bool) -> None:
    """Raises HTTPForbidden for what a web page has its browser send: it could act here without reading any answer."""
    _locally_named(request)
    if is_page and _is_opened(request):
        return
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
