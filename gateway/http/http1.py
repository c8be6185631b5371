"""What an HTTP/1.x head says besides what every version of HTTP can say: it ends with its connection.

Streams of HTTP/1.1 make and read these; an exchange between them sees a `RequestHead` or a `ResponseHead`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from gateway.http.message import NO_BODY, FieldSection, Framing, RequestHead, ResponseHead

HTTP_1_0, HTTP_1_1 = PROTOCOLS = ("HTTP/1.0", "HTTP/1.1")
"""By minor version."""


@lru_cache(maxsize=256)
def status_line(status: int, phrase: bytes) -> bytes:
    return b"HTTP/1.1 %d %b\r\n" % (status, phrase)


class HopByHop(NamedTuple):
    """What an answer's fields say of this connection only (RFC 9110 section 7.6.1)."""

    keep_alive: bool
    chunked: bool
    upgrade: bytes | None
    """Upgrade as it came."""
    switches: bool
    """Connection names it."""


class Http1RequestHead(RequestHead):
    """A request head of HTTP/1.0 or 1.1."""

    __slots__ = ("keep_alive",)

    keep_alive: bool
    """Whether its sender lets the connection go on. Set by who parses, without a constructor on the hot path."""


class Http1ResponseHead(ResponseHead):
    """An app's answer over HTTP/1.0 or 1.1, with its reason phrase."""

    __slots__ = ("hop", "phrase", "status_line")

    def __init__(
        self,
        status: int,
        phrase: bytes,
        section: FieldSection,
        hop: HopByHop,
        framing: Framing = NO_BODY,
        content_length: int = 0,
        upgrade: bytes | None = None,
    ) -> None:
        super().__init__(status, section, framing, content_length, upgrade)
        self.phrase = phrase
        self.status_line = status_line(status, phrase)  # as it goes downstream over HTTP/1.1
        self.hop = hop
