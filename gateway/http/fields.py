"""What each field name means to a gateway: one table, looked up once per field.

`KNOWN_ROLES` is the hot path's only look-up. It is keyed by the name as it was sent, so the usual spellings cost one
dict hit; unknown names are checked to be tokens, classified, and remembered while there is room.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.errors import GatewayError, Reason
from gateway.http import roles

_NOT_ALPHANUMERIC: Final = re.compile(rb"[^0-9a-z]")
TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

MAX_REMEMBERED_NAMES: Final = 4096
"""Spellings kept; beyond that, new ones are classified each time. Hostile names cannot grow the table."""
REMEMBERED_NAME: Final = 64
"""Octets of the longest."""


CLIENT_NAMES: Final = frozenset(
    (
        b"client-ip x-client-ip x-cluster-client-ip x-remote-ip x-remote-addr remote-addr x-originating-ip "
        b"x-proxyuser-ip x-forwarded forwarded-for forwarded-for-ip x-original-forwarded-for x-coming-from coming-from "
        b"proxy-client-ip wl-proxy-client-ip "
        b"true-client-ip cf-connecting-ip cf-connecting-ipv6 cf-pseudo-ipv4 fastly-client-ip fly-client-ip "
        b"do-connecting-ip incap-client-ip x-sucuri-clientip ali-cdn-real-ip cdn-src-ip cdn-real-ip "
        b"x-azure-clientip x-azure-socketip "
        b"x-appengine-user-ip x-appengine-remote-addr x-nf-client-connection-ip x-vercel-forwarded-for "
        b"cloudfront-viewer-address x-envoy-external-address"
    ).split()
)
"""Who asks, as CDNs and proxies call it beside X-Forwarded-For, and as npm's request-ip, python-ipware, Rails, gin and
what is usually written in PHP and Java look for it."""
_PROXY_NAMES: Final = (
    # By which URL it was asked: IIS's rewriting (Symfony believed it: CVE-2018-14773), ingress-nginx, Flask recipes,
    # gunicorn's forwarder_headers.
    b"x-original-url x-original-uri x-original-host x-original-method x-original-scheme x-rewrite-url "
    b"x-http-host-override x-scheme x-url-scheme front-end-https cf-visitor x-script-name script-name path-info "
    # With which certificate: whoever ends TLS must take these out (RFC 9440 section 2.4). ASP.NET reads Azure's.
    b"client-cert client-cert-chain x-client-cert x-arr-clientcert "
    # How files are sent: Rack and Plack take a visitor's word for the proxy's (CVE-2025-61780, CVE-2026-7381).
    b"x-sendfile-type x-accel-mapping"
).split()
"""What only a proxy of the app's own could say."""
_PROXY_PREFIXES: Final = (b"x-forwarded-", b"x-envoy-", b"ssl-client-", b"x-ssl-client-", b"x-amzn-mtls-")
"""Envoy's as at its own edge: they steer retries and timeouts of an Envoy beside the app. The last three say whose the
certificate was, and that it is good (ingress-nginx; HAProxy's and nginx's usual recipes; AWS)."""


_ROLES_BY_NAME: dict[bytes, int] = {
    b"host": roles.HOST,
    b"content-length": roles.CONTENT_LENGTH,
    b"transfer-encoding": roles.TRANSFER_ENCODING,
    b"connection": roles.CONNECTION,
    b"upgrade": roles.UPGRADE,
    b"expect": roles.EXPECT,
    b"te": roles.TE,
    b"keep-alive": roles.HOP,
    b"proxy-connection": roles.HOP,
    # It belongs to the h2c upgrade we never do (RFC 9113 section 3.1).
    b"http2-settings": roles.DROPPED,
    # CGI turns it into HTTP_PROXY ("httpoxy", CVE-2016-5385).
    b"proxy": roles.DROPPED,
    # What an app says there is about a port of its own and would be taken for one of ours, or of another sandbox, for
    # as long as it says (RFC 7838 section 2.2; Alternate-Protocol came before it).
    b"alt-svc": roles.DROPPED,
    b"alternate-protocol": roles.DROPPED,
    # RFC 2965, historic since RFC 6265: no browser reads it, Java's CookieManager does, with a grammar of its own.
    b"set-cookie2": roles.DROPPED,
    b"forwarded": roles.FORWARDING,
    b"x-real-ip": roles.FORWARDING,
    b"via": roles.FORWARDING,
    b"x-gateway-error": roles.MARK,
    b"x-gateway-hint": roles.MARK,
    b"proxy-status": roles.MARK,
    b"x-gateway-probe": roles.PROBE,
    b"x-request-id": roles.REQUEST_ID,
    b"set-cookie": roles.SET_COOKIE,
    b"date": roles.DATE,
    b"max-forwards": roles.MAX_FORWARDS,
    b"clear-site-data": roles.SET_COOKIE,
    b"location": roles.LOCATION,
    b"content-location": roles.LOCATION,
    b"refresh": roles.LOCATION,
    b"user-agent": roles.USER_AGENT,
    b"traceparent": roles.TRACE_PARENT,
    b"priority": roles.PRIORITY,
    b"cookie": roles.COOKIE,
    b"content-type": roles.CONTENT_TYPE,
    **dict.fromkeys((*CLIENT_NAMES, *_PROXY_NAMES), roles.FORWARDING),
    # RFC 9110 section 11; the proxy's kind too, because an app may be a proxy itself.
    b"authorization": roles.CREDENTIALS,
    b"proxy-authorization": roles.CREDENTIALS,
    b"www-authenticate": roles.CREDENTIALS,
    b"proxy-authenticate": roles.CREDENTIALS,
}

_HARMLESS: Final = (
    None,
    roles.LOCATION,
    roles.USER_AGENT,
    roles.TRACE_PARENT,
    roles.CONTENT_TYPE,
    roles.PRIORITY,
    roles.COOKIE,
)
"""By another spelling."""

KNOWN_ROLES: Final[dict[bytes, int]] = {}
"""The roles of spellings seen before; of others, ask `classify`."""


def classify(name: bytes) -> int:
    """The role of a field name as sent.

    Raises GatewayError(bad_request) if the name is not a token (RFC 9110 section 5.6.2).
    """
    if TOKEN.fullmatch(name) is None:
        raise GatewayError(Reason.BAD_REQUEST, "a field name has characters that are not allowed")
    lowered = name.lower()
    # Many frameworks read X_Forwarded_For and X-Forwarded-For as one variable (CVE-2026-39858), lighttpd makes one of
    # all that is neither letter nor digit, and much Java looks for HTTP_X_FORWARDED_FOR: no such spelling hides a claim
    # about the origin. Only here: a field that frames the message must be spelled right.
    dashed = _NOT_ALPHANUMERIC.sub(b"-", lowered)
    role = _ROLES_BY_NAME.get(lowered, roles.PASS)
    if role == roles.PASS:
        variable = dashed.removeprefix(b"http-")
        if variable.startswith(_PROXY_PREFIXES) or _ROLES_BY_NAME.get(variable) == roles.FORWARDING:
            role = roles.FORWARDING
    if role == roles.PASS and lowered != dashed and _ROLES_BY_NAME.get(dashed) not in _HARMLESS:
        role = roles.DROPPED  # transfer_encoding, content_length, …: an alias an app may believe; it goes no further
    if len(KNOWN_ROLES) < MAX_REMEMBERED_NAMES and len(name) <= REMEMBERED_NAME:
        KNOWN_ROLES[name] = role
    return role
