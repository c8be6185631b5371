"""What an HTTP/1.x head says besides what every version of HTTP can say: it ends with its connection.

Streams of HTTP/1.1 make and read these; an exchange between them sees a `RequestHead` or a `ResponseHead`.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from gateway.http.hop import Hop
from gateway.http.message import FieldLine, FieldSection, Framing, RequestHead, ResponseHead
from gateway.memo import remember

HTTP_1_0, HTTP_1_1 = PROTOCOLS = ("HTTP/1.0", "HTTP/1.1")
"""By minor version."""


STATUS_LINES_REMEMBERED: Final = 256
_status_lines: Final[dict[tuple[int, bytes], bytes]] = {}


def status_line(status: int, phrase: bytes) -> bytes:
    """As it goes downstream."""
    line = _status_lines.get((status, phrase))
    if line is None:
        line = b"HTTP/1.1 %d %b\r\n" % (status, phrase)
        remember(_status_lines, (status, phrase), line, STATUS_LINES_REMEMBERED)
    return line


@mypyc_attr(acyclic=True)
class Http1RequestHead(RequestHead):
    """A request head of HTTP/1.0 or 1.1."""

    __slots__ = ("keep_alive", "lines")

    # Set by who parses, without a constructor on the hot path.
    keep_alive: bool
    """Whether its sender lets the connection go on."""
    lines: list[FieldLine]
    """As they were read, all of them or none, for whoever reads the next head. Not to be changed."""


@mypyc_attr(acyclic=True)
class Http1ResponseHead(ResponseHead):
    """An app's answer over HTTP/1.0 or 1.1, with its reason phrase.

    `hop` is what it says of its connection, `lines` as of `Http1RequestHead`.
    """

    __slots__ = ("hop", "lines", "phrase", "status_line")

    def __init__(
        self,
        status: int,
        phrase: bytes,
        section: FieldSection,
        hop: Hop,
        framing: Framing,
        content_length: int,
        upgrade: bytes | None,
    ) -> None:
        # All of it here: the base's own constructor would take a tenth of the time that an unseen head takes.
        self.status = status
        self.section = section
        self.framing = framing
        self.content_length = content_length
        self.upgrade = upgrade
        self.dated = self.binds = False  # as of ResponseHead
        self.phrase = phrase
        self.status_line = status_line(status, phrase)  # as it goes downstream over HTTP/1.1
        self.hop = hop
        self.lines: list[FieldLine] = []

    def with_section(self, section: FieldSection) -> Http1ResponseHead:
        other = Http1ResponseHead(
            self.status, self.phrase, section, self.hop, self.framing, self.content_length, self.upgrade
        )
        other.dated = self.dated
        other.binds = self.binds
        return other
