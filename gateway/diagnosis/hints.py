"""Answers that betray a problem with being proxied, with a hint: what the app did, and the line that mends it.

Such an answer passes as it is, with one field more. What to look for stands in two tables: `refusals` (the beginning of
an error's body) and `own_urls` (fields of a head). Owns how an answer is held against the first, the field, and how
often a hint is logged; never changes an answer otherwise. Who withholds an answer for a look is error_answer.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.diagnosis.refusals import ANY, TABLE, Row, first_word, is_foreign_to_next
from gateway.errors import GatewayError
from gateway.http.lists import members
from gateway.http.message import BY_LENGTH, FieldSection, RequestHead, ResponseHead
from gateway.wordings import NEXT_REFUSES

if TYPE_CHECKING:
    from gateway.endpoint import Endpoint
    from gateway.upstream.stream import UpstreamFailure

log = logging.getLogger("gateway.upstream")

FIELD = b"X-Gateway-Hint"
LOOKED_AT = 16 * 1024
"""Octets of a body in which phrases are looked for; Rails writes 6 KiB of style first."""
REPEATED_AFTER = 60.0
"""Seconds until the same hint for the same port is logged again."""
MOST_LOGGED = 8
"""Hints of one sandbox that are logged in that time: it chooses what it answers on which of its ports, and a client by
which of its names."""
MAX_REMEMBERED = 1024
"""Sandboxes of which hints were logged lately; of more than these the oldest are forgotten."""

_TEXTUAL = frozenset((b"application/json", b"application/xhtml+xml"))
_STREAM = b"text/event-stream"


def is_readable(head: ResponseHead) -> bool:
    """Whether the body that `head` announces is text to be shown: not compressed, not a stream, not a download."""
    if any(coding.lower() != b"identity" for coding in members(head.get(b"content-encoding") or b"")):
        return False
    if first_word(head.get(b"content-disposition")) == b"attachment":
        return False
    media_type = first_word(head.get(b"content-type"))
    if media_type is None:
        return True
    return media_type in _TEXTUAL or (media_type.startswith(b"text/") and media_type != _STREAM)


def find(request: RequestHead, answer: ResponseHead, beginning: bytes) -> str | None:
    """The hint for an error answer to `request` whose body begins so, or None."""
    looked_at = beginning[:LOOKED_AT]
    for row in TABLE:
        if row.status == answer.status and _fits(row, answer, looked_at) and row.asked(request):
            host = request.authority.decode("ascii")
            domain = host.partition(".")[2]
            known = {"{host}": host, "{domain}": domain.partition(":")[0], "{domain:port}": domain}
            fix = row.fix
            for name, value in known.items():
                fix = fix.replace(name, value)
            return f"{row.did}. {fix}"
    return None


def _fits(row: Row, answer: ResponseHead, looked_at: bytes) -> bool:
    if row.media_type is not ANY and first_word(answer.get(b"content-type")) != row.media_type:
        return False
    if row.body is not None:
        is_all = answer.framing is not BY_LENGTH or answer.content_length == len(looked_at)
        return is_all and row.body.fullmatch(looked_at) is not None
    begins, *further = row.phrases
    if not looked_at.startswith(begins):
        return False
    end = len(begins)
    for phrase in further:
        at = looked_at.find(phrase, end)
        if at < 0:
            return False
        end = at + len(phrase)
    return row.rest is None or row.rest.match(looked_at, end) is not None


def explain(request: RequestHead, failure: UpstreamFailure) -> GatewayError:
    """The error of `failure`, in answer to `request`, in the words for a dev server that writes no head."""
    error = failure.error
    # block-cross-site-dev.ts again, which has no head to write there.
    if failure.received == b"Unauthorized" and request.upgrade is not None and is_foreign_to_next(request):
        return GatewayError(error.reason, error.detail, wording=NEXT_REFUSES)
    return error


def with_hint(section: FieldSection, hint: str) -> FieldSection:
    """`section`, which is shared and stays as it is, with the field that carries `hint` at its end."""
    return section.with_added((FIELD, hint.encode("ascii")))


class HintLog:
    """Where hints are told to whoever runs the gateway; `clock` is its time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._limiter = LogLimiter()
        self.say: Callable[[str], None] = log.warning

    def tell(self, endpoint: Endpoint, authority: bytes, hint: str) -> None:
        """Says it, unless it was said of that port lately."""
        if self._limiter.should_log(endpoint, hint, self._clock()):
            self.say(f"{authority.decode()}: {hint}")


class LogLimiter:
    """Which hints were logged lately, for which ports of which sandboxes."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: dict[object, dict[tuple[int, str], float]] = {}  # by sandbox, the one longest not heard of first

    def __len__(self) -> int:
        return len(self._until)

    def should_log(self, endpoint: Endpoint, hint: str, now: float) -> bool:
        """Whether `hint` should be logged; if so, not again for a minute."""
        sandbox, port = endpoint
        lately = {logged: until for logged, until in self._until.pop(sandbox, {}).items() if now < until}
        is_new = (port, hint) not in lately and len(lately) < MOST_LOGGED
        if is_new:
            lately[port, hint] = now + REPEATED_AFTER
        self._until[sandbox] = lately
        if len(self._until) > MAX_REMEMBERED:
            del self._until[next(iter(self._until))]
        return is_new
