"""The gateway's own reply to a request that failed: a problem in the form that its sender can use.

A dead app is asked for again and again, and its refusal must not cost more than a request that is forwarded. So a
reply is composed once for each distinct case and remembered in two pieces, between which each request's id stands;
nothing is searched for or replaced in what was composed. Knows no event loop; what a page looks like is `page`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from urllib.parse import quote_from_bytes

import msgspec

from gateway.errors import GatewayError, GrpcStatus, Reason
from gateway.http.message import BY_LENGTH, Fields, FieldSection, ResponseHead
from gateway.http.validate import COMMON_METHODS
from gateway.printable import printable, printable_ascii, shorten
from gateway.problems.negotiation import Form, Intent, negotiate
from gateway.problems.page import CONTENT_SECURITY_POLICY, LIKELY, compose_page
from gateway.problems.problem import Case, Problem, RequestContext, case_of

ALLOW = (b"Allow", b", ".join(COMMON_METHODS))
REMEMBERED = 256
"""Composed replies kept, and their field sections: 15 KiB for a page, a tenth of that for any other form."""

_MAX_MESSAGE = 400
"""Characters of a gRPC message; many clients take 8 KiB of fields, and one may become twelve octets."""
_UNENCODED = bytes(octet for octet in range(0x20, 0x7F) if octet != ord("%"))
"""In a gRPC message, which is percent-encoded UTF-8 (gRPC over HTTP2, Status-Message)."""


@dataclass(frozen=True, slots=True, eq=False)
class _Reply:
    """A composed reply. Equal to itself only, so that it is a cheap key."""

    status: int
    fields: Fields
    before: bytes
    after: bytes
    quote: Callable[[str], bytes] | None
    """The request id as it stands between; None: there is no body."""


def render(error: GatewayError, context: RequestContext) -> tuple[ResponseHead, bytes]:
    """The reply: a head whose Content-Length fits the body, and the body (not to be sent in answer to HEAD)."""
    intent = negotiate(context.head, context.received)
    reply = _compose(intent.form, case_of(error, context, for_page=intent.form is Form.HTML))
    request_id = context.request_id
    quote = reply.quote
    body = b"" if quote is None else b"".join((reply.before, quote(request_id), reply.after))
    section = _section(reply, intent, len(body))
    if not body or (context.head is not None and context.head.method == b"HEAD"):
        return ResponseHead(reply.status, section), b""
    return ResponseHead(reply.status, section, BY_LENGTH, len(body)), body


def marker_fields(reason: Reason, detail: str) -> Fields:
    """The fields that only the gateway's own replies carry, whatever their status."""
    # RFC 9209 section 2; details is a String of RFC 9651: printable ASCII with \ and " escaped.
    details = printable_ascii(detail.replace("“", "'").replace("”", "'"), "?")
    details = details.replace("\\", "\\\\").replace('"', '\\"')
    status = f"gateway; error={reason.row.proxy_error}"
    return [
        (b"X-Gateway-Error", reason.row.name.encode()),
        (b"Proxy-Status", (f'{status}; details="{details}"' if details else status).encode()),
    ]


@lru_cache(maxsize=REMEMBERED)
def _compose(form: Form, case: Case) -> _Reply:
    problem = case.problem("")
    status = problem.status
    fields = [*marker_fields(case.reason, case.detail), (b"Cache-Control", b"no-store")]
    if case.may_retry:
        fields.append((b"Retry-After", b"1"))
    if case.reason is Reason.METHOD_NOT_ALLOWED:
        # RFC 9110 section 15.5.6: the origin server MUST generate an Allow field in a 405.
        fields.append(ALLOW)
    if form is Form.PREFLIGHT:
        # Only an ok status lets the browser send the probe itself, whose answer then says what is wrong.
        return _Reply(204, fields, b"", b"", None)
    fields.append((b"X-Content-Type-Options", b"nosniff"))
    before = after = b""
    quote: Callable[[str], bytes] | None = None
    if form is Form.GRPC:
        status = 200  # "PROTOCOL-HTTP2": whatever has gone wrong, the status of HTTP is 200
        fields += _grpc_status(problem, case)
    elif form is Form.JSON:
        before, after = _json(problem)
        quote = msgspec.json.encode
    elif form is Form.HTML:
        before, after = compose_page(problem, case)
        quote = _escaped
        fields.append((b"Content-Security-Policy", CONTENT_SECURITY_POLICY))
        fields.append((b"Referrer-Policy", b"no-referrer"))
    else:
        before, after = _text(problem, len(case.checks))
        quote = str.encode
    return _Reply(status, fields, before, after, quote)


@lru_cache(maxsize=REMEMBERED)
def _section(reply: _Reply, intent: Intent, length: int) -> FieldSection:
    """The whole field section of a reply whose body has `length` octets."""
    fields = [*reply.fields, *intent.cors]
    if intent.vary:
        fields.append((b"Vary", intent.vary))
    if intent.media_type:
        fields.append((b"Content-Type", intent.media_type))
    if reply.status != 204:  # RFC 9110 section 8.6: a server MUST NOT send Content-Length in a 204
        fields.append((b"Content-Length", b"%d" % length))
    return FieldSection.of(fields)


def _json(problem: Problem) -> tuple[bytes, bytes]:
    """The document before and after the value of `request_id`."""
    members = {name: getattr(problem, name) for name in problem.__struct_fields__}
    names = list(members)
    at = names.index("request_id")
    first = msgspec.json.encode({name: members[name] for name in names[:at]})
    last = msgspec.json.encode({name: members[name] for name in names[at + 1 :]})
    return first[:-1] + b',"request_id":', b"," + last[1:]


def _text(problem: Problem, checks: int) -> tuple[bytes, bytes]:
    """For a terminal. It begins with number and word, which neither a script nor a style sheet may."""
    lines = [f"{problem.status} {problem.title}", "", problem.detail]
    lines += [f"Observed: {fact}." for fact in problem.observed]
    lines.append("")
    lines += [f"  - {fix}" for fix in problem.fix[: checks + LIKELY]]
    lines += ["", f"reason: {problem.reason}   request id: "]
    return "\n".join(map(printable, lines)).encode(), b"\n"


def grpc_trailers(error: GatewayError, context: RequestContext) -> Fields:
    """How a gRPC call ends that has been answered in part: nobody sends it again by itself (gRPC's design A6: it is
    "committed"), so what is not there any more is UNAVAILABLE, whatever became of the call.
    """
    case = case_of(error, context, for_page=False)
    broken = case.reason is Reason.HTTP_RESPONSE_INCOMPLETE
    status = GrpcStatus.UNAVAILABLE if broken else case.reason.row.grpc_status
    return [*_grpc_fields(status, case.problem(""), case), (b"X-Gateway-Error", str(case.reason).encode())]


def _grpc_fields(status: GrpcStatus, problem: Problem, case: Case) -> Fields:
    told = f"{problem.title}: {case.detail}" if case.detail else problem.title
    message = quote_from_bytes(f"{shorten(told, _MAX_MESSAGE)} ({case.reason})".encode(), _UNENCODED)
    return [(b"Grpc-Status", b"%d" % status.value), (b"Grpc-Message", message.encode())]


def _grpc_status(problem: Problem, case: Case) -> Fields:
    status = case.reason.row.grpc_status
    if status is GrpcStatus.UNAVAILABLE and not case.may_retry:
        status = (
            GrpcStatus.UNKNOWN
        )  # clients are set up to send again what is UNAVAILABLE; this call may have been made
    return _grpc_fields(status, problem, case)


def _escaped(request_id: str) -> bytes:
    return escape(request_id).encode()
