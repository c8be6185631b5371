"""What somebody typed or pasted as a URL: taken apart as a browser would, leniently, before any rule of ours applies.

Whether the name in it is one of ours is `hostname`'s to say, and where it leads `explain`'s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

MAX_URL = 16 * 1024
"""Characters; no browser sends more, and a target the gateway would take is half of it."""

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

_URL = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>[^#]*).*"
)
_USERINFO = re.compile(r"^(\s*(?:[A-Za-z][A-Za-z0-9+.-]*://)?)[^/?#]*@")
_PORT = re.compile(r".*:([0-9]{1,5})")
_KEPT = "".join(chr(octet) for octet in range(0x21, 0x7F))
"""What stays as it is in a path; everything else is percent-encoded UTF-8, as browsers do it."""


class InvalidUrl(ValueError):
    """Not a URL at all, or none that leads to an HTTP gateway; the message says what is expected."""


@dataclass(frozen=True, slots=True)
class ParsedUrl:
    """A URL's parts. `scheme` is lower case, empty if none was written; `port` None likewise.

    Userinfo is in none of them: it is not a part of the name, and holds passwords.
    """

    url: str
    scheme: str
    authority: str
    port: int | None
    path: str
    """Origin-form: path and query, ASCII, at least "/"."""

    @property
    def port_reached(self) -> int | None:
        """The port a browser connects to; None for a URL so short that it says nothing about it."""
        return self.port if self.port is not None else DEFAULT_PORTS.get(self.scheme)

    @property
    def port_written(self) -> str:
        """What a browser appends to the name in Host: `:8443`, nothing for the port that the scheme implies."""
        port = self.port_reached
        return "" if port in (None, DEFAULT_PORTS.get(self.scheme, 443)) else f":{port}"

    @property
    def is_websocket(self) -> bool:
        """Whether it was written with ws:// or wss://."""
        return self.scheme in ("ws", "wss")


def without_userinfo(url: str) -> str:
    """`url` as it may be shown and passed on: `user:password@` in front of a host is nobody's to see."""
    return _USERINFO.sub(r"\1", url)


def parse_url(text: str) -> ParsedUrl:
    """The parts of `text`: with or without scheme, port and path. Raises InvalidUrl."""
    url = without_userinfo(text.strip())
    if not url:
        raise InvalidUrl("a URL is expected, such as https://5000-abc123.sandbox.example.dev/")
    if len(url) > MAX_URL:
        raise InvalidUrl(f"the URL has more than {MAX_URL} characters")
    if not url.isprintable():
        raise InvalidUrl("the URL has a control character")
    match = _URL.fullmatch(url)
    assert match is not None  # every part may be empty, and a printable text has no line end
    scheme = (match["scheme"] or "").lower()
    if scheme and scheme not in DEFAULT_PORTS:
        raise InvalidUrl(f"{scheme}:// does not lead to this gateway: https://, http://, wss:// and ws:// do")
    authority = match["authority"]
    if not authority:
        raise InvalidUrl(f"there is no host in {url[:60]!r}")
    port = _PORT.fullmatch(authority)
    path = quote((match["path"] or "/") + match["query"], safe=_KEPT)
    return ParsedUrl(url, scheme, authority, int(port[1]) if port else None, path)
