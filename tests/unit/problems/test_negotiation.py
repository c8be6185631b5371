"""Which form of a problem is sent, by what the asker says it can use."""

from __future__ import annotations

import pytest

from gateway.http.head_parser import HeadLimits, parse_request_head
from gateway.http.message import RequestHead
from gateway.problems.negotiation import Form, choose

CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
CHROMIUM_IMAGE = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"


def asked(accept: str | None = None, mode: str | None = None, destination: str | None = None) -> RequestHead:
    fields = {"Accept": accept, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": destination}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
    return parse_request_head(f"GET / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n".encode(), HeadLimits())


BY_ACCEPT = [
    # programs
    (None, Form.TEXT),
    ("", Form.TEXT),
    ("*/*", Form.TEXT),  # curl, wget, python-requests
    ("application/json", Form.JSON),
    ("application/problem+json", Form.JSON),
    ("APPLICATION/JSON; charset=utf-8", Form.JSON),
    ("application/json, text/plain, */*", Form.JSON),  # axios
    ("text/plain", Form.TEXT),
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
]


@pytest.mark.parametrize(("accept", "form"), BY_ACCEPT)
def test_accept_decides(accept: str | None, form: Form) -> None:
    assert choose(asked(accept)) is form


BY_INTENT = [
    # Accept, Sec-Fetch-Mode, Sec-Fetch-Dest
    # --- a page is looked at
    (CHROMIUM, "navigate", "document", Form.HTML),
    (CHROMIUM, "navigate", "iframe", Form.HTML),
    ("*/*", "navigate", "document", Form.HTML),
    (None, "navigate", None, Form.HTML),
    ("application/json", "navigate", "document", Form.HTML),
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
    ("*/*", "same-origin", "worker", Form.TEXT),
    ("*/*", "websocket", "websocket", Form.TEXT),
    ("*/*", "websocket", "empty", Form.TEXT),
]


@pytest.mark.parametrize(("accept", "mode", "destination", "form"), BY_INTENT)
def test_what_the_answer_is_for_decides(
    accept: str | None, mode: str | None, destination: str | None, form: Form
) -> None:
    assert choose(asked(accept, mode, destination)) is form


def test_a_request_that_could_not_be_read_gets_text() -> None:
    assert choose(None) is Form.TEXT
