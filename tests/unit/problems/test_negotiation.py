"""Which form of a problem is sent, by what the asker says it can use, and what a browser is told beside it."""

from __future__ import annotations

import pytest

from gateway.http.head_parser import HeadLimits, parse_request_head
from gateway.http.message import RequestHead
from gateway.problems.negotiation import MAX_OCTETS, Form, Intent, negotiate

CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
CHROMIUM_IMAGE = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"


def asked(
    accept: str | None = None, mode: str | None = None, destination: str | None = None, *more: str, method: str = "GET"
) -> RequestHead:
    fields = {"Accept": accept, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": destination}
    lines = [f"{name}: {value}\r\n" for name, value in fields.items() if value is not None]
    lines += [f"{line}\r\n" for line in more]
    return parse_request_head(f"{method} / HTTP/1.1\r\nHost: a.test\r\n{''.join(lines)}\r\n".encode(), HeadLimits())


def told(intent: Intent, name: str) -> str | None:
    """The value of a field of CORS, which comes once or not at all."""
    values = [value.decode() for key, value in intent.cors if key.decode().lower() == name]
    assert len(values) <= 1
    return values[0] if values else None


# --- by Accept ----------------------------------------------------------------------------------------------------

BY_ACCEPT = [
    # programs
    (None, Form.TEXT),
    ("", Form.TEXT),
    ("*/*", Form.TEXT),  # curl, wget, python-requests
    ("application/json", Form.JSON),
    ("application/problem+json", Form.JSON),
    ("application/vnd.github+json", Form.JSON),
    ("APPLICATION/JSON; charset=utf-8", Form.JSON),
    ("application/json, text/plain, */*", Form.JSON),  # axios
    ("application/*", Form.JSON),
    ("text/plain", Form.TEXT),
    ("text/*", Form.TEXT),
    ("text/html", Form.HTML),
    ("application/xhtml+xml", Form.HTML),
    # browsers that send no Sec-Fetch fields
    (CHROMIUM, Form.HTML),
    ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Form.HTML),
    # weights
    ("text/html;q=0.5, application/json", Form.JSON),
    ("text/html, application/json;q=0.5", Form.HTML),
    ("text/html;q=0.5,application/json;q=0.5", Form.HTML),
    ("application/json;q=0.5,text/html;q=0.5", Form.JSON),
    ("text/html;q=0", Form.TEXT),
    ("text/html;q=0, application/json;q=0.001", Form.JSON),
    ("text/html ; level=1 ; q=0.1, application/json;q=0.2", Form.JSON),
    ("text/html;Q=0.1, application/json;q=0.2", Form.JSON),
    # nonsense is no wish
    ("text/html;q=x, application/json;q=0.1", Form.JSON),
    ("text/html;q=nan", Form.TEXT),
    ("text/html;q=-1", Form.TEXT),
    ("text/html;q=", Form.TEXT),
    (",,;q=1,/", Form.TEXT),
    ("image/png", Form.TEXT),
    ("text/css,*/*;q=0.1", Form.TEXT),
    ("text/htmlx", Form.TEXT),
    ("text/html," + "x" * MAX_OCTETS, Form.TEXT),  # too long to be meant, and to be remembered
]


@pytest.mark.parametrize(("accept", "form"), BY_ACCEPT)
def test_accept_decides(accept: str | None, form: Form) -> None:
    assert negotiate(asked(accept)).form is form


def test_the_first_of_two_fields_counts() -> None:
    assert negotiate(asked("application/json", None, None, "Accept: text/html")).form is Form.JSON


# --- by what the answer is for ------------------------------------------------------------------------------------

BY_INTENT = [
    # Accept, Sec-Fetch-Mode, Sec-Fetch-Dest
    # --- a page is looked at
    (CHROMIUM, "navigate", "document", Form.HTML),
    (CHROMIUM, "navigate", "iframe", Form.HTML),
    ("*/*", "navigate", "document", Form.HTML),
    (None, "navigate", None, Form.HTML),
    ("application/json", "navigate", "document", Form.HTML),
    (CHROMIUM, None, "document", Form.HTML),  # a program that says only what for
    (CHROMIUM, None, "iframe", Form.HTML),
    # --- a page script asks
    ("*/*", "cors", "empty", Form.JSON),
    ("*/*", "same-origin", "empty", Form.JSON),
    (None, "cors", "empty", Form.JSON),
    ("application/json", "cors", "empty", Form.JSON),
    ("text/plain", "cors", "empty", Form.TEXT),
    ("text/html", "cors", "empty", Form.HTML),
    ("*/*", "no-cors", "empty", Form.TEXT),
    # --- a page loads a part: nothing that could be executed or rendered
    ("*/*", "no-cors", "script", Form.TEXT),
    ("*/*", "cors", "script", Form.TEXT),
    ("text/css,*/*;q=0.1", "no-cors", "style", Form.TEXT),
    (CHROMIUM_IMAGE, "no-cors", "image", Form.TEXT),
    ("text/html", "no-cors", "script", Form.TEXT),
    ("application/json", "cors", "font", Form.TEXT),
    ("*/*", "cors", "json", Form.TEXT),  # import … with {type: "json"}
    ("*/*", "same-origin", "worker", Form.TEXT),
    ("*/*", "same-origin", "serviceworker", Form.TEXT),
    ("*/*", "websocket", "websocket", Form.TEXT),
    ("*/*", "websocket", "empty", Form.TEXT),
]


@pytest.mark.parametrize(("accept", "mode", "destination", "form"), BY_INTENT)
def test_what_the_answer_is_for_decides(
    accept: str | None, mode: str | None, destination: str | None, form: Form
) -> None:
    assert negotiate(asked(accept, mode, destination)).form is form


def test_a_request_that_could_not_be_read_gets_text() -> None:
    intent = negotiate(None)
    assert (intent.form, intent.media_type) == (Form.TEXT, b"text/plain; charset=utf-8")


@pytest.mark.parametrize(
    ("received", "form"),
    [
        (b"", Form.TEXT),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nSec-Fetch-Mode: navigate\r\n\r\n", Form.HTML),
        (b"GET / HTTP/1.1\nsec-fetch-mode:navigate; x=1\n\n", Form.HTML),
        (b"GET / HTTP/1.1\r\nSec-Fetch-Mode : navigate\r\nCookie: the rest is miss", Form.HTML),
        (b"GET / HTTP/1.1\r\nAccept: text/html\r\nSec-Fetch-Mode: cors\r\n\r\n", Form.TEXT),
        (b"GET / HTTP/1.1\r\nX: Sec-Fetch-Mode: navigate\r\n\r\n", Form.TEXT),
        (b"GET / HTTP/1.1\r\nAccept: text/html,*/*;q=0.8\r\nCookie: the rest is miss", Form.HTML),
        (b"GET / HTTP/1.1\r\nAccept: text/html;q=0.1, application/json\r\nCookie: the rest is miss", Form.TEXT),
        (b"GET / HTTP/1.1\r\nAccept: text/html" + b" " * 1024 + b"\r\nCookie: the rest is miss", Form.TEXT),
        (b"GET / HTTP/1.1\r\nAccept: text/html, appl", Form.TEXT),
        (b"GET / HTTP/1.1\r\nAccept: */*\r\nCookie: the rest is miss", Form.TEXT),
        (b"GET / HTTP/1.1\r\nSec-Fetch-Mode: navigated\r\n\r\n", Form.TEXT),
    ],
)
def test_of_what_could_not_be_read_a_navigation_gets_a_page(received: bytes, form: Form) -> None:
    assert negotiate(None, received).form is form


def test_a_header_section_of_any_length_is_understood() -> None:
    long = [f"X-Long-{number}: {'x' * 1000}" for number in range(8)]
    assert negotiate(asked("application/json", None, None, *long)).form is Form.JSON


def test_user_agent_says_nothing() -> None:
    for agent in ("curl/8.5.0", "Mozilla/5.0 (X11; Linux x86_64) Chrome/130.0.0.0", "grpc-go/1.60"):
        assert negotiate(asked("*/*", None, None, f"User-Agent: {agent}")).form is Form.TEXT


def test_the_same_request_is_understood_once() -> None:
    first = negotiate(asked(CHROMIUM, "navigate", "document"))
    assert negotiate(asked(CHROMIUM, "navigate", "document")) is first
    assert negotiate(asked(CHROMIUM, "navigate", "document", "Cookie: another section")) is first


# --- gRPC ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "sent"),
    [
        ("application/grpc", b"application/grpc"),
        ("application/grpc+proto", b"application/grpc+proto"),
        ("Application/gRPC+JSON; charset=utf-8", b"application/grpc+json"),
        ("application/grpc-web", b"application/grpc-web"),
        ("application/grpc-web+proto", b"application/grpc-web+proto"),
        ("application/grpc-web-text+proto", b"application/grpc-web-text+proto"),
    ],
)
def test_grpc_is_answered_as_it_is_spoken(content_type: str, sent: bytes) -> None:
    intent = negotiate(asked("*/*", "cors", "empty", f"Content-Type: {content_type}", method="POST"))
    assert (intent.form, intent.media_type) == (Form.GRPC, sent)
    exposed = told(intent, "access-control-expose-headers")
    assert exposed is not None
    assert {"Grpc-Status", "Grpc-Message", "X-Gateway-Error"} <= set(exposed.split(", "))


@pytest.mark.parametrize(
    "content_type", ["application/grpcx", "application/grpc+", "text/application/grpc", 'application/grpc+"<b>"']
)
def test_what_only_resembles_grpc_is_not(content_type: str) -> None:
    assert negotiate(asked(None, None, None, f"Content-Type: {content_type}", method="POST")).form is Form.TEXT


# --- CORS ---------------------------------------------------------------------------------------------------------

ORIGIN = "Origin: https://shop.example"
PREFLIGHT = (ORIGIN, "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: x-gateway-probe")


@pytest.mark.parametrize("origin", ["https://shop.example", "http://localhost:3000", "null", "vscode-webview://x"])
def test_an_origin_is_mirrored_with_credentials(origin: str) -> None:
    intent = negotiate(asked("*/*", "cors", "empty", f"Origin: {origin}"))
    assert told(intent, "access-control-allow-origin") == origin
    assert told(intent, "access-control-allow-credentials") == "true"


@pytest.mark.parametrize("origin", ["", "https://a.example https://b.example", "x" * (MAX_OCTETS + 1)])
def test_what_is_no_origin_is_not_mirrored(origin: str) -> None:
    intent = negotiate(asked("*/*", None, None, f"Origin: {origin}"))
    assert told(intent, "access-control-allow-origin") == "*"
    assert told(intent, "access-control-allow-credentials") is None


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("names", ["x-gateway-probe", "X-Gateway-Probe , x-gateway-probe"])
def test_a_preflight_for_a_probe_is_granted(method: str, names: str) -> None:
    lines = (ORIGIN, f"Access-Control-Request-Method: {method}", f"Access-Control-Request-Headers: {names}")
    intent = negotiate(asked("*/*", "cors", "empty", *lines, method="OPTIONS"))
    assert (intent.form, intent.media_type) == (Form.PREFLIGHT, b"")
    assert dict(intent.cors) == {
        b"Access-Control-Allow-Origin": b"https://shop.example",
        b"Access-Control-Allow-Credentials": b"true",
        b"Access-Control-Allow-Headers": b"X-Gateway-Probe",
        b"Access-Control-Max-Age": b"0",
    }


FOR_AN_APP = [
    (method, names)
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "get", "P U T", "*", "")
    for names in (None, "content-type", "x-gateway-probe", "content-type,x-gateway-probe", "x-gateway-probes", "*", ",")
    if not (method in ("GET", "HEAD") and names == "x-gateway-probe")
]


@pytest.mark.parametrize("private", ["", "Access-Control-Request-Private-Network: true"])
@pytest.mark.parametrize("content_type", ["", "Content-Type: application/grpc"])
@pytest.mark.parametrize(("method", "names"), FOR_AN_APP)
def test_any_other_preflight_is_allowed_nothing(
    method: str, names: str | None, content_type: str, private: str
) -> None:
    """Fetch standard, CORS-preflight fetch: what has no ok status is no permission; nor is anything named in it."""
    lines = [ORIGIN, f"Access-Control-Request-Method: {method}", content_type, private]
    if names is not None:
        lines.append(f"Access-Control-Request-Headers: {names}")
    intent = negotiate(asked("*/*", "cors", "empty", *filter(None, lines), method="OPTIONS"))
    assert intent.form is Form.JSON, "the problem, with its own status"
    assert {name for name, _ in intent.cors} == {
        *(b"Access-Control-Allow-Origin", b"Access-Control-Allow-Credentials", b"Access-Control-Expose-Headers")
    }


def test_a_private_network_is_opened_for_no_probe() -> None:
    lines = (ORIGIN, "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: x-gateway-probe")
    private = "Access-Control-Request-Private-Network: true"
    intent = negotiate(asked("*/*", "cors", "empty", *lines, private, method="OPTIONS"))
    assert intent.form is Form.PREFLIGHT
    assert told(intent, "access-control-allow-private-network") is None


@pytest.mark.parametrize(
    ("method", "lines"),
    [
        ("OPTIONS", (ORIGIN,)),
        ("OPTIONS", PREFLIGHT[1:]),
        ("GET", PREFLIGHT),
    ],
)
def test_what_is_no_preflight_is_answered_as_any_request(method: str, lines: tuple[str, ...]) -> None:
    intent = negotiate(asked("application/json", None, None, *lines, method=method))
    assert intent.form is Form.JSON
    assert told(intent, "access-control-max-age") is None
