"""The page: what it says, that nothing foreign comes alive in it, and that nothing but itself may run in it."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from gateway.errors import Blame, Failure, GatewayError, Reason
from gateway.hostname import Target
from gateway.http.head_parser import HeadLimits, parse_request_head
from gateway.http.message import RequestHead, RequestSection
from gateway.problems.frameworks import fixes
from gateway.problems.page import CONTENT_SECURITY_POLICY, LIKELY, WAITED_FOR
from gateway.problems.problem import RequestContext, describe
from gateway.problems.reply import render

TARGET = Target(5000, "abc123", "sandbox.example.dev")
DETAIL = "connect to [fd00::5]:5000: refused after 0.4 ms"
MOST = 18 * 1024

every_reason = pytest.mark.parametrize("reason", Reason, ids=str)


class Page(HTMLParser):
    """The elements and the text of a page; fails on a tag that is closed without having been opened."""

    VOID = frozenset(("meta", "br", "hr", "img", "input", "link"))

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.source = body.decode()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    @property
    def text(self) -> str:
        """What a person may read, with single blanks."""
        return " ".join("".join(text for tag, text in self.texts if tag not in ("script", "style")).split())

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [has for name, has in self.seen if name == tag and attributes.items() <= has.items()]

    def one(self, tag: str, **attributes: str) -> dict[str, str | None]:
        [found] = self.all(tag, **attributes)
        return found

    def content(self, tag: str) -> str:
        [text] = [text for name, text in self.texts if name == tag]
        return text


def asked(method: str = "GET") -> RequestHead:
    block = f"{method} /x?q=1 HTTP/1.1\r\nHost: {TARGET.host}\r\nSec-Fetch-Mode: navigate\r\n\r\n"
    return parse_request_head(block.encode(), HeadLimits())


def page(error: GatewayError | Reason, method: str = "GET", public_port: int = 443) -> Page:
    error = GatewayError(error, DETAIL) if isinstance(error, Reason) else error
    known = RequestContext("req-1", asked(method), TARGET, "fd00::5", "sandbox.example.dev", public_port)
    return Page(render(error, known)[1])


# --- what it says -------------------------------------------------------------------------------------------------


@every_reason
def test_it_says_what_the_document_says(reason: Reason) -> None:
    shown = page(reason)
    problem = describe(GatewayError(reason, DETAIL), RequestContext("req-1", asked(), TARGET, "fd00::5"))
    checks = problem.fix[: len(reason.row.checks)]
    for said in (problem.title, problem.detail, DETAIL, *checks, problem.reason, problem.request_id):
        assert " ".join(said.replace("`", "").split()) in shown.text
    assert str(problem.status) in shown.text
    assert "Answered by the gateway, not by the app." in shown.text
    assert shown.one("div", id="what")["data-reason"] == str(reason)


@every_reason
def test_it_is_a_well_ordered_document(reason: Reason) -> None:
    shown = page(Failure(reason, DETAIL, open_ports=(3000,)).error())
    assert shown.one("html")["lang"] == "en"
    for landmark in ("main", "footer", "h1", "title"):
        assert len(shown.all(landmark)) == 1
    headings = [int(tag[1]) for tag, _ in shown.seen if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert set(headings[1:]) == {2}
    names = [has["id"] for _, has in shown.seen if "id" in has]
    assert len(set(names)) == len(names)
    for section in shown.all("section"):
        assert section["aria-labelledby"] in names


@pytest.mark.parametrize("reason", [Reason.CONNECTION_REFUSED, Reason.IPV4_ONLY_LISTENER])
def test_the_likely_lines_are_seen_and_the_others_a_click_away(reason: Reason) -> None:
    shown = page(Failure(reason, DETAIL, process="node").error())
    at_once, _, folded = re.sub("</?b>", "", shown.source).partition("<details>")
    folded = folded.partition("</details>")[0]
    offered = fixes(5000, "node")
    for number, fix in enumerate(offered):
        line = f"<span>{fix.framework}</span><code>{_escaped(fix.line)}</code>"
        assert (line in at_once, line in folded) == (number < LIKELY, number >= LIKELY)
    assert len(shown.all("button", **{"class": "copy"})) == len(offered) > LIKELY
    named = [text for tag, text in shown.texts if tag == "summary"]
    assert [names.split(", ").count("Flask") for names in named] == [1]
    assert "in code" not in named[0]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")


def test_an_option_is_not_broken_in_two() -> None:
    assert "<code>flask run <b>--host</b>=:: <b>--port</b>=5000</code>" in page(Reason.CONNECTION_REFUSED).source


@pytest.mark.parametrize(
    ("fact", "told"),
    [
        ("file /home/משתמש/אפליקציה/x", "file /home/<bdi>משתמש</bdi>/<bdi>אפליקציה</bdi>/x"),
        ("the process is שרת-בדיקה 2 (pid 7)", "the process is <bdi>שרת-בדיקה</bdi> 2 (pid 7)"),
        ("begins with “مرحبا بكم <b> 220”", "begins with “<bdi>مرحبا بكم</bdi> &lt;b&gt; 220”"),
        ("begins with “Grüße 你好”", "begins with “Grüße 你好”"),
    ],
)
def test_what_is_read_from_right_to_left_moves_nothing_around_it(fact: str, told: str) -> None:
    assert f"<li>{told}</li>" in page(GatewayError(Reason.HTTP_PROTOCOL_ERROR, fact)).source


@pytest.mark.parametrize(("public_port", "suffix"), [(443, ""), (8443, ":8443")])
def test_open_ports_are_links(public_port: int, suffix: str) -> None:
    shown = page(Failure(Reason.CONNECTION_REFUSED, DETAIL, open_ports=(3000, 8000)).error(), public_port=public_port)
    links = [link["href"] for link in shown.all("a") if link.get("id") is None]
    assert links == [f"https://{port}-abc123.sandbox.example.dev{suffix}/" for port in (3000, 8000)]


def test_without_open_ports_none_are_spoken_of() -> None:
    assert "that answer" not in page(Reason.CONNECTION_REFUSED).text


ROADS = [
    (Reason.UNKNOWN_DOMAIN, ["bad", "off", "off", "off"]),
    (Reason.DIRECTORY_UNAVAILABLE, ["ok", "bad", "off", "off"]),
    (Reason.CONNECTION_LIMIT_REACHED, ["ok", "bad", "off", "off"]),
    (Reason.PROXY_INTERNAL_ERROR, ["ok", "bad", "off", "off"]),
    (Reason.DESTINATION_NOT_FOUND, ["ok", "ok", "bad", "off"]),
    (Reason.CONNECTION_TIMEOUT, ["ok", "ok", "bad", "off"]),
    (Reason.CONNECTION_REFUSED, ["ok", "ok", "ok", "bad"]),
    (Reason.HTTP_RESPONSE_TIMEOUT, ["ok", "ok", "ok", "bad"]),
]


@pytest.mark.parametrize(("reason", "road"), ROADS, ids=lambda value: str(value) if isinstance(value, Reason) else "")
def test_the_road_ends_where_the_request_did(reason: Reason, road: list[str]) -> None:
    shown = page(reason)
    assert [has["class"] for has in shown.all("li") if has.get("class") in ("ok", "bad", "off")] == road
    said = {"ok": "reached", "bad": "the request ends here", "off": "not reached"}
    names = ["Request", "Gateway", "Sandbox", "Port 5000"]
    # Not by shape and colour alone.
    assert "".join(f"{name}: {said[state]}" for name, state in zip(names, road, strict=True)) in shown.text


@every_reason
def test_every_road_ends_somewhere(reason: Reason) -> None:
    assert len([has for has in page(reason).all("li") if has.get("class") == "bad"]) == 1


# --- what can be done ---------------------------------------------------------------------------------------------


def test_it_waits_for_what_has_not_reached_an_app() -> None:
    assert {str(each) for each in WAITED_FOR if isinstance(each, Reason)} == {
        "connection_refused",
        "ipv4_only_listener",
        "connection_timeout",
        "destination_ip_unroutable",
        "destination_not_found",
        "directory_unavailable",
        "connection_limit_reached",
        "overloaded",
    }


@every_reason
def test_what_it_waits_for_is_said(reason: Reason) -> None:
    what = page(reason).one("div", id="what")
    assert ("data-waiting" in what) is ("data-met" in what) is (reason in WAITED_FOR)
    assert "{" not in (what.get("data-waiting") or "")


def test_without_a_target_there_is_nothing_to_wait_for() -> None:
    body = render(GatewayError(Reason.OVERLOADED), RequestContext("r", asked()))[1]
    assert "data-waiting" not in Page(body).one("div", id="what")


@every_reason
def test_a_get_can_be_tried_again_without_a_script(reason: Reason) -> None:
    shown = page(reason)
    links = shown.all("a", id="again")
    hopeless = reason.row.blame is Blame.DOWNSTREAM and not reason.row.may_retry and reason not in WAITED_FOR
    assert len(links) == (0 if hopeless else 1)
    assert all(link["href"] == "" for link in links)
    assert shown.all("button", id="resend") == []
    assert shown.one("body")["data-method"] == "GET"


@every_reason
def test_another_method_is_sent_again_by_nothing_but_a_button(reason: Reason) -> None:
    shown = page(reason, "POST")
    assert shown.one("body")["data-method"] == "POST"
    assert "hidden" in shown.one("button", id="resend")  # it needs the script
    assert shown.one("a", id="again")["href"] == ""  # a link is a GET
    assert "Send the POST again" in shown.text


# --- nothing foreign comes alive ----------------------------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
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
    "\u202eright to left",
]


def everywhere(text: str, reason: Reason) -> Page:
    section = RequestSection(asked().section.field_lines, [], text.encode())
    head = RequestHead(text.encode("latin-1", "replace"), b"/", "HTTP/1.1", section)
    error = Failure(reason, text, observed=(text,), process=text, open_ports=(3000,)).error()
    return Page(render(error, RequestContext(text, head, Target(5000, text, text), text, text))[1])


@pytest.mark.parametrize("text", HOSTILE, ids=[text[:24] for text in HOSTILE])
@every_reason
def test_no_foreign_text_becomes_markup(reason: Reason, text: str) -> None:
    shown, harmless = everywhere(text, reason), everywhere("x", reason)
    assert shown.source.count("<script") == shown.source.count("</script") == 1
    tags = [(tag, has.keys()) for tag, has in shown.seen if tag != "code"]
    assert tags == [(tag, has.keys()) for tag, has in harmless.seen if tag != "code"]
    for (_, has), (_, plain) in zip(
        [seen for seen in shown.seen if seen[0] != "code"],
        [seen for seen in harmless.seen if seen[0] != "code"],
        strict=True,
    ):
        for name in ("href", "src", "class", "id"):
            if has.get(name) != plain.get(name):
                assert name == "href"
                assert (has[name] or "").startswith("https://3000-")
    for tag in ("script", "style"):
        assert shown.content(tag) == harmless.content(tag)


# --- nothing but itself may run -----------------------------------------------------------------------------------


def policy() -> dict[str, str]:
    directives = (directive.partition(" ") for directive in CONTENT_SECURITY_POLICY.decode().split("; "))
    return {name: value for name, _, value in directives}


def test_the_policy_allows_the_page_and_nothing_else() -> None:
    assert {name: value for name, value in policy().items() if name not in ("script-src", "style-src")} == {
        "default-src": "'none'",
        "connect-src": "'self'",
        "base-uri": "'none'",
    }


@every_reason
@pytest.mark.parametrize("tag", ["script", "style"])
def test_the_policy_has_the_hash_of_what_is_inline(tag: str, reason: Reason) -> None:
    head, body = render(GatewayError(reason), RequestContext("r", asked(), TARGET))
    assert head.get(b"content-security-policy") == CONTENT_SECURITY_POLICY
    [inline] = re.findall(f"<{tag}>(.*?)</{tag}>", body.decode(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    assert policy()[f"{tag}-src"] == f"'sha256-{digest}'"


@every_reason
def test_it_needs_nothing_from_elsewhere(reason: Reason) -> None:
    shown = page(GatewayError(reason, DETAIL))
    attributes = {name for _, has in shown.seen for name in has}
    assert not attributes & {"src", "srcset", "action", "style"}
    assert not any(name.startswith("on") for name in attributes)
    assert not {"link", "img", "iframe", "base", "form", "object"} & {tag for tag, _ in shown.seen}
    assert "url(" not in shown.content("style") and "@import" not in shown.content("style")


@every_reason
def test_it_is_small(reason: Reason) -> None:
    longest = Target(65535, "a" * 57, "sandboxes.of-some-region.and-some-customer.example.dev")
    error = Failure(
        reason,
        "x" * 300,
        observed=("y" * 300,),
        process="python3",
        open_ports=(3000, 3001, 4200, 5173, 8000, 8080, 8888),
    ).error()
    for method in ("GET", "POST"):
        known = RequestContext("r" * 128, asked(method), longest, "fd00:1111:2222:3333:4444:5555:6666:7777")
        assert len(render(error, known)[1]) < MOST
