"""The index as it is asked for: a page for browsers, JSON for the page and for programs, text for curl.

Everything is ours, and served at the domain itself, which no app can be. Names in it come from the command line and
from programs on this machine; the page puts them in as text, and a policy lets nothing but its own script run.
"""

from __future__ import annotations

import importlib
import io
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.http.message import BY_LENGTH, FieldSection, ResponseHead
from gateway.printable import printable

if TYPE_CHECKING:
    from gateway.dev.index.listing import Listing
    from gateway.http.message import RequestHead

POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    b" base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HTML, _CSS, _SCRIPT, _JSON, _TEXT, _SVG = (
    b"text/html; charset=utf-8",
    b"text/css; charset=utf-8",
    b"text/javascript; charset=utf-8",
    b"application/json",
    b"text/plain; charset=utf-8",
    b"image/svg+xml",
)
_QR: Final = b"/qr/"
Content = tuple[int, bytes, bytes]
"""Status, media type, body."""


class IndexPages:
    """One per gateway. `inspector` is its URL, `command` this program as its user types it."""

    def __init__(self, listing: Listing, inspector: str, command: str) -> None:
        self._listing = listing
        self._about = {"inspector": inspector, "command": command, "qr": _segno() is not None}
        folder, palette = files("gateway.dev.index"), files("gateway.problems") / "palette.css"
        self._files: dict[bytes, tuple[bytes, bytes]] = {
            b"/index.css": (_CSS, palette.read_bytes() + (folder / "index.css").read_bytes()),
            b"/index.js": (_SCRIPT, (folder / "index.js").read_bytes()),
        }
        self._page = (folder / "index.html").read_bytes()

    def answer(self, head: RequestHead) -> tuple[ResponseHead, bytes]:
        """The head and body of the answer to whatever is asked here."""
        fields: list[tuple[bytes, bytes]] = []
        if head.method in (b"GET", b"HEAD"):
            status, kind, body = self._content(head)
        else:
            status, kind, body = 405, _TEXT, b"the index can be read, and nothing else\n"
            fields.append((b"Allow", b"GET, HEAD"))
        fields += [
            (b"Content-Type", kind),
            (b"Content-Length", b"%d" % len(body)),
            (b"Cache-Control", b"no-store"),
            (b"Content-Security-Policy", POLICY),
            (b"Cross-Origin-Resource-Policy", b"same-origin"),
            (b"Referrer-Policy", b"no-referrer"),
            (b"X-Content-Type-Options", b"nosniff"),
            (b"Vary", b"Accept"),
        ]
        if head.method == b"HEAD":
            return ResponseHead(status, FieldSection.of(fields)), b""
        return ResponseHead(status, FieldSection.of(fields), BY_LENGTH, len(body)), body

    def _content(self, head: RequestHead) -> Content:
        path = head.target.partition(b"?")[0]
        accept = (head.get(b"accept") or b"").lower()
        if path in self._files:
            return 200, *self._files[path]
        if path == b"/index.json" or (path == b"/" and b"application/json" in accept):
            return 200, _JSON, msgspec.json.encode(self._told())
        if path == b"/":
            return (200, _HTML, self._page) if b"text/html" in accept else (200, _TEXT, self._text())
        if path.startswith(_QR) and (code := self._code(path.removeprefix(_QR).decode("latin-1"))):
            return 200, _SVG, code
        return 404, _TEXT, b"the index is at /\n"

    def _told(self) -> dict[str, Any]:
        return {"sandboxes": self._listing.all(), **self._about}

    def _text(self) -> bytes:
        lines = []
        for sandbox in self._listing.all():
            lines += [f"{port.url}  {port.state}" for port in sandbox.ports]
            lines.append(f"{sandbox.template}  any port of {sandbox.id}, {sandbox.address}")
        return "".join(f"{printable(line)}\n" for line in lines).encode()

    def _code(self, name: str) -> bytes:
        """The code of a listed URL, `<port>-<id>`; empty: it is none, or nobody can draw it."""
        segno = _segno()
        urls = [port.url for sandbox in self._listing.all() for port in sandbox.ports]
        url = next((url for url in urls if url.startswith(f"https://{name}.")), None)
        if segno is None or url is None:
            return b""
        out = io.BytesIO()
        segno.make(url, error="m").save(out, kind="svg", scale=4, border=3, light="#fff", xmldecl=False)
        return out.getvalue()


def _segno() -> Any:
    """The package that draws QR codes, if it is installed (extra `lan`)."""
    try:
        return importlib.import_module("segno")
    except ImportError:
        return None
