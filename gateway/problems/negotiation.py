"""What the asker can use: which form of a problem, and what a browser must be told so that a script may read it.

Decided by what a request says it wants (Accept, Sec-Fetch-Mode and -Dest, Content-Type, the fields of CORS), never by
User-Agent. Knows nothing of failures. What requests say repeats, so the answers are remembered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from gateway.http.head_parser import REMEMBERED_OCTETS
from gateway.http.lists import members, parameters
from gateway.http.message import Field, Fields, RequestHead, RequestSection

REMEMBERED = 256
"""Combinations of wishes kept."""
MAX_OCTETS = 1024
"""A longer field says nothing here: browsers stay far below, and what is said is remembered."""


class Form(Enum):
    """How a problem is told."""

    HTML = "page"
    JSON = "document"
    """RFC 9457."""
    TEXT = "text"
    GRPC = "gRPC status"
    """Trailers-Only: the status is a field, there is no body."""
    PREFLIGHT = "CORS preflight"
    """For a probe: the request that follows is ours to answer, so it may be sent, and a script reads what is wrong."""


@dataclass(frozen=True, slots=True, eq=False)
class Intent:
    """What one kind of request wants. Equal to itself only, so that it is a cheap key."""

    form: Form
    media_type: bytes
    """The reply's Content-Type; empty: no body is sent."""
    cors: tuple[Field, ...]
    """The fields of the Fetch standard that let a script read the reply, whatever its origin."""
    vary: bytes
    """What a cache is told that the reply depends on; empty: it is told nothing."""


_TYPES = {
    b"text/html": Form.HTML,
    b"application/xhtml+xml": Form.HTML,
    b"application/json": Form.JSON,
    b"application/*": Form.JSON,
    b"text/plain": Form.TEXT,
    b"text/*": Form.TEXT,
}
_SENT_AS = {
    Form.HTML: b"text/html; charset=utf-8",
    Form.JSON: b"application/problem+json",
    Form.TEXT: b"text/plain; charset=utf-8",
    Form.PREFLIGHT: b"",
}
_LISTS = (b"accept", b"access-control-request-headers")
_PROBE = b"x-gateway-probe"
_PROBED_BY = (b"GET", b"HEAD")
_GRPC = re.compile(rb"application/grpc(-web(-text)?)?(\+[a-z0-9.-]+)?")
_MODE_LINE = re.compile(rb"(?i)\n *sec-fetch-mode *:([^\r\n]*)[\r\n]")
_ACCEPT_LINE = re.compile(rb"(?i)\n *accept *:([^\r\n]*)[\r\n]")
_ORIGIN = re.compile(rb"[!-~]+")
_EXPOSED = b"X-Gateway-Error, Proxy-Status, X-Request-Id, Retry-After"


_VARY = b"Accept, Sec-Fetch-Mode, Sec-Fetch-Dest, Origin"
_NOBODY_ELSE = b"*"
"""The reply to a probe. A service worker's cache heeds no Cache-Control, and would hold it for the app's page."""


class _Preferences(NamedTuple):
    """What of a request decides; of its fields the values, None without one."""

    is_options: bool = False
    vary: bytes = _VARY
    accept: bytes | None = None
    mode: bytes | None = None
    destination: bytes | None = None
    content_type: bytes | None = None
    origin: bytes | None = None
    next_method: bytes | None = None
    next_fields: bytes | None = None


def negotiate(head: RequestHead | None, received: bytes = b"") -> Intent:
    """What the sender of `head` wants.

    None is a head that is not valid, and `received` what came of it: a navigation gets a page, everything else text.
    """
    if head is None:
        return _intent(_Preferences(mode=b"navigate" if _navigates(received) else None))
    section = head.section
    read = _remembered if len(section.lines) <= REMEMBERED_OCTETS else _read
    return read(section, head.method == b"OPTIONS")


def _navigates(received: bytes) -> bool:
    """Whether the beginning of a head is a navigation's, as far as it says.

    Firefox sends Sec-Fetch-Mode behind the cookies, which may be what is too large, and without TLS no browser sends
    it; then it is Accept that tells.
    """
    mode = _MODE_LINE.search(received)
    if mode is not None:
        return sf_item(mode[1].strip(b" \t")) == b"navigate"
    accept = _ACCEPT_LINE.search(received)
    return accept is not None and len(accept[1]) <= MAX_OCTETS and _from_accept(accept[1]) is Form.HTML


def _read(section: RequestSection, is_options: bool) -> Intent:
    # One pass: `section.get` would walk the list eight times.
    lines: dict[bytes, bytes] = {}
    for name, value in section.fields:
        lowered = name.lower()
        if lowered not in lines:
            lines[lowered] = value
        elif lowered in _LISTS:  # RFC 9110 section 5.3: several lines are one list
            lines[lowered] += b", " + value

    def said(name: bytes) -> bytes | None:
        value = lines.get(name)
        return value if value is None or len(value) <= MAX_OCTETS else None

    return _intent(
        _Preferences(
            is_options,
            vary=_NOBODY_ELSE if section.probes else _VARY,
            accept=said(b"accept"),
            mode=sf_item(said(b"sec-fetch-mode")),
            destination=sf_item(said(b"sec-fetch-dest")),
            content_type=said(b"content-type"),
            origin=said(b"origin"),
            next_method=said(b"access-control-request-method"),
            next_fields=said(b"access-control-request-headers"),
        )
    )


def sf_item(value: bytes | None) -> bytes | None:
    """A structured field's item without its parameters (RFC 9651 section 4.2.3): unknown ones are ignored."""
    return value and value.partition(b";")[0].strip(b" ")


_remembered = lru_cache(maxsize=REMEMBERED)(_read)
"""By the section itself: a browser that asks again sends the same one, and the parser gives it out again."""


@lru_cache(maxsize=REMEMBERED)
def _intent(wants: _Preferences) -> Intent:
    cors = list(_shared_with(wants.origin))
    if wants.is_options and wants.origin and _is_for_a_probe(wants.next_method, wants.next_fields):
        cors += _PROBE_ALLOWED
        return Intent(Form.PREFLIGHT, b"", tuple(cors), b"")
    media_type = (wants.content_type or b"").partition(b";")[0].strip().lower()
    # A call is a POST. Its status 200 in answer to a preflight would be what the Fetch standard asks of a permission.
    if not wants.is_options and _GRPC.fullmatch(media_type):
        # In a browser, gRPC-Web reads the status of a reply without body from the fields.
        cors.append((b"Access-Control-Expose-Headers", b"Grpc-Status, Grpc-Message, " + _EXPOSED))
        return Intent(Form.GRPC, media_type, tuple(cors), wants.vary)
    cors.append((b"Access-Control-Expose-Headers", _EXPOSED))
    form = _form(wants)
    return Intent(form, _SENT_AS[form], tuple(cors), wants.vary)


def _form(wants: _Preferences) -> Form:
    """A navigation gets a page. What loads a script, a style or an image gets text, which none of them can execute.

    Otherwise Accept decides; `*/*` is JSON when a page script asks (Sec-Fetch-Mode is set by browsers and not by
    scripts) and text when curl does.
    """
    if wants.mode == b"navigate":
        return Form.HTML
    if wants.destination is not None and wants.destination not in (b"empty", b"document", b"iframe"):
        return Form.TEXT
    return _from_accept(wants.accept) or (Form.JSON if wants.mode in (b"cors", b"same-origin") else Form.TEXT)


def _from_accept(accept: bytes | None) -> Form | None:
    """The acceptable form of the highest weight, the first of equals (RFC 9110 section 12.5.1), or None."""
    best: Form | None = None
    best_weight = 0.0
    for member in members(accept or b""):
        media_type, weight = member.partition(b";")[0].strip().lower(), _weight(member)
        form = _TYPES.get(media_type) or (Form.JSON if media_type.endswith(b"+json") else None)
        if form is not None and weight > best_weight:
            best, best_weight = form, weight
    return best


def _weight(member: bytes) -> float:
    """RFC 9110 section 12.4.2: 1 without one, 0 if it is no number."""
    for name, value in parameters(member):
        if name == b"q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


def _shared_with(origin: bytes | None) -> Iterator[Field]:
    # A page script on another origin must be able to read why its fetch failed. Only on our own replies: what an app
    # shares is the app's decision.
    if origin and _ORIGIN.fullmatch(origin):
        yield b"Access-Control-Allow-Origin", origin
        yield b"Access-Control-Allow-Credentials", b"true"
    else:
        yield b"Access-Control-Allow-Origin", b"*"


def _is_for_a_probe(next_method: bytes | None, next_fields: bytes | None) -> bool:
    """Whether the request that a preflight announces is one that no app can get: a GET with `X-Gateway-Probe` alone."""
    names = members(next_fields or b"")
    return next_method in _PROBED_BY and bool(names) and all(name.lower() == _PROBE for name in names)


# Fetch standard, CORS-preflight fetch: GET and HEAD need no permission, and a browser remembers none for 0 seconds.
# What an app would allow is the app's to say: every other preflight gets the problem with its status, which is not ok,
# so the browser sends nothing.
_PROBE_ALLOWED: Fields = [(b"Access-Control-Allow-Headers", b"X-Gateway-Probe"), (b"Access-Control-Max-Age", b"0")]
