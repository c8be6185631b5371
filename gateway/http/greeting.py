"""What a connection begins with: HTTP, a PROXY protocol header, or something else.

The first octets of what TLS ports and plain ports are sent by mistake. Only a request line is answered in HTTP: other
protocols would not understand it, and some print what they get to a person.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from gateway.errors import GatewayError, Reason
from gateway.http.head_parser import AROUND_TARGET, HeadLimits

PROXY_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"
"""Signature of a binary header; the text one begins with "PROXY " (both: HAProxy's proxy-protocol.txt, section 2)."""
MAX_LINE: Final = HeadLimits().target + AROUND_TARGET
"""Octets that may still become a request line."""

_PROXY_V1: Final = re.compile(rb"PROXY (?:TCP4|TCP6|UNKNOWN)\b")
_REQUEST_LINE: Final = re.compile(rb"(?:\r?\n)?[!-~]+ [^\r\n]* HTTP/[0-9.]+\r?")
_TEXT: Final = bytes([0x09, 0x0A, 0x0D, *range(0x20, 0x7F), *range(0x80, 0x100)])


class Greeting(Enum):
    """What the first octets are."""

    HTTP = "HTTP"
    PROXY = "a PROXY protocol header"
    OTHER = "neither TLS nor HTTP"
    UNDECIDED = "not enough to tell"


def detect(octets: bytes) -> Greeting:
    """What a connection that begins with `octets` speaks; no TLS record is among them."""
    if proxy_version(octets):
        return Greeting.PROXY
    if PROXY_V2.startswith(octets):
        return Greeting.UNDECIDED
    end = octets.find(b"\n", 2, MAX_LINE)  # behind the empty line that may come first
    if end >= 0:
        return Greeting.HTTP if _REQUEST_LINE.fullmatch(octets, 0, end) else Greeting.OTHER
    if len(octets) >= MAX_LINE or octets.translate(None, _TEXT):
        return Greeting.OTHER
    return Greeting.UNDECIDED


def proxy_version(octets: bytes | bytearray) -> int:
    """Of the PROXY protocol header that `octets` begin with; 0 if they do not."""
    if octets.startswith((PROXY_V2, PROXY_V2[2:])):  # the second: where an empty line before a head was skipped
        return 2
    return 1 if _PROXY_V1.match(octets) else 0


def explained(octets: bytes, error: GatewayError) -> GatewayError:
    """Why `octets` are no head, `error` being what is wrong with them as one: a balancer's header is named."""
    version = proxy_version(octets)
    if not version:
        return error
    detail = f"the connection began with a PROXY protocol header, version {version}"
    return GatewayError(Reason.UNEXPECTED_PROXY_HEADER, detail)
