"""How a gRPC call has ended, as people read it.

HTTP says 200 of every call that was answered at all; what became of it stands in `grpc-status` and `grpc-message`, in
the trailers or, where there is nothing else (Trailers-Only), in the head.

Reads fields and writes words; knows no stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from gateway.http.message import Fields
from gateway.printable import printable, shorten

MOST_MESSAGE: Final = 1024
"""Characters that are kept of a message."""

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
