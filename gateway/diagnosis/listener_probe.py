"""What a client and a listener of this gateway agree on: the version of TLS, the protocol by ALPN, the version of HTTP.

Found out by asking the listener, as a browser would that offers everything; nothing is read off the settings, which say
what is offered and not what happens. No request is sent: over HTTP/2 the exchange ends with SETTINGS (RFC 9113 section
3.4), which also say whether WebSockets are taken (RFC 8441 section 3); over HTTP/1.1 with the handshake. Who is at the
other end is not checked: what an address answers is what is told.

Knows no sandbox, no record and no app.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.addresses import LOOPBACK, LOOPBACK4, Address, Bound, authority, bound_to, is_own
from gateway.config import Settings
from gateway.config.settings import Edge
from gateway.diagnosis.report import Downstream
from gateway.diagnosis.url import ParsedUrl
from gateway.http.h2 import frames
from gateway.http.h2.errors import ConnectionFault
from gateway.http.h2.settings import ENABLE_PUSH, PeerSettings

LISTENER_TIMEOUT: Final = 1.0
"""Seconds that all of it gets: it is on the same machine."""
OFFERED: Final = ("h2", "http/1.1")
"""By ALPN, as browsers do."""
_SETTING: Final = 6
"""Octets of one (RFC 9113 section 6.5.1)."""


class NotAsked(Exception):
    """There is nobody to ask; says why."""


class NotAnswered(Exception):
    """Who was asked has not told; says how that went."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Where clients come in; `is_tls` if TLS ends there."""

    bound: Bound
    is_tls: bool

    @property
    def address(self) -> tuple[Address, int]:
        """What this machine reaches it at."""
        address, port = self.bound
        if address is None:
            return (LOOPBACK if is_own(LOOPBACK) else LOOPBACK4), port
        if address.is_unspecified:
            return LOOPBACK4, port
        return address, port


def configured(settings: Settings) -> tuple[Listener, ...]:
    """The listeners of a gateway with these settings; those whose port the kernel chooses are unknown here."""
    edge = settings.edge
    by_kind = ((edge.listen, True), (edge.listen_plain, False))
    return tuple(
        Listener(bound_to(each.host, each.port), is_tls) for listens, is_tls in by_kind for each in listens if each.port
    )


def reached_by(listeners: Sequence[Listener], port: int, edge: Edge) -> Listener:
    """The one that a URL with `port` leads to: who listens at that port, or, if it is the public one, whom a balancer
    leads to; there, TLS goes before plain HTTP, as where there are both the plain one redirects. Raises NotAsked.
    """
    if not listeners:
        raise NotAsked("no listener of this gateway is known here")
    if edge.proxy_protocol == "require":
        raise NotAsked("this gateway listens to a balancer only, by the PROXY protocol")
    at_port = [each for each in listeners if each.bound[1] == port]
    if not at_port and port == edge.public_port:
        at_port = sorted(listeners, key=lambda each: not each.is_tls)
    if not at_port:
        raise NotAsked(f"this gateway does not listen at port {port}")
    return at_port[0]


def missed_by(asked: ParsedUrl, listeners: Sequence[Listener], edge: Edge) -> tuple[str, int] | None:
    """Why a browser given this URL would not come to the gateway's public port, or not with TLS; and the port that it
    should be given, with https.
    """
    port, public = asked.port_reached, edge.public_port
    if port is None:
        return None
    if asked.scheme in ("https", "wss") and port != public:
        return f"this URL goes to port {port}, and public URLs of this gateway to port {public}", public
    if asked.scheme in ("http", "ws"):
        ours = [each.is_tls for each in listeners if each.bound[1] == port]
        if all(ours) if ours else port == public:  # which is a balancer's then
            return f"port {port} speaks TLS, and this URL begins with {asked.scheme}://", port
    return None


async def negotiate(listener: Listener, server_name: str) -> Downstream:
    """What `listener` agrees on with whoever asks for `server_name`. Raises NotAnswered."""
    address, port = listener.address
    where = authority(address, port)
    try:
        async with asyncio.timeout(LISTENER_TIMEOUT):
            reader, writer = await asyncio.open_connection(
                str(address),
                port,
                ssl=_client_context() if listener.is_tls else None,
                server_hostname=server_name if listener.is_tls else None,
            )
            try:
                return await _greet(reader, writer, where)
            finally:
                writer.transport.abort()
    except TimeoutError:
        raise NotAnswered(f"{where} has not answered within {LISTENER_TIMEOUT:g} s") from None
    except (asyncio.IncompleteReadError, ConnectionResetError, BrokenPipeError):
        raise NotAnswered(f"{where} hung up before it had said what it speaks") from None
    except ssl.SSLError as error:
        raise NotAnswered(f"{where} has no TLS to offer: {error.reason or error}") from None
    except ConnectionFault as fault:
        raise NotAnswered(f"{where} broke HTTP/2: {fault.detail}") from None
    except OSError as error:
        raise NotAnswered(f"nothing answers at {where}: {os.strerror(error.errno) if error.errno else error}") from None


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, where: str) -> Downstream:
    tls: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
    version, alpn = (tls.version() or "", tls.selected_alpn_protocol() or "") if tls is not None else ("", "")
    if tls is not None and alpn != "h2":
        return Downstream(where, "HTTP/1.1", tls=version, alpn=alpn)
    # Without TLS nobody negotiates: who knows that HTTP/2 is spoken begins with it (RFC 9113 section 3.3).
    writer.write(frames.PREFACE + frames.settings([(ENABLE_PUSH, 0)]))
    header = await reader.readexactly(frames.HEADER)
    size, kind, flags, stream_id = frames.parse_header(header)
    if (kind, flags, stream_id) != (frames.SETTINGS, 0, 0) or size > frames.MAX_FRAME or size % _SETTING:
        if header.startswith(b"HTTP/1.") and tls is None:
            return Downstream(where, "HTTP/1.1")
        raise NotAnswered(f"{where} answered what is neither HTTP/2 nor HTTP/1.1")
    settings = PeerSettings()
    settings.take(await reader.readexactly(size), from_server=True)
    connect = settings.connect_protocol
    if tls is None:
        return Downstream(where, "HTTP/1.1", prior_knowledge=True, extended_connect=connect)
    return Downstream(where, "HTTP/2", tls=version, alpn=alpn, extended_connect=connect)


def _client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(OFFERED))
    return context


def sentence(spoken: Downstream) -> str:
    """What was agreed on, in a line."""
    if not spoken.tls:
        taken = "is taken, too" if spoken.prior_knowledge else "is not"
        return f"{spoken.listener}: without TLS, {spoken.protocol}; HTTP/2 with prior knowledge (h2c) {taken}"
    by_alpn = f"{spoken.alpn} by ALPN" if spoken.alpn else "nothing by ALPN"
    line = f"{spoken.listener}: {spoken.tls}, {by_alpn}: {spoken.protocol}"
    return f"{line}, for WebSockets too (extended CONNECT)" if spoken.extended_connect else line
