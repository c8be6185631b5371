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

from gateway.dev.content import CSS, HTML, JSON, SCRIPT, SVG, TEXT, Content, answer, path_of, wants_page
from gateway.printable import printable

if TYPE_CHECKING:
    from gateway.dev.index.listing import Listing
    from gateway.http.message import RequestHead, ResponseHead

_QR: Final = b"/qr/"


class IndexPages:
    """One per gateway. `inspector` is its URL, `command` this program as its user types it."""

    def __init__(self, listing: Listing, inspector: str, command: str) -> None:
        self._listing = listing
        self._about = {"inspector": inspector, "command": command}
        folder, palette = files("gateway.dev.index"), files("gateway.problems") / "palette.css"
        self._files: dict[bytes, tuple[bytes, bytes]] = {
            b"/index.css": (CSS, palette.read_bytes() + (folder / "index.css").read_bytes()),
            b"/index.js": (SCRIPT, (folder / "index.js").read_bytes()),
        }
        self._page = (folder / "index.html").read_bytes()

    def answer(self, head: RequestHead) -> tuple[ResponseHead, bytes]:
        """The head and body of the answer to whatever is asked here."""
        return answer(head, self._content)

    def _content(self, head: RequestHead) -> Content:
        path = path_of(head)
        if path in self._files:
            return 200, *self._files[path]
        if path == b"/index.json" or (path == b"/" and b"application/json" in (head.get(b"accept") or b"").lower()):
            return 200, JSON, msgspec.json.encode(self._told())
        if path == b"/":
            return (200, HTML, self._page) if wants_page(head) else (200, TEXT, self._text())
        if path.startswith(_QR) and (code := self._code(path.removeprefix(_QR).decode("latin-1"))):
            return 200, SVG, code
        return 404, TEXT, b"the index is at /\n"

    def _told(self) -> dict[str, Any]:
        lan = self._listing.lan
        return {"sandboxes": self._listing.all(), "phone": lan and lan.page_url, **self._about}

    def _text(self) -> bytes:
        lines = []
        for sandbox in self._listing.all():
            lines += [f"{port.url}  {port.state}" for port in sandbox.ports]
            lines.append(f"{sandbox.template}  any port of {sandbox.id}, {sandbox.address}")
        return "".join(f"{printable(line)}\n" for line in lines).encode()

    def _code(self, name: str) -> bytes:
        """The code of a URL of the local network: of an app, `<port>-<id>`, or of the page for `phone`s; empty: it is
        none. A phone can do nothing with the URLs of this machine: they lead it to itself.
        """
        lan = self._listing.lan
        ports = [port for sandbox in self._listing.all() for port in sandbox.ports]
        url = next((port.lan for port in ports if port.url.startswith(f"https://{name}.")), "")
        if lan is not None and name == "phone":
            url = lan.page_url
        if not url:
            return b""
        segno = importlib.import_module("segno")  # is there with --lan
        out = io.BytesIO()
        segno.make(url, error="m").save(out, kind="svg", scale=4, border=3, light="#fff", xmldecl=False)
        return out.getvalue()
