"""One failure of one request, with everything that is known about it, and its rendering."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template

import msgspec

from gateway.errors import GatewayError, Reason, Row
from gateway.hostname import Target
from gateway.http import serialize
from gateway.http.message import Fields, Framing, RequestHead, ResponseHead, Section
from gateway.problems.negotiation import Form, choose

TYPE_BASE = "urn:sandbox-gateway:problem:"
"""Prefix of the RFC 9457 `type`: an identifier that is not meant to be fetched (section 3.1.1)."""

_PAGE = Template(files("gateway.problems").joinpath("page.html").read_text(encoding="utf-8"))
_CSP = b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_CODE = re.compile(r"`([^`]+)`")
_EXPOSED = b"X-Gateway-Error, Proxy-Status, X-Request-Id, Retry-After"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known of the request when it fails; everything but the id may be missing."""

    request_id: str
    head: RequestHead | None = None
    target: Target | None = None
    address: str = ""
    domain: str = ""
    """A domain served here, for texts that show what a hostname looks like."""


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


def describe(error: GatewayError, circumstances: Circumstances) -> Problem:
    """The problem document for `error`, its row's texts filled in."""
    row = error.reason.row
    target, head = circumstances.target, circumstances.head
    known = {
        "port": str(target.port) if target else "?",
        "sandbox": target.sandbox_id if target else "?",
        "address": circumstances.address or "?",
        "domain": (target.domain if target else circumstances.domain) or "<domain>",
        "host": _shorten(head.authority.decode("latin-1")) if head else "?",
    }
    return Problem(
        type=f"{TYPE_BASE}{row.name}",
        title=_fill(row.title, known),
        status=row.status,
        detail=_fill(row.explanation, known),
        reason=row.name,
        sandbox=target.sandbox_id if target else None,
        port=target.port if target else None,
        request_id=circumstances.request_id,
        observed=[fact for fact in (error.detail, *error.observed) if fact],
        fix=[_fill(check, known) for check in row.checks],
    )


def render(error: GatewayError, circumstances: Circumstances) -> tuple[ResponseHead, bytes]:
    """The reply: a head whose Content-Length fits the body, and the body (not to be sent in answer to HEAD)."""
    row = error.reason.row
    problem = describe(error, circumstances)
    form = choose(circumstances.head)
    if form is Form.JSON:
        body = msgspec.json.encode(problem)
    elif form is Form.HTML:
        body = _page(problem)
    else:
        body = _text(problem)
    fields = _fields(error, row, form, circumstances)
    fields.append((b"Content-Length", str(len(body)).encode()))
    head = ResponseHead(row.status, serialize.phrase_for(row.status), Section(fields))
    head.request_id = circumstances.request_id.encode()
    if circumstances.head is None or circumstances.head.method != b"HEAD":
        head.framing = Framing.LENGTH
        head.content_length = len(body)
    else:
        body = b""
    return head, body


def _fields(error: GatewayError, row: Row, form: Form, circumstances: Circumstances) -> Fields:
    fields: Fields = [
        (b"Content-Type", form.value.encode()),
        (b"X-Gateway-Error", row.name.encode()),
        (b"Proxy-Status", _proxy_status(error, row)),
        (b"Cache-Control", b"no-store"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Vary", b"Accept, Sec-Fetch-Mode, Sec-Fetch-Dest, Origin"),
    ]
    # A page script on another origin must be able to read why its fetch failed. Only on our own replies: what an app
    # shares is the app's decision.
    origin = circumstances.head.get(b"origin") if circumstances.head is not None else None
    if origin:
        fields.append((b"Access-Control-Allow-Origin", origin))
        fields.append((b"Access-Control-Allow-Credentials", b"true"))
    else:
        fields.append((b"Access-Control-Allow-Origin", b"*"))
    fields.append((b"Access-Control-Expose-Headers", _EXPOSED))
    if row.may_retry:
        fields.append((b"Retry-After", b"1"))
    if form is Form.HTML:
        fields.append((b"Content-Security-Policy", _CSP))
        fields.append((b"Referrer-Policy", b"no-referrer"))
    if error.reason is Reason.METHOD_NOT_ALLOWED:
        # RFC 9110 section 15.5.6: the origin server MUST generate an Allow field in a 405.
        fields.append((b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"))
    return fields


def _proxy_status(error: GatewayError, row: Row) -> bytes:
    # RFC 9209 section 2; details is a String of RFC 9651: printable ASCII with \ and " escaped.
    details = "".join(char if " " <= char <= "~" else "?" for char in error.detail.replace("“", "'").replace("”", "'"))
    details = details.replace("\\", "\\\\").replace('"', '\\"')
    status = f"gateway; error={row.proxy_error}"
    return (f'{status}; details="{details}"' if details else status).encode()


def _fill(text: str, known: dict[str, str]) -> str:
    for name, value in known.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _shorten(text: str) -> str:
    return text if len(text) <= 100 else text[:99] + "…"


def _text(problem: Problem) -> bytes:
    lines = [f"{problem.status} {problem.title}", "", problem.detail]
    lines += [f"Observed: {fact}." for fact in problem.observed]
    lines.append("")
    lines += [f"  - {check}" for check in problem.fix]
    lines += ["", f"reason: {problem.reason}   request id: {problem.request_id}", ""]
    return "\n".join(lines).encode()


def _page(problem: Problem) -> bytes:
    def prose(text: str) -> str:
        return _CODE.sub(r"<code>\1</code>", escape(text))

    return _PAGE.substitute(
        title=escape(problem.title),
        status=problem.status,
        detail=prose(problem.detail),
        observed="".join(f"<p class=observed>{escape(fact)}</p>" for fact in problem.observed),
        checks="".join(f"<li>{prose(check)}</li>" for check in problem.fix),
        reason=escape(problem.reason),
        request_id=escape(problem.request_id),
    ).encode()
