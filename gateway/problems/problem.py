"""One failure of one request, with everything that is known about it, and its rendering.

A dead app is asked for again and again, and its refusal must not cost more than a request that is forwarded. So a
reply is composed once for each distinct case and remembered in two pieces, between which each request's id stands;
nothing is searched for or replaced in what was composed. Knows no event loop; what a page looks like is `page`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import NamedTuple
from urllib.parse import quote_from_bytes

import msgspec

from gateway.addresses import literal
from gateway.errors import GatewayError, GrpcStatus, Reason, Wording
from gateway.hostname import Target
from gateway.http.message import BY_LENGTH, Fields, RequestHead, ResponseHead, Section
from gateway.http.phrases import phrase_for
from gateway.http.validate import COMMON_METHODS, IDEMPOTENT
from gateway.printable import printable
from gateway.problems.frameworks import Fix, fixes
from gateway.problems.negotiation import Form, Intent, understand
from gateway.problems.page import CONTENT_SECURITY_POLICY, LIKELY, Shown, compose_page
from gateway.wordings import REJECTED

TYPE_BASE = "urn:sandbox-gateway:problem:"
"""Prefix of the RFC 9457 `type`: an identifier that is not meant to be fetched (section 3.1.1)."""
ALLOW = (b"Allow", b", ".join(COMMON_METHODS))
REMEMBERED = 256
"""Composed replies kept, and their field sections: 15 KiB for a page, a tenth of that for any other form."""

_BIND_FIXES = (Reason.CONNECTION_REFUSED, Reason.IPV4_ONLY_LISTENER)
"""Cured by another line in the app; the first check of each introduces the lines."""
_NAMES_HOST = frozenset(
    reason for reason in Reason if "{host}" in "".join((reason.row.title, reason.row.explanation, *reason.row.checks))
)
_PLACEHOLDER = re.compile(r"\[\{address\}\]|\{(?:port|sandbox|address|domain|host)\}")
"""An address goes with its brackets: an IPv4 one has none."""
_IPV4 = re.compile(r"[0-9]+(?:\.[0-9]+){3}")
_MAX_MESSAGE = 400
"""Characters of a gRPC message; many clients take 8 KiB of fields, and one may become twelve octets."""
_UNENCODED = bytes(octet for octet in range(0x20, 0x7F) if octet != ord("%"))
"""In a gRPC message, which is percent-encoded UTF-8 (gRPC over HTTP2, Status-Message)."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known of the request when it fails; everything but the id may be missing."""

    request_id: str
    head: RequestHead | None = None
    target: Target | None = None
    address: str = ""
    domain: str = ""
    """A domain served here, for texts that show what a hostname looks like."""
    public_port: int = 443
    """For links to other ports."""
    received: bytes = b""
    """What came of a head that could not be read."""
    passed_on: bool = False
    """The app may have got the request, or part of it, and acted on it."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=False):
    """The JSON form (RFC 9457), and the source of the other forms."""

    type: str
    title: str
    status: int
    detail: str
    reason: str
    sandbox: str | None
    port: int | None
    request_id: str
    observed: list[str]
    fix: list[str]


class _Case(NamedTuple):
    """Everything a reply depends on but its form and the request id."""

    reason: Reason
    detail: str
    observed: tuple[str, ...]
    process: str
    open_ports: tuple[int, ...]
    wording: Wording | None
    target: Target | None
    address: str
    domain: str
    public_port: int
    host: str
    """As asked for, where the texts name it."""
    method: str
    """Of a request answered with a page; GET for HEAD, whose answer has the length of a GET's."""
    may_retry: bool
    """This request may be sent again unchanged, by a program that asks nobody."""


@dataclass(frozen=True, slots=True, eq=False)
class _Reply:
    """A composed reply. Equal to itself only, so that it is a cheap key."""

    status: int
    phrase: bytes
    fields: Fields
    before: bytes
    after: bytes
    quote: Callable[[str], bytes] | None
    """The request id as it stands between; None: there is no body."""


def describe(error: GatewayError, circumstances: Circumstances) -> Problem:
    """The problem document for `error`, its row's texts filled in."""
    case = _case(error, circumstances, Form.JSON)
    return _document(case, _fixes(case), circumstances.request_id)


def render(error: GatewayError, circumstances: Circumstances) -> tuple[ResponseHead, bytes]:
    """The reply: a head whose Content-Length fits the body, and the body (not to be sent in answer to HEAD)."""
    intent = understand(circumstances.head, circumstances.received)
    reply = _compose(intent.form, _case(error, circumstances, intent.form))
    request_id = circumstances.request_id
    quote = reply.quote
    body = b"" if quote is None else b"".join((reply.before, quote(request_id), reply.after))
    section = _section(reply, intent, len(body))
    if not body or (circumstances.head is not None and circumstances.head.method == b"HEAD"):
        return ResponseHead(reply.status, reply.phrase, section), b""
    return ResponseHead(reply.status, reply.phrase, section, BY_LENGTH, len(body)), body


def marks(error: GatewayError) -> Fields:
    """The fields that only the gateway's own replies carry, whatever their status."""
    return _marks(error.reason, error.detail)


# --- what is known ------------------------------------------------------------------------------------------------


def _case(error: GatewayError, circumstances: Circumstances, form: Form) -> _Case:
    head, reason = circumstances.head, error.reason
    host, method = "", "GET" if form is Form.HTML else ""
    if head is not None:
        if reason in _NAMES_HOST:
            host = _shorten(head.authority.decode("latin-1"))
        if form is Form.HTML:
            method = "GET" if head.method == b"HEAD" else head.method.decode("latin-1")
    return _Case(
        reason,
        error.detail,
        error.observed,
        error.process,
        error.open_ports,
        error.wording,
        circumstances.target,
        circumstances.address,
        circumstances.domain,
        circumstances.public_port,
        host,
        method,
        reason.row.may_retry and not (circumstances.passed_on and (head is None or head.method not in IDEMPOTENT)),
    )


def _document(case: _Case, lines: Sequence[Fix], request_id: str) -> Problem:
    row, target = case.reason.row, case.target
    words = case.wording or row
    known = {
        "{port}": str(target.port) if target else "?",
        "{sandbox}": target.sandbox_id if target else "?",
        "{address}": case.address or "?",
        "[{address}]": literal(case.address) if case.address else "[?]",
        "{domain}": (target.domain if target else case.domain) or "<domain>",
        "{host}": case.host or "?",
    }
    observed = [fact for fact in (case.detail, *case.observed) if fact]
    if case.open_ports:
        observed.append(accepting(case.open_ports))
    return Problem(
        type=f"{TYPE_BASE}{row.name}",
        title=_fill(words.title, known),
        status=row.status,
        detail=_fill(words.explanation, known),
        reason=row.name,
        sandbox=target.sandbox_id if target else None,
        port=target.port if target else None,
        request_id=request_id,
        observed=observed,
        fix=[_fill(check, known) for check in _checks(case)] + [f"{fix.framework}: {fix.line}" for fix in lines],
    )


def _checks(case: _Case) -> tuple[str, ...]:
    checks = (case.wording or case.reason.row).checks
    return checks[1:] if case.reason in _BIND_FIXES and _dialed_over_ipv4(case) else checks


def _fixes(case: _Case) -> list[Fix]:
    if case.target is None or case.reason not in _BIND_FIXES or case.wording is REJECTED or _dialed_over_ipv4(case):
        return []
    return fixes(case.target.port, case.process)


def _dialed_over_ipv4(case: _Case) -> bool:
    """`gateway dev` on a machine without IPv6: 127.0.0.1 is reached however the app was bound, so that is not it."""
    return _IPV4.fullmatch(case.address) is not None


def accepting(ports: tuple[int, ...]) -> str:
    """The sentence about other ports of a sandbox, of which there is one at least."""
    if len(ports) == 1:
        return f"port {ports[0]} of this sandbox accepts connections"
    return f"ports {', '.join(map(str, ports[:-1]))} and {ports[-1]} of this sandbox accept connections"


def _fill(text: str, known: dict[str, str]) -> str:
    """In one pass: what is filled in may look like a placeholder itself."""
    return _PLACEHOLDER.sub(lambda found: known[found[0]], text) if "{" in text else text


def _shorten(text: str, length: int = 100) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


# --- the forms ----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=REMEMBERED)
def _compose(form: Form, case: _Case) -> _Reply:
    row, lines = case.reason.row, _fixes(case)
    problem = _document(case, lines, "")
    status = row.status
    fields = [*_marks(case.reason, case.detail), (b"Cache-Control", b"no-store")]
    if case.may_retry:
        fields.append((b"Retry-After", b"1"))
    if case.reason is Reason.METHOD_NOT_ALLOWED:
        # RFC 9110 section 15.5.6: the origin server MUST generate an Allow field in a 405.
        fields.append(ALLOW)
    if form is Form.PREFLIGHT:
        # Only an ok status lets the browser send the probe itself, whose answer then says what is wrong.
        return _Reply(204, phrase_for(204), fields, b"", b"", None)
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
        before, after = compose_page(problem, _shown(problem, case, lines))
        quote = _escaped
        fields.append((b"Content-Security-Policy", CONTENT_SECURITY_POLICY))
        fields.append((b"Referrer-Policy", b"no-referrer"))
    else:
        before, after = _text(problem, len(_checks(case)))
        quote = str.encode
    return _Reply(status, phrase_for(status), fields, before, after, quote)


@lru_cache(maxsize=REMEMBERED)
def _section(reply: _Reply, intent: Intent, length: int) -> Section:
    """The whole field section of a reply whose body has `length` octets."""
    fields = [*reply.fields, *intent.cors]
    if intent.vary:
        fields.append((b"Vary", intent.vary))
    if intent.media_type:
        fields.append((b"Content-Type", intent.media_type))
    if reply.status != 204:  # RFC 9110 section 8.6: a server MUST NOT send Content-Length in a 204
        fields.append((b"Content-Length", b"%d" % length))
    return Section(fields)


def _marks(reason: Reason, detail: str) -> Fields:
    # RFC 9209 section 2; details is a String of RFC 9651: printable ASCII with \ and " escaped.
    details = detail
    if not (detail.isascii() and detail.isprintable()):
        plain = detail.replace("“", "'").replace("”", "'")
        details = "".join(char if " " <= char <= "~" else "?" for char in plain)
    details = details.replace("\\", "\\\\").replace('"', '\\"')
    status = f"gateway; error={reason.row.proxy_error}"
    return [
        (b"X-Gateway-Error", reason.row.name.encode()),
        (b"Proxy-Status", (f'{status}; details="{details}"' if details else status).encode()),
    ]


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


def _grpc_status(problem: Problem, case: _Case) -> Fields:
    told = f"{problem.title}: {case.detail}" if case.detail else problem.title
    message = quote_from_bytes(_shorten(told, _MAX_MESSAGE).encode(), _UNENCODED)
    status = case.reason.row.grpc_status
    if status is GrpcStatus.UNAVAILABLE and not case.may_retry:
        status = (
            GrpcStatus.UNKNOWN
        )  # clients are set up to send again what is UNAVAILABLE; this call may have been made
    return [(b"Grpc-Status", b"%d" % status.value), (b"Grpc-Message", message.encode())]


def _shown(problem: Problem, case: _Case, lines: Sequence[Fix]) -> Shown:
    port = "" if case.public_port == 443 else f":{case.public_port}"
    target = case.target
    return Shown(
        reason=case.reason,
        wording=case.wording,
        method=case.method,
        checks=problem.fix[: len(problem.fix) - len(lines)],
        fixes=lines,
        elsewhere=[f"{Target(other, target.sandbox_id, target.domain).host}{port}" for other in case.open_ports]
        if target
        else [],
    )


def _escaped(request_id: str) -> bytes:
    return escape(request_id).encode()
