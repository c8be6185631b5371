"""The status page at `/`: one file of HTML, one of CSS, one of JavaScript, served by us and by nobody else.

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
PATHS = (*_FILES, "/events")
"""What belongs to the page."""


def add_routes(router: web.UrlDispatcher) -> None:
    """Serves the files of the page."""
    folder = files("gateway.admin") / "page"
    palette = (files("gateway.problems") / "palette.css").read_bytes()
    for path, (name, content_type) in _FILES.items():
        content = (folder / name).read_bytes()
        router.add_get(path, _File(palette + content if name.endswith(".css") else content, content_type).send)


class _File:
    def __init__(self, content: bytes, content_type: str) -> None:
        self._content = content
        self._content_type = content_type

    async def send(self, request: web.Request) -> web.Response:
        headers = {
            **NO_STORE,
            "Content-Security-Policy": POLICY,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        return web.Response(body=self._content, content_type=self._content_type, charset="utf-8", headers=headers)
