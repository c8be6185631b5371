"""What each field name means to a gateway: one table, looked up once per field.

`role(name)` is the hot path's only look-up. It is keyed by the name as it was sent, so the usual spellings cost one
dict hit; unknown names are checked to be tokens, classified, and remembered while there is room.
"""

from __future__ import annotations

import re
from enum import IntEnum

from gateway.errors import GatewayError, Reason

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

MAX_REMEMBERED_NAMES = 4096
"""Spellings kept; beyond that, new ones are classified each time. Hostile names cannot grow the table."""


class Role(IntEnum):
    """What becomes of a field. PASS is 0, so that the hot loop tests truth."""

    PASS = 0
    HOST = 1
    CONTENT_LENGTH = 2
    TRANSFER_ENCODING = 3
    CONNECTION = 4
    UPGRADE = 5
    EXPECT = 6
    TE = 7
    HOP_BY_HOP = 8
    """Meant for one connection only, or dangerous beyond it; dropped."""
    FORWARDING = 9
    """Claims where a request came from; kept apart for the edge to judge."""
    MARK = 10
    """The gateway's own marker; a sandbox must not be able to forge it."""
    REQUEST_ID = 11
    PROBE = 12
    """Asks the gateway itself whether the target accepts connections; never the app's business."""
    MAX_FORWARDS = 13
    """Passes, with OPTIONS one less."""
    # From here on: passes in a request, whatever it says.
    DATE = 14
    """Passes; an answer without one gets ours."""
    SET_COOKIE = 15
    """Set-Cookie, and what deletes cookies; an answer's may reach the app's neighbours."""


_ROLES_BY_NAME: dict[bytes, Role] = {
    b"host": Role.HOST,
    b"content-length": Role.CONTENT_LENGTH,
    b"transfer-encoding": Role.TRANSFER_ENCODING,
    b"connection": Role.CONNECTION,
    b"upgrade": Role.UPGRADE,
    b"expect": Role.EXPECT,
    b"te": Role.TE,
    # RFC 9110 section 7.6.1; HTTP2-Settings belongs to the h2c upgrade we never do (RFC 9113 section 3.1).
    b"keep-alive": Role.HOP_BY_HOP,
    b"proxy-connection": Role.HOP_BY_HOP,
    b"http2-settings": Role.HOP_BY_HOP,
    # Not hop-by-hop, but CGI turns it into HTTP_PROXY ("httpoxy", CVE-2016-5385).
    b"proxy": Role.HOP_BY_HOP,
    # Not hop-by-hop, but what an app says there is about a port of its own and would be taken for one of ours, or of
    # another sandbox, for as long as it says (RFC 7838 section 2.2; Alternate-Protocol came before it).
    b"alt-svc": Role.HOP_BY_HOP,
    b"alternate-protocol": Role.HOP_BY_HOP,
    # RFC 2965, historic since RFC 6265: no browser reads it, Java's CookieManager does, with a grammar of its own.
    b"set-cookie2": Role.HOP_BY_HOP,
    b"forwarded": Role.FORWARDING,
    b"x-real-ip": Role.FORWARDING,
    b"via": Role.FORWARDING,
    b"x-gateway-error": Role.MARK,
    b"x-gateway-hint": Role.MARK,
    b"proxy-status": Role.MARK,
    b"x-gateway-probe": Role.PROBE,
    b"x-request-id": Role.REQUEST_ID,
    b"set-cookie": Role.SET_COOKIE,
    b"date": Role.DATE,
    b"max-forwards": Role.MAX_FORWARDS,
    b"clear-site-data": Role.SET_COOKIE,
}

_remembered: dict[bytes, Role] = {}
known_role = _remembered.get
"""`known_role(name)` is the role of a spelling seen before, or None: then ask `classify`."""


def classify(name: bytes) -> Role:
    """The role of a field name as sent.

    Raises GatewayError(bad_request) if the name is not a token (RFC 9110 section 5.6.2).
    """
    if TOKEN.fullmatch(name) is None:
        raise GatewayError(Reason.BAD_REQUEST, "a field name has characters that are not allowed")
    lowered = name.lower()
    # Many frameworks read X_Forwarded_For and X-Forwarded-For as one variable (CVE-2026-39858), so an underscore
    # never hides a claim about the origin. Only here: a field that frames the message must be spelled right.
    dashed = lowered.replace(b"_", b"-")
    role = _ROLES_BY_NAME.get(lowered, Role.PASS)
    if role is Role.PASS and (dashed.startswith(b"x-forwarded-") or _ROLES_BY_NAME.get(dashed) is Role.FORWARDING):
        role = Role.FORWARDING
    if role is Role.PASS and lowered != dashed and dashed in _ROLES_BY_NAME:
        role = Role.HOP_BY_HOP  # transfer_encoding, content_length, …: an alias an app may believe; it goes no further
    if len(_remembered) < MAX_REMEMBERED_NAMES and len(name) <= 64:
        _remembered[name] = role
    return role
