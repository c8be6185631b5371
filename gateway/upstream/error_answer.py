"""An error answer, looked at before it is passed on.

The beginning of its body may sound like a server that wants TLS, which a look at the port settles (`inquiry`), or say
which setting the app lacks, which the answer then carries as a hint. Some apps write head and body apart, so the
connection waits a moment for that beginning, where anything is known that could stand there. Decides; what follows from
it is the connection's to do.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from gateway.errors import GatewayError, Reason
from gateway.http.body import MAX_CHUNK_DIGITS, MAX_CHUNK_LINE
from gateway.http.message import CHUNKED, NO_BODY, RequestHead, ResponseHead
from gateway.upstream import evidence, hints
from gateway.wordings import NEXT_REFUSES

if TYPE_CHECKING:
    from gateway.upstream.pool import Key, Pool

log = logging.getLogger("gateway.upstream")

BEGINNING_TIMEOUT = 0.5
"""Seconds the head waits for the first octets of its body, and one step of the sweeper more."""

CHUNKS_LOOKED_AT = 16
"""Of a body; what is known to come in several (Next.js) has two."""

_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,%d}" % MAX_CHUNK_DIGITS)
_STATUSES = hints.STATUSES | {evidence.REFUSES_PLAIN_HTTP}


def beginning(head: ResponseHead, data: bytes) -> bytes | None:
    """How the body begins, `data` being what has come after its head: empty if that is still on its way, None if there
    will be nothing in it that says anything to us.
    """
    if head.status not in _STATUSES or head.framing is NO_BODY or not hints.is_readable(head):
        return None
    if head.framing is not CHUNKED:
        return data
    if b"\r\n" not in data and len(data) <= MAX_CHUNK_LINE:
        return b""
    content, at = b"", 0
    for _ in range(CHUNKS_LOOKED_AT):
        digits = _CHUNK_SIZE.match(data, at)
        line_end = data.find(b"\r\n", at, at + MAX_CHUNK_LINE + 2)
        if digits is None or line_end < 0:
            break
        at = line_end + 2 + int(digits[0], 16)
        content += data[line_end + 2 : at]
        at += 2
    # Nothing: the last chunk is the first, or what is here will not be read at all.
    return content or (b"" if at > len(data) else None)


def judged(request: RequestHead, error: GatewayError, octets: bytes) -> GatewayError:
    """`error`, raised because `octets` do not begin an HTTP response to `request`, with all that they say."""
    if hints.is_refused_by_next(request, octets) and error.reason is Reason.HTTP_PROTOCOL_ERROR:
        return GatewayError(error.reason, error.detail, wording=NEXT_REFUSES)
    return evidence.judged(error, octets)


def suspicion(status: int, begins: bytes) -> GatewayError | None:
    """The failure that an answer is if its port speaks TLS, which others might say of theirs; None: it is no such."""
    phrase = evidence.words_of_tls(status, begins)
    if phrase is None:
        return None
    detail = f"the app answered “{phrase.decode()}”, and answers when TLS is spoken to it"
    return GatewayError(Reason.UPSTREAM_SPEAKS_TLS, detail)


def examine(pool: Pool, key: Key, request: RequestHead, head: ResponseHead, begins: bytes) -> ResponseHead:
    """The head with which this answer to `request` passes: with a hint if one is known."""
    hint = hints.find(request, head, begins)
    if hint is not None:
        head = head.with_section(hints.with_hint(head.section, hint))
        if pool.told.is_news(key, hint, pool.clock()):
            log.warning("the app behind %s lacks a setting: %s", request.authority.decode(), hint)
    return head
