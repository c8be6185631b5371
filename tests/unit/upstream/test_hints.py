"""Answers of real programs that refuse to be proxied, and the sentence that names the fix; nobody else's get one."""

from __future__ import annotations

import re
from typing import cast

import pytest

from gateway.http import validate
from gateway.http.head_parser import HeadLimits, parse_request_head, parse_response_head
from gateway.http.message import RequestHead, ResponseSection, Section
from gateway.upstream import hints
from gateway.upstream.hints import FIELD, LOOKED_AT, MAX_REMEMBERED, REPEATED_AFTER, TABLE, Told

LIMITS = HeadLimits()
HOST = b"5173-abc123.sandbox.example.dev:8443"


def request(target: bytes = b"/") -> RequestHead:
    return parse_request_head(b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, HOST), LIMITS)


# Each as the program sends it, long style sheets cut: Vite 8.3, Django 5.2, jupyter_server 2.21, Apache 2.4, Starlette
# and Werkzeug observed; Angular 21, webpack-dev-server 5.2, Rails 6 to 8, Next 16 and MCP from their sources.
ANSWERS = {
    "vite": (
        403,
        b'Blocked request. This host ("5173-abc123.sandbox.example.dev") is not allowed.\nTo allow this host, add '
        b'"5173-abc123.sandbox.example.dev" to `server.allowedHosts` in vite.config.js.',
        "Vite: server.allowedHosts: ['.sandbox.example.dev'] in vite.config, "
        'or upstream.host = "localhost:{port}" in the gateway',
    ),
    "vite-preview": (
        403,
        b'Blocked request. This host ("4173-abc123.sandbox.example.dev") is not allowed.\nTo allow this host, add '
        b'"4173-abc123.sandbox.example.dev" to `preview.allowedHosts` in vite.config.js.',
        "Vite: preview.allowedHosts: ['.sandbox.example.dev'] in vite.config, "
        'or upstream.host = "localhost:{port}" in the gateway',
    ),
    "angular": (
        403,
        b'<!doctype html>\n<html>\n  <head>\n    <meta charset="utf-8" />\n <title>Blocked request</title>\n'
        b'<h1>Blocked request. This host ("4200-abc123.sandbox.example.dev") is not allowed.</h1>\n<p>To allow this '
        b"host, add it to <code>allowedHosts</code> under the <code>serve</code> target in <code>angular.json</code>.",
        "Angular: allowedHosts: ['.sandbox.example.dev'] under serve.options in angular.json, "
        'or upstream.host = "localhost:{port}" in the gateway',
    ),
    "webpack": (
        403,
        b"Invalid Host header",
        "webpack-dev-server: devServer.allowedHosts: ['.sandbox.example.dev'] in webpack.config",
    ),
    "mcp": (
        421,
        b"Invalid Host header",
        "MCP server: TransportSecuritySettings(allowed_hosts=['5173-abc123.sandbox.example.dev:8443'])",
    ),
    "starlette": (
        400,
        b"Invalid host header",
        "Starlette or FastAPI: TrustedHostMiddleware, allowed_hosts=['*.sandbox.example.dev']",
    ),
    "flask": (
        400,
        b"<!doctype html>\n<html lang=en>\n<title>400 Bad Request</title>\n<h1>Bad Request</h1>\n"
        b"<p>Host &#39;5173-abc123.sandbox.example.dev:8443&#39; is not trusted.</p>\n",
        "Flask: TRUSTED_HOSTS = ['.sandbox.example.dev'] in its config",
    ),
    "django": (
        400,
        b'<!DOCTYPE html>\n<html lang="en">\n<head>\n  <meta http-equiv="content-type" content="text/html; '
        b'charset=utf-8">\n  <meta name="robots" content="NONE,NOARCHIVE">\n  <title>DisallowedHost\n          at /'
        b"</title>\n  <style>",
        "Django: ALLOWED_HOSTS = ['.sandbox.example.dev'] in settings.py",
    ),
    "django-csrf": (
        403,
        b"<p>CSRF verification failed. Request aborted.</p>\n<h2>Help</h2>\n<p>Reason given for failure:</p>\n<pre>\n"
        b"    Origin checking failed - https://5173-abc123.sandbox.example.dev:8443 does not match any trusted "
        b"origins.\n    </pre>",
        "Django: SECURE_PROXY_SSL_HEADER = ('HTTP_X_FORWARDED_PROTO', 'https') or "
        "CSRF_TRUSTED_ORIGINS = ['https://*.sandbox.example.dev:8443'] in settings.py",
    ),
    "rails-6": (
        403,
        b"<header>\n  <h1>Blocked host: 5173-abc123.sandbox.example.dev</h1>\n</header>\n<pre>config.hosts &lt;&lt; ",
        "Rails: config.hosts << '.sandbox.example.dev' in config/environments",
    ),
    "rails-7": (
        403,
        b"<h1>Blocked hosts: 5173-abc123.sandbox.example.dev</h1>\n<pre>config.hosts &lt;&lt; ",
        "Rails: config.hosts << '.sandbox.example.dev' in config/environments",
    ),
    "next-actions": (
        500,
        b'1:E{"digest":"3328534788","name":"Error","message":"Invalid Server Actions request.","stack":[]}\n',
        "Next.js: experimental.serverActions.allowedOrigins: ['*.sandbox.example.dev:8443'] in next.config",
    ),
    "jupyter": (
        403,
        b'<!DOCTYPE HTML>\n<html>\n<head>\n<meta charset="utf-8">\n<title>Jupyter Server</title>\n<div class="error">'
        b"\n<h1>403 : Forbidden</h1>\n",
        "Jupyter: if its log says it blocks a non-local 'Host', c.ServerApp.allow_remote_access = True",
    ),
    "mod_dav": (
        502,
        b"<title>502 Bad Gateway</title>\n</head><body>\n<h1>Bad Gateway</h1>\n<p>Destination URI refers to different "
        b"scheme or port (https://hostname:8443)\n(want: http://hostname:5173)</p>\n</body></html>\n",
        "Apache mod_dav or Subversion: RequestHeader edit Destination ^https: http: early, with mod_headers",
    ),
}


@pytest.mark.parametrize(("status", "beginning", "hint"), ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_that_betrays_its_cause(status: int, beginning: bytes, hint: str) -> None:
    assert hints.find(request(), status, beginning) == hint
    assert hints.find(request(), 404, beginning) is None, "the same words with another status"


def test_next_refuses_its_own_resources_only() -> None:
    hint = "Next.js: allowedDevOrigins: ['*.sandbox.example.dev'] in next.config"
    assert hints.find(request(b"/_next/webpack-hmr?id=1"), 403, b"Unauthorized") == hint
    assert hints.find(request(b"/__nextjs_font/geist.woff2"), 403, b"Unauthorized") == hint
    assert hints.find(request(b"/account"), 403, b"Unauthorized") is None


@pytest.mark.parametrize(
    ("status", "beginning"),
    [
        (400, b'\n<!doctype html>\n<html lang="en">\n<head>\n  <title>Bad Request (400)</title>\n</head>'),
        (403, b"<h1>403 Forbidden</h1>"),
        (403, b'{"message": "Forbidden"}'),
        (403, b"Host is not trusted"),
        (404, b'{"message": "Not Found", "reason": null}'),  # Jupyter's for a foreign Origin: says nothing of it
        (500, b"Internal Server Error"),
        (502, b"<h1>Bad Gateway</h1>"),
        (403, b" " * LOOKED_AT + b"Invalid Host header"),
    ],
    ids=["django-without-debug", "nginx", "json", "no-flask", "jupyter-404", "plain", "bad-gateway", "far-away"],
)
def test_an_answer_with_other_causes_gets_no_hint(status: int, beginning: bytes) -> None:
    assert hints.find(request(), status, beginning) is None


def test_every_hint_fits_in_a_field() -> None:
    for status, beginning, expected in ANSWERS.values():
        hint = hints.find(request(), status, beginning)
        assert hint == expected
        assert re.fullmatch(r"[\x21-\x7e][\x20-\x7e]*[\x21-\x7e]", hint)
        assert "{" not in hint.replace("localhost:{port}", ""), "a name that is not filled in"
    assert len({hint for _, _, hint in ANSWERS.values()}) == len(TABLE) - 1, "a row without an answer, besides Next's"


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


def test_the_field_is_added_and_nothing_is_lost() -> None:
    section = validate.response_section(1, [(b"Set-Cookie", b"a=1"), (b"Content-Length", b"5")])
    before = (section.fields[:], section.lines)
    marked = cast("ResponseSection", hints.with_hint(section, "Vite: allow it"))
    assert isinstance(marked, ResponseSection)
    assert marked.fields == [*section.fields, (FIELD, b"Vite: allow it")]
    assert marked.lines == Section(marked.fields).lines
    for name in ResponseSection.__slots__:
        assert getattr(marked, name) == getattr(section, name)
    assert marked.set_cookies  # without it, a neighbour's cookie would pass
    assert (section.fields, section.lines) == before, "sections are shared between answers"


# --- the log ----------------------------------------------------------------------------------------------------------

KEY = (("abc", "1", "fd00::5"), 5173)


def test_a_hint_is_news_once_a_minute() -> None:
    told = Told()
    assert told.is_news(KEY, "Vite: …", 100.0)
    assert not told.is_news(KEY, "Vite: …", 100.0 + REPEATED_AFTER - 1)
    assert not told.is_news(KEY, "Vite: …", 100.0 + REPEATED_AFTER - 0.5), "asking does not put it off"
    assert told.is_news(KEY, "Vite: …", 100.0 + REPEATED_AFTER)


def test_another_port_machine_or_hint_is_news() -> None:
    told = Told()
    assert told.is_news(KEY, "Vite: …", 100.0)
    assert told.is_news((KEY[0], 5174), "Vite: …", 100.0)
    assert told.is_news((("abc", "2", "fd00::5"), 5173), "Vite: …", 100.0)
    assert told.is_news(KEY, "Rails: …", 100.0)


def test_memory_is_bounded() -> None:
    told = Told()
    for port in range(MAX_REMEMBERED + 10):
        assert told.is_news((KEY[0], port), "Vite: …", 100.0)
    assert len(told) == MAX_REMEMBERED
    assert told.is_news((KEY[0], 0), "Vite: …", 100.0), "the oldest is forgotten"
    assert not told.is_news((KEY[0], MAX_REMEMBERED), "Vite: …", 100.0)
