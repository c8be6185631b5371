"""What an app speaks when it does not speak HTTP: read from its first octets.

Owns the signatures of other protocols and the words with which TLS servers refuse plain HTTP. Only what is certain is
named; everything else is quoted as it came, and what others could have said too is for a protocol probe to find out.
Must not know requests or who made them.
"""

from __future__ import annotations

import re

from gateway.errors import GatewayError, Reason, Wording
from gateway.wordings import ANOTHER_PROTOCOL, BROKEN_HEAD

_TLS_RECORD = re.compile(rb"\x15\x03[\x00-\x04]\x00\x02[\x01\x02]|\x16\x03[\x00-\x04].{2}\x02", re.DOTALL)
"""An alert, or a handshake record that begins with a ServerHello, and its version, SSL 3.0 to TLS 1.3 (RFC 8446
sections 4, 5.1 and 6). A ClientHello would be our own, sent back."""
_NO_APPLICATION_PROTOCOL = 120
"""The alert of a server that speaks TLS but not HTTP (RFC 7301 section 3.2), as PostgreSQL 17 does."""

_HTTP2 = "an HTTP/2 server's {} frame, and does not take HTTP/1.1"
_HTTP2_ONLY = (Reason.UPSTREAM_SPEAKS_HTTP2, None)
_ANOTHER = (Reason.HTTP_PROTOCOL_ERROR, ANOTHER_PROTOCOL)
SIGNATURES: tuple[tuple[re.Pattern[bytes], str, tuple[Reason, Wording | None]], ...] = tuple(
    (re.compile(pattern, re.DOTALL), what, verdict)
    for pattern, what, verdict in (
        (rb"SSH-[12]\.", "an SSH server's banner", _ANOTHER),
        (rb"-DENIED Redis is running in protected mode", "a Redis server in protected mode", _ANOTHER),
        (rb"220[ -]", "as SMTP and FTP servers greet", _ANOTHER),
        (rb"\+OK[ \r]", "as POP3 servers greet", _ANOTHER),
        (rb"\* OK ", "as IMAP servers greet", _ANOTHER),
        # Length, sequence number 0, then protocol version 10 and a version number, or error 0xff (too many, blocked).
        (
            rb".{2}\x00\x00(?:\x0a[0-9]+\.|\xff.{2}(?:#|Host|Too many))",
            "a MySQL or MariaDB server's greeting",
            _ANOTHER,
        ),
        (rb"E\x00\x00.{2}S", "a PostgreSQL server's error", _ANOTHER),
        (rb"AMQP[\x00\x01]", "an AMQP broker's protocol header", _ANOTHER),
        (rb"RFB 00[0-9]\.", "a VNC server's version", _ANOTHER),
        (rb"INFO \{\"server_id\"", "a NATS server's greeting", _ANOTHER),
        # RFC 9113 section 3.4: a server's first frame is SETTINGS, on stream 0. Here nginx's and gRPC's.
        (rb"\x00.{2}\x04[\x00\x01]\x00{4}", _HTTP2.format("SETTINGS"), _HTTP2_ONLY),
        # Section 6.8: whatever was wrong is told on stream 0 too, by some servers before anything else.
        (rb"\x00{2}.\x07\x00{5}", _HTTP2.format("GOAWAY"), _HTTP2_ONLY),
    )
)
"""How a protocol begins, and its name in a sentence. MongoDB is missing: it answers in real HTTP."""

REDIS_ERROR = (b"-ERR ", b"-NOAUTH ", b"-DENIED ", b"-LOADING ")
"""How errors of Redis begin. A POP3 server's begin so, too, and anybody's may."""

PLAIN_HTTP_REFUSED = (
    b"The plain HTTP request was sent to HTTPS port",  # nginx, OpenResty
    b"Client sent an HTTP request to an HTTPS server",  # Go's net/http, so Caddy and Traefik
    b"speaking plain HTTP to an SSL-enabled server port",  # Apache httpd
    b"This combination of host and port requires TLS",  # Tomcat, so Spring Boot
)
"""What a TLS server says, with status 400, to a plain request; and so does a proxy that passes on its back end's. Node,
uvicorn, aiohttp, Flask, Python's http.server and HAProxy say nothing: they hang up."""
REFUSES_PLAIN_HTTP = 400
"""The status of that answer."""


def is_tls(octets: bytes) -> bool:
    """Whether a server that speaks TLS, and would speak HTTP in it, answers so."""
    return _TLS_RECORD.match(octets) is not None and not refuses_http_in_tls(octets)


def refuses_http_in_tls(octets: bytes) -> bool:
    """Whether a server that speaks TLS, but not HTTP in it, answers so."""
    return octets[:1] == b"\x15" and octets[6:7] == bytes([_NO_APPLICATION_PROTOCOL])


def named(octets: bytes) -> tuple[str, Reason, Wording | None] | None:
    """What begins with `octets`, in a sentence, and how an exchange fails because of it."""
    for signature, what, (reason, wording) in SIGNATURES:
        if signature.match(octets):
            return what, reason, wording
    return None


def recognize(error: GatewayError, octets: bytes) -> GatewayError:
    """`error`, raised because `octets` do not begin an HTTP response, with the name of what they do begin."""
    if error.reason is not Reason.HTTP_PROTOCOL_ERROR:
        return error
    if _TLS_RECORD.match(octets):
        kind = "an alert" if octets[0] == 0x15 else "a handshake"
        return GatewayError(Reason.UPSTREAM_SPEAKS_TLS, f"the app answered plain HTTP with {kind} of TLS")
    known = named(octets)
    if known is None:
        if not octets.startswith(b"HTTP/"):
            return error
        return GatewayError(error.reason, error.detail, wording=BROKEN_HEAD)
    what, reason, wording = known
    # Of an HTTP/2 frame nothing is printable, and how much of it came at once is chance.
    began = reason is Reason.UPSTREAM_SPEAKS_HTTP2
    detail = f"the app began with {what}" if began else f"{error.detail}: {what}"
    return GatewayError(reason, detail, wording=wording)


def words_of_tls(status: int, beginning: bytes) -> bytes | None:
    """Which words of a TLS server that refuses plain HTTP stand in an error answer; `beginning` is its body's."""
    if status != REFUSES_PLAIN_HTTP:
        return None
    return next((phrase for phrase in PLAIN_HTTP_REFUSED if phrase in beginning), None)
