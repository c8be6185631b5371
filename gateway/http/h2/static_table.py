"""The static table of HPACK (RFC 7541 appendix A)."""

from __future__ import annotations

from typing import Final

from gateway.http.message import Fields

_STATUSES: Final = (b"200", b"204", b"206", b"304", b"400", b"404", b"500")
_NAMES: Final = (
    b"accept-charset accept-encoding accept-language accept-ranges accept access-control-allow-origin age allow"
    b" authorization cache-control content-disposition content-encoding content-language content-length"
    b" content-location content-range content-type cookie date etag expect expires from host if-match"
    b" if-modified-since if-none-match if-range if-unmodified-since last-modified link location max-forwards"
    b" proxy-authenticate proxy-authorization range referer refresh retry-after server set-cookie"
    b" strict-transport-security transfer-encoding user-agent vary via www-authenticate"
).split()

STATIC_FIELDS: Final[Fields] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    *((b":status", status) for status in _STATUSES),
    *((name, b"gzip, deflate" if name == b"accept-encoding" else b"") for name in _NAMES),
]
"""The first has index 1 on the wire."""
