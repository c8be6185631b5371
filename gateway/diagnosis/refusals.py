"""Answers by which programs refuse to be proxied, as a table: what stands in it, what it means, the line that helps.

Dev servers refuse names they do not know, and say so in a page that a person takes for the platform's fault; others
compare the Origin of a page with the plain HTTP that reaches them. A row fits the whole of what a program writes, and
the request to which it writes that: who quotes it, or says something like it, gets no hint, nor does an answer that
another cause could have made too (Django's bare "Bad Request (400)"). Knows values only: who looks, and what comes of
it, is hints.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.http.message import RequestHead
from gateway.http.validate import offers

ANY: Final = b"*/*"
"""Of a row: whatever media type the answer has, or none."""
NAME: Final = "the app refused its public name"
ORIGIN: Final = "the app refused the Origin of the page that asked"
PAGE: Final = "the app takes its own page for another site's: that came by https, and the app is asked by http"
WEBSOCKET: Final = "the app refused the WebSocket by its origin check"


def _always(request: RequestHead) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Row:
    """An answer, what the app did, and the fix. All that is given has to fit; `body` or `phrases` is."""

    status: int
    media_type: bytes | None
    """None: the answer has none."""
    fix: str
    """One ASCII sentence. `{host}` is the public name with its port, `{domain}` and `{domain:port}` are what follows
    its first dot."""
    body: re.Pattern[bytes] | None = None
    """All of it."""
    phrases: tuple[bytes, ...] = ()
    """Of a long one: how it begins, and what follows further on, in this order."""
    did: str = NAME
    """What the answer means, in ASCII."""
    rest: re.Pattern[bytes] | None = None
    """What comes right behind the last of them."""
    asked: Callable[[RequestHead], bool] = _always
    """Whether the program says that to such a request."""


_MASK = 'upstream.host = "localhost:{port}" in the gateway'
"""Where it helps: not for those who compare Origin or X-Forwarded-Host too."""

_SPRING = (
    "Spring: server.forward-headers-strategy=native, server.tomcat.remoteip.internal-proxies=.* "
    "in application.properties"
)


def first_word(value: bytes | None) -> bytes | None:
    """What stands before the parameters, in lower case."""
    return value and value.partition(b";")[0].strip(b" \t").lower()


# --- who is asked so --------------------------------------------------------------------------------------------------


def is_foreign_to_next(request: RequestHead) -> bool:
    """Of Next's own resources the dev server refuses what another page asks for, as far as it can tell: by Origin, or
    as a script of another site. An app's refusal of data is its own."""
    target = request.target
    if b"/_next/data/" in target or not (b"/_next/" in target or b"/__nextjs" in target):
        return False
    is_script = (
        first_word(request.get(b"sec-fetch-mode")) == b"no-cors"
        and first_word(request.get(b"sec-fetch-site")) == b"cross-site"
    )
    return is_script or request.get(b"origin") is not None


def _is_of_own_page(request: RequestHead) -> bool:
    """Whether it comes from a page of the very app, as the public knows it: whoever refuses that knows another URL."""
    return request.get(b"origin") == b"https://" + request.authority.lower()


def _is_of_other_page(request: RequestHead) -> bool:
    return request.get(b"origin") is not None and not _is_of_own_page(request)


def _is_of_socket_io(request: RequestHead) -> bool:
    return b"EIO=" in request.target and request.get(b"origin") is not None


def _is_websocket(request: RequestHead) -> bool:
    return offers(request.upgrade, b"websocket")


TABLE = (
    # @angular/build host-check-middleware.ts, which rewrites Vite's.
    Row(
        403,
        b"text/html",
        f"Angular: allowedHosts: ['.{{domain}}'] under serve.options in angular.json, or {_MASK}",
        phrases=(
            b"<!doctype html>",
            b"<title>Blocked request</title>",
            b'<h1>Blocked request. This host ("',
            b"<code>allowedHosts</code> under the <code>serve</code> target in <code>angular.json</code>.",
        ),
    ),
    # vite hostCheck.ts; so Astro, Nuxt, SvelteKit, Storybook and others.
    *(
        Row(
            403,
            b"text/plain",
            f"Vite: {option}.allowedHosts: ['.{{domain}}'] in vite.config, or {_MASK}",
            body=re.compile(
                rb'Blocked request\. This host \(("[^\n]*")\) is not allowed\.\n'
                rb"To allow this host, add \1 to `%b\.allowedHosts` in vite\.config\.js\." % option.encode()
            ),
        )
        for option in ("server", "preview")
    ),
    # webpack-dev-server 5, lib/Server.js; version 4 says the same with status 200. Its WebSocket compares Origin.
    Row(
        403,
        None,
        "webpack-dev-server: devServer.allowedHosts: ['.{domain}'] in webpack.config",
        body=re.compile(rb"Invalid Host header"),
    ),
    # The MCP Python SDK, transport_security.py.
    Row(
        421,
        None,
        "MCP server: TransportSecuritySettings(allowed_hosts=['{host}'])",
        body=re.compile(rb"Invalid Host header"),
    ),
    # The MCP TypeScript SDK, webStandardStreamableHttp.ts: the Host field as a whole, unlike its middleware.
    Row(
        403,
        b"application/json",
        "MCP server: allowedHosts: ['{host}'] in the options of its StreamableHTTPServerTransport",
        body=re.compile(
            rb'\{"jsonrpc":"2\.0","error":\{"code":-32000,"message":"Invalid Host header: [^"]+"\},"id":null\}'
        ),
    ),
    # starlette/middleware/trustedhost.py
    Row(
        400,
        b"text/plain",
        "Starlette or FastAPI: TrustedHostMiddleware, allowed_hosts=['*.{domain}']",
        body=re.compile(rb"Invalid host header"),
    ),
    # werkzeug/sansio/utils.py and exceptions.py
    Row(
        400,
        b"text/html",
        "Flask: TRUSTED_HOSTS = ['.{domain}'] in its config",
        body=re.compile(
            rb"<!doctype html>\n<html lang=en>\n<title>400 Bad Request</title>\n<h1>Bad Request</h1>\n"
            rb"<p>Host &#39;[^\n]*&#39; is not trusted\.</p>\n"
        ),
    ),
    # Django's technical_500.html and .txt, with DEBUG only; the second for who accepts no HTML.
    Row(
        400,
        b"text/html",
        "Django: ALLOWED_HOSTS = ['.{domain}'] in settings.py",
        phrases=(b"<!DOCTYPE html>", b'content="NONE,NOARCHIVE">', b"<title>DisallowedHost"),
        rest=re.compile(rb"\s+at /"),
    ),
    Row(
        400,
        b"text/plain",
        "Django: ALLOWED_HOSTS = ['.{domain}'] in settings.py",
        phrases=(b"DisallowedHost at /", b"\nInvalid HTTP_HOST header: ", b" to ALLOWED_HOSTS."),
    ),
    # django/middleware/csrf.py: TLS has ended before Django, so it takes the public https origin for a foreign one.
    Row(
        403,
        b"text/html",
        "Django: SECURE_PROXY_SSL_HEADER = ('HTTP_X_FORWARDED_PROTO', 'https') or "
        "CSRF_TRUSTED_ORIGINS = ['https://*.{domain:port}'] in settings.py",
        phrases=(
            b"<!DOCTYPE html>",
            b"<title>403 Forbidden</title>",
            b"<pre>\n    Origin checking failed - ",
            b" does not match any trusted origins.",
        ),
        rest=re.compile(rb"\s*</pre>"),
        did=ORIGIN,
    ),
    # ActionDispatch::HostAuthorization, which looks at X-Forwarded-Host too; the second for who asks by script.
    Row(
        403,
        b"text/html",
        "Rails: config.hosts << '.{domain}' in config/environments",
        phrases=(
            b"<!DOCTYPE html>",
            b"<h1>Blocked host",
            b" add the following to your environment configuration:",
            b"<pre>config.hosts &lt;&lt; ",
        ),
    ),
    Row(
        403,
        b"text/plain",
        "Rails: config.hosts << '.{domain}' in config/environments",
        phrases=(b"Blocked host", b" add the following to your environment configuration:", b"config.hosts << "),
    ),
    # next block-cross-site-dev.ts
    Row(
        403,
        None,
        "Next.js: allowedDevOrigins: ['*.{domain}'] in next.config",
        body=re.compile(rb"Unauthorized"),
        asked=is_foreign_to_next,
        did=ORIGIN,
    ),
    # next action-handler.ts: `x-forwarded-host` header does not match `origin` header; told by name in dev only.
    Row(
        500,
        b"text/x-component",
        "Next.js: experimental.serverActions.allowedOrigins: ['*.{domain:port}'] in next.config",
        phrases=(b"", b'E{"digest":"', b'"message":"Invalid Server Actions request."'),
        asked=lambda request: request.method == b"POST",
        did=ORIGIN,
    ),
    # jupyter_server error.html: why stands in its log only ("Blocking request with non-local 'Host'"). Any other 403
    # of its own has a message behind the heading. A WebSocket without its login gets the same page.
    *(
        Row(
            403,
            b"text/html",
            fix,
            phrases=(b"<!DOCTYPE HTML>", b"<title>Jupyter", b"<h1>403 : Forbidden</h1>"),
            rest=re.compile(rb"\s*</div>"),
            did=did,
            asked=asked,
        )
        for fix, did, asked in (
            (
                "Jupyter: open its page with its token first; and if its log says it blocks a non-local 'Host', "
                "c.ServerApp.allow_remote_access = True",
                "the app refused the WebSocket, by its login or its public name",
                _is_websocket,
            ),
            (
                "Jupyter: if its log says it blocks a non-local 'Host', c.ServerApp.allow_remote_access = True",
                "the app refused this request, perhaps by its public name",
                _always,
            ),
        )
    ),
    # Apache's modules/dav/main/util.c: COPY and MOVE name their Destination by its public https URL; so Subversion.
    Row(
        502,
        b"text/html",
        "Apache mod_dav or Subversion: RequestHeader edit Destination ^https: http: early, with mod_headers",
        phrases=(
            b'<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN" "http://www.w3.org/TR/html4/strict.dtd">\n<html>\n<head>\n',
            b"<title>502 Bad Gateway</title>",
            b"<p>Destination URI refers to different scheme or port",
        ),
        asked=lambda request: request.method in (b"COPY", b"MOVE"),
        did="the app takes its own https URL in Destination for another server's",
    ),
    # ASP.NET Core, Http2Connection.cs: an endpoint that is to speak HTTP/2 only.
    Row(
        400,
        b"text/plain",
        'ASP.NET Core: "Protocols": "Http1" for this endpoint of Kestrel (gRPC needs a proxy for gRPC-Web in front)',
        body=re.compile(rb"An HTTP/1\.x request was sent to an HTTP/2 only endpoint\."),
        did="the app has an endpoint for HTTP/2 only",
    ),
    # tornado/websocket.py; so Jupyter, whose check is stricter than Tornado's.
    Row(
        403,
        b"text/html",
        "Jupyter: c.ServerApp.allow_origin = 'https://{host}'; others on Tornado: check_origin of a WebSocketHandler",
        body=re.compile(rb"Cross origin websockets not allowed"),
        did=WEBSOCKET,
        asked=_is_websocket,
    ),
    # starlette/middleware/cors.py, to a preflight; what else displeases it follows.
    Row(
        400,
        b"text/plain",
        "FastAPI or Starlette: allow_origins of CORSMiddleware needs that page's https://...{domain:port}",
        body=re.compile(rb"Disallowed CORS origin(?:, [a-z-]+)*"),
        did=ORIGIN,
        asked=lambda request: request.method == b"OPTIONS",
    ),
    # spring-web DefaultCorsProcessor; a request of the own origin is none of CORS to it, if it knows that origin.
    *(
        Row(403, None, fix, body=re.compile(rb"Invalid CORS request"), did=did, asked=asked)
        for fix, did, asked in (
            (
                _SPRING,
                PAGE,
                _is_of_own_page,
            ),
            ('Spring: allowedOriginPatterns("https://*.{domain:port}") in its CORS mapping', ORIGIN, _is_of_other_page),
        )
    ),
    # @sveltejs/kit respond.js, and Astro's middleware in the same words.
    Row(
        403,
        b"text/plain",
        "SvelteKit: PROTOCOL_HEADER=x-forwarded-proto HOST_HEADER=x-forwarded-host in the environment; "
        "Astro: security.allowedDomains: [{hostname: '**.{domain}'}] in astro.config",
        body=re.compile(rb"Cross-site (?:POST|PUT|PATCH|DELETE) form submissions are forbidden"),
        did=PAGE,
        asked=_is_of_own_page,
    ),
    # engine.io server.ts: `allowRequest` said no; to a WebSocket with the status of everything it refuses.
    *(
        Row(
            status,
            media_type,
            "Socket.IO: https://{host} in its allowRequest, and in cors.origin if a page of another name asks",
            body=re.compile(body),
            did="the app refused a Socket.IO connection, usually by its origin check",
            asked=_is_of_socket_io,
        )
        for status, media_type, body in (
            (403, b"application/json", rb'\{"code":4,"message":"Forbidden"\}'),
            (400, b"text/html", rb"Forbidden"),
        )
    ),
    # python-engineio base_server.py and server.py, of Flask-SocketIO as well.
    Row(
        400,
        b"text/plain",
        "python-socketio or Flask-SocketIO: cors_allowed_origins=['https://{host}'], or whatever page asks",
        body=re.compile(rb'"?Not an accepted origin\."?'),
        did=ORIGIN,
    ),
    # Whoever says no more: Streamlit, Phoenix, gorilla and ws by the origin; Starlette to a path without a route, too.
    Row(
        403,
        ANY,
        "It has to accept https://{host} (docs/frameworks.md), or has no such route, if it is FastAPI or Starlette",
        phrases=(b"",),
        did="the app refused the WebSocket, usually by its origin check",
        asked=_is_websocket,
    ),
)
"""The first row that fits speaks."""
STATUSES = frozenset(row.status for row in TABLE)
