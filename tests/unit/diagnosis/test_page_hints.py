"""Pages that load what a browser blocks, or what only their developer's machine has; others have no hint."""

from __future__ import annotations

import re
import time

import pytest

from gateway.diagnosis.own_urls import UNKNOWN
from gateway.diagnosis.page_hints import LOOKED_AT, find
from gateway.http.message import FieldSection, ResponseHead

PUBLIC = b"3000-box.sandbox.localhost:8443"
OWN = "http://3000-box.sandbox.localhost:8443"
MIXED = "which browsers block in a page that came by https (mixed content)"
LOCAL = "which is the visitor's own machine"


def hint(page: str, *fields: tuple[bytes, bytes]) -> str | None:
    return find(page.encode(), ResponseHead(200, FieldSection.of(list(fields))), PUBLIC)


@pytest.mark.parametrize(
    ("page", "did"),
    [
        ('<script src="http://localhost:3000/a.js"></script>', f"the page loads http://localhost:3000, {LOCAL}"),
        ("<img alt=a src=http://127.0.0.1:8000/a.png>", f"the page loads http://127.0.0.1:8000, {LOCAL}"),
        ('<form method=post action="http://[::1]:80/a">', f"the page sends a form to http://[::1]:80, {LOCAL}"),
        (
            "<SCRIPT>fetch('http://localhost:8000/api')</SCRIPT>",
            f"a script of the page asks http://localhost:8000, {LOCAL}",
        ),
        ('<script>new WebSocket("ws://localhost:24678/")', f"a script of the page asks ws://localhost:24678, {LOCAL}"),
        (f'<link rel="stylesheet" href="{OWN}/static/a.css">', f"the page loads {OWN}, {MIXED}"),
        (f'<form action="{OWN}/login">', f"the page sends a form to {OWN}, {MIXED}"),
        (f"<script>/* a */ fetch(`{OWN}/api`)</script>", f"a script of the page asks {OWN}, {MIXED}"),
        ('<script src="http://cdn.example/a.js">', f"the page loads http://cdn.example, {MIXED}"),
        (
            '<link href="http://fonts.example/css?a" rel="preload stylesheet">',
            f"the page loads http://fonts.example, {MIXED}",
        ),
        (
            '<iframe title="a" src="http://elsewhere.example"></iframe>',
            f"the page loads http://elsewhere.example, {MIXED}",
        ),
        ("<script>new WebSocket('ws://' + location.host)</script>", f"a script of the page asks ws://, {MIXED}"),
    ],
)
def test_what_a_page_betrays(page: str, did: str) -> None:
    for around in ("%s", "<!doctype html><!-- a --><title>a</title><body>%s<p>b", "<style>a{}</style>\n%s"):
        found = hint(around % page) or ""
        assert found.startswith(f"{did}. ")
        assert re.fullmatch(r"[\x20-\x7e]+", found)


def test_its_own_name_by_http_has_the_line_of_its_framework() -> None:
    page = f'<script src="{OWN}/a.js">'
    assert (hint(page) or "").endswith(f". {UNKNOWN.believe}")
    assert "ProxyFix" in (hint(page, (b"Server", b"Werkzeug/3.1")) or "")


@pytest.mark.parametrize(
    "page",
    [
        '<script src="/a.js"></script><link rel=stylesheet href=//cdn.example/a.css>',
        '<script src="https://cdn.example/a.js"></script>',
        '<a href="http://localhost:3000/">',  # a link is somebody's to follow
        f'<link rel="canonical" href="{OWN}/">',
        '<img src="http://elsewhere.example/a.png">',  # which a browser asks for by https
        '<img data-src="http://localhost/a.png">',
        '<!-- <script src="http://localhost:3000/a.js"></script> -->',
        '<!-- <script src="http://localhost:3000/a.js"></script>',
        '<!-- <p> <script src="http://localhost:3000/a.js"></script> -->',
        "<textarea><script src='http://localhost:3000/a.js'></script></textarea>",
        "<title><script src='http://localhost:3000/a.js'></title>",
        "<pre>&lt;script src=&quot;http://localhost:3000/a.js&quot;&gt;</pre>",
        "<script>'<script src=\"http://localhost:3000/a.js\">'</script>",
        "<script>new WebSocket((location.protocol === 'https:' ? 'wss://' : 'ws://') + location.host)</script>",
        '<script>const schema = "http://json-schema.org/draft-07/schema"</script>',
        '<svg xmlns="http://www.w3.org/2000/svg">',
        "<script>fetch('http://localhost.example/a', 1)</script>",
        "<scripts src='http://localhost:3000/a.js'>",
    ],
)
def test_no_false_alarm(page: str) -> None:
    found = hint(page)
    if "localhost.example" in page:
        assert LOCAL not in (found or "")
    else:
        assert found is None


def test_a_page_that_has_browsers_ask_by_https_is_content_with_http() -> None:
    page = '<script src="http://cdn.example/a.js"></script>'
    assert hint(page, (b"Content-Security-Policy", b"upgrade-insecure-requests")) is None
    assert hint(f'<meta http-equiv="Content-Security-Policy" content="upgrade-insecure-requests">{page}') is None
    assert hint('<script src="http://localhost/a.js">', (b"Content-Security-Policy", b"upgrade-insecure-requests"))


@pytest.mark.parametrize(
    "piece",
    ["<", "<script ", "<script>", "<!--", "<a src=http://", "</script", "fetch('http://", " =", "<link rel=", "\\0"],
)
def test_hostile_pages_are_looked_at_in_no_time(piece: str) -> None:
    page = (piece * LOOKED_AT)[:LOOKED_AT]
    assert min(_seconds(page) for _ in range(3)) < 0.02
    assert min(_seconds(f"<link {page}") for _ in range(3)) < 0.02


def _seconds(page: str) -> float:
    began = time.process_time()
    hint(page)
    return time.process_time() - began
