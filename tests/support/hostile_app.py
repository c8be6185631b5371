"""An app that tries to break whoever looks at it: markup in every field, heads as large as they may be, octets that are
no text, frames that are none.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import socketserver
import threading
from types import TracebackType
from typing import Self

MARKUP = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" onload="document.title=\'owned\'" width="9" height="9">'
    "<script>document.title='owned'; parent.document.title='owned'</script><rect width=\"9\" height=\"9\"/></svg>"
)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def _answer(body: bytes, content_type: str, *fields: str) -> bytes:
    lines = ["HTTP/1.1 200 " + MARKUP, f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _frame(first: int, payload: bytes) -> bytes:
    return bytes((first, len(payload))) + payload


_JSON = f'{{"__proto__": {{"x": 1}}, "{MARKUP.replace(chr(34), "")}": "{MARKUP.replace(chr(34), "")}", "": []}}'
_PART = f'Content-Disposition: form-data; name="{MARKUP}"\r\nContent-Type: image/svg+xml\r\n\r\n{SVG}'

ANSWERS = {
    "/html": _answer(f"<!doctype html><title>owned</title>{MARKUP}".encode(), "text/html", f"X-Markup: {MARKUP}"),
    "/json": _answer(_JSON.encode(), "application/json", f"X-Gateway-Hints: {MARKUP}"),
    "/deep": _answer(b"[" * 20_000 + b"]" * 20_000, "application/json"),
    "/large-head": _answer(b"ok", "text/plain", *[f"X-Large-{each}: {'<b>' * 1300}" for each in range(7)]),
    "/binary": _answer(bytes(range(256)) * 64, "text/html; charset=utf-8"),
    "/not-utf8": _answer(b"\xff\xfe\x00<script>" + b"\xc3" * 1000, "text/plain"),
    "/svg": _answer(SVG.encode(), "image/svg+xml"),
    "/no-image": _answer(MARKUP.encode(), "image/png"),
    "/multipart": _answer(f"--x\r\n{_PART}\r\n--x--".encode(), 'multipart/form-data; boundary="x"'),
    "/no-gzip": _answer(b"\x1f\x8b" + b"<" * 99, "text/html", "Content-Encoding: gzip"),
    "/type": _answer(MARKUP.encode(), f"text/html;{MARKUP}"),
}
EVENTS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    + f"event: {MARKUP}\ndata: {MARKUP}\n\ndata: ".encode()
    + b"\xff\xff\n\n"
)
FRAMES = (
    _frame(0x81, MARKUP.encode()[:125]),
    _frame(0x81, b"\xff\xfe\xc3"),
    _frame(0x82, bytes(range(100))),
    _frame(0x88, b"\x03\xe8" + b"<script>"),
    b"\xff\xff\xff<script>no frame at all",
)


class HostileApp:
    """Serves ANSWERS by path, EVENTS at /events and FRAMES at /ws; `posted` is what it was sent under /hook."""

    def __init__(self) -> None:
        self.posted: list[bytes] = []
        app = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while line := self.rfile.readline():
                    fields: dict[str, str] = {}
                    while (field := self.rfile.readline()) not in (b"\r\n", b""):
                        name, _, value = field.decode("latin-1").partition(":")
                        fields[name.lower()] = value.strip()
                    body = self.rfile.read(int(fields.get("content-length", 0)))
                    if not self._answer(line.split()[1].decode().partition("?")[0], fields, body):
                        return

            def _answer(self, path: str, fields: dict[str, str], body: bytes) -> bool:
                if path == "/ws":
                    key = fields["sec-websocket-key"].encode() + _GUID
                    accept = base64.b64encode(hashlib.sha1(key).digest()).decode()
                    head = f"HTTP/1.1 101 {MARKUP}\r\nUpgrade: websocket\r\nConnection: Upgrade"
                    self.wfile.write(f"{head}\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode() + b"".join(FRAMES))
                    return False
                if path == "/events":
                    self.wfile.write(EVENTS)
                    return False
                if path == "/hook":
                    app.posted.append(body)
                self.wfile.write(ANSWERS.get(path) or _answer(b"ok", "text/plain"))
                return True

        class Server(socketserver.ThreadingTCPServer):
            address_family = socket.AF_INET6
            daemon_threads = True

        self._server = Server(("::1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
