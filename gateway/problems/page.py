"""The page: a problem as a person meets it in a browser.

Owns the order of what is said, the sources (page.html, page.css, page.js) and the policy that lets nothing but them
be applied and run. Everything that comes from elsewhere is escaped here. Knows no fields, no requests and no time: what
the page does while it waits is page.js, and the texts it shows then are written here.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import TypeVar

from gateway.errors import Blame, Reason, Wording
from gateway.hostname import Target
from gateway.http.phrases import phrase_for
from gateway.problems.frameworks import Fix
from gateway.problems.problem import Case, Problem
from gateway.wordings import (
    ACCEPT_QUEUE_FULL,
    FORWARDED_ON_LOOPBACK,
    LOOPBACK_ONLY,
    PORT_NOT_ANSWERING,
    QUEUE_SEEMS_FULL,
    REJECTED,
)

T = TypeVar("T")

LIKELY = 3
"""Lines to paste that are seen at once; the others are a click away."""

WAITED_FOR: dict[Reason | Wording, tuple[str, str]] = {
    Reason.CONNECTION_REFUSED: ("Waiting for port {port} to accept connections", "refused"),
    Reason.IPV4_ONLY_LISTENER: ("Waiting for port {port} to accept connections over IPv6", "refused"),
    LOOPBACK_ONLY: ("Waiting for port {port} to accept connections from outside", "refused"),
    FORWARDED_ON_LOOPBACK: ("Waiting for port {port} to accept connections from outside", "refused"),
    ACCEPT_QUEUE_FULL: ("Waiting for port {port} to accept connections again", "no answer"),
    QUEUE_SEEMS_FULL: ("Waiting for port {port} to accept connections again", "no answer"),
    PORT_NOT_ANSWERING: ("Waiting for port {port} to answer", "no answer"),
    Reason.CONNECTION_TIMEOUT: ("Waiting for sandbox {sandbox} to answer", "no answer"),
    Reason.DESTINATION_IP_UNROUTABLE: ("Waiting for a route to sandbox {sandbox}", "no route"),
    REJECTED: ("Waiting for port {port} to be allowed", "rejected"),
    Reason.DESTINATION_NOT_FOUND: ("Waiting for sandbox {sandbox} to appear", "not there"),
    Reason.DIRECTORY_UNAVAILABLE: ("Waiting for the list of sandboxes", "not readable"),
    Reason.CONNECTION_LIMIT_REACHED: ("Waiting until requests have finished", "still too many"),
    Reason.OVERLOADED: ("Waiting until the gateway has room", "still full"),
}
"""What the page waits for by asking again and again, and what it has met so far.

Failures before or at the dial only: later ones happen to a request that the app has seen, and a page that loads itself
again could crash the app over and over.
"""

_STAGES = 4
"""The request, the gateway, the sandbox, the app: the road on which a request breaks off somewhere."""
_STAGE_BY_BLAME = {Blame.DOWNSTREAM: 0, Blame.GATEWAY: 1, Blame.DIRECTORY: 1, Blame.UPSTREAM: 3}
_STAGE: dict[Reason | Wording, int] = {
    Reason.DESTINATION_NOT_FOUND: 2,
    Reason.DESTINATION_IP_PROHIBITED: 2,
    Reason.CONNECTION_TIMEOUT: 2,
    Reason.DESTINATION_IP_UNROUTABLE: 2,
    ACCEPT_QUEUE_FULL: 3,
    QUEUE_SEEMS_FULL: 3,
    PORT_NOT_ANSWERING: 3,
    REJECTED: 2,
    Reason.CONNECTION_LIMIT_REACHED: 1,
}
"""Where the road ends, unless who is to blame says it."""

_SPACED = re.compile(r"\s?([{},;])\s?|(?<=:) ")
"""Blanks that say nothing in a style sheet, with what they stand around."""
_CODE = re.compile(r"`([^`]+)`")
_OPTION = re.compile(r"(?<!\S)-[a-zA-Z-]+")
"""What must not be broken in two, on a narrow screen, where it looks like a dash and a word."""
_RTL = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010fff\U0001e800-\U0001efff"
_RIGHT_TO_LEFT = re.compile(f"[{_RTL}]+(?:[ -]+[{_RTL}]+)*")
"""Words of scripts that are written from right to left (Unicode's blocks for them)."""


def _source(name: str) -> str:
    """A source without indentation and without the lines that are comments, which are for its readers here."""
    lines = map(str.strip, files("gateway.problems").joinpath(name).read_text(encoding="utf-8").splitlines())
    return "\n".join(line for line in lines if line and not line.startswith(("//", "/*")))


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


_STYLE = _SPACED.sub(r"\1", _source("palette.css") + _source("page.css"))
_SCRIPT = _source("page.js")
# No form-action: to load the answer to a POST again is to submit a form, in the eyes of Chromium, and 'self' would hold
# for where the app's redirect leads, too. No frame-ancestors: apps, and so this page, are shown inside of IDEs.
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; connect-src 'self'; base-uri 'none'"
).encode()
_BEFORE, _AFTER = map(Template, _source("page.html").split("$request_id"))
_END = _AFTER.substitute(script=_SCRIPT).encode()


def compose_page(problem: Problem, case: Case) -> tuple[bytes, bytes]:
    """The page before and after the request id, which it shows once."""
    before = _BEFORE.substitute(
        style=_STYLE,
        status=problem.status,
        phrase=escape(phrase_for(problem.status).decode()),
        title=escape(problem.title),
        method=escape(case.method),
        waiting=_waiting(problem, case),
        road=_road(problem, case),
        actions=_actions(case),
        detail=_prose(problem.detail),
        facts="".join((_observed(problem), _change(problem, case), _elsewhere(case))),
        reason=escape(problem.reason),
    )
    return before.encode(), _END


def _prose(text: str) -> str:
    return _CODE.sub(lambda found: _command(found[1]), escape(text))


def _command(escaped: str) -> str:
    line = _OPTION.sub(r"<b>\g<0></b>", escaped)
    return f"<code>{line}</code>"


def _waiting(problem: Problem, case: Case) -> str:
    waited = _row(WAITED_FOR, case)
    if waited is None or problem.port is None or problem.sandbox is None:
        return ""
    what, met = waited
    what = what.replace("{port}", str(problem.port)).replace("{sandbox}", problem.sandbox)
    return f' data-waiting="{escape(what)}" data-met="{escape(met)}"'


def _row(table: Mapping[Reason | Wording, T], case: Case) -> T | None:
    """What a table says of the particular case, or else of its reason."""
    wording = case.wording
    return table[wording] if wording is not None and wording in table else table.get(case.reason)


def _road(problem: Problem, case: Case) -> str:
    end = _row(_STAGE, case)
    if end is None:
        end = _STAGE_BY_BLAME[case.reason.row.blame]
    app = "App" if problem.port is None else f"Port {problem.port}"
    states = ["ok"] * end + ["bad"] + ["off"] * (_STAGES - 1 - end)
    said = {"ok": "reached", "bad": "the request ends here", "off": "not reached"}
    stages = zip(("Request", "Gateway", "Sandbox", app), states, strict=True)
    return "".join(
        f'<li class="{state}">{name}<span class="unseen">: {said[state]}</span></li>' for name, state in stages
    )


def _actions(case: Case) -> str:
    row = case.reason.row
    if case.method != "GET":
        resend = (
            f'<button class="button" id="resend" type="button" hidden>Send the {escape(case.method)} again</button>'
        )
        return f'{resend}<a class="button" id="again" href="">Open this page anew</a>'
    if row.blame is Blame.DOWNSTREAM and not row.may_retry and _row(WAITED_FOR, case) is None:
        return ""  # the same request would be refused again
    return f'<a class="button" id="again" href="">{"Reload" if _row(WAITED_FOR, case) else "Try again"}</a>'


def _observed(problem: Problem) -> str:
    return _section("seen", "What the gateway saw", _list("seen", map(_fact, problem.observed)))


def _fact(text: str) -> str:
    # Each such name by itself (UAX 9, isolates), or the directories of a path would change places.
    return _RIGHT_TO_LEFT.sub(r"<bdi>\g<0></bdi>", escape(text))


def _change(problem: Problem, case: Case) -> str:
    fixes = case.fixes
    checks = problem.fix[: len(problem.fix) - len(fixes)]
    if not fixes:
        return _section("change", "What to check", _list("checks", map(_prose, checks)))
    # The first check says what the lines below it do.
    parts = [f"<p>{_prose(checks[0])}</p>", _lines(fixes[:LIKELY])]
    more = fixes[LIKELY:]
    if more:
        # Without "in code", which in a list would be a name of its own.
        names = ", ".join(dict.fromkeys(escape(fix.framework.partition(",")[0]) for fix in more))
        parts.append(f"<details><summary>{names}</summary>{_lines(more)}</details>")
    parts.append(_list("checks", map(_prose, checks[1:])))
    return _section("change", "What to change", "".join(parts))


def _lines(fixes: Sequence[Fix]) -> str:
    return _list("fixes", map(_line, fixes))


def _line(fix: Fix) -> str:
    name = escape(fix.framework)
    button = f'<button class="copy" type="button">Copy<span class="unseen"> the line for {name}</span></button>'
    return f"<span>{name}</span>{_command(escape(fix.line))}{button}"


def _elsewhere(case: Case) -> str:
    target = case.target
    if target is None:
        return ""
    port = "" if case.public_port == 443 else f":{case.public_port}"
    hosts = (Target(other, target.sandbox_id, target.domain).host + port for other in case.open_ports)
    links = (f'<a href="https://{escape(authority)}/">{escape(authority)}</a>' for authority in hosts)
    return _section("elsewhere", "Ports of this sandbox that answer", _list("elsewhere", links))


def _section(name: str, heading: str, content: str) -> str:
    return content and f'<section aria-labelledby="{name}"><h2 id="{name}">{heading}</h2>{content}</section>'


def _list(kind: str, items: Iterable[str]) -> str:
    lines = "".join(f"<li>{item}</li>" for item in items)
    return lines and f'<ul class="{kind}">{lines}</ul>'
