"""How a gRPC call has ended, as people read it.

HTTP says 200 of every call that was answered at all; what became of it stands in `grpc-status` and `grpc-message`, in
the trailers or, where there is nothing else (Trailers-Only), in the head; gRPC-Web, whose callers cannot read trailers,
has them at the end of the body (grpc-web's PROTOCOL-WEB).

Reads fields and writes words; knows no stream.
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from gateway.http.message import Fields
from gateway.printable import printable, shorten

MOST_MESSAGE: Final = 1024
"""Characters that are kept of a message."""

WEB: Final = b"application/grpc-web"
"""How a media type of gRPC-Web begins."""

_TEXT: Final = b"application/grpc-web-text"
_CHUNK: Final = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
"""Of base64: a body may be several in a row, each with its padding."""
_PREFIX: Final = 5
_TRAILERS: Final = 0x80
_STATUS: Final = b"grpc-status"
_MESSAGE: Final = b"grpc-message"
_CODES: Final = (
    ("OK", 200),
    ("CANCELLED", 499),
    ("UNKNOWN", 500),
    ("INVALID_ARGUMENT", 400),
    ("DEADLINE_EXCEEDED", 504),
    ("NOT_FOUND", 404),
    ("ALREADY_EXISTS", 409),
    ("PERMISSION_DENIED", 403),
    ("RESOURCE_EXHAUSTED", 429),
    ("FAILED_PRECONDITION", 400),
    ("ABORTED", 409),
    ("OUT_OF_RANGE", 400),
    ("UNIMPLEMENTED", 501),
    ("INTERNAL", 500),
    ("UNAVAILABLE", 503),
    ("DATA_LOSS", 500),
    ("UNAUTHENTICATED", 401),
)
"""By number: the name, and the status of HTTP that means the same (google/rpc/code.proto)."""


@dataclass(frozen=True, slots=True)
class GrpcOutcome:
    """What a call's answer says of it."""

    code: int
    """-1: it says nothing, or no number, which clients take for UNKNOWN or read the status of HTTP instead."""
    message: str = ""
    """Of whoever has answered; not yet fit to be shown."""

    @property
    def name(self) -> str:
        """`UNAVAILABLE`; empty for a number that gRPC does not have."""
        return _CODES[self.code][0] if 0 <= self.code < len(_CODES) else ""

    @property
    def like(self) -> int:
        """The status by which HTTP would have said the same."""
        return _CODES[self.code][1] if 0 <= self.code < len(_CODES) else 500

    def text(self) -> str:
        """`grpc-status 14 UNAVAILABLE`."""
        return f"grpc-status {self.code} {self.name}".rstrip() if self.code >= 0 else "no valid grpc-status"

    def line(self) -> str:
        """The same with its message, for a terminal."""
        return f"{self.text()}: {printable(shorten(self.message, 256))}" if self.message else self.text()


NOT_SAID: Final = GrpcOutcome(-1)


def outcome_in(fields: Fields) -> GrpcOutcome | None:
    """What a head's fields, or trailers, say; None: they do not speak of it."""
    said = {name.lower(): value for name, value in fields if name.lower() in (_STATUS, _MESSAGE)}
    status = said.get(_STATUS)
    if status is None:
        return None
    code = int(status) if status.isdigit() and len(status) < 4 else -1
    # gRPC over HTTP2, Status-Message: percent-encoded UTF-8, and what is broken in it MUST NOT be dropped.
    message = unquote(said.get(_MESSAGE, b"")[: 4 * MOST_MESSAGE].decode("utf-8", "replace"), errors="replace")
    return GrpcOutcome(code, message[:MOST_MESSAGE])


def outcome_in_body(body: bytes, content_type: bytes) -> GrpcOutcome | None:
    """The same of a whole body of gRPC-Web, whose last message holds the trailers, as lines; None: they are packed."""
    if content_type.lower().startswith(_TEXT):
        try:
            body = b"".join(map(a2b_base64, _CHUNK.findall(body)))
        except Error:
            return NOT_SAID
    at = 0
    while at + _PREFIX <= len(body):
        flags, size = body[at], int.from_bytes(body[at + 1 : at + _PREFIX], "big")
        at += _PREFIX
        if flags & _TRAILERS:
            if flags != _TRAILERS:
                return None
            lines = [line.partition(b":") for line in body[at : at + size].split(b"\r\n")]
            return outcome_in([(name, value.strip()) for name, _, value in lines]) or NOT_SAID
        at += size
    return NOT_SAID
