"""Answers of `gateway dev` itself that are pages and files, not an app's: their heads, and how little they may do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gateway.http.message import BY_LENGTH, FieldSection, ResponseHead

if TYPE_CHECKING:
    from gateway.http.message import RequestHead

HTML: Final = b"text/html; charset=utf-8"
CSS: Final = b"text/css; charset=utf-8"
SCRIPT: Final = b"text/javascript; charset=utf-8"
JSON: Final = b"application/json"
TEXT: Final = b"text/plain; charset=utf-8"
SVG: Final = b"image/svg+xml"
Content = tuple[int, bytes, bytes]
"""Status, media type, body."""
POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    b" base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def answer(head: RequestHead, content: Callable[[RequestHead], Content]) -> tuple[ResponseHead, bytes]:
    """The head and body of what is answered with `content`, which can be read and nothing else."""
    fields: list[tuple[bytes, bytes]] = []
    if head.method in (b"GET", b"HEAD"):
        status, kind, body = content(head)
    else:
        status, kind, body = 405, TEXT, b"this page can be read, and nothing else\n"
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


def path_of(head: RequestHead) -> bytes:
    return head.target.partition(b"?")[0]


def wants_page(head: RequestHead) -> bool:
    """Whether it is a browser that asks."""
    return b"text/html" in (head.get(b"accept") or b"").lower()
