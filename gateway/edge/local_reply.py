"""Replies of the gateway's own that are no failure of an exchange: to heads that cannot be read, on listeners that
forward nothing, to probes, to an OPTIONS that goes no further. How a failure is shown, problems/ decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gateway.errors import GatewayError, Reason
from gateway.hostname import HostnameParser
from gateway.http.message import FieldSection, RequestHead, ResponseHead
from gateway.observe.access_log import MAX_TEXT, AccessRecord, shown
from gateway.observe.telemetry import LOCAL_REPLY
from gateway.problems.problem import RequestContext
from gateway.problems.reply import ALLOW, render

if TYPE_CHECKING:
    from gateway.edge.edge import Edge
    from gateway.edge.forwarded import Peer

LocalReply = Callable[[RequestHead], GatewayError | ResponseHead]
"""Answers every request of a listener that forwards nothing: a problem, or a ready reply without a body."""


def local_answer(
    edge: Edge, peer: Peer, request: RequestHead, answer: GatewayError | ResponseHead
) -> tuple[ResponseHead, bytes, bytes]:
    """As `reply`, of a listener that forwards nothing: a balancer's check is answered there, too, and not recorded."""
    check = edge.health.answer(request, answer) if isinstance(answer, GatewayError) else None
    if check is None:
        return reply(edge, peer, request, answer)
    head, body = check
    return head, body, edge.ids.new()


def reply(
    edge: Edge, peer: Peer, request: RequestHead | None, answer: GatewayError | ResponseHead, received: bytes = b""
) -> tuple[ResponseHead, bytes, bytes]:
    """The head and body of `answer`, recorded, and the id it is recorded under; `request` is None if its head could not
    be read: it is in `received`.
    """
    request_id = (peer.ids or edge.ids).new()
    client = peer.client(request) if request is not None else None
    if isinstance(answer, GatewayError):
        reason, detail = str(answer.reason), answer.detail
        domain = edge.example_domain if request is None else edge.domain_near(request.authority)
        known = RequestContext(request_id.decode(), request, domain=domain, received=received)
        head, body = render(answer, known)
    else:
        reason, detail = "", ""
        head, body = answer, b""
    section = request.section if request is not None else None
    access = AccessRecord(
        time=int(time.time() * 1e3) / 1e3,
        request_id=request_id.decode(),
        remote=peer.text if client is None else str(client),
        method=request.method.decode() if request else "-",
        host=section.host if section else "-",
        path=request.target[:MAX_TEXT].partition(b"?")[0].decode() if request else "-",
        protocol=request.protocol if request else peer.protocol,
        status=head.status,
        duration_ms=0.0,
        first_byte_ms=0.0,
        received=0,
        sent=len(body),
        reason=reason,
        detail=shown(detail),
        proxy=peer.proxy,
        tls=peer.tls,
        user_agent=section.user_agent if section else "",
        trace_id=section.trace_parent.trace_id if section and section.trace_parent else "",
        client_request_id=peer.unused_request_id(request, request_id) if request else "",
        head_received=request.octets if request else 0,
        worker=edge.telemetry.worker,
    )
    edge.telemetry.exchange_ended(access, LOCAL_REPLY)
    return head, body, request_id


def ready() -> ResponseHead:
    """The answer to a probe (X-Gateway-Probe) of a target that accepts connections: no body, not from the app."""
    fields = [
        (b"X-Gateway-Probe", b"ready"),
        (b"Proxy-Status", b"gateway"),
        (b"Cache-Control", b"no-store"),
        (b"Vary", b"*"),  # a service worker's cache heeds no Cache-Control, and would hold this for the app's page
    ]
    return ResponseHead(204, FieldSection.of(fields))


def options() -> ResponseHead:
    """The answer to OPTIONS of whoever is its final recipient (RFC 9110 section 9.3.7). What of this an app supports is
    not known here; every other method passes, too.
    """
    return ResponseHead(200, FieldSection.of([ALLOW, (b"Proxy-Status", b"gateway"), (b"Content-Length", b"0")]))


def plain_on_tls(request: RequestHead) -> GatewayError:
    """The local reply to plain HTTP on a TLS port."""
    return GatewayError(Reason.PLAIN_HTTP_ON_TLS_PORT, f"use https://{request.authority.decode('latin-1')}")


def redirected_from_plain_on_tls(domains: Sequence[str], public_port: int) -> LocalReply:
    """As `plain_on_tls`, but a name of ours is sent on: where the TLS port is the public one (`gateway dev`)."""
    redirect = redirect_to_https(domains, public_port)

    def answer(request: RequestHead) -> GatewayError | ResponseHead:
        answer = redirect(request)
        return plain_on_tls(request) if isinstance(answer, GatewayError) else answer

    return answer


def redirect_to_https(domains: Sequence[str], public_port: int) -> LocalReply:
    """The local replies of a `plain = "redirect"` listener: 308 keeps the method (RFC 9110 section 15.4.9).

    Only a name under `domains` is sent on its way: with whatever Host names, anybody's links would lead anywhere and
    look like ours. A name there that is no sandbox's is told so over https.
    """
    suffix = b"" if public_port == 443 else b":%d" % public_port
    parser = HostnameParser(domains)

    def redirect(request: RequestHead) -> GatewayError | ResponseHead:
        try:
            parser.parse(request.authority.decode("latin-1"))
        except GatewayError as error:
            if error.reason is Reason.UNKNOWN_DOMAIN:
                return GatewayError(error.reason, error.detail)
        name = request.authority.partition(b":")[0]
        location = b"https://" + name + suffix + (request.target if request.target != b"*" else b"/")
        return ResponseHead(308, FieldSection.of([(b"Location", location), (b"Content-Length", b"0")]))

    return redirect
