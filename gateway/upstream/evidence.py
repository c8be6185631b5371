"""What an app speaks when it does not speak HTTP: read from its first octets, or asked of it.

Owns the signatures of other protocols, the words with which TLS servers refuse plain HTTP, and the question put to an
app that hangs up without a word. Only what is certain is named; everything else is quoted as it came. Judges octets
and dials the address it is given, which the policy has let pass before; must not know requests or who made them.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING

from gateway.addresses import authority, family
from gateway.errors import GatewayError, Reason
from gateway.tasks import Tasks

if TYPE_CHECKING:
    from gateway.upstream.pool import Key

CHECK_TIMEOUT = 0.5
"""Seconds for dialing once more and hearing what answers a ClientHello."""
CHECKS_PER_SECOND = 10
REMEMBERED = 1.0
"""Seconds an answer is given again. With the rate above this also bounds how many are kept."""

_TLS_RECORD = re.compile(rb"[\x15\x16]\x03[\x00-\x04]")
"""An alert or a handshake record and its version, SSL 3.0 to TLS 1.3 (RFC 8446 section 5.1)."""
_NO_APPLICATION_PROTOCOL = 120
"""The alert of a server that speaks TLS but not HTTP (RFC 7301 section 3.2), as PostgreSQL 17 does."""

SIGNATURES: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), what)
    for pattern, what in (
        (rb"SSH-[12]\.", "an SSH server's banner"),
        (rb"-(?:ERR|NOAUTH|DENIED) ", "a Redis server's error"),
        (rb"220[ -]", "the greeting of an SMTP or FTP server"),
        (rb"\+OK[ \r]", "a POP3 server's greeting"),
        (rb"\* OK ", "an IMAP server's greeting"),
        # Length, sequence number 0, then protocol version 10 and a version number, or error 0xff (too many, blocked).
        (rb".{2}\x00\x00(?:\x0a[0-9]+\.|\xff.{2}(?:#|Host|Too many))", "a MySQL or MariaDB server's greeting"),
        (rb"E\x00\x00.{2}S", "a PostgreSQL server's error"),
        (rb"AMQP[\x00\x01]", "an AMQP broker's protocol header"),
        (rb"RFB 00[0-9]\.", "a VNC server's version"),
        (rb"INFO \{\"server_id\"", "a NATS server's greeting"),
        # RFC 9113 section 3.4: a server's first frame is SETTINGS, on stream 0. Here nginx's and gRPC's.
        (rb"\x00.{2}\x04[\x00\x01]\x00{4}", "an HTTP/2 server's SETTINGS frame, and the app does not take HTTP/1.1"),
        # What Next.js ends an upgrade's socket with, without a head (block-cross-site-dev.ts).
        (rb"Unauthorized\Z", "how the dev server of Next.js refuses a host that is not in allowedDevOrigins"),
    )
)
"""How a protocol begins, and its name in a sentence. MongoDB is missing: it answers in real HTTP."""

PLAIN_HTTP_REFUSED = (
    b"The plain HTTP request was sent to HTTPS port",  # nginx, OpenResty
    b"Client sent an HTTP request to an HTTPS server",  # Go's net/http, so Caddy and Traefik
    b"speaking plain HTTP to an SSL-enabled server port",  # Apache httpd
    b"This combination of host and port requires TLS",  # Tomcat, so Spring Boot
)
"""What a TLS server says, with status 400, to a plain request. Node, uvicorn, aiohttp, Flask, Python's http.server and
HAProxy say nothing: they hang up, which is what `TlsCheck` is for."""
REFUSES_PLAIN_HTTP = 400
"""The status of that answer."""


def judged(error: GatewayError, octets: bytes) -> GatewayError:
    """`error`, raised because `octets` do not begin an HTTP response, with the name of what they do begin."""
    if error.reason is not Reason.HTTP_PROTOCOL_ERROR:
        return error
    if _TLS_RECORD.match(octets):
        kind = "an alert" if octets[0] == 0x15 else "a handshake"
        return GatewayError(Reason.UPSTREAM_SPEAKS_TLS, f"the app answered plain HTTP with {kind} of TLS")
    for signature, what in SIGNATURES:
        if signature.match(octets):
            return GatewayError(error.reason, f"{error.detail}: {what}")
    return error


def refusal_of_plain_http(status: int, beginning: bytes) -> GatewayError | None:
    """The failure that an error answer really is if a TLS server made it; `beginning` is its body's."""
    if status == REFUSES_PLAIN_HTTP:
        for phrase in PLAIN_HTTP_REFUSED:
            if phrase in beginning:
                return GatewayError(Reason.UPSTREAM_SPEAKS_TLS, f"the app answered “{phrase.decode()}”")
    return None


class TlsCheck:
    """Asks whether an app that hung up on plain HTTP is a TLS server. `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started: deque[float] = deque(maxlen=CHECKS_PER_SECOND)  # when the latest checks began
        self._asking: dict[Key, asyncio.Task[bool]] = {}
        self._known: dict[Key, tuple[float, bool]] = {}  # until when, what; oldest first

    async def speaks_tls(self, key: Key, tasks: Tasks) -> bool:
        """Whether `key`, which has just been dialed, answers a ClientHello; False too if asking is not possible now.

        Takes `CHECK_TIMEOUT` at most. The one task that asks on behalf of everybody who wants to know is `tasks`'.
        """
        now = self._clock()
        known = self._known.get(key)
        if known is not None and now < known[0]:
            return known[1]
        asking = self._asking.get(key)
        if asking is None:
            if len(self._started) == CHECKS_PER_SECOND and now - self._started[0] < 1.0:
                return False
            self._started.append(now)
            (_, _, address), port = key
            asking = tasks.spawn(_answers_client_hello(address, port), f"TLS check {authority(address, port)}")
            self._asking[key] = asking
            asking.add_done_callback(partial(self._asked, key))
        # shield: one asker going away must not take the answer from the others.
        return await asyncio.shield(asking)

    async def explain(self, error: GatewayError, key: Key, tasks: Tasks) -> GatewayError:
        """`error`, a connection that ended without a word, or what it means if TLS was expected."""
        if not await self.speaks_tls(key, tasks):
            return error
        return GatewayError(Reason.UPSTREAM_SPEAKS_TLS, f"{error.detail}, and answers when TLS is spoken to it")

    def _asked(self, key: Key, task: asyncio.Task[bool]) -> None:
        del self._asking[key]
        now = self._clock()
        for old in [old for old, (until, _) in self._known.items() if until <= now]:
            del self._known[old]
        if not task.cancelled() and task.exception() is None:
            self._known[key] = (now + REMEMBERED, task.result())


async def _answers_client_hello(address: str, port: int) -> bool:
    loop = asyncio.get_running_loop()
    try:
        with socket.socket(family(address), socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            async with asyncio.timeout(CHECK_TIMEOUT):
                await loop.sock_connect(sock, (address, port))
                await loop.sock_sendall(sock, _client_hello())
                answer = await loop.sock_recv(sock, 64)
    except OSError:  # refused, reset, no time, no descriptor left: not an answer
        return False
    is_refusal = answer[:1] == b"\x15" and answer[6:7] == bytes([_NO_APPLICATION_PROTOCOL])
    return _TLS_RECORD.match(answer) is not None and not is_refusal


@cache
def _client_hello() -> bytes:
    """A ClientHello that offers what a browser would. The same one every time: no handshake is ever completed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is believed, and no certificate ever looked at
    context.set_alpn_protocols(["h2", "http/1.1"])
    outgoing = ssl.MemoryBIO()
    handshake = context.wrap_bio(ssl.MemoryBIO(), outgoing)
    try:
        handshake.do_handshake()
    except ssl.SSLWantReadError:  # it waits for the server's half, which is none of our business
        return outgoing.read()
    raise AssertionError("a handshake with nobody cannot end")
