"""Heads and chunks as HTTP/1.1 octets: the only place where messages are written.

Nothing here checks: what comes in has passed `validate`, or was made by the gateway itself.
"""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache
from typing import Final

from gateway.http.http1 import Http1ResponseHead, status_line
from gateway.http.message import AS_STREAM, Fields, FieldSection, RequestHead, ResponseHead
from gateway.http.phrases import phrase_for

LAST_CHUNK: Final = b"0\r\n\r\n"


def request_head(head: RequestHead, host: bytes, added: FieldSection, request_id: bytes) -> bytes:
    """The request as it goes upstream over HTTP/1.1: `head`'s end-to-end fields, then `added`, then the request id."""
    section = head.section
    end = b"\r\n\r\n"
    if head.upgrade is not None:
        end = b"\r\nConnection: Upgrade\r\nUpgrade: " + head.upgrade + end
    elif section.trailers_ok:
        end = b"\r\nConnection: TE\r\nTE: trailers" + end
    if head.framing is AS_STREAM:
        end = b"\r\nTransfer-Encoding: chunked" + end
    return b"".join(
        (
            head.method,
            b" ",
            head.target,
            b" HTTP/1.1\r\nHost: ",
            host,
            b"\r\n",
            section.lines,
            added.lines,
            b"X-Request-Id: ",
            request_id,
            end,
        )
    )


@lru_cache(maxsize=1)
def date(now: int) -> bytes:
    """The Date field's value for a Unix time (RFC 9110 section 5.6.7): one a second, whoever asks."""
    return formatdate(now, usegmt=True).encode()


def response_head(
    head: ResponseHead, request_id: bytes, chunked: bool, connection: bytes | None, now: float | None = None
) -> list[bytes]:
    """The parts of a response head as it goes downstream over HTTP/1.1, under its request's id.

    `chunked` is how the body is sent on this side; `connection` is the Connection field's value, if one is due; `now`,
    in Unix time, is when it was made, if it has yet to say so. Returned in parts, so that the first piece of the body
    joins the same write.
    """
    line = head.status_line if type(head) is Http1ResponseHead else status_line(head.status, phrase_for(head.status))
    parts = [line, head.section.lines, b"X-Request-Id: ", request_id]
    if now is not None:
        parts += (b"\r\nDate: ", date(int(now)))
    if chunked:
        parts.append(b"\r\nTransfer-Encoding: chunked")
    if head.upgrade is not None:
        parts += (b"\r\nUpgrade: ", head.upgrade)
    if connection is not None:
        parts += (b"\r\nConnection: ", connection)
    parts.append(b"\r\n\r\n")
    return parts


def chunk(data: bytes) -> tuple[bytes, bytes, bytes]:
    """`data` (not empty) as one chunk, in parts."""
    return b"%x\r\n" % len(data), data, b"\r\n"


def last_chunk(trailers: Fields) -> bytes:
    """The zero chunk that ends a chunked body, with its trailers."""
    return b"0\r\n" + FieldSection.of(trailers).lines + b"\r\n" if trailers else LAST_CHUNK
