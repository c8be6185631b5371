"""Cookies of an app, confined to the app's own host.

Sandboxes are neighbours under one domain. A cookie with `Domain=sandbox.example.dev` would be sent to all of them
(session fixation, cookie bombs), and browsers stop that only for domains on the Public Suffix List. So a Domain
attribute that reaches beyond the app's own host is taken out; the cookie then belongs to that host alone.

What a Domain attribute is, and which name it holds, is read as by the most generous of those who will read it:

- Chromium maps a name by UTS 46, OkHttp too, Python's http.cookies takes quotes and escapes off it: what is not plain
  letters, digits, hyphens and dots is nobody's to guess.
- Attributes are parted by semicolons, for http.cookies and aiohttp by blanks as well; `$Domain` is one to http.cookies.
- Around its name Python, .NET and JavaScript strip blanks beyond ASCII's; a dotless or dotted I is an I to Java and
  Kotlin, whoever decoded it.
- Java's HttpCookie lets a host set a cookie for any end of its name, `c123.sandbox.example.dev` too, and another
  sandbox's name may have the same; older clients (Guzzle, CVE-2022-29248) let anybody for anybody. So a name of our
  domain goes, unless it is the host's own. What has nothing to do with ours is for the client to refuse.

`Clear-Site-Data: "cookies"` is the other way to a neighbour's cookies: it deletes all of the registrable domain.
"""

from __future__ import annotations

import re

from gateway.hostname import Target
from gateway.http.message import Fields

_JUNK = bytes([*b'\t "$', *range(0x80, 0x100)])
"""What somebody overlooks before the name of an attribute."""
_DOMAIN = re.compile(rb'(?<=[\t ;"$\x80-\xff])doma(?:i|\xc4[\xb0\xb1])n[\t \x80-\xff]*=([^;]*)', re.IGNORECASE)
_PLAIN = re.compile(rb"[a-z0-9.-]*")
# https://w3c.github.io/webappsec-clear-site-data/#header: types that reach no further than the origin, with those that
# Chromium has added; it and Firefox compare them as they stand.
_OWN_DATA = (
    b'"cache"',
    b'"clientHints"',
    b'"executionContexts"',
    b'"prefetchCache"',
    b'"prerenderCache"',
    b'"storage"',
)


def confine(fields: Fields, target: Target) -> Fields:
    """`fields` with every Set-Cookie and Clear-Site-Data confined; all other octets unchanged."""
    confined: Fields = []
    for name, value in fields:
        lowered = name.lower()
        if lowered == b"set-cookie":
            value = _confined_cookie(value, target)
        elif lowered == b"clear-site-data":
            value = _confined_data(value)
            if not value:
                continue
        confined.append((name, value))
    return confined


def _confined_cookie(cookie: bytes, target: Target) -> bytes:
    """In one pass, however many attributes there are: a cookie may have thousands."""
    host, domain = target.host.encode(), target.domain.encode()
    parts: list[bytes] = []
    kept = 0
    for found in _DOMAIN.finditer(cookie):
        if _stays(found[1], host, domain):
            continue
        before = cookie[kept : found.start()]
        previous, semicolon, junk = before.rpartition(b";")
        parts.append(previous if semicolon and not junk.strip(_JUNK) else before.rstrip(b'\t "$'))
        kept = found.end()
    return b"".join([*parts, cookie[kept:]])


def _stays(value: bytes, host: bytes, domain: bytes) -> bool:
    """Whether a Domain of this value keeps a cookie of `host` from everybody else under `domain` and above."""
    name = value.strip(b"\t ").lower().strip(b".")
    if _PLAIN.fullmatch(name) is None:
        return False
    return not name or name == host or not (host.endswith(name) or name.endswith(domain))


def _confined_data(types: bytes) -> bytes:
    """What of Clear-Site-Data's types concerns the app's own origin only; of `"*"` that much, too."""
    members = [member.strip(b"\t ") for member in types.split(b",")]
    if b'"*"' in members:
        return b", ".join(_OWN_DATA)
    return b", ".join([member for member in members if member in _OWN_DATA])
