"""What a page betrays of an app behind TLS: mixed content, and addresses that only the developer's machine has.

A browser that got a page by https loads no script, style sheet or frame by `http:`, and opens no `ws:`; `localhost` in
it is the visitor's machine. Only `gateway dev` looks into pages, at the beginnings that its inspector keeps. Reads tags
as far as this needs: comments, and what is text in a script, a style or a text field, load nothing. Each octet is
looked at once, whatever the page; what is quoted of it is a scheme, a host and a port.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gateway.diagnosis.own_urls import IS_LOCAL, framework_of
from gateway.http.message import ResponseHead

LOOKED_AT: Final = 64 * 1024
"""Octets of a page, without its Content-Encoding."""

_BLOCKED: Final = (b"script", b"link", b"iframe", b"frame", b"embed", b"object")
"""What browsers do not load by `http:`, wherever it is; they try images by https first, and so come to no harm."""
_TAG: Final = re.compile(
    rb"<(?=[!aefilostv])(!--|(?:script|style|textarea|title|link|iframe|frame|embed|object|img|audio|video|source|form)(?=[\s/>]))"
    rb"([^>]{0,4096})",
    re.IGNORECASE,
)
_OF_TEXT: Final = (b"script", b"style", b"textarea", b"title")
"""Elements in which nothing is a tag but their own end."""
_HOST: Final = rb"(?:[a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?(?=[/?#\"'`\s>]|\Z)"
_LOADED: Final = re.compile(
    rb"(?:\A|[\s\"'/])(?:src|href|action|data|poster)[\s]{0,9}=[\s]{0,9}[\"']?(http://%b)" % _HOST, re.IGNORECASE
)
_REL: Final = re.compile(
    rb"rel[\s]{0,9}=[\s]{0,9}[\"']?[a-z ]{0,40}\b(?:stylesheet|icon|preload|modulepreload|manifest)\b", re.I
)
_ASKED: Final = re.compile(rb"(?:fetch|EventSource|WebSocket)\([\s]{0,9}[\"'`]((?:http|ws)://(?:%b)?)" % _HOST)
_UPGRADES: Final = b"upgrade-insecure-requests"

_MIXED: Final = "which browsers block in a page that came by https (mixed content)"
_LOCAL: Final = "which is the visitor's own machine"
_RELATIVE: Final = "Write /path in its place; what listens on another port has a public name of its own"
_SECURE: Final = "new WebSocket('wss://' + location.host + '/path'), or ws: only where location.protocol is http:"


def find(page: bytes, answer: ResponseHead, public: bytes) -> str | None:
    """The hint for an HTML `page` that came with `answer` from `public`, a host with its port, by https."""
    page = page[:LOOKED_AT]
    upgrades = _UPGRADES in page or _UPGRADES in (answer.get(b"content-security-policy") or b"")
    own = public.lower().partition(b":")[0]
    for verb, tag, url in _urls(page):
        scheme, _, authority = url.lower().partition(b"://")
        host = authority if authority.startswith(b"[") else authority.partition(b":")[0]
        host = host.partition(b"]")[0] + b"]" if host.startswith(b"[") else host
        seen = url.decode("ascii")
        if IS_LOCAL.fullmatch(host):
            return f"{verb} {seen}, {_LOCAL}. {_RELATIVE}"
        if upgrades:
            continue
        if scheme == b"ws":
            return f"{verb} {seen}, {_MIXED}. {_SECURE}"
        if host == own:
            return f"{verb} {seen}, {_MIXED}. {framework_of(answer).believe}".replace(
                "{origin}", f"https://{public.decode()}"
            )
        if tag in _BLOCKED:
            return f"{verb} {seen}, {_MIXED}. Write https: in its place"
    return None


def _urls(page: bytes) -> Iterator[tuple[str, bytes, bytes]]:
    """What is said of it, the tag, and where the page loads from, or its scripts ask, by a scheme without TLS."""
    at = 0
    lowered = page.lower()
    while (found := _TAG.search(page, at)) is not None:
        tag, at = found[1].lower(), found.end()
        if tag == b"!--":
            at = lowered.find(b"-->", found.start())
            if at < 0:
                return
            continue
        if (loaded := _LOADED.search(found[2])) is not None and (tag != b"link" or _REL.search(found[2])):
            yield ("the page sends a form to" if tag == b"form" else "the page loads"), tag, loaded[1]
        if tag in _OF_TEXT:
            end = lowered.find(b"</" + tag, at)
            if tag == b"script":
                for asked in _ASKED.findall(page, at, end if end >= 0 else len(page)):
                    yield "a script of the page asks", b"", asked
            if end < 0:
                return
            at = end
