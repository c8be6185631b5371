"""What an app takes its own URL to be, as far as an answer's head shows it: in redirects, logins and cookies.

Behind whatever ends TLS an app is asked by plain HTTP. One that believes what it sees calls itself `http:`; one with a
fixed address of its own leads to `localhost`, which is the visitor's machine. Both say so in Location, in the
redirect_uri of a login elsewhere (RFC 6749 section 3.1.2) or in a cookie's Domain.

Two tables: what is seen and what it means, and by which field an answer tells its framework, with the line that mends
it there. Knows values only, and no false alarm: a redirect to another site of the same user's is none; an address that
the request itself has named was the visitor's wish (a tool that waits for its login on loopback, RFC 8252 section 7.3);
so is one that is handed a code. What is quoted of an app is a scheme, a host and a port.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote_to_bytes

from gateway.http.message import FieldSection, RequestHead, ResponseHead

MOST_READ: Final = 8 * 1024
"""Octets of a field or target that are looked at; an URL that is longer than browsers take leads nowhere."""
MOST_RETURNS: Final = 4
"""Parameters of one URL that are looked at."""

_LOCAL: Final = rb"localhost|127(?:\.[0-9]{1,3}){3}|0\.0\.0\.0|\[::1?\]"
_URL: Final = re.compile(
    rb"(https?)://([a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(:[0-9]{1,5})?(?=[/?#]|\Z)", re.IGNORECASE
)
IS_LOCAL: Final = re.compile(_LOCAL, re.IGNORECASE)
_RETURN: Final = re.compile(rb"[?&](?:redirect_uri|post_logout_redirect_uri)=([^&#]*)")
_CAS_RETURN: Final = re.compile(rb"[?&]service=([^&#]*)")
"""Of CAS, and a word of many other meanings on a page of the app's own."""
_HANDED: Final = re.compile(rb"[?&#](?:code|error|id_token|access_token|token|ticket|oauth_verifier)=")
_REFRESH: Final = re.compile(rb"[0-9.]*[ \t]*[;,][ \t]*(?:url[ \t]*=[ \t]*)?[\"']?", re.IGNORECASE)
_LOCAL_COOKIE: Final = re.compile(rb";[ \t]*domain[ \t]*=[ \t]*\.?(?:%b)[ \t]*(?:;|\Z)" % _LOCAL, re.IGNORECASE)
_FOR_GOOD: Final = (301, 308)
_REDIRECTS: Final = frozenset((201, 301, 302, 303, 307, 308))


@dataclass(frozen=True, slots=True)
class Framework:
    """How an answer tells what has made it, and the settings there. `{origin}` is the public one."""

    field: bytes
    begins: bytes
    """The field's value, in lower case."""
    believe: str
    """By which it takes scheme and host from X-Forwarded-Proto and -Host."""
    base: str = ""
    """By which it is told its own URL; empty: there is no one place for it."""
    cookie: str = ""
    """By which a cookie has no Domain."""
    cross: str = ""
    """By which a page of another name may ask; `{page}` is its origin."""


FRAMEWORKS: Final = (
    Framework(
        b"server",
        b"werkzeug",
        "Flask: app.wsgi_app = ProxyFix(app.wsgi_app, x_proto=1, x_host=1)",
        "Flask: redirect(url_for(...)), and no SERVER_NAME in its config",
        "Flask: no SESSION_COOKIE_DOMAIN in its config",
        "Flask: CORS(app, origins=['{page}']) of flask-cors",
    ),
    Framework(
        b"server",
        b"wsgiserver",
        "Django: SECURE_PROXY_SSL_HEADER = ('HTTP_X_FORWARDED_PROTO', 'https') in settings.py",
        "Django: request.build_absolute_uri(...) in the place of a fixed URL",
        "Django: SESSION_COOKIE_DOMAIN = CSRF_COOKIE_DOMAIN = None in settings.py",
        "Django: CORS_ALLOWED_ORIGINS = ['{page}'] of django-cors-headers in settings.py",
    ),
    Framework(
        b"server",
        b"uvicorn",
        "uvicorn: --proxy-headers --forwarded-allow-ips='*'",
        cross="FastAPI or Starlette: app.add_middleware(CORSMiddleware, allow_origins=['{page}'])",
    ),
    Framework(
        b"server", b"gunicorn", "gunicorn: --forwarded-allow-ips='*'; Django needs SECURE_PROXY_SSL_HEADER as well"
    ),
    Framework(
        b"server",
        b"tornadoserver",
        "Tornado: HTTPServer(app, xheaders=True); Jupyter: c.ServerApp.trust_xheaders = True",
    ),
    Framework(b"server", b"kestrel", "ASP.NET Core: ASPNETCORE_FORWARDEDHEADERS_ENABLED=true in its environment"),
    Framework(b"server", b"nginx", "nginx: absolute_redirect off;", "nginx: absolute_redirect off;"),
    Framework(b"server", b"apache", "Apache: ServerName {origin}", "Apache: ServerName {origin}"),
    Framework(
        b"x-powered-by",
        b"next.js",
        "Next.js: AUTH_URL={origin} for logins; new URL(path, 'https://' + headers.get('host')) for redirects",
        "Next.js: AUTH_URL={origin} for logins; new URL(path, 'https://' + headers.get('host')) for redirects",
    ),
    Framework(
        b"x-powered-by",
        b"express",
        "Express: app.set('trust proxy', true)",
        "Express: res.redirect('/path'), or the base URL that it is configured with: {origin}",
        "Express: no domain in the cookie's options",
        "Express: app.use(cors({origin: '{page}'})) of the package cors",
    ),
    Framework(
        b"x-powered-by",
        b"php",
        "PHP: if (($_SERVER['HTTP_X_FORWARDED_PROTO'] ?? '') === 'https') $_SERVER['HTTPS'] = 'on';",
        "Laravel: APP_URL={origin} in .env; WordPress: WP_HOME and WP_SITEURL",
        "PHP: session.cookie_domain = (empty); Laravel: no SESSION_DOMAIN in .env",
    ),
    Framework(
        b"x-runtime",
        b"",
        "Rails: config.assume_ssl = true in config/environments",
        "Rails: no host in default_url_options",
    ),
    Framework(
        b"set-cookie",
        b"jsessionid=",
        "Spring: server.forward-headers-strategy=native, server.tomcat.remoteip.internal-proxies=.* "
        "in application.properties",
    ),
)
"""The first that fits; what stands behind it, a proxy in the sandbox, is not seen."""
UNKNOWN: Final = Framework(
    b"",
    b"",
    "It has to believe X-Forwarded-Proto and X-Forwarded-Host (docs/frameworks.md)",
    "Set the base URL that it is configured with (BASE_URL, APP_URL, SITE_URL, AUTH_URL) to {origin}",
    "Leave out the cookie's Domain, or SESSION_COOKIE_DOMAIN and its kin",
    "It has to answer with Access-Control-Allow-Origin: {page}",
)


def framework_of(answer: ResponseHead) -> Framework:
    """What has made `answer`, with the general line wherever it has none of its own."""
    found = UNKNOWN
    for each in FRAMEWORKS:
        value = answer.get(each.field)
        if value is not None and value.lower().startswith(each.begins):
            found = each
            break
    return replace(
        found,
        base=found.base or UNKNOWN.base,
        cookie=found.cookie or UNKNOWN.cookie,
        cross=found.cross or UNKNOWN.cross,
    )


def find(request: RequestHead, answer: ResponseHead, added: FieldSection) -> str | None:
    """What the app has mistaken and the line that mends it, or None. `added` tells the app its public URL."""
    told = dict(added.fields)
    proto, public = told[b"X-Forwarded-Proto"], told[b"X-Forwarded-Host"].lower()
    if proto != b"https":
        return None  # what is plain outside is plain inside: the app is right
    framework = framework_of(answer)
    origin = (proto + b"://" + public).decode("latin-1")
    if answer.section.locates and answer.status in _REDIRECTS:
        url = _target(answer)
        if url is not None and (said := _misled(request, answer, url, public, framework)):
            return said.replace("{origin}", origin)
    if answer.section.set_cookies and _sets_local_cookie(answer):
        return f"the app sets a cookie for Domain=localhost, which is not its public name. {framework.cookie}"
    return None


def _target(answer: ResponseHead) -> bytes | None:
    location = answer.get(b"location")
    if location is None and (refresh := answer.get(b"refresh")) is not None:
        begin = _REFRESH.match(refresh[:MOST_READ])
        location = refresh[begin.end() :] if begin is not None else None
    return location and location[:MOST_READ]


def _misled(request: RequestHead, answer: ResponseHead, url: bytes, public: bytes, framework: Framework) -> str | None:
    """What is wrong about the `url` that `answer` leads to."""
    asked = unquote_to_bytes(request.target[:MOST_READ]).lower()
    where = _URL.match(url)
    if where is not None and (kind := _kind(where, public, asked)) and not _HANDED.search(url):
        seen = where[0].decode("latin-1")
        does, at = ("says that what it created is", "at") if answer.status == 201 else ("redirects", "to")
        if kind == "local":
            return f"the app {does} {at} {seen}, which is the visitor's own machine. {framework.base}"
        return f"the app {does} {at} {seen}, and not {at} {{origin}}. {framework.believe}"
    if answer.status in _FOR_GOOD and request.method in (b"GET", b"HEAD") and _is_itself(request, url, public):
        return f"the app redirects to the very URL it was asked for, as it takes that for http:. {framework.believe}"
    returns = _RETURN.findall(url)
    if where is not None and where[2].lower() != public.partition(b":")[0]:
        returns += _CAS_RETURN.findall(url)
    for value in returns[:MOST_RETURNS]:
        back = _URL.match(unquote_to_bytes(value))
        if back is not None and (kind := _kind(back, public, asked)):
            seen = back[0].decode("latin-1")
            line = framework.base if kind == "local" else framework.believe
            return f"the app has a login return to {seen}, and not to {{origin}}. {line}"
    return None


def _kind(url: re.Match[bytes], public: bytes, asked: bytes) -> str:
    """`local`, `own` by another scheme or port than the public one, or empty: nothing is wrong."""
    host, port = url[2].lower(), url[3] or b""
    if host + port in asked:
        return ""  # the visitor has named it
    if IS_LOCAL.fullmatch(host):
        return "local"
    own, _, public_port = public.partition(b":")
    default = b":443" if url[1].lower() == b"https" else b":80"
    is_public = url[1].lower() == b"https" and (port or default) == b":" + (public_port or b"443")
    return "own" if host == own and not is_public else ""


def _is_itself(request: RequestHead, url: bytes, public: bytes) -> bool:
    return url.partition(b"#")[0] in (request.target, b"https://" + public + request.target)


def _sets_local_cookie(answer: ResponseHead) -> bool:
    return any(
        name.lower() == b"set-cookie" and _LOCAL_COOKIE.search(value[:MOST_READ]) for name, value in answer.fields
    )
