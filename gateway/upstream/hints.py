"""Answers that betray a problem with being proxied, and the setting that solves it.

Dev servers refuse names they do not know, and say so in a page that a person takes for the platform's fault; others
compare a URL that a client sent with the plain HTTP that reaches them. Their answer passes as it is, with one field
added that names the fix. Owns the table of such answers and the memory of what was logged lately. Knows the beginning
of a body and the request; never changes either, and never guesses: an answer that another cause could have made too
(Django's bare "Bad Request (400)") gets no hint.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.http.lists import members
from gateway.http.message import RequestHead, ResponseHead, Section

if TYPE_CHECKING:
    from gateway.upstream.pool import Key

FIELD = b"X-Gateway-Hint"
LOOKED_AT = 16 * 1024
"""Octets of a body in which phrases are looked for; Rails writes 6 KiB of style first."""
REPEATED_AFTER = 60.0
"""Seconds until the same hint for the same port is news again."""
MAX_REMEMBERED = 1024
"""Hints told lately; of more than these the oldest are forgotten."""

_TEXTUAL = frozenset((b"application/json", b"application/xhtml+xml"))
_STREAM = b"text/event-stream"


@dataclass(frozen=True, slots=True)
class Row:
    """An answer and its fix: `status`, `phrases` that are all in its body, and `targets` of which one is requested."""

    status: int
    phrases: tuple[bytes, ...]
    fix: str
    """One ASCII sentence. `{host}` is the public name with its port, `{domain}` and `{domain:port}` are what follows
    its first dot."""
    targets: tuple[bytes, ...] = (b"",)


_MASK = 'upstream.host = "localhost:{port}" in the gateway'
"""Where it helps: not for those who compare Origin or X-Forwarded-Host too."""

TABLE = (
    # @angular/build host-check-middleware.ts; before Vite's, on which it stands.
    Row(
        403,
        (b"Blocked request. This host", b"angular.json"),
        f"Angular: allowedHosts: ['.{{domain}}'] under serve.options in angular.json, or {_MASK}",
    ),
    # vite hostCheck.ts; so Astro, Nuxt, SvelteKit, Storybook and others.
    Row(
        403,
        (b"Blocked request. This host", b"preview.allowedHosts"),
        f"Vite: preview.allowedHosts: ['.{{domain}}'] in vite.config, or {_MASK}",
    ),
    Row(
        403,
        (b"Blocked request. This host",),
        f"Vite: server.allowedHosts: ['.{{domain}}'] in vite.config, or {_MASK}",
    ),
    # webpack-dev-server 5, lib/Server.js; version 4 says the same with status 200. Its WebSocket compares Origin.
    Row(403, (b"Invalid Host header",), "webpack-dev-server: devServer.allowedHosts: ['.{domain}'] in webpack.config"),
    # The MCP Python SDK, transport_security.py.
    Row(421, (b"Invalid Host header",), "MCP server: TransportSecuritySettings(allowed_hosts=['{host}'])"),
    # starlette/middleware/trustedhost.py
    Row(400, (b"Invalid host header",), "Starlette or FastAPI: TrustedHostMiddleware, allowed_hosts=['*.{domain}']"),
    # werkzeug/sansio/utils.py
    Row(400, (b"<h1>Bad Request</h1>", b" is not trusted."), "Flask: TRUSTED_HOSTS = ['.{domain}'] in its config"),
    # Django's technical_500.html, with DEBUG only.
    Row(400, (b"DisallowedHost",), "Django: ALLOWED_HOSTS = ['.{domain}'] in settings.py"),
    # django/middleware/csrf.py: TLS has ended before Django, so it takes the public https origin for a foreign one.
    Row(
        403,
        (b"Origin checking failed - ",),
        "Django: SECURE_PROXY_SSL_HEADER = ('HTTP_X_FORWARDED_PROTO', 'https') or "
        "CSRF_TRUSTED_ORIGINS = ['https://*.{domain:port}'] in settings.py",
    ),
    # ActionDispatch::HostAuthorization, which looks at X-Forwarded-Host too.
    Row(403, (b"Blocked host", b"config.hosts"), "Rails: config.hosts << '.{domain}' in config/environments"),
    # next block-cross-site-dev.ts
    Row(
        403,
        (b"Unauthorized",),
        "Next.js: allowedDevOrigins: ['*.{domain}'] in next.config",
        targets=(b"/_next/", b"/__nextjs"),
    ),
    # next action-handler.ts: `x-forwarded-host` header does not match `origin` header; the page names it in dev.
    Row(
        500,
        (b"Invalid Server Actions request",),
        "Next.js: experimental.serverActions.allowedOrigins: ['*.{domain:port}'] in next.config",
    ),
    # jupyter_server error.html: why stands in its log only ("Blocking request with non-local 'Host'").
    Row(
        403,
        (b"<title>Jupyter", b"403 : Forbidden"),
        "Jupyter: if its log says it blocks a non-local 'Host', c.ServerApp.allow_remote_access = True",
    ),
    # Apache's modules/dav/main/util.c: COPY and MOVE name their Destination by its public https URL; so Subversion.
    Row(
        502,
        (b"Destination URI refers to different scheme or port",),
        "Apache mod_dav or Subversion: RequestHeader edit Destination ^https: http: early, with mod_headers",
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


def find(request: RequestHead, status: int, beginning: bytes) -> str | None:
    """The fix for an error answer to `request` whose body begins so, or None."""
    looked_at = beginning[:LOOKED_AT]
    for row in TABLE:
        if (
            row.status == status
            and all(phrase in looked_at for phrase in row.phrases)
            and any(target in request.target for target in row.targets)
        ):
            host = request.authority.decode("ascii")
            domain = host.partition(".")[2]
            known = {"{host}": host, "{domain}": domain.partition(":")[0], "{domain:port}": domain}
            fix = row.fix
            for name, value in known.items():
                fix = fix.replace(name, value)
            return fix
    return None


def with_hint(section: Section, hint: str) -> Section:
    """`section`, which is shared and stays as it is, with the field that carries `hint` at its end."""
    marked = copy(section)
    pair = (FIELD, hint.encode("ascii"))
    marked.fields = [*section.fields, pair]
    marked.lines = section.lines + b"%b: %b\r\n" % pair
    return marked


class Told:
    """Which hints were logged lately, for which port."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: dict[tuple[Key, str], float] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self._until)

    def is_news(self, key: Key, hint: str, now: float) -> bool:
        """Whether `hint` should be logged; if so, not again for a minute."""
        until = self._until.pop((key, hint), 0.0)
        is_news = until <= now
        self._until[key, hint] = now + REPEATED_AFTER if is_news else until
        if len(self._until) > MAX_REMEMBERED:
            del self._until[next(iter(self._until))]
        return is_news
