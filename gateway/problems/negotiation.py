"""Which form of a problem the asker can use, from what it says it wants; never from User-Agent."""

from __future__ import annotations

from enum import Enum

from gateway.http.message import RequestHead


class Form(Enum):
    """The value is the media type sent."""

    HTML = "text/html; charset=utf-8"
    JSON = "application/problem+json"
    TEXT = "text/plain; charset=utf-8"


_TYPES = {
    "text/html": Form.HTML,
    "application/xhtml+xml": Form.HTML,
    "application/problem+json": Form.JSON,
    "application/json": Form.JSON,
    "text/plain": Form.TEXT,
}


def choose(head: RequestHead | None) -> Form:
    """The form for the answer to `head`; None is a request too broken to have said anything.

    A navigation gets a page. What loads a script, a style or an image gets text, which none of them can execute.
    Otherwise Accept decides; `*/*` is JSON when a page script asks (Sec-Fetch-Mode is set by browsers and not by
    scripts) and text when curl does.
    """
    if head is None:
        return Form.TEXT
    mode = head.get(b"sec-fetch-mode")
    destination = head.get(b"sec-fetch-dest")
    if mode == b"navigate":
        return Form.HTML
    if destination is not None and destination not in (b"empty", b"document", b"iframe"):
        return Form.TEXT
    return _from_accept(head.get(b"accept")) or (Form.JSON if mode in (b"cors", b"same-origin") else Form.TEXT)


def _from_accept(accept: bytes | None) -> Form | None:
    """The acceptable form of the highest weight, the first of equals (RFC 9110 section 12.5.1), or None."""
    if accept is None:
        return None
    best: Form | None = None
    best_weight = 0.0
    for item in accept.decode("latin-1").lower().split(","):
        media_type, *parameters = item.split(";")
        form = _TYPES.get(media_type.strip())
        weight = _weight(parameters)
        if form is not None and weight > best_weight:
            best, best_weight = form, weight
    return best


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
