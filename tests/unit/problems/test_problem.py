"""Problems as they are sent: every reason in every form, and nothing foreign left alive in any of them."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from gateway.errors import GatewayError, Reason
from gateway.hostname import Target
from gateway.http import serialize
from gateway.http.head_parser import HeadLimits, parse_request_head
from gateway.http.message import Framing, RequestHead, RequestSection, ResponseHead
from gateway.problems.negotiation import Form
from gateway.problems.problem import TYPE_BASE, Circumstances, describe, render

ASKING = {
    Form.HTML: "Sec-Fetch-Mode: navigate\r\n",
    Form.JSON: "Accept: application/json\r\n",
    Form.TEXT: "Accept: */*\r\n",
}
TARGET = Target(5000, "abc123", "sandbox.example.dev")
DETAIL = "connect to [fd00::5]:5000: refused after 0.4 ms"


def asked(form: Form, fields: str = "", method: str = "GET") -> RequestHead:
    block = f"{method} /x?token=secret HTTP/1.1\r\nHost: {TARGET.host}\r\n{ASKING[form]}{fields}\r\n"
    return parse_request_head(block.encode(), HeadLimits())


def circumstances(form: Form, fields: str = "", method: str = "GET") -> Circumstances:
    return Circumstances("req-1", asked(form, fields, method), TARGET, "fd00::5", "sandbox.example.dev")


def sent(reason: Reason, form: Form, fields: str = "", method: str = "GET") -> tuple[ResponseHead, bytes]:
    return render(GatewayError(reason, DETAIL, observed=("a second fact",)), circumstances(form, fields, method))


every_reason = pytest.mark.parametrize("reason", Reason, ids=str)
every_form = pytest.mark.parametrize("form", Form, ids=lambda form: form.name)


class Elements(HTMLParser):
    """The elements and the text of a page; fails on a tag that is closed without having been opened."""

    VOID = frozenset(("meta", "br", "hr", "img", "input", "link"))

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.attributes: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


# --- every reason, every form -------------------------------------------------------------------------------------


@every_reason
@every_form
def test_every_reply_carries_its_marks(reason: Reason, form: Form) -> None:
    head, body = sent(reason, form)
    row = reason.row
    assert (head.status, head.phrase) == (row.status, serialize.phrase_for(row.status))
    assert head.phrase
    assert head.get(b"x-gateway-error") == row.name.encode()
    assert head.get(b"proxy-status") == f'gateway; error={row.proxy_error}; details="{DETAIL}"'.encode()
    assert head.get(b"content-type") == form.value.encode()
    assert head.get(b"cache-control") == b"no-store"
    assert head.get(b"x-content-type-options") == b"nosniff"
    assert head.get(b"content-length") == str(len(body)).encode()
    assert (head.framing, head.content_length) == (Framing.LENGTH, len(body))
    octets = b"".join(serialize.response_head(head, head.framing, None))
    assert octets.count(b"\r\nX-Request-Id: req-1\r\n") == octets.lower().count(b"\r\nx-request-id:") == 1
    names = [name.lower() for name, _ in head.fields]
    assert len(set(names)) == len(names)


@every_reason
@every_form
def test_no_placeholder_is_left(reason: Reason, form: Form) -> None:
    _, body = sent(reason, form)
    text = re.sub(r"<style>.*</style>", "", body.decode(), flags=re.DOTALL)
    assert not re.search(r"\{(port|sandbox|address|host|domain)", text)
    assert "$" not in text
    assert "None" not in text


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
    assert len(document["fix"]) == len(reason.row.checks)
    assert document["title"] and document["detail"]


@every_reason
def test_the_page_says_what_the_document_says(reason: Reason) -> None:
    problem = describe(GatewayError(reason, DETAIL), circumstances(Form.HTML))
    _, body = render(GatewayError(reason, DETAIL), circumstances(Form.HTML))
    page = Elements(body.decode())
    text = " ".join(page.text.split())
    for said in (problem.title, problem.detail, DETAIL, *problem.fix, problem.reason, problem.request_id):
        assert " ".join(said.replace("`", "").split()) in text
    assert str(problem.status) in text
    assert page.seen.count("li") == len(problem.fix)
    assert "script" not in page.seen


@every_reason
def test_the_text_says_what_the_document_says(reason: Reason) -> None:
    problem = describe(GatewayError(reason, DETAIL), circumstances(Form.TEXT))
    _, body = render(GatewayError(reason, DETAIL), circumstances(Form.TEXT))
    lines = body.decode().splitlines()
    assert lines[0] == f"{problem.status} {problem.title}"
    assert problem.detail in lines
    assert f"Observed: {DETAIL}." in lines
    assert all(f"  - {check}" in lines for check in problem.fix)
    assert lines[-1] == f"reason: {reason}   request id: req-1"
    assert body.endswith(b"\n")


@every_reason
@every_form
def test_retry_after_is_sent_only_where_a_retry_may_help(reason: Reason, form: Form) -> None:
    head, _ = sent(reason, form)
    assert (head.get(b"retry-after") is not None) is reason.row.may_retry


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
@every_form
def test_the_answer_to_head_has_the_length_and_no_body(reason: Reason, form: Form) -> None:
    whole, body = sent(reason, form)
    head, nothing = sent(reason, form, method="HEAD")
    assert nothing == b""
    assert (head.framing, head.content_length) == (Framing.NONE, 0)
    assert head.get(b"content-length") == str(len(body)).encode()
    assert head.fields == whole.fields


# --- what is not known --------------------------------------------------------------------------------------------


@every_reason
def test_a_request_that_could_not_be_read_still_gets_an_answer(reason: Reason) -> None:
    head, body = render(GatewayError(reason), Circumstances("req-1"))
    assert head.get(b"content-type") == Form.TEXT.value.encode()
    assert head.get(b"proxy-status") == f"gateway; error={reason.row.proxy_error}".encode()
    assert len(body) == head.content_length > 0
    assert not re.search(r"\{[a-z]+\}|None|Observed", body.decode())


@every_reason
@every_form
def test_a_request_without_target_still_gets_an_answer(reason: Reason, form: Form) -> None:
    _, body = render(GatewayError(reason), Circumstances("req-1", asked(form), domain="sandbox.example.dev"))
    assert not re.search(r"\{(port|sandbox|address|host|domain)\}", body.decode())
    if form is Form.JSON:
        document = json.loads(body)
        assert (document["sandbox"], document["port"], document["observed"]) == (None, None, [])


def test_texts_show_what_a_hostname_looks_like_here() -> None:
    problem = describe(GatewayError(Reason.INVALID_HOSTNAME), Circumstances("r", asked(Form.TEXT), domain="a.example"))
    assert "5000-abc123.a.example" in problem.detail
    assert TARGET.host in problem.detail


# --- foreign text -------------------------------------------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "<!--<script>",
    "&lt;script&gt;",
    "`<b>`",
    "${title} $title $$",
    "{port} {sandbox} {address} {host} {domain}",
    "javascript:alert(1)",
    "\u2028<script>\u2029",
    "a\r\nSet-Cookie: x=y\r\n\r\n<script>",
    "\x1b[31mred\x07\0",
    'quote " backslash \\ caf\u00e9 \U0001f600',
    "x" * 5000,
]


hostile = pytest.mark.parametrize("text", HOSTILE, ids=[text[:24] for text in HOSTILE])


def hostile_everywhere(text: str, form: Form) -> Circumstances:
    section = RequestSection(asked(form).fields, [], text.encode(), True)
    head = RequestHead(b"GET", b"/", 1, section)
    return Circumstances(text, head, Target(5000, text, text), text, text)


@hostile
@every_reason
def test_no_foreign_text_becomes_markup(reason: Reason, text: str) -> None:
    _, body = render(GatewayError(reason, text, observed=(text,)), hostile_everywhere(text, Form.HTML))
    plain = render(GatewayError(reason, "x", observed=("x",)), hostile_everywhere("x", Form.HTML))[1]
    page, harmless = Elements(body.decode()), Elements(plain.decode())
    assert b"<script" not in body
    assert [tag for tag in page.seen if tag != "code"] == [tag for tag in harmless.seen if tag != "code"]
    assert page.attributes == harmless.attributes


@hostile
@every_reason
def test_foreign_text_stays_text_in_a_document(reason: Reason, text: str) -> None:
    _, body = render(GatewayError(reason, text, observed=(text,)), hostile_everywhere(text, Form.JSON))
    document = json.loads(body)
    assert (document["sandbox"], document["request_id"], document["observed"]) == (text, text, [text, text])


PROXY_STATUS = re.compile(rb'gateway; error=[a-z_]+; details="(?:[ !#-\[\]-~]|\\["\\])*"')
"""A List of one Item with two parameters (RFC 9651): a Token and a String."""


@hostile
@every_form
def test_proxy_status_is_a_structured_field_whatever_was_seen(text: str, form: Form) -> None:
    head, _ = render(GatewayError(Reason.HTTP_PROTOCOL_ERROR, text), circumstances(form))
    value = head.get(b"proxy-status")
    assert value is not None
    assert PROXY_STATUS.fullmatch(value)


def test_typographic_quotation_marks_become_plain_ones_in_proxy_status() -> None:
    head, _ = render(GatewayError(Reason.INVALID_PORT, "“0” is none"), circumstances(Form.TEXT))
    assert head.get(b"proxy-status") == b"gateway; error=http_request_error; details=\"'0' is none\""


def test_neither_the_query_nor_a_field_is_repeated() -> None:
    for form in Form:
        head, body = sent(Reason.CONNECTION_REFUSED, form, "Cookie: session=secret\r\nAuthorization: secret\r\n")
        assert b"secret" not in body
        assert not any(b"secret" in value for _, value in head.fields)


# --- read by a page script, shown by a browser --------------------------------------------------------------------


@every_form
def test_a_script_of_another_origin_may_read_why_it_failed(form: Form) -> None:
    head, _ = sent(Reason.CONNECTION_REFUSED, form, "Origin: https://shop.example\r\n")
    assert head.get(b"access-control-allow-origin") == b"https://shop.example"
    assert head.get(b"access-control-allow-credentials") == b"true"
    exposed = head.get(b"access-control-expose-headers")
    assert exposed is not None
    assert set(exposed.split(b", ")) == {b"X-Gateway-Error", b"Proxy-Status", b"X-Request-Id", b"Retry-After"}


@every_form
def test_without_an_origin_no_credentials_are_spoken_of(form: Form) -> None:
    head, _ = sent(Reason.CONNECTION_REFUSED, form)
    assert head.get(b"access-control-allow-origin") == b"*"
    assert head.get(b"access-control-allow-credentials") is None


@every_form
def test_a_cache_is_told_what_the_form_depends_on(form: Form) -> None:
    head, _ = sent(Reason.CONNECTION_REFUSED, form)
    vary = head.get(b"vary")
    assert vary is not None
    assert set(vary.split(b", ")) == {b"Accept", b"Sec-Fetch-Mode", b"Sec-Fetch-Dest", b"Origin"}


@every_form
def test_a_page_may_load_and_run_nothing(form: Form) -> None:
    head, body = sent(Reason.CONNECTION_REFUSED, form)
    policy = head.get(b"content-security-policy")
    assert (policy is not None) is (form is Form.HTML)
    if policy is not None:
        assert b"default-src 'none'" in policy
        assert b"script-src" not in policy
        assert not {"src", "href"} & set(Elements(body.decode()).attributes)
