"""The status page at `/`, or at `/status` where `/` is something else's: one file of HTML, one of CSS, one of
JavaScript, served by us and by nobody else.

What it shows comes from `/events`; names, paths and details of strangers among it, which the script puts in as text.
The policy forbids it everything but that.
"""

from __future__ import annotations

from importlib.resources import files

from aiohttp import web

from gateway.admin.problem import NO_STORE

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FILES = {
    "/": ("status.html", "text/html"),
    "/status.css": ("status.css", "text/css"),
    "/status.js": ("status.js", "text/javascript"),
}
AWAY = "/status"
"""Where the page is, if `/` is another's."""
PATHS = (*_FILES, AWAY, "/events")
"""What belongs to the page."""


def add_routes(router: web.UrlDispatcher, home: str = "/") -> None:
    """Serves the files of the page, itself at `home`."""
    folder = files("gateway.admin") / "page"
    for path, (name, content_type) in _FILES.items():
        router.add_get(home if path == "/" else path, PageFile((folder / name).read_bytes(), content_type).send)


class PageFile:
    """A file of a page of ours: HTML, CSS (which gets our colours) or JavaScript."""

    def __init__(self, content: bytes, content_type: str, policy: str = POLICY) -> None:
        palette = (files("gateway.problems") / "palette.css").read_bytes() if content_type == "text/css" else b""
        self._content = palette + content
        self._content_type = content_type
        self._policy = policy

    async def send(self, request: web.Request) -> web.Response:
        headers = {
            **NO_STORE,
            "Content-Security-Policy": self._policy,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        return web.Response(body=self._content, content_type=self._content_type, charset="utf-8", headers=headers)
