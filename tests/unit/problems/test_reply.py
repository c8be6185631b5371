"""Problems as they are sent: every reason in every form, and nothing foreign left alive in any of them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

from gateway.errors import Failure, GatewayError, GrpcStatus, Reason
from gateway.hostname import Target
from gateway.http import serialize
from gateway.http.head_parser import HeadLimits, parse_request_head
from gateway.http.message import Framing, RequestHead, RequestSection, ResponseHead
from gateway.problems import reply as reply_module
from gateway.problems.negotiation import Form
from gateway.problems.page import LIKELY
from gateway.problems.problem import TYPE_BASE, RequestContext, describe
from gateway.problems.reply import REMEMBERED, marker_fields, render

ASKING = {
    Form.HTML: "Sec-Fetch-Mode: navigate\r\n",
    Form.JSON: "Accept: application/json\r\n",
    Form.TEXT: "Accept: */*\r\n",
    Form.GRPC: "Content-Type: application/grpc+proto\r\n",
    Form.PREFLIGHT: (
        "Origin: https://shop.example\r\nAccess-Control-Request-Method: GET\r\n"
        "Access-Control-Request-Headers: x-gateway-probe\r\n"
    ),
}
SENT_AS = {
    Form.HTML: b"text/html; charset=utf-8",
    Form.JSON: b"application/problem+json",
    Form.TEXT: b"text/plain; charset=utf-8",
    Form.GRPC: b"application/grpc+proto",
    Form.PREFLIGHT: None,
}
WITH_BODY = (Form.HTML, Form.JSON, Form.TEXT)
TARGET = Target(5000, "abc123", "sandbox.example.dev")
DETAIL = "connect to [fd00::5]:5000: refused after 0.4 ms"


def asked(form: Form, fields: str = "", method: str = "") -> RequestHead:
    method = method or ("OPTIONS" if form is Form.PREFLIGHT else "GET")
    block = f"{method} /x?token=secret HTTP/1.1\r\nHost: {TARGET.host}\r\n{ASKING[form]}{fields}\r\n"
    return parse_request_head(block.encode(), HeadLimits())


def circumstances(form: Form, fields: str = "", method: str = "", request_id: str = "req-1") -> RequestContext:
    return RequestContext(request_id, asked(form, fields, method), TARGET, "fd00::5", "sandbox.example.dev")


def sent(reason: Reason, form: Form, fields: str = "", method: str = "") -> tuple[ResponseHead, bytes]:
    return render(Failure(reason, DETAIL, observed=("a second fact",)).error(), circumstances(form, fields, method))


every_reason = pytest.mark.parametrize("reason", Reason, ids=str)
every_form = pytest.mark.parametrize("form", Form, ids=lambda form: form.name)
with_body = pytest.mark.parametrize("form", WITH_BODY, ids=lambda form: form.name)


# --- dialed over IPv4, as `gateway dev` does without IPv6 -------------------------------------------------------------


@with_body
def test_a_refusal_over_ipv4_says_nothing_of_ipv6(form: Form) -> None:
    error = GatewayError(Reason.CONNECTION_REFUSED, "connect to 127.0.0.1:5000: refused after 0.4 ms")
    known = RequestContext("req-1", asked(form), TARGET, "127.0.0.1", TARGET.domain)
    head, body = render(error, known)
    assert head.status == 502
    text = body.decode()
    assert "127.0.0.1:5000" in text
    for word in ("IPv6", "0.0.0.0", "[127", "`::`", "host=", "--host"):
        assert word not in text
    problem = describe(error, known)
    assert problem.detail.endswith("nothing accepts connections on 127.0.0.1:5000.")
    assert problem.fix[0].startswith("Is the process running?")


# --- every reason, every form -------------------------------------------------------------------------------------


@every_reason
@every_form
def test_every_reply_carries_its_markers(reason: Reason, form: Form) -> None:
    head, body = sent(reason, form)
    row = reason.row
    assert head.status == {Form.GRPC: 200, Form.PREFLIGHT: 204}.get(form, row.status)
    assert head.get(b"x-gateway-error") == row.name.encode()
    assert head.get(b"proxy-status") == f'gateway; error={row.proxy_error}; details="{DETAIL}"'.encode()
    assert head.get(b"content-type") == SENT_AS[form]
    assert head.get(b"cache-control") == b"no-store"
    assert head.get(b"x-content-type-options") == (None if form is Form.PREFLIGHT else b"nosniff")
    assert head.get(b"content-length") == (None if form is Form.PREFLIGHT else str(len(body)).encode())
    assert bool(body) is (form in WITH_BODY)
    assert (head.framing, head.content_length) == (Framing.LENGTH if body else Framing.NONE, len(body))
    octets = b"".join(serialize.response_head(head, b"req-1", False, None))
    assert octets.count(b"\r\nX-Request-Id: req-1\r\n") == octets.lower().count(b"\r\nx-request-id:") == 1
    names = [name.lower() for name, _ in head.fields]
    assert len(set(names)) == len(names)
    assert head.fields[:2] == marker_fields(reason, DETAIL)


@every_reason
@every_form
def test_no_placeholder_is_left(reason: Reason, form: Form) -> None:
    head, body = sent(reason, form)
    text = re.sub(r"<(style|script)>.*?</\1>", "", body.decode(), flags=re.DOTALL)
    for said in (text, (head.get(b"grpc-message") or b"").decode()):
        assert not re.search(r"\{(port|sandbox|address|host|domain)", said)
        assert "$" not in said
        assert "None" not in said


@every_reason
def test_the_document_has_exactly_the_promised_keys(reason: Reason) -> None:
    _, body = sent(reason, Form.JSON)
    document = json.loads(body)
    promised = ["type", "title", "status", "detail", "reason", "sandbox", "port", "request_id", "observed", "fix"]
    assert list(document) == promised
    assert document["type"] == f"{TYPE_BASE}{reason}"
    assert (document["status"], document["reason"]) == (reason.row.status, str(reason))
    assert (document["sandbox"], document["port"], document["request_id"]) == ("abc123", 5000, "req-1")
    assert document["observed"] == [DETAIL, "a second fact"]
    assert document["title"] and document["detail"]


@every_reason
def test_the_text_says_what_the_document_says(reason: Reason) -> None:
    problem = describe(GatewayError(reason, DETAIL), circumstances(Form.TEXT))
    _, body = render(GatewayError(reason, DETAIL), circumstances(Form.TEXT))
    lines = body.decode().splitlines()
    assert lines[0] == f"{problem.status} {problem.title}"
    assert problem.detail in lines
    assert f"Observed: {DETAIL}." in lines
    told = [line.removeprefix("  - ") for line in lines if line.startswith("  - ")]
    assert told == problem.fix[: len(reason.row.checks) + LIKELY]
    assert lines[-1] == f"reason: {reason}   request id: req-1"
    assert body.endswith(b"\n")


@every_reason
def test_the_text_is_neither_a_script_nor_a_style_sheet(reason: Reason) -> None:
    """Where nosniff is not known: a number and a word are a syntax error in one and no rule in the other."""
    _, body = sent(reason, Form.TEXT)
    assert re.match(rb"[45][0-9]{2} [A-Z]", body)
    assert b"{" not in body and b"*/" not in body


@every_reason
@every_form
def test_retry_after_is_sent_only_where_a_retry_may_help(reason: Reason, form: Form) -> None:
    head, _ = sent(reason, form)
    assert (head.get(b"retry-after") is not None) is reason.row.may_retry


@every_reason
def test_what_is_unavailable_may_be_sent_again(reason: Reason) -> None:
    """gRPC's clients are set up to do so without asking anybody."""
    row = reason.row
    assert row.may_retry or row.grpc_status is not GrpcStatus.UNAVAILABLE


@every_reason
@every_form
@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "GET"])
def test_what_was_passed_on_may_be_sent_again_if_it_is_idempotent(reason: Reason, form: Form, method: str) -> None:
    known = replace(circumstances(form, method="OPTIONS" if form is Form.PREFLIGHT else method), passed_on=True)
    head, _ = render(GatewayError(reason, DETAIL), known)
    may_retry = reason.row.may_retry and (method in ("PUT", "GET") or form is Form.PREFLIGHT)
    assert (head.get(b"retry-after") is not None) is may_retry
    if form is Form.GRPC and not may_retry:
        assert head.get(b"grpc-status") != b"%d" % GrpcStatus.UNAVAILABLE.value


@every_reason
@every_form
def test_allow_is_sent_with_405_only(reason: Reason, form: Form) -> None:
    head, _ = sent(reason, form)
    allow = head.get(b"allow")
    assert (allow is not None) is (reason.row.status == 405)
    if allow is not None:
        methods = allow.split(b", ")
        assert {b"GET", b"HEAD", b"POST"} <= set(methods)
        assert not {b"CONNECT", b"TRACE"} & set(methods)


@every_reason
@with_body
def test_the_answer_to_head_has_the_length_and_no_body(reason: Reason, form: Form) -> None:
    head, nothing = sent(reason, form, method="HEAD")
    whole, body = sent(reason, form, method="GET")
    assert nothing == b""
    assert (head.framing, head.content_length) == (Framing.NONE, 0)
    assert head.get(b"content-length") == str(len(body)).encode()
    assert head.fields == whole.fields


# --- gRPC ---------------------------------------------------------------------------------------------------------


@every_reason
def test_grpc_gets_a_status_of_its_own(reason: Reason) -> None:
    head, body = sent(reason, Form.GRPC)
    assert body == b""
    assert head.get(b"content-length") == b"0"
    assert GrpcStatus(int(head.get(b"grpc-status") or b"")) is reason.row.grpc_status
    message = head.get(b"grpc-message")
    assert message is not None
    problem = describe(GatewayError(reason, DETAIL), circumstances(Form.JSON))
    assert unquote_to_bytes(message).decode() == f"{problem.title}: {DETAIL} ({reason})"


@pytest.mark.parametrize(
    ("detail", "message"),
    [
        ("100% of it", b"100%25 of it"),
        ("“ÿ”", b"%E2%80%9C%C3%BF%E2%80%9D"),
        ("a\r\nb\x7f", b"a%0D%0Ab%7F"),
        ("~ !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}", b"~ !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}"),
    ],
)
def test_a_grpc_message_is_encoded_as_grpc_says(detail: str, message: bytes) -> None:
    head, _ = render(GatewayError(Reason.PROXY_INTERNAL_ERROR, detail), circumstances(Form.GRPC))
    assert head.get(b"grpc-message") == (
        b"Something went wrong inside the gateway: " + message + b" (proxy_internal_error)"
    )


def test_a_grpc_message_stays_short() -> None:
    head, _ = render(GatewayError(Reason.HTTP_PROTOCOL_ERROR, "\u20ac" * 10_000), circumstances(Form.GRPC))
    assert len(head.get(b"grpc-message") or b"") < 8 * 1024
    assert unquote_to_bytes(head.get(b"grpc-message") or b"").decode().endswith("… (http_protocol_error)")


# --- a repeat -----------------------------------------------------------------------------------------------------


@every_form
def test_a_repeat_is_the_same_but_for_the_request_id(form: Form) -> None:
    first, first_body = render(GatewayError(Reason.CONNECTION_REFUSED, DETAIL), circumstances(form, request_id="id-1"))
    again, again_body = render(GatewayError(Reason.CONNECTION_REFUSED, DETAIL), circumstances(form, request_id="id-2"))
    assert again.section is first.section  # composed once
    assert b"id-1" not in again_body
    assert again_body == first_body.replace(b"id-1", b"id-2")
    assert again_body.count(b"id-2") == (1 if form in WITH_BODY else 0)


@with_body
@pytest.mark.parametrize("request_id", ["5000", "abc123", "connection_refused", "$request_id", "\\1", "li", "", "\0"])
def test_an_id_that_resembles_other_text_changes_nothing_else(form: Form, request_id: str) -> None:
    error = GatewayError(Reason.CONNECTION_REFUSED, DETAIL)
    _, body = render(error, circumstances(form, request_id=request_id))
    _, other = render(error, circumstances(form, request_id="Zq9"))
    before, after = other.split(b"Zq9")
    assert body.startswith(before)
    assert body.endswith(after)
    between = body[len(before) : len(body) - len(after)]
    assert (json.loads(b'"%b"' % between) if form is Form.JSON else between.decode()) == request_id


@with_body
def test_a_longer_id_makes_a_longer_body(form: Form) -> None:
    for request_id in ("short", "x" * 128, "short"):
        head, body = render(GatewayError(Reason.OVERLOADED), circumstances(form, request_id=request_id))
        assert head.get(b"content-length") == str(len(body)).encode()
        assert head.content_length == len(body)


@with_body
def test_whatever_is_known_makes_another_reply(form: Form) -> None:
    """Everything a text may use: a reply remembered for one sandbox must never be sent for another."""
    fields: dict[str, Any] = {"detail": "d", "observed": ("o",), "process": "node", "open_ports": (3000,)}
    base = RequestContext("r", asked(form), TARGET, "fd00::5", "a.example")
    other = Target(5000, "def456", TARGET.domain)
    bodies = {
        render(error, known)[1]
        for error, known in [
            (GatewayError(Reason.CONNECTION_REFUSED), base),
            *((Failure(Reason.CONNECTION_REFUSED, **{name: value}).error(), base) for name, value in fields.items()),
            (GatewayError(Reason.IPV4_ONLY_LISTENER), base),
            (GatewayError(Reason.CONNECTION_REFUSED), RequestContext("r", asked(form), other, "fd00::5", "a.example")),
            (GatewayError(Reason.CONNECTION_REFUSED), RequestContext("r", asked(form), TARGET, "fd00::6", "a.example")),
            (GatewayError(Reason.INVALID_HOSTNAME), RequestContext("r", asked(form), None, "", "a.example")),
            (GatewayError(Reason.INVALID_HOSTNAME), RequestContext("r", asked(form), None, "", "b.example")),
        ]
    }
    assert len(bodies) == 10


def test_the_host_asked_for_makes_another_reply() -> None:
    bodies = set()
    for host in ("a.example", "b.example"):
        head = parse_request_head(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), HeadLimits())
        bodies.add(render(GatewayError(Reason.UNKNOWN_DOMAIN), RequestContext("r", head))[1])
    assert len(bodies) == 2


def test_what_is_remembered_is_bounded() -> None:
    for number in range(2 * REMEMBERED):
        render(GatewayError(Reason.CONNECTION_REFUSED, f"after {number} ms"), circumstances(Form.TEXT))
    for remembered in (reply_module._compose, reply_module._section):
        assert remembered.cache_info().currsize <= REMEMBERED


# --- what is not known --------------------------------------------------------------------------------------------


@every_reason
def test_a_request_that_could_not_be_read_still_gets_an_answer(reason: Reason) -> None:
    head, body = render(GatewayError(reason), RequestContext("req-1"))
    assert head.get(b"content-type") == SENT_AS[Form.TEXT]
    assert head.get(b"proxy-status") == f"gateway; error={reason.row.proxy_error}".encode()
    assert len(body) == head.content_length > 0
    assert not re.search(r"\{[a-z]+\}|None|Observed", body.decode())


@every_reason
@every_form
def test_a_request_without_target_still_gets_an_answer(reason: Reason, form: Form) -> None:
    _, body = render(GatewayError(reason), RequestContext("req-1", asked(form), domain="sandbox.example.dev"))
    assert not re.search(r"\{(port|sandbox|address|host|domain)\}", body.decode())
    if form is Form.JSON:
        document = json.loads(body)
        assert (document["sandbox"], document["port"], document["observed"]) == (None, None, [])
        assert len(document["fix"]) == len(reason.row.checks)


# --- foreign text -------------------------------------------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>",
    "${title} $title $$",
    "{port} {sandbox} {address} {host} {domain}",
    "a\r\nSet-Cookie: x=y\r\n\r\n<script>",
    "\x1b[31mred\x07\0\u2028",
    'quote " backslash \\ caf\u00e9 \U0001f600',
    '","request_id":"',
    "x" * 5000,
]
hostile = pytest.mark.parametrize("text", HOSTILE, ids=[text[:24] for text in HOSTILE])


def hostile_everywhere(text: str, form: Form) -> RequestContext:
    section = RequestSection(asked(form).section.field_lines, [], text.encode())
    head = RequestHead(b"GET", b"/", "HTTP/1.1", section)
    return RequestContext(text, head, Target(5000, text, text), text, text)


@hostile
@every_reason
def test_foreign_text_stays_text_in_a_document(reason: Reason, text: str) -> None:
    _, body = render(Failure(reason, text, observed=(text,)).error(), hostile_everywhere(text, Form.JSON))
    document = json.loads(body)
    assert (document["sandbox"], document["request_id"], document["observed"]) == (text, text, [text, text])


@hostile
@every_reason
def test_foreign_text_moves_no_cursor(reason: Reason, text: str) -> None:
    known = hostile_everywhere(text, Form.TEXT)
    plain = RequestContext("r", known.head, known.target, known.address, known.domain)
    _, body = render(Failure(reason, text, observed=(text,)).error(), plain)
    assert all(char.isprintable() for line in body.decode().split("\n") for char in line)


PROXY_STATUS = re.compile(rb'gateway; error=[a-z_]+; details="(?:[ !#-\[\]-~]|\\["\\])*"')
"""A List of one Item with two parameters (RFC 9651): a Token and a String."""


@hostile
@every_form
def test_proxy_status_is_a_structured_field_whatever_was_seen(text: str, form: Form) -> None:
    head, _ = render(GatewayError(Reason.HTTP_PROTOCOL_ERROR, text), circumstances(form))
    value = head.get(b"proxy-status")
    assert value is not None
    assert PROXY_STATUS.fullmatch(value)


@hostile
@every_form
def test_no_field_has_a_control_character(text: str, form: Form) -> None:
    head, _ = render(
        Failure(Reason.HTTP_PROTOCOL_ERROR, text, observed=(text,)).error(), hostile_everywhere(text, form)
    )
    for name, value in head.fields:
        assert not re.search(rb"[^!-~]", name)
        assert not re.search(rb"[^ -~]", value)


def test_typographic_quotation_marks_become_plain_ones_in_proxy_status() -> None:
    head, _ = render(GatewayError(Reason.INVALID_PORT, "“0” is none"), circumstances(Form.TEXT))
    assert head.get(b"proxy-status") == b"gateway; error=http_request_error; details=\"'0' is none\""


@every_form
def test_neither_the_query_nor_a_field_is_repeated(form: Form) -> None:
    head, body = sent(Reason.CONNECTION_REFUSED, form, "Cookie: session=secret\r\nAuthorization: secret\r\n")
    assert b"secret" not in body
    assert not any(b"secret" in value for _, value in head.fields)


# --- read by a page script ----------------------------------------------------------------------------------------


@every_form
def test_a_script_of_another_origin_may_read_why_it_failed(form: Form) -> None:
    head, _ = sent(
        Reason.CONNECTION_REFUSED, form, "" if form is Form.PREFLIGHT else "Origin: https://shop.example\r\n"
    )
    assert head.get(b"access-control-allow-origin") == b"https://shop.example"
    assert head.get(b"access-control-allow-credentials") == b"true"
    exposed = head.get(b"access-control-expose-headers")
    if form is Form.PREFLIGHT:
        assert head.get(b"access-control-allow-headers") == b"X-Gateway-Probe"
        return
    assert exposed is not None
    assert {b"X-Gateway-Error", b"Proxy-Status", b"X-Request-Id", b"Retry-After"} <= set(exposed.split(b", "))


@with_body
def test_without_an_origin_no_credentials_are_spoken_of(form: Form) -> None:
    head, _ = sent(Reason.CONNECTION_REFUSED, form)
    assert head.get(b"access-control-allow-origin") == b"*"
    assert head.get(b"access-control-allow-credentials") is None


@with_body
def test_two_origins_get_a_reply_each(form: Form) -> None:
    for origin in ("https://a.example", "https://b.example", "https://a.example"):
        head, _ = sent(Reason.CONNECTION_REFUSED, form, f"Origin: {origin}\r\n")
        assert head.get(b"access-control-allow-origin") == origin.encode()


@with_body
def test_a_cache_is_told_what_the_form_depends_on(form: Form) -> None:
    head, _ = sent(Reason.CONNECTION_REFUSED, form)
    vary = head.get(b"vary")
    assert vary is not None
    assert set(vary.split(b", ")) == {b"Accept", b"Sec-Fetch-Mode", b"Sec-Fetch-Dest", b"Origin"}


@with_body
def test_the_reply_to_a_probe_is_nobody_elses(form: Form) -> None:
    head, _ = sent(Reason.CONNECTION_REFUSED, form, "X-Gateway-Probe: 1\r\n")
    assert head.get(b"vary") == b"*"


@every_form
def test_a_policy_comes_with_a_page_only(form: Form) -> None:
    head, _ = sent(Reason.CONNECTION_REFUSED, form)
    assert (head.get(b"content-security-policy") is not None) is (form is Form.HTML)
    assert (head.get(b"referrer-policy") is not None) is (form is Form.HTML)
