"""Answers that betray a problem with being proxied, and the setting that solves it.

Dev servers refuse names they do not know, and say so in a page that a person takes for the platform's fault; others
compare a URL that a client sent with the plain HTTP that reaches them. Their answer passes as it is, with one field
added that names the fix. Owns the table of such answers and the memory of what was logged lately. Knows the beginning
of a body and the request; never changes either, and never guesses: a row fits the whole of what a program writes, and
the request to which it writes that. Who quotes it, or says something like it, gets no hint, nor does an answer that
another cause could have made too (Django's bare "Bad Request (400)"). Who withholds an answer for a look and adds the
field is error_answer.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import GatewayError
from gateway.http.lists import members
from gateway.http.message import BY_LENGTH, FieldSection, RequestHead, ResponseHead
from gateway.wordings import NEXT_REFUSES

if TYPE_CHECKING:
    from gateway.endpoint import Endpoint
    from gateway.upstream.stream import UpstreamFailure

FIELD = b"X-Gateway-Hint"
LOOKED_AT = 16 * 1024
"""Octets of a body in which phrases are looked for; Rails writes 6 KiB of style first."""
REPEATED_AFTER = 60.0
"""Seconds until the same hint for the same port is logged again."""
MOST_LOGGED = 8
"""Hints of one sandbox that are logged in that time: it chooses what it answers on which of its ports, and a client by
which of its names."""
MAX_REMEMBERED = 1024
"""Sandboxes of which hints were logged lately; of more than these the oldest are forgotten."""

_TEXTUAL = frozenset((b"application/json", b"application/xhtml+xml"))
_STREAM = b"text/event-stream"


def _always(request: RequestHead) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Row:
    """An answer and its fix. All that is given has to fit; `body` or `phrases` is."""

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
    rest: re.Pattern[bytes] | None = None
    """What comes right behind the last of them."""
    asked: Callable[[RequestHead], bool] = _always
    """Whether the program says that to such a request."""


_MASK = 'upstream.host = "localhost:{port}" in the gateway'
"""Where it helps: not for those who compare Origin or X-Forwarded-Host too."""


def _is_foreign_to_next(request: RequestHead) -> bool:
    """Of Next's own resources the dev server refuses what another page asks for, as far as it can tell: by Origin, or
    as a script of another site. An app's refusal of data is its own."""
    target = request.target
    if b"/_next/data/" in target or not (b"/_next/" in target or b"/__nextjs" in target):
        return False
    is_script = (
        _first_word(request.get(b"sec-fetch-mode")) == b"no-cors"
        and _first_word(request.get(b"sec-fetch-site")) == b"cross-site"
    )
    return is_script or request.get(b"origin") is not None


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
        asked=_is_foreign_to_next,
    ),
    # next action-handler.ts: `x-forwarded-host` header does not match `origin` header; told by name in dev only.
    Row(
        500,
        b"text/x-component",
        "Next.js: experimental.serverActions.allowedOrigins: ['*.{domain:port}'] in next.config",
        phrases=(b"", b'E{"digest":"', b'"message":"Invalid Server Actions request."'),
        asked=lambda request: request.method == b"POST",
    ),
    # jupyter_server error.html: why stands in its log only ("Blocking request with non-local 'Host'"). Any other 403
    # of its own has a message behind the heading.
    Row(
        403,
        b"text/html",
        "Jupyter: if its log says it blocks a non-local 'Host', c.ServerApp.allow_remote_access = True",
        phrases=(b"<!DOCTYPE HTML>", b"<title>Jupyter", b"<h1>403 : Forbidden</h1>"),
        rest=re.compile(rb"\s*</div>"),
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
    ),
    # ASP.NET Core, Http2Connection.cs: an endpoint that is to speak HTTP/2 only.
    Row(
        400,
        b"text/plain",
        'ASP.NET Core: "Protocols": "Http1" for this endpoint of Kestrel (gRPC needs a proxy for gRPC-Web in front)',
        body=re.compile(rb"An HTTP/1\.x request was sent to an HTTP/2 only endpoint\."),
    ),
)
"""The first row that fits speaks."""
STATUSES = frozenset(row.status for row in TABLE)


def is_readable(head: ResponseHead) -> bool:
    """Whether the body that `head` announces is text to be shown: not compressed, not a stream, not a download."""
    if any(coding.lower() != b"identity" for coding in members(head.get(b"content-encoding") or b"")):
        return False
    if _first_word(head.get(b"content-disposition")) == b"attachment":
        return False
    media_type = _first_word(head.get(b"content-type"))
    if media_type is None:
        return True
    return media_type in _TEXTUAL or (media_type.startswith(b"text/") and media_type != _STREAM)


def _first_word(value: bytes | None) -> bytes | None:
    """What stands before the parameters, in lower case."""
    return value and value.partition(b";")[0].strip(b" \t").lower()


def find(request: RequestHead, answer: ResponseHead, beginning: bytes) -> str | None:
    """The fix for an error answer to `request` whose body begins so, or None."""
    looked_at = beginning[:LOOKED_AT]
    for row in TABLE:
        if row.status == answer.status and _fits(row, answer, looked_at) and row.asked(request):
            host = request.authority.decode("ascii")
            domain = host.partition(".")[2]
            known = {"{host}": host, "{domain}": domain.partition(":")[0], "{domain:port}": domain}
            fix = row.fix
            for name, value in known.items():
                fix = fix.replace(name, value)
            return fix
    return None


def _fits(row: Row, answer: ResponseHead, looked_at: bytes) -> bool:
    if _first_word(answer.get(b"content-type")) != row.media_type:
        return False
    if row.body is not None:
        is_all = answer.framing is not BY_LENGTH or answer.content_length == len(looked_at)
        return is_all and row.body.fullmatch(looked_at) is not None
    begins, *further = row.phrases
    if not looked_at.startswith(begins):
        return False
    end = len(begins)
    for phrase in further:
        at = looked_at.find(phrase, end)
        if at < 0:
            return False
        end = at + len(phrase)
    return row.rest is None or row.rest.match(looked_at, end) is not None


def explain(request: RequestHead, failure: UpstreamFailure) -> GatewayError:
    """The error of `failure`, in answer to `request`, in the words for a dev server that writes no head."""
    error = failure.error
    # block-cross-site-dev.ts again, which has no head to write there.
    if failure.received == b"Unauthorized" and request.upgrade is not None and _is_foreign_to_next(request):
        return GatewayError(error.reason, error.detail, wording=NEXT_REFUSES)
    return error


def with_hint(section: FieldSection, hint: str) -> FieldSection:
    """`section`, which is shared and stays as it is, with the field that carries `hint` at its end."""
    return section.with_added((FIELD, hint.encode("ascii")))


class LogLimiter:
    """Which hints were logged lately, for which ports of which sandboxes."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: dict[object, dict[tuple[int, str], float]] = {}  # by sandbox, the one longest not heard of first

    def __len__(self) -> int:
        return len(self._until)

    def should_log(self, endpoint: Endpoint, hint: str, now: float) -> bool:
        """Whether `hint` should be logged; if so, not again for a minute."""
        sandbox, port = endpoint
        lately = {logged: until for logged, until in self._until.pop(sandbox, {}).items() if now < until}
        is_new = (port, hint) not in lately and len(lately) < MOST_LOGGED
        if is_new:
            lately[port, hint] = now + REPEATED_AFTER
        self._until[sandbox] = lately
        if len(self._until) > MAX_REMEMBERED:
            del self._until[next(iter(self._until))]
        return is_new
