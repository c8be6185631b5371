"""A masked host (`upstream.host`), in both directions: an app that is sent `localhost:5000` knows itself by that name.

- Where its answer leads to the mask, it leads to the public URL: Location and Refresh as by nginx's `proxy_redirect`,
  Location and Content-Location as by Apache's `ProxyPassReverse`.
- An upgrade whose Origin is the public URL itself gets `http://` and the mask for it, what the app's developer has in
  the address bar: Tornado, Jupyter, gorilla and dev servers compare it with Host. Any other origin stays.

Host itself is chosen by `Target.rewritten`, in `Exchange._send`.

Origin and Referer of ordinary requests stay as they are, as behind nginx, Apache and Vite's proxy. Rails, Next and
React Router compare Origin with X-Forwarded-Host, which tells the truth; and apps build links of it (where a payment or
a login is to return), which nobody could put right.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.hostname import Target
from gateway.http.message import FieldLine, FieldSection, RequestHead
from gateway.http.roles import LOCATION

_URL: Final = re.compile(rb"(?:https?:)?//([^/?#\\\"']*)(.*)", re.IGNORECASE | re.DOTALL)
_PORT: Final = re.compile(rb":[0-9]*\Z")
# https://html.spec.whatwg.org/multipage/semantics.html#shared-declarative-refresh-steps
_REFRESH: Final = re.compile(rb"([0-9.]*[ \t]*[;,][ \t]*(?:url[ \t]*=[ \t]*)?[\"']?)(.*)", re.IGNORECASE | re.DOTALL)


def rewrite_request(head: RequestHead, mask: bytes, added: FieldSection) -> RequestHead:
    """`head`, an upgrade, as it goes to an app that is sent `mask` as Host; `added` says what the public URL is."""
    public = _origin(_public(added))
    lines: list[FieldLine] = []
    for line in head.section.field_lines:
        name, value = line.pair
        same = name.lower() == b"origin" and _origin(value) == public
        lines.append(line.with_value(b"http://" + mask) if same else line)
    return head.with_section(head.section.with_lines(lines))


def rewrite_response(lines: list[FieldLine], mask: bytes, target: Target, added: FieldSection) -> list[FieldLine]:
    """The lines of an answer of `target`, which was sent `mask` as Host, as they go downstream."""
    hosts = (_host(mask), _host(b"%b:%d" % (_PORT.sub(b"", mask), target.port)))  # some apps add the one they listen on
    public = _public(added)
    shown: list[FieldLine] = []
    for line in lines:
        if line.role == LOCATION:
            name, value = line.pair
            if name.lower() != b"refresh":
                line = line.with_value(_led_back(value, hosts, public))
            elif (refresh := _REFRESH.fullmatch(value)) is not None:
                line = line.with_value(refresh[1] + _led_back(refresh[2], hosts, public))
        shown.append(line)
    return shown


def _led_back(url: bytes, hosts: tuple[bytes, ...], public: bytes) -> bytes:
    found = _URL.fullmatch(url)
    return public + found[2] if found is not None and _host(found[1]) in hosts else url


def _public(added: FieldSection) -> bytes:
    """The origin that the app is told of by X-Forwarded-Proto and -Host."""
    told = dict(added.fields)
    return b"%b://%b" % (told[b"X-Forwarded-Proto"], told[b"X-Forwarded-Host"])


def _origin(url: bytes) -> bytes:
    """RFC 6454 section 4: letter case and a default port make no other origin."""
    lowered = url.lower()
    return lowered.removesuffix(b":443" if lowered.startswith(b"https:") else b":80").removesuffix(b":")


def _host(authority: bytes) -> bytes:
    """For comparison: what an app says of itself may have either default port, by the scheme that it believes."""
    return authority.lower().removesuffix(b":80").removesuffix(b":443").removesuffix(b":")
