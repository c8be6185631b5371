"""An app under a masked host leads visitors to its public URL, and its own pages may open WebSockets to it."""

from __future__ import annotations

import pytest

from gateway.edge import host_rewrite
from gateway.edge.host_rewrite import rewrite_request
from gateway.hostname import Target
from gateway.http.head_parser import HeadLimits, parse_request_head
from gateway.http.message import Fields, FieldSection
from tests.support.field_lines import judged

TARGET = Target(5000, "abc123", "example.dev")
PUBLIC = b"https://5000-abc123.example.dev:8443"
MASK = b"localhost:5000"


def told(origin: bytes) -> FieldSection:
    scheme, _, host = origin.partition(b"://")
    return FieldSection.of([(b"X-Forwarded-Host", host), (b"X-Forwarded-Proto", scheme), (b"Via", b"1.1 gateway")])


def rewrite_response(fields: Fields, mask: bytes = MASK, target: Target = TARGET) -> Fields:
    return [line.pair for line in host_rewrite.rewrite_response(judged(fields), mask, target, told(PUBLIC))]


LOCATIONS = [
    # as the app sends it, as the visitor gets it
    (b"http://localhost:5000/login", PUBLIC + b"/login"),
    (b"https://localhost:5000/login?next=/#top", PUBLIC + b"/login?next=/#top"),
    (b"HTTP://LocalHost:5000", PUBLIC),
    (b"http://localhost:5000?a=b", PUBLIC + b"?a=b"),
    (b"http://localhost:5000#x", PUBLIC + b"#x"),
    (b"//localhost:5000/x", PUBLIC + b"/x"),
    (b"http://localhost:5000/http://localhost:5000/", PUBLIC + b"/http://localhost:5000/"),
    (b"http://localhost:5000/\xe4", PUBLIC + b"/\xe4"),
    # relative, or somebody else's
    (b"/login", b"/login"),
    (b"login", b"login"),
    (b"", b""),
    (b"/http://localhost:5000/", b"/http://localhost:5000/"),
    (b"http://localhost:5001/", b"http://localhost:5001/"),
    (b"http://localhost/", b"http://localhost/"),
    (b"http://localhost:5000.evil.test/", b"http://localhost:5000.evil.test/"),
    (b"http://localhost:5000@evil.test/", b"http://localhost:5000@evil.test/"),
    (b"http://user@localhost:5000/", b"http://user@localhost:5000/"),
    (b"http://127.0.0.1:5000/", b"http://127.0.0.1:5000/"),
    (b"ftp://localhost:5000/", b"ftp://localhost:5000/"),
    (b"https://accounts.example/?return=http://localhost:5000/", b"https://accounts.example/?return=http://localhost:5000/"),
]  # fmt: skip


@pytest.mark.parametrize("name", [b"Location", b"location", b"Content-Location"])
@pytest.mark.parametrize(("sent", "received"), LOCATIONS)
def test_an_answer_leads_to_the_public_url(name: bytes, sent: bytes, received: bytes) -> None:
    fields = [(b"X-Url", b"http://localhost:5000/"), (name, sent)]
    assert rewrite_response(fields) == [fields[0], (name, received)]


REFRESHES = [
    (b"5; url=http://localhost:5000/x", b"5; url=" + PUBLIC + b"/x"),
    (b"0;URL='http://localhost:5000/x'", b"0;URL='" + PUBLIC + b"/x'"),
    (b'0; url = "http://localhost:5000"', b'0; url = "' + PUBLIC + b'"'),
    (b"0.5,http://localhost:5000/x", b"0.5," + PUBLIC + b"/x"),
    (b"5", b"5"),
    (b"5; url=/x", b"5; url=/x"),
    (b"5; url=http://evil.test/?http://localhost:5000/", b"5; url=http://evil.test/?http://localhost:5000/"),
]


@pytest.mark.parametrize(("sent", "received"), REFRESHES)
def test_a_refresh_leads_there_too(sent: bytes, received: bytes) -> None:
    assert rewrite_response([(b"Refresh", sent)]) == [(b"Refresh", received)]


MASKS = [
    # the mask, the port, what the app makes of it
    (b"localhost:80", 80, b"http://localhost/x"),
    (b"localhost:443", 443, b"https://localhost/x"),
    (b"localhost", 5000, b"http://localhost/x"),
    (b"localhost", 5000, b"http://localhost:5000/x"),
    (b"app.internal", 80, b"http://app.internal:80/x"),
    (b"[::1]:5000", 5000, b"http://[::1]:5000/x"),
]


@pytest.mark.parametrize(("mask", "port", "sent"), MASKS)
def test_a_mask_is_known_with_and_without_its_port(mask: bytes, port: int, sent: bytes) -> None:
    target = Target(port, "abc123", "example.dev")
    assert rewrite_response([(b"Location", sent)], mask, target) == [(b"Location", PUBLIC + b"/x")]


ORIGINS = [
    # what the app is told of the public URL, Origin as the browser sends it, whether it is the same
    (PUBLIC, PUBLIC, True),
    (PUBLIC, PUBLIC.upper(), True),
    (b"https://a.example.dev", b"https://a.example.dev", True),
    (b"https://a.example.dev:443", b"https://a.example.dev", True),
    (b"http://a.example.dev:80", b"http://a.example.dev", True),
    (b"https://a.example.dev", b"http://a.example.dev", False),
    (b"https://a.example.dev", b"https://a.example.dev:80", False),
    (b"https://a.example.dev", b"https://a.example.dev:8443", False),
    (b"https://a.example.dev", b"https://b.example.dev", False),
    (b"https://a.example.dev", b"https://a.example.dev.evil.test", False),
    (b"https://a.example.dev", b"https://a.example.dev/", False),
    (b"https://a.example.dev", b"null", False),
]


@pytest.mark.parametrize(("public", "origin", "same"), ORIGINS)
def test_only_the_public_url_itself_is_the_mask_s_origin(public: bytes, origin: bytes, same: bool) -> None:
    lines = b"Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nOrigin: %b\r\nReferer: %b/\r\n\r\n" % (
        origin,
        origin,
    )
    head = parse_request_head(b"GET / HTTP/1.1\r\n" + lines, HeadLimits())
    masked = rewrite_request(head, MASK, told(public))
    assert masked.get(b"origin") == (b"http://" + MASK if same else origin)
    assert masked.get(b"referer") == origin + b"/"
    assert (masked.upgrade, masked.method) == (b"websocket", b"GET")
    assert head.get(b"origin") == origin, "a section is shared by many heads"
