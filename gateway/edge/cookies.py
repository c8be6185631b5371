"""Cookies of an app, confined to the app's own host.

Sandboxes are neighbours under one domain. A cookie with `Domain=sandbox.example.dev` would be sent to all of them
(session fixation, cookie bombs), and browsers stop that only for domains on the Public Suffix List. So a Domain
attribute that reaches beyond the app's own host is taken out; the cookie then belongs to that host alone.

What a Domain attribute is, and which name it holds, is read as by the most lenient parser in use:

- Chromium maps a name by UTS 46, OkHttp too, Python's http.cookies takes quotes and escapes off it: what is not plain
  letters, digits, hyphens and dots is taken out.
- Attributes are parted by semicolons, for http.cookies and aiohttp by blanks as well; `$Domain` is one to http.cookies.
- Around its name Python, .NET and JavaScript strip blanks beyond ASCII's; a dotless or dotted I is an I to Java and
  Kotlin, whoever decoded it.
- Java's HttpCookie lets a host set a cookie for any end of its name, `c123.sandbox.example.dev` too, and another
  sandbox's name may have the same; older libraries (Guzzle, CVE-2022-29248) for any name. So a name of our
  domain goes, unless it is the host's own. A foreign domain is for the browser to refuse.

`Clear-Site-Data: "cookies"` is the other way to a neighbour's cookies: it deletes all of the registrable domain.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from gateway.hostname import Target
from gateway.http.message import FieldLine
from gateway.http.roles import SET_COOKIE

MAX_DOMAINS: Final = 16
"""Domain attributes of one cookie that are parsed; of a cookie with more all go, for a third of the time."""
_ATTRIBUTE: Final = rb'(?:;[\t "$\x80-\xff]*|(?<=[\t "$\x80-\xff]))doma(?:i|\xc4[\xb0\xb1])n[\t \x80-\xff]*='
_DOMAIN: Final = re.compile(_ATTRIBUTE + rb"[^;]*", re.IGNORECASE)
HOSTS_CACHED: Final = 1024
"""Patterns by host, some 5 KiB each; making one takes 0.5 ms."""

# https://w3c.github.io/webappsec-clear-site-data/#header: types that reach no further than the origin, with those that
# Chromium has added; it and Firefox compare them as they stand.
_OWN_DATA: Final = (
    b'"cache"',
    b'"clientHints"',
    b'"executionContexts"',
    b'"prefetchCache"',
    b'"prerenderCache"',
    b'"storage"',
)


def confine(lines: list[FieldLine], target: Target) -> list[FieldLine]:
    """`lines` with every Set-Cookie and Clear-Site-Data confined, all other lines as they are; `lines` itself if none
    reaches beyond `target`.
    """
    confined: list[FieldLine] | None = None  # until a line differs
    for at, line in enumerate(lines):
        kept = _confined(line, target) if line.role == SET_COOKIE else line
        if kept is not line and confined is None:
            confined = lines[:at]
        if confined is not None and kept is not None:
            confined.append(kept)
    return lines if confined is None else confined


def _confined(line: FieldLine, target: Target) -> FieldLine | None:
    """None: nothing is left of it."""
    name, value = line.pair
    if name.lower() == b"set-cookie":
        kept = _confined_cookie(value, target)
    elif not (kept := _confined_data(value)):
        return None
    return line if kept == value else line.with_value(kept)


def _confined_cookie(value: bytes, target: Target) -> bytes:
    mentions = value.lower().count(b"doma")
    if not mentions:
        return value
    pattern = _reaching(target.host, target.domain) if mentions <= MAX_DOMAINS else _DOMAIN
    return pattern.sub(b"", value)


@lru_cache(maxsize=HOSTS_CACHED)
def _reaching(host: str, domain: str) -> re.Pattern[bytes]:
    """A Domain attribute by which a cookie of `host` reaches others under `domain` or above it; nothing in it is looked
    at twice.
    """
    labels = domain.split(".")
    above = b"|".join([re.escape(".".join(labels[level:]).encode()) for level in range(1, len(labels))] or [b"(?!)"])
    inside = rb"[a-z0-9.-]*%b" % re.escape(domain.encode())
    end = rb"\.*+[\t ]*+(?:;|\Z)"
    foreign = rb"(?!(?:%b|%b)%b)[a-z0-9.-]*+" % (above, inside, end)
    harmless = rb"[\t ]*+\.*+(?:%b|%b)%b" % (re.escape(host.encode()), foreign, end)
    return re.compile(rb"%b(?!%b)[^;]*" % (_ATTRIBUTE, harmless), re.IGNORECASE)


def _confined_data(types: bytes) -> bytes:
    """What of Clear-Site-Data's types concerns the app's own origin only; of `"*"` that much, too."""
    members = [member.strip(b"\t ") for member in types.split(b",")]
    if b'"*"' in members:
        return b", ".join(_OWN_DATA)
    return b", ".join([member for member in members if member in _OWN_DATA])
