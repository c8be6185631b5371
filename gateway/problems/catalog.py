"""docs/errors.md, printed from the Reason table: `python -m gateway.problems.catalog > docs/errors.md`.

Owns the page's words about how a reply is read; everything about one reason is the table's own. What a text fills in
from the request stands as `<port>`, `<sandbox>`, … A test compares the page with what is printed here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator

from gateway.errors import Blame, Reason
from gateway.http.phrases import phrase_for
from gateway.wordings import WORDINGS

COMMAND = "python -m gateway.problems.catalog > docs/errors.md"
"""What writes the page."""

BLAMED = {
    Blame.DOWNSTREAM: "the request",
    Blame.UPSTREAM: "the sandbox or its app",
    Blame.GATEWAY: "the gateway",
    Blame.DIRECTORY: "the list of sandboxes",
}

MET_LATE = (Reason.REQUEST_TIMEOUT, Reason.CONNECTION_TERMINATED)
"""Of what may be sent again, what can also be met after the request has been passed on."""

JSON_FIELDS = {
    "type": "`urn:sandbox-gateway:problem:<reason>`, an identifier, not an address",
    "title": "the reason in one line, or the particular case of it",
    "status": "the reply's HTTP status",
    "detail": "what the reason means in this case",
    "reason": "the name below, the same as in `X-Gateway-Error`: what a program should compare",
    "sandbox": "the sandbox id the hostname names, or null",
    "port": "the port the hostname names, or null",
    "request_id": "the same as in `X-Request-Id`: what to give to whoever runs the gateway",
    "observed": "what the gateway saw, one sentence each",
    "fix": "what to check, in this order",
}
"""Every field of the JSON form and its meaning."""

_INTRODUCTION = """\
# Errors

<!-- Written by: {command} -->

When a request cannot be forwarded, the gateway answers itself, and the answer says why. This page lists every reason.

## How to read a reply

Such a reply carries `X-Gateway-Error` and `Proxy-Status`; no app's reply does, because the gateway
removes both from what apps send. So whoever sees `X-Gateway-Error` knows that the app has not answered.

| field | says |
|---|---|
| `X-Gateway-Error` | the reason, one of the names below |
| `Proxy-Status` | the same for machines that know RFC 9209: `gateway; error=<type>; details="<what was seen>"` |
| `X-Request-Id` | this request's name in the gateway's log; on replies of apps too |
| `Retry-After` | seconds to wait; present where the same request may simply be sent again |

The body depends on who asks: a page for a browser's navigation, short text for curl, and for programs that accept it
`application/problem+json` (RFC 9457) with these fields:

| JSON field | holds |
|---|---|
{fields}

A request that is not valid HTTP, or too large, gets a page if it is a navigation, and text otherwise. It is known for
one by `Sec-Fetch-Mode`, or else `Accept`, in the first `limits.header_bytes` octets of its head: if the target alone is
longer, no field has come yet, and the 414 is text.

Others are told in their own way:

- gRPC (by content type): status 200 without a body, `grpc-status` and `grpc-message` in the header section.
  UNAVAILABLE, which clients send again, only where the call never reached the app; else UNKNOWN.
- A CORS preflight: the status and body of the problem, which is no permission, so the browser sends nothing. Only the
  app's own answer opens the way to the app. See [what scripts can see](#what-scripts-can-see).
- A WebSocket handshake: the HTTP status, which browsers hide from scripts. With `gateway_close=1` in the URL's query,
  or `edge.websocket_errors = "close"`, it is accepted, in the first of the subprotocols offered, and closed with code
  4000 plus the status and `<reason>: <title>`.
- A request with `X-Gateway-Probe` is never forwarded: 204 with `X-Gateway-Probe: ready` if the target accepts
  connections now, the problem otherwise; `Vary: *`, so that no service worker's cache holds it for the app's page.

Three replies are the gateway's own and no failures, so they have no `X-Gateway-Error`: that 204, the 200 to an OPTIONS
with `Max-Forwards: 0` (both say `Proxy-Status: gateway`), and the 308 of `edge.plain = "redirect"`.

An app's own reply may carry `X-Gateway-Hint`: what the app did that fails behind any proxy that ends TLS, and the line
that mends it in that framework. The reply passes unchanged otherwise, and no app can send that field itself. It tells

- that the app refused its public name: by the error of Vite, Angular, webpack, Django, Rails, Flask, Starlette, MCP;
- that it refused the page that asked, often its own: by the error of Django, Next, Spring, SvelteKit, Astro, Socket.IO,
  FastAPI, Tornado, Jupyter; and of any app that it refused a WebSocket (403), usually by its origin check;
- that a redirect, or the `redirect_uri` of a login, leads to `localhost`, the visitor's own machine, or to the app's
  own name by `http:` or at another port: the app believed the plain HTTP that it sees (`request.url`);
- that a permanent redirect leads to the very URL that was asked for: the app demands https and takes all for http;
- that a cookie has `Domain=localhost`; of good replies `gateway dev` alone looks at that, and into pages as well, for
  what is loaded from `localhost`, for mixed content (`http:` and `ws:` in a page that came by https), and for answers
  that a page of another name of the same domain may not read (CORS).

A redirect elsewhere is the app's own business, as is an address that the request has named (a tool that waits for its
login on loopback). `gateway dev` says each hint in its terminal, too, and `gateway serve` logs it: once a minute for a
port, and eight for a sandbox. [frameworks.md](frameworks.md) has the settings, before anything has failed.

An app's reply that breaks off after its head has been passed on cannot be replaced. It is cut off visibly, without the
end that was announced, and only the gateway's log names the reason.

“To blame” is where the cause lies, and the gRPC status is the code of gRPC that says the same. “Again” is whether the
same request may be sent again unchanged: if the app may have got it, only with an idempotent method (RFC 9110 section
9.2.2: GET, HEAD, OPTIONS, PUT, DELETE), because another would be carried out twice. In the texts, `<port>`,
`<sandbox>` and so on stand for what the request names. Where a reason has particular cases (“Where …”), title, detail
and what to check are that case's; name and status stay the reason's.

## What the page does

The page for a request that did not get as far as the app waits: it asks the gateway with `X-Gateway-Probe`, by OPTIONS
of its own URL, and loads the app in place once it is there. If it answers anything but GET, it then only says so, and
nothing but the button sends the form again. Later failures happen to a request that the app may have seen, so their
page asks nothing and offers to try again.

- It asks every second for a minute, every 5 seconds until ten minutes have passed, every 15 until an hour has, then no
  more; less often if `Retry-After` says so. What it finds is told in place, and only what has changed is touched.
- A tab that nobody sees asks nothing, and asks at once when it is seen again. So does a page that is gone back to:
  browsers load it anew, and one that kept it (back/forward cache) is told to look.
- An app that comes and goes is loaded at once, then after 1, 3, 7, … seconds, at most a minute.
- Offline, it says so, and goes on when the network is back.
- Without JavaScript it is the same text with a link that loads the page again.
- In a frame it does the same, also in one of another site. A frame with `sandbox` and without `allow-same-origin` has
  no origin, and may not ask: there it offers the link.
- Under a service worker of the app it takes itself out of the worker's caches before it loads the app. A worker that
  fails whatever it cannot keep (it awaits `cache.put`) lets no question through: there the page is loaded anew, after
  5, 5, 5, 7, 15, … seconds, at most a minute. If what answers is the worker and not the gateway, the page says so and
  stops.

## What scripts can see

Whether a reply of the gateway's own can be read depends on the request it answers:

- To the script's own origin: always.
- To another origin without a preflight: always (of `gateway dev`, see below). Any origin may read a reply of ours.
- To another origin with a preflight (`PUT`, `Content-Type: application/json`, own fields, …): never. The preflight has
  failed, so the request was not sent, and `fetch` throws the `TypeError` of a dead network.
- To another origin, GET or HEAD with `X-Gateway-Probe` and no other field of the script's own: if it is a problem. That
  preflight is granted.

So a script whose request has failed asks why with a probe:

```js
const answer = await fetch(url, {{headers: {{"X-Gateway-Probe": "1"}}}});
const problem = answer.headers.has("X-Gateway-Error") && await answer.json();
```

The gateway grants no other field, no method, no private network and nothing for longer than this one request, and a
probe reaches no app: of what an app has not allowed itself, nothing gets there. A preflight that the app answers is the
app's, also one for a probe: if the app does not allow that field, the script sees a `TypeError` and no problem, for
there is none that the gateway knows of. That the app is ready (204) is told to its own origin only.

`gateway dev` stands on somebody's own machine, and what runs there is no other site's business: a page outside the
domain gets 502 with `X-Gateway-Error: withheld`, no body, no close code of a WebSocket and nothing of CORS, whatever
has failed. Who opens the URL is told; so are the app's own pages, those of its neighbours, and curl.

## All reasons

| reason | status | gRPC status | to blame | again | in short |
|---|---|---|---|---|---|
{reasons}
"""

_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")
_CODE = re.compile(r"(`[^`]*`)")
_MARKUP = re.compile(r"([<*_|])")


def page() -> str:
    """The whole page, Markdown as GitHub reads it."""
    introduction = _INTRODUCTION.format(
        command=COMMAND,
        fields="\n".join(f"| `{name}` | {meaning} |" for name, meaning in JSON_FIELDS.items()),
        reasons="\n".join(map(_summary, Reason)),
    )
    return "\n".join([introduction, *(line for reason in Reason for line in _section(reason))])


def _summary(reason: Reason) -> str:
    row = reason.row
    link = f"[`{row.name}`](#{row.name})"
    columns = (link, row.status, row.grpc_status.name, BLAMED[row.blame], _again(reason), _prose(row.title))
    return f"| {' | '.join(map(str, columns))} |"


def _section(reason: Reason) -> Iterator[str]:
    row = reason.row
    yield f"## {row.name}\n"
    yield f"**{_prose(row.title)}**\n"
    yield f"{_prose(row.explanation)}\n"
    yield f"- Status: {row.status} {phrase_for(row.status).decode()}"
    yield f"- gRPC status: {row.grpc_status.name} ({row.grpc_status.value})"
    yield f"- To blame: {BLAMED[row.blame]}"
    yield f"- The same request may be sent again: {_again(reason)}"
    yield f"- Type in `Proxy-Status`: `{row.proxy_error}`\n"
    yield "What to check:\n"
    yield from _numbered(row.checks)
    yield ""
    for wording in WORDINGS.get(reason, ()):
        yield f"Where {_prose(wording.when)}: **{_prose(wording.title)}**\n"
        yield f"{_prose(wording.explanation)}\n"
        yield from _numbered(wording.checks)
        yield ""


def _numbered(checks: Iterable[str]) -> Iterator[str]:
    return (f"{number}. {_prose(check)}" for number, check in enumerate(checks, 1))


def _again(reason: Reason) -> str:
    if not reason.row.may_retry:
        return "no"
    return "yes, if idempotent" if reason in MET_LATE else "yes"


def _prose(text: str) -> str:
    """`text` as Markdown that shows it literally: `<port>` would be taken for HTML and vanish."""
    parts = _CODE.split(_PLACEHOLDER.sub(r"<\1>", text))
    return "".join(part if part.startswith("`") else _MARKUP.sub(r"\\\1", part) for part in parts)


if __name__ == "__main__":
    sys.stdout.write(page())
