"""Answers of real programs that refuse to be proxied, and the sentence that names the fix; nobody else's get one."""

from __future__ import annotations

import re
import time

import pytest

from gateway.diagnosis import hints
from gateway.diagnosis.hints import FIELD, LOOKED_AT, MAX_REMEMBERED, MOST_LOGGED, REPEATED_AFTER, LogLimiter
from gateway.diagnosis.refusals import TABLE
from gateway.errors import GatewayError, Reason
from gateway.http import validate
from gateway.http.head_parser import HeadLimits, parse_request_head, parse_response_head
from gateway.http.hop import OF_ANSWER
from gateway.http.message import FieldSection, RequestHead, ResponseHead, ResponseSection
from gateway.upstream.stream import UpstreamFailure
from gateway.wordings import NEXT_REFUSES
from tests.support.field_lines import judged

LIMITS = HeadLimits()
HOST = b"5173-abc123.sandbox.example.dev:8443"


def request(target: bytes = b"/", fields: bytes = b"", method: bytes = b"GET") -> RequestHead:
    return parse_request_head(b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method, target, HOST, fields), LIMITS)


def answer(status: int, body: bytes, media_type: bytes | None, length: int | None = None) -> ResponseHead:
    fields = b"" if media_type is None else b"Content-Type: %b\r\n" % media_type
    fields += b"Content-Length: %d\r\n" % (len(body) if length is None else length)
    return parse_response_head(b"HTTP/1.1 %d Oh\r\n%b\r\n" % (status, fields), LIMITS, b"GET")


HTML, TEXT, JSON = b"text/html; charset=utf-8", b"text/plain;charset=UTF-8", b"application/json"
NAMED = b"5173-abc123.sandbox.example.dev"
ORIGIN = b"Origin: https://%b:8443\r\n" % NAMED
RAILS = (
    b'<!DOCTYPE html>\n<html lang="en">\n<head>\n  <title>Action Controller: Exception caught</title>\n  <style>'
    b'\n  </style>\n</head>\n<body>\n\n<header role="banner">\n  <h1>Blocked host%(more)b</h1>'
    b'\n</header>\n<main role="main">\n'
    b"  <h2>To allow requests to %(which)b, add the following to your environment configuration:</h2>\n"
    b"  <pre>config.hosts &lt;&lt; &quot;5173-abc123.sandbox.example.dev&quot;</pre>\n</main>\n\n</body>\n</html>\n"
)
DJANGO_HEAD = (
    b'<!DOCTYPE html>\n<html lang="en">\n<head>\n  <meta http-equiv="content-type" content="text/html; charset=utf-8">'
    b'\n  <meta name="robots" content="NONE,NOARCHIVE">\n'
)

JUPYTER = (
    b'<!DOCTYPE HTML>\n<html>\n\n<head>\n\n    <meta charset="utf-8">\n\n    <title>Jupyter Server</title>\n'
    b'<div class="error">\n    \n    <h1>403 : Forbidden</h1>\n    \n    \n    \n    \n</div>\n'
)
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
FOREIGN = b"Origin: https://3000-abc123.sandbox.example.dev:8443\r\n"

# Each whole, but for style sheets, and in the media type that comes with it: Vite 8.3, Django 5.2, jupyter_server 2.21,
# Apache 2.4, webpack-dev-server 5.2, Next 16.4, both MCP SDKs, Starlette, Werkzeug, Tornado and Socket.IO observed;
# Angular 21, Rails 6 to 8, ASP.NET Core, Spring, SvelteKit and python-engineio from their sources.
ANSWERS: dict[str, tuple[int, bytes | None, bytes, str, RequestHead]] = {
    "vite": (
        403,
        b"text/plain",
        b'Blocked request. This host ("%b") is not allowed.\nTo allow this host, add "%b" to `server.allowedHosts` in '
        b"vite.config.js." % (NAMED, NAMED),
        "Vite: server.allowedHosts: ['.sandbox.example.dev'] in vite.config, "
        'or upstream.host = "localhost:{port}" in the gateway',
        request(),
    ),
    "vite-preview": (
        403,
        b"text/plain",
        b'Blocked request. This host ("%b") is not allowed.\nTo allow this host, add "%b" to `preview.allowedHosts` in '
        b"vite.config.js." % (NAMED, NAMED),
        "Vite: preview.allowedHosts: ['.sandbox.example.dev'] in vite.config, "
        'or upstream.host = "localhost:{port}" in the gateway',
        request(),
    ),
    "angular": (
        403,
        b"text/html",
        b'<!doctype html>\n<html>\n  <head>\n    <meta charset="utf-8" />\n    <title>Blocked'
        b" request</title>\n  </head>"
        b'\n  <body>\n    <main>\n      <h1>Blocked request. This host ("%b") is not allowed.</h1>\n      <p>To allow '
        b"this host, add it to <code>allowedHosts</code> under the <code>serve</code> target in"
        b" <code>angular.json</code>." % NAMED,
        "Angular: allowedHosts: ['.sandbox.example.dev'] under serve.options in angular.json, "
        'or upstream.host = "localhost:{port}" in the gateway',
        request(),
    ),
    "webpack": (
        403,
        None,
        b"Invalid Host header",
        "webpack-dev-server: devServer.allowedHosts: ['.sandbox.example.dev'] in webpack.config",
        request(),
    ),
    "mcp-python": (
        421,
        None,
        b"Invalid Host header",
        "MCP server: TransportSecuritySettings(allowed_hosts=['5173-abc123.sandbox.example.dev:8443'])",
        request(),
    ),
    "mcp-typescript": (
        403,
        JSON,
        b'{"jsonrpc":"2.0","error":{"code":-32000,"message":"Invalid Host header: %b"},"id":null}' % HOST,
        "MCP server: allowedHosts: ['5173-abc123.sandbox.example.dev:8443'] in the options of its "
        "StreamableHTTPServerTransport",
        request(b"/mcp", method=b"POST"),
    ),
    "starlette": (
        400,
        HTML.replace(b"html", b"plain"),
        b"Invalid host header",
        "Starlette or FastAPI: TrustedHostMiddleware, allowed_hosts=['*.sandbox.example.dev']",
        request(),
    ),
    "flask": (
        400,
        HTML,
        b"<!doctype html>\n<html lang=en>\n<title>400 Bad Request</title>\n<h1>Bad Request</h1>\n"
        b"<p>Host &#39;%b&#39; is not trusted.</p>\n" % HOST,
        "Flask: TRUSTED_HOSTS = ['.sandbox.example.dev'] in its config",
        request(),
    ),
    "django": (
        400,
        HTML,
        DJANGO_HEAD + b"  <title>DisallowedHost\n          at /</title>\n  <style>",
        "Django: ALLOWED_HOSTS = ['.sandbox.example.dev'] in settings.py",
        request(),
    ),
    "django-in-text": (
        400,
        TEXT,
        b"DisallowedHost at /api\nInvalid HTTP_HOST header: '%b'. You may need to add '%b' to ALLOWED_HOSTS.\n\n"
        b"Request Method: GET\n" % (HOST, NAMED),
        "Django: ALLOWED_HOSTS = ['.sandbox.example.dev'] in settings.py",
        request(b"/api"),
    ),
    "django-csrf": (
        403,
        HTML,
        DJANGO_HEAD
        + b'  <title>403 Forbidden</title>\n</head>\n<body>\n<div id="summary">\n  <h1>Verboten <span>(403)</span>'
        b'</h1>\n  <p>CSRF-Pr\xc3\xbcfung fehlgeschlagen.</p>\n</div>\n<div id="info">\n  <h2>Help</h2>\n    '
        b"<p>Reason given for failure:</p>\n    <pre>\n    Origin checking failed - https://%b does not match any "
        b"trusted origins.\n    </pre>\n" % HOST,
        "Django: SECURE_PROXY_SSL_HEADER = ('HTTP_X_FORWARDED_PROTO', 'https') or "
        "CSRF_TRUSTED_ORIGINS = ['https://*.sandbox.example.dev:8443'] in settings.py",
        request(method=b"POST"),
    ),
    "rails-6": (
        403,
        HTML,
        RAILS % {b"more": b": " + NAMED, b"which": NAMED},
        "Rails: config.hosts << '.sandbox.example.dev' in config/environments",
        request(),
    ),
    "rails-7": (
        403,
        HTML,
        RAILS % {b"more": b"s: " + NAMED, b"which": b"these hosts, make sure they are valid hostnames, then"},
        "Rails: config.hosts << '.sandbox.example.dev' in config/environments",
        request(),
    ),
    "rails-in-text": (
        403,
        TEXT,
        b"Blocked hosts: %b\n\nTo allow requests to these hosts, make sure they are valid hostnames (containing only "
        b"numbers, letters, dashes and dots), then add the following to your environment configuration:\n\n"
        b'  config.hosts << "%b"\n' % (NAMED, NAMED),
        "Rails: config.hosts << '.sandbox.example.dev' in config/environments",
        request(),
    ),
    "next": (
        403,
        None,
        b"Unauthorized",
        "Next.js: allowedDevOrigins: ['*.sandbox.example.dev'] in next.config",
        request(b"/_next/static/chunks/main.js", ORIGIN),
    ),
    "next-actions": (
        500,
        b"text/x-component",
        b'0:{"a":"$@1","q":"","i":true,"b":"development"}\n1:D"$2"\n1:E{"digest":"2492468172","name":"Error","message":'
        b'"Invalid Server Actions request.","stack":[],"env":"Server","owner":null}\n',
        "Next.js: experimental.serverActions.allowedOrigins: ['*.sandbox.example.dev:8443'] in next.config",
        request(b"/form", method=b"POST"),
    ),
    "jupyter": (
        403,
        b"text/html",
        JUPYTER,
        "Jupyter: if its log says it blocks a non-local 'Host', c.ServerApp.allow_remote_access = True",
        request(),
    ),
    "jupyter-websocket": (
        403,
        b"text/html",
        JUPYTER,
        "Jupyter: open its page with its token first; and if its log says it blocks a non-local 'Host', "
        "c.ServerApp.allow_remote_access = True",
        request(b"/api/kernels/1/channels", UPGRADE),
    ),
    "mod_dav": (
        502,
        b"text/html; charset=iso-8859-1",
        b'<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN" "http://www.w3.org/TR/html4/strict.dtd">\n<html>\n<head>\n'
        b"<title>502 Bad Gateway</title>\n</head><body>\n<h1>Bad Gateway</h1>\n"
        b"<p>Destination URI refers to different scheme or port (https://hostname:8443)\n"
        b"(want: http://hostname:5173)</p>\n</body></html>\n",
        "Apache mod_dav or Subversion: RequestHeader edit Destination ^https: http: early, with mod_headers",
        request(b"/a", b"Destination: https://%b/b\r\n" % HOST, b"COPY"),
    ),
    "kestrel": (
        400,
        b"text/plain",
        b"An HTTP/1.x request was sent to an HTTP/2 only endpoint.",
        'ASP.NET Core: "Protocols": "Http1" for this endpoint of Kestrel (gRPC needs a proxy for gRPC-Web in front)',
        request(),
    ),
    "tornado": (
        403,
        HTML,
        b"Cross origin websockets not allowed",
        "Jupyter: c.ServerApp.allow_origin = 'https://5173-abc123.sandbox.example.dev:8443'; others on Tornado: "
        "check_origin of a WebSocketHandler",
        request(b"/api/kernels/1/channels", FOREIGN + UPGRADE),
    ),
    "starlette-cors": (
        400,
        b"text/plain; charset=utf-8",
        b"Disallowed CORS origin, method",
        "FastAPI or Starlette: allow_origins of CORSMiddleware needs that page's https://...sandbox.example.dev:8443",
        request(b"/api", FOREIGN, b"OPTIONS"),
    ),
    "spring": (
        403,
        None,
        b"Invalid CORS request",
        "Spring: server.forward-headers-strategy=native, server.tomcat.remoteip.internal-proxies=.* "
        "in application.properties",
        request(b"/api", ORIGIN, b"POST"),
    ),
    "spring-cors": (
        403,
        None,
        b"Invalid CORS request",
        'Spring: allowedOriginPatterns("https://*.sandbox.example.dev:8443") in its CORS mapping',
        request(b"/api", FOREIGN, b"POST"),
    ),
    "sveltekit": (
        403,
        TEXT,
        b"Cross-site POST form submissions are forbidden",
        "SvelteKit: PROTOCOL_HEADER=x-forwarded-proto HOST_HEADER=x-forwarded-host in the environment; Astro: "
        "security.allowedDomains: [{hostname: '**.sandbox.example.dev'}] in astro.config",
        request(b"/", ORIGIN, b"POST"),
    ),
    "socket.io": (
        403,
        JSON,
        b'{"code":4,"message":"Forbidden"}',
        "Socket.IO: https://5173-abc123.sandbox.example.dev:8443 in its allowRequest, and in cors.origin if a page of "
        "another name asks",
        request(b"/socket.io/?EIO=4&transport=polling", ORIGIN),
    ),
    "socket.io-websocket": (
        400,
        b"text/html",
        b"Forbidden",
        "Socket.IO: https://5173-abc123.sandbox.example.dev:8443 in its allowRequest, and in cors.origin if a page of "
        "another name asks",
        request(b"/socket.io/?EIO=4&transport=websocket", ORIGIN + UPGRADE),
    ),
    "python-socketio": (
        400,
        b"text/plain",
        b'"Not an accepted origin."',
        "python-socketio or Flask-SocketIO: cors_allowed_origins=['https://5173-abc123.sandbox.example.dev:8443'], or "
        "whatever page asks",
        request(b"/socket.io/?EIO=4&transport=polling", ORIGIN),
    ),
    "websocket": (
        403,
        None,
        b"",
        "It has to accept https://5173-abc123.sandbox.example.dev:8443 (docs/frameworks.md), or has no such route, "
        "if it is FastAPI or Starlette",
        request(b"/ws", ORIGIN + UPGRADE),
    ),
}
OF_ANY_BODY = ("next-actions", "websocket")
"""A stream of rows, of which any may be it; and a status that speaks for itself."""


def mends(line: str, asked: RequestHead, head: ResponseHead, body: bytes) -> bool:
    """Whether there is a hint with that `line`, behind what the app did."""
    return (hints.find(asked, head, body) or "").endswith(f". {line}")


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_betrays_its_cause(name: str) -> None:
    status, media_type, body, hint, asked = ANSWERS[name]
    assert mends(hint, asked, answer(status, body, media_type), body)
    assert hints.find(asked, answer(404, body, media_type), body) is None, "the same words with another status"
    if name != "websocket":
        other = b"text/css" if media_type is None else b"application/xhtml+xml"
        assert not mends(hint, asked, answer(status, body, other), body), "… in another media type"


@pytest.mark.parametrize("name", [name for name in ANSWERS if name not in OF_ANY_BODY])
def test_who_quotes_it_gets_no_hint(name: str) -> None:
    """A log that is shown, an API that passes an error on, a page about the error."""
    status, media_type, body, hint, asked = ANSWERS[name]
    for quoting in (b"Error: " + body, b'{"error": "%b"}' % body, b"<p>The dev server said:</p><pre>%b</pre>" % body):
        assert not mends(hint, asked, answer(status, quoting, media_type), quoting)


@pytest.mark.parametrize(
    "name", ["tornado", "starlette-cors", "spring", "spring-cors", "sveltekit", "socket.io", "socket.io-websocket"]
)
def test_who_is_not_asked_so_says_it_for_another_reason(name: str) -> None:
    status, media_type, body, _, _ = ANSWERS[name]
    for other in (request(), request(method=b"POST")):
        assert hints.find(other, answer(status, body, media_type), body) is None


def test_a_refused_websocket_is_told_from_a_page_that_is_forbidden() -> None:
    for body, media_type in ((b"", None), (b"Forbidden", TEXT), (b"{}", JSON)):
        found = hints.find(request(b"/ws", UPGRADE), answer(403, body, media_type), body) or ""
        assert found.startswith("the app refused the WebSocket, usually by its origin check. ")
        assert hints.find(request(b"/ws"), answer(403, body, media_type), body) is None
        assert hints.find(request(b"/ws", UPGRADE), answer(401, body, media_type), body) is None


WHOLE = [
    name
    for name in ANSWERS
    if name.partition("-")[0] in ("vite", "webpack", "mcp", "starlette", "next", "kestrel", "spring", "sveltekit")
]


@pytest.mark.parametrize("name", [name for name in WHOLE if name != "next-actions"])
def test_a_short_answer_is_all_there_is(name: str) -> None:
    status, media_type, body, _, asked = ANSWERS[name]
    for longer in (body + b": a proxy of the app's own", body + b"\n"):
        assert hints.find(asked, answer(status, longer, media_type), longer) is None
    assert hints.find(asked, answer(status, body, media_type, len(body) + 20), body) is None, "the rest is on its way"


def test_next_refuses_its_own_resources_and_to_a_foreign_page_only() -> None:
    hint = ANSWERS["next"][3]
    said = b"Unauthorized"
    script = b"Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Site: cross-site\r\n"
    for target, fields, expected in (
        (b"/_next/webpack-hmr?id=1", ORIGIN, hint),
        (b"/__nextjs_font/geist.woff2", ORIGIN, hint),
        (b"/_next/static/chunks/main.js", script, hint),
        (b"/_next/static/chunks/main.js", b"", None),  # of the same origin: it refuses none
        (b"/_next/data/abc/account.json", ORIGIN, None),  # the app's own middleware
        (b"/account", ORIGIN, None),
    ):
        found = hints.find(request(target, fields), answer(403, said, None), said)
        assert (found and found.partition(". ")[2]) == expected, target
        upgrade = request(target, fields + b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
        assert is_refused_by_next(upgrade, said) is (expected is not None)
        assert not is_refused_by_next(request(target, fields), said), "who asks for no upgrade gets a head"
        assert not is_refused_by_next(upgrade, said + b" access")


def is_refused_by_next(asked: RequestHead, received: bytes) -> bool:
    failure = UpstreamFailure(GatewayError(Reason.HTTP_PROTOCOL_ERROR, "no HTTP"), received=received)
    explained = hints.explain(asked, failure)
    assert (explained.reason, explained.detail) == (Reason.HTTP_PROTOCOL_ERROR, "no HTTP")
    return explained.wording is NEXT_REFUSES


@pytest.mark.parametrize(
    ("status", "media_type", "body"),
    [
        (400, HTML, b'\n<!doctype html>\n<html lang="en">\n<head>\n  <title>Bad Request (400)</title>\n</head>'),
        (403, HTML, b"<h1>403 Forbidden</h1>"),
        (403, JSON, b'{"message": "Forbidden"}'),
        (403, TEXT, b"Host is not trusted"),
        (404, JSON, b'{"message": "Not Found", "reason": null}'),  # Jupyter's for a foreign Origin: says nothing of it
        (500, TEXT, b"Internal Server Error"),
        (502, HTML, b"<h1>Bad Gateway</h1>"),
        # MCP's middleware, which many servers have copied, each with a setting of its own
        (403, JSON, b'{"jsonrpc":"2.0","error":{"code":-32000,"message":"Invalid Host: evil.example"},"id":null}'),
        (403, JSON, b'{"error":"Invalid Host header"}'),
        (403, TEXT, b"Unauthorized"),
        # Jupyter's other reasons to refuse: they are said
        (
            403,
            b"text/html",
            ANSWERS["jupyter"][2].replace(
                b"</h1>", b"</h1>\n<p>The error was:</p>\n<pre>'_xsrf' argument missing</pre>"
            ),
        ),
        (500, b"text/x-component", ANSWERS["next-actions"][2]),  # to no action
        (502, b"text/html", ANSWERS["mod_dav"][2]),  # to no COPY
    ],
)
def test_an_answer_with_other_causes_gets_no_hint(status: int, media_type: bytes, body: bytes) -> None:
    assert hints.find(request(b"/_next/data/x", ORIGIN), answer(status, body, media_type), body) is None


def test_what_is_far_away_is_not_looked_for() -> None:
    status, media_type, body, _, asked = ANSWERS["rails-7"]
    far = body.replace(b"<style>", b"<style>" + b" " * LOOKED_AT)
    assert hints.find(asked, answer(status, far, media_type), far) is None


def test_every_row_has_an_answer_and_every_hint_fits_in_a_field() -> None:
    fitting = set()
    for status, media_type, body, _, asked in ANSWERS.values():
        head = answer(status, body, media_type)
        hint = hints.find(asked, head, body) or ""
        assert re.fullmatch(r"[\x21-\x7e][\x20-\x7e]*[\x21-\x7e]", hint)
        assert not re.search(r"\{[a-z:]+\}", hint.replace("localhost:{port}", "")), "a name that is not filled in"
        rows = (row for row in TABLE if row.status == status and hints._fits(row, head, body) and row.asked(asked))
        fitting.add(next(rows))
    assert fitting == set(TABLE)


@pytest.mark.parametrize(("status", "media_type", "body", "hint", "asked"), ANSWERS.values(), ids=ANSWERS.keys())
def test_hostile_bodies_are_looked_at_in_no_time(
    status: int, media_type: bytes | None, body: bytes, hint: str, asked: RequestHead
) -> None:
    """As it begins, and then over and over: nothing is tried twice. The best of three, whatever else is at work."""
    halves = (body[: len(body) // 2], body[: len(body) // 2 + 5], body[:-3])
    for hostile in [half + piece * LOOKED_AT for half in halves for piece in (b'"', b"&#39; is not", body, b"x")]:
        head = answer(status, hostile[:LOOKED_AT], media_type)
        assert min(_seconds(asked, head, hostile[:LOOKED_AT]) for _ in range(3)) < 0.005


def _seconds(asked: RequestHead, head: ResponseHead, body: bytes) -> float:
    began = time.process_time()
    hints.find(asked, head, body)
    return time.process_time() - began


# --- what is looked at ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "readable"),
    [
        (b"", True),
        (b"Content-Type: text/plain\r\n", True),
        (b"Content-Type: Text/HTML; charset=utf-8\r\n", True),
        (b"Content-Type: text/x-component\r\n", True),
        (b"Content-Type: application/json\r\n", True),
        (b"Content-Type: application/octet-stream\r\n", False),
        (b"Content-Type: image/svg+xml\r\n", False),
        (b"Content-Type: application/grpc\r\n", False),
        (b"Content-Type: text/html\r\nContent-Encoding: gzip\r\n", False),
        (b"Content-Encoding: br\r\n", False),
        (b"Content-Type: application/json; charset=utf-8\r\n", True),
        (b"Content-Type: application/json-seq\r\n", False),
        (b"Content-Type: text/event-stream\r\n", False),
        (b"Content-Type: text/csv\r\nContent-Disposition: attachment; filename=a.csv\r\n", False),
        (b"Content-Disposition: ATTACHMENT ;filename=a.csv\r\n", False),
        (b"Content-Disposition: inline; filename=attachment\r\n", True),
    ],
)
def test_only_plain_text_is_read(fields: bytes, readable: bool) -> None:
    head = parse_response_head(b"HTTP/1.1 403 Forbidden\r\n%b\r\n" % fields, LIMITS, b"GET")
    assert hints.is_readable(head) is readable


# --- the field --------------------------------------------------------------------------------------------------------


@pytest.mark.pure
def test_the_field_is_added_and_nothing_is_lost() -> None:
    section, _ = validate.response_section(OF_ANSWER[1], judged([(b"Set-Cookie", b"a=1"), (b"Content-Length", b"5")]))
    before = (section.fields[:], section.lines)
    marked = hints.with_hint(section, "Vite: allow it")
    assert isinstance(marked, ResponseSection)
    assert marked.fields == [*section.fields, (FIELD, b"Vite: allow it")]
    assert marked.lines == FieldSection.of(marked.fields).lines
    for name in ResponseSection.__slots__:
        assert getattr(marked, name) == getattr(section, name)
    assert marked.set_cookies  # without it, a neighbour's cookie would pass
    assert (section.fields, section.lines) == before, "sections are shared between answers"


# --- the log ----------------------------------------------------------------------------------------------------------

KEY = (("abc", "1", "fd00::5"), 5173)


def test_a_hint_is_logged_once_a_minute() -> None:
    limiter = LogLimiter()
    assert limiter.should_log(KEY, "Vite: …", 100.0)
    assert not limiter.should_log(KEY, "Vite: …", 100.0 + REPEATED_AFTER - 1)
    assert not limiter.should_log(KEY, "Vite: …", 100.0 + REPEATED_AFTER - 0.5), "asking does not put it off"
    assert limiter.should_log(KEY, "Vite: …", 100.0 + REPEATED_AFTER)


def test_another_port_machine_or_hint_is_logged() -> None:
    limiter = LogLimiter()
    assert limiter.should_log(KEY, "Vite: …", 100.0)
    assert limiter.should_log((KEY[0], 5174), "Vite: …", 100.0)
    assert limiter.should_log((("abc", "2", "fd00::5"), 5173), "Vite: …", 100.0)
    assert limiter.should_log(KEY, "Rails: …", 100.0)


def test_one_sandbox_does_not_fill_the_log() -> None:
    """However many ports it answers on, and however a visitor spells its name (with a port, in capitals)."""
    limiter = LogLimiter()
    asked = [((KEY[0], port), f"Vite: {name}") for name in ("A", "a", "a:8443") for port in range(1, 1000)]
    assert sum(limiter.should_log(key, hint, 100.0) for key, hint in asked) == MOST_LOGGED
    assert limiter.should_log((("neighbour", "1", "fd00::6"), 5173), "Vite: a", 100.0)
    later = 100.0 + REPEATED_AFTER
    assert sum(limiter.should_log(key, hint, later) for key, hint in asked) == MOST_LOGGED


def test_memory_is_bounded() -> None:
    limiter = LogLimiter()
    for number in range(MAX_REMEMBERED + 10):
        assert limiter.should_log(((str(number), "1", "fd00::5"), 5173), "Vite: …", 100.0)
    assert len(limiter) == MAX_REMEMBERED
    assert limiter.should_log((("0", "1", "fd00::5"), 5173), "Vite: …", 100.0), "the oldest is forgotten"
    assert not limiter.should_log(((str(MAX_REMEMBERED), "1", "fd00::5"), 5173), "Vite: …", 100.0)
