"""An answer that the browser withholds from a neighbour's page; nobody else's page is any trouble."""

from __future__ import annotations

import pytest

from gateway.diagnosis.cross_origin import find
from gateway.http.head_parser import HeadLimits, parse_request_head
from gateway.http.message import FieldSection, ResponseHead

PAGE = b"https://5173-box.sandbox.localhost:8443"
WITHHELD = f"the app does not allow {PAGE.decode()} to read its answer (CORS), so browsers throw it away. "


def hint(
    origin: bytes,
    *fields: tuple[bytes, bytes],
    target: bytes = b"/api",
    mode: bytes = b"cors",
    status: int = 200,
) -> str | None:
    lines = b"Host: 3000-box.sandbox.localhost:8443\r\nOrigin: %b\r\nSec-Fetch-Mode: %b\r\n" % (origin, mode)
    asked = parse_request_head(b"GET %b HTTP/1.1\r\n%b\r\n" % (target, lines), HeadLimits())
    return find(asked, ResponseHead(status, FieldSection.of(list(fields))))


@pytest.mark.parametrize("allowed", [None, b"http://localhost:5173", b"null"])
def test_a_page_of_another_name_of_the_same_domain(allowed: bytes | None) -> None:
    fields = [] if allowed is None else [(b"Access-Control-Allow-Origin", allowed)]
    assert (hint(PAGE, *fields) or "").startswith(WITHHELD)


def test_the_line_is_that_of_the_framework() -> None:
    line = f"Express: app.use(cors({{origin: '{PAGE.decode()}'}})) of the package cors"
    assert hint(PAGE, (b"X-Powered-By", b"Express")) == WITHHELD + line
    assert "CORSMiddleware" in (hint(PAGE, (b"Server", b"uvicorn")) or "")
    assert (hint(PAGE, target=b"/socket.io/?EIO=4&transport=polling") or "").startswith(f"{WITHHELD}Socket.IO: cors: ")


@pytest.mark.parametrize(
    ("origin", "field", "mode"),
    [
        (PAGE, (b"Access-Control-Allow-Origin", PAGE), b"cors"),
        (PAGE, (b"Access-Control-Allow-Origin", b"*"), b"cors"),
        (PAGE, (b"X-Gateway-Error", b"connection_refused"), b"cors"),  # ours, and for scripts to read
        (PAGE, (b"Server", b"a"), b"navigate"),
        (PAGE, (b"Server", b"a"), b"no-cors"),
        (b"https://3000-box.sandbox.localhost:8443", (b"Server", b"a"), b"cors"),
        (b"https://elsewhere.example", (b"Server", b"a"), b"cors"),
        (b"http://5173-box.sandbox.localhost:8443", (b"Server", b"a"), b"cors"),
        (b"null", (b"Server", b"a"), b"cors"),
        (b"https://x'><b>.sandbox.localhost:8443", (b"Server", b"a"), b"cors"),
    ],
)
def test_no_false_alarm(origin: bytes, field: tuple[bytes, bytes], mode: bytes) -> None:
    assert hint(origin, field, mode=mode) is None


def test_of_a_stored_answer_nothing_is_known() -> None:
    assert hint(PAGE, status=304) is None
