"""A problem as a WebSocket's close code: what a page script can see.

A browser tells a script nothing about a refused handshake, neither its status nor its body (WebSockets Standard, "fail
the WebSocket connection"). So whoever asks for it, with `gateway_close=1` in the URL's query or for everybody with
`edge.websocket_errors = "close"`, gets the handshake accepted and then closed at once: the code is 4000 plus the HTTP
status (4502, 4404, …; RFC 6455 section 7.4.2 leaves 4000 to 4999 to applications), the reason says the rest.
"""

from __future__ import annotations

import base64
import binascii
import struct

from gateway.errors import GatewayError
from gateway.http.fields import TOKEN
from gateway.http.lists import members
from gateway.http.message import AS_TUNNEL, NO_BODY, Fields, FieldSection, RequestHead, ResponseHead
from gateway.http.validate import offers
from gateway.http.websocket import accept
from gateway.problems.problem import RequestContext, describe
from gateway.problems.reply import marker_fields

PARAMETER = b"gateway_close=1"
CODE_BASE = 4000
_MAX_REASON = 123
"""Octets: a control frame carries 125 (RFC 6455 section 5.5), two of them the code."""
_FINAL_CLOSE = 0x88


def asks_for_close(head: RequestHead, *, always: bool) -> bool:
    """Whether the failure of `head` is to be told after the handshake: it is one, and somebody wants it so."""
    # RFC 6455 section 4.1: a GET. With a body it is another's idea of an upgrade, and the body would follow our 101.
    if head.method != b"GET" or head.framing is not NO_BODY or not offers(head.upgrade, b"websocket"):
        return False
    if not _is_key(head.get(b"sec-websocket-key")):
        return False
    return always or PARAMETER in head.target.partition(b"?")[2].split(b"&")


def accept_and_close(error: GatewayError, context: RequestContext) -> tuple[ResponseHead, bytes]:
    """The 101 that accepts the handshake, and the Close frame that follows; `asks_for_close` has said yes."""
    asked = context.head
    assert asked is not None  # see above
    key = asked.get(b"sec-websocket-key") or b""
    fields = [(b"Sec-WebSocket-Accept", accept(key)), *_selected(asked), *marker_fields(error.reason, error.detail)]
    head = ResponseHead(101, FieldSection.of(fields), AS_TUNNEL, upgrade=b"websocket")
    problem = describe(error, context)
    payload = struct.pack("!H", CODE_BASE + problem.status) + _shortened(f"{problem.reason}: {problem.title}")
    return head, bytes((_FINAL_CLOSE, len(payload))) + payload


def _selected(asked: RequestHead) -> Fields:
    """The subprotocol to close in: the first offered, which the client prefers (RFC 6455 section 4.1).

    A browser that has offered some fails the connection if none is selected (WebSockets Standard, "establish a
    WebSocket connection"), and its script sees 1006 instead of the code. A Close frame is the same in all of them.
    """
    # Section 11.3.4: the field may come several times, as one list.
    offered = b",".join(value for name, value in asked.fields if name.lower() == b"sec-websocket-protocol")
    first = members(offered)[:1]
    return [(b"Sec-WebSocket-Protocol", name) for name in first if TOKEN.fullmatch(name)]


def _is_key(key: bytes | None) -> bool:
    """RFC 6455 section 4.2.1: a base64-encoded value that, when decoded, is 16 bytes in length."""
    try:
        return key is not None and len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False


def _shortened(text: str) -> bytes:
    """UTF-8 that ends between two characters: a broken one would make the browser fail the close itself."""
    octets = text.encode()
    if len(octets) <= _MAX_REASON:
        return octets
    return octets[: _MAX_REASON - 3].decode(errors="ignore").encode() + "…".encode()
