"""Redirects, logins and cookies that show where an app believes itself to be; leading elsewhere is no trouble."""

from __future__ import annotations

import re
import time

import pytest

from gateway.diagnosis.own_urls import FRAMEWORKS, UNKNOWN, Framework, find
from gateway.http.head_parser import HeadLimits, parse_request_head, parse_response_head
from gateway.http.message import FieldSection

LIMITS = HeadLimits()
HOST = "3000-box.sandbox.example.dev"
PUBLIC = f"{HOST}:8443"
BELIEVE, BASE, COOKIE = UNKNOWN.believe, UNKNOWN.base.replace("{origin}", f"https://{PUBLIC}"), UNKNOWN.cookie


def hint(
    *fields: str, status: int = 302, target: str = "/login", method: str = "GET", proto: str = "https"
) -> str | None:
    asked = parse_request_head(f"{method} {target} HTTP/1.1\r\nHost: {PUBLIC}\r\n\r\n".encode(), LIMITS)
    lines = "".join(f"{field}\r\n" for field in fields)
    answer = parse_response_head(f"HTTP/1.1 {status} Oh\r\n{lines}\r\n".encode(), LIMITS, method.encode())
    added = FieldSection.of([(b"X-Forwarded-Proto", proto.encode()), (b"X-Forwarded-Host", PUBLIC.encode())])
    return find(asked, answer, added)


@pytest.mark.parametrize(
    ("location", "did"),
    [
        ("http://localhost:3000/a", "redirects to http://localhost:3000, which is the visitor's own machine"),
        ("https://LOCALHOST", "redirects to https://LOCALHOST, which is the visitor's own machine"),
        ("http://127.0.0.1:8000?a", "redirects to http://127.0.0.1:8000, which is the visitor's own machine"),
        ("http://[::1]:8000/", "redirects to http://[::1]:8000, which is the visitor's own machine"),
        ("http://0.0.0.0:8000/", "redirects to http://0.0.0.0:8000, which is the visitor's own machine"),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_it_leads_to_the_visitors_own_machine(location: str, did: str, status: int) -> None:
    assert hint(f"Location: {location}", status=status) == f"the app {did}. {BASE}"


@pytest.mark.parametrize(
    ("location", "seen"),
    [
        (f"http://{HOST}:8443/a", f"http://{HOST}:8443"),  # request.url, by the connection's scheme
        (f"http://{HOST}/a", f"http://{HOST}"),
        (f"https://{HOST}/a", f"https://{HOST}"),  # without the port
        (f"http://{HOST}:3000", f"http://{HOST}:3000"),
    ],
)
def test_it_leads_to_its_own_name_by_another_scheme_or_port(location: str, seen: str) -> None:
    assert hint(f"Location: {location}") == f"the app redirects to {seen}, and not to https://{PUBLIC}. {BELIEVE}"


def test_what_was_created_is_said_to_be_elsewhere() -> None:
    assert hint("Location: http://localhost:3000/7", status=201) == (
        f"the app says that what it created is at http://localhost:3000, which is the visitor's own machine. {BASE}"
    )
    assert hint(f"Location: http://{HOST}/7", status=201) == (
        f"the app says that what it created is at http://{HOST}, and not at https://{PUBLIC}. {BELIEVE}"
    )


def test_a_service_is_one_of_cas_elsewhere_only() -> None:
    back = "service=http%3A%2F%2Flocalhost%3A3000%2F"
    assert "has a login return to http://localhost:3000" in (hint(f"Location: https://cas.test/login?{back}") or "")
    assert hint(f"Location: /add?{back}") is None, "a word with other meanings"
    assert hint(f"Location: https://{PUBLIC}/add?{back}") is None


def test_a_refresh_is_a_redirect_too() -> None:
    assert (hint("Refresh: 0; url=http://localhost:3000/a") or "").startswith("the app redirects to http://localhost:3")


@pytest.mark.parametrize("status", [301, 308])
@pytest.mark.parametrize("location", [f"https://{PUBLIC}/login", "/login"])
def test_a_permanent_redirect_to_itself_never_ends(location: str, status: int) -> None:
    """Django's SECURE_SSL_REDIRECT, Rails' force_ssl, by an app that takes every request for plain HTTP."""
    did = "the app redirects to the very URL it was asked for, as it takes that for http:"
    assert hint(f"Location: {location}", status=status) == f"{did}. {BELIEVE}"
    assert hint(f"Location: {location}", status=status, method="POST") is None
    assert hint(f"Location: {location}") is None, "for now: after a cookie, or until something is there"


@pytest.mark.parametrize(
    ("back", "seen", "line"),
    [
        (f"http%3A%2F%2F{HOST}%3A8443%2Fcallback", f"http://{HOST}:8443", BELIEVE),
        (f"http://{HOST}/callback", f"http://{HOST}", BELIEVE),
        ("http%3A%2F%2Flocalhost%3A3000%2Fapi%2Fauth%2Fcallback%2Fgithub", "http://localhost:3000", BASE),
    ],
)
@pytest.mark.parametrize("parameter", ["redirect_uri", "post_logout_redirect_uri", "service"])
def test_a_login_elsewhere_is_to_return_to_the_wrong_place(back: str, seen: str, line: str, parameter: str) -> None:
    location = f"Location: https://login.example/authorize?client_id=a&{parameter}={back}&state=s"
    assert hint(location) == f"the app has a login return to {seen}, and not to https://{PUBLIC}. {line}"


@pytest.mark.parametrize("domain", ["localhost", ".localhost", "127.0.0.1", "LOCALHOST"])
@pytest.mark.parametrize("status", [200, 302, 401])
def test_a_cookie_for_localhost(domain: str, status: int) -> None:
    found = hint("Set-Cookie: a=1", f"Set-Cookie: b=2; Path=/; Domain={domain}; HttpOnly", status=status)
    assert found == f"the app sets a cookie for Domain=localhost, which is not its public name. {COOKIE}"


@pytest.mark.parametrize(
    ("fields", "target"),
    [
        (["Location: /next"], "/"),
        (["Location: next"], "/"),
        ([f"Location: https://{PUBLIC}/next"], "/"),
        (["Location: https://5173-box.sandbox.example.dev:8443/"], "/"),  # another site of the user's own
        (["Location: http://5173-box.sandbox.example.dev:8443/"], "/"),
        (["Location: http://elsewhere.example/"], "/"),
        (["Location: https://localhost.example/"], "/"),
        (["Location: https://127.0.0.1.example/"], "/"),
        ([f"Location: https://elsewhere.example/?next=http://{HOST}/"], "/"),
        (["Location: myapp://callback?code=1"], "/"),
        ([f"Location: https://login.example/?redirect_uri=https%3A%2F%2F{HOST}%3A8443%2F"], "/"),
        (["Location: https://login.example/?redirect_uri=https%3A%2F%2Fother.example%2F"], "/"),
        # An authorization server: the client listens on loopback and has said so, or is handed its code.
        (["Location: http://localhost:33418/callback?code=abc&state=s"], "/consent"),
        (["Location: http://127.0.0.1:33418/?error=access_denied"], "/consent"),
        (["Location: http://localhost:33418/?ticket=ST-1"], "/login"),  # CAS, whose parameter is `service`
        (["Location: http://localhost:33418/?oauth_token=t&oauth_verifier=v"], "/consent"),  # RFC 5849 section 2.2
        (["Location: http://localhost:33418/done"], "/authorize?redirect_uri=http%3A%2F%2Flocalhost%3A33418%2Fdone"),
        (
            ["Location: https://login.example/?redirect_uri=http%3A%2F%2Flocalhost%3A33418%2Fdone"],
            "/authorize?redirect_uri=http://localhost:33418/done",
        ),
        ([f"Location: http://{HOST}:8443/a"], f"/open?url=http://{HOST}:8443/a"),
        (["Set-Cookie: a=1; Domain=sandbox.example.dev"], "/"),
        ([f"Set-Cookie: a=1; Domain={HOST}"], "/"),
        (["Set-Cookie: a=domain=localhost; Path=/"], "/"),
        (["Set-Cookie: a=1; Domain=localhost.example"], "/"),
    ],
)
def test_no_false_alarm(fields: list[str], target: str) -> None:
    assert hint(*fields, target=target) is None


def test_what_is_plain_outside_is_plain_inside() -> None:
    assert hint(f"Location: http://{PUBLIC}/a", proto="http") is None


def test_an_answer_that_leads_nowhere_has_no_location_that_counts() -> None:
    assert hint("Location: http://localhost:3000/", status=200) is None
    assert hint("Content-Location: http://localhost:3000/", status=302) is None


@pytest.mark.parametrize("each", FRAMEWORKS, ids=lambda each: each.believe.partition(":")[0])
def test_the_line_is_that_of_the_framework_which_has_answered(each: Framework) -> None:
    assert each in FRAMEWORKS
    marker = f"{each.field.decode()}: {each.begins.decode().title()}"
    marker += "1/2.3" if not marker.endswith("=") else "1"
    assert (hint(marker, f"Location: http://{PUBLIC}/") or "").endswith(
        f". {each.believe.replace('{origin}', f'https://{PUBLIC}')}"
    )


def test_what_is_quoted_of_an_app_is_an_address_and_fits_in_a_field() -> None:
    hostile = "\\x1b[31m'\"<script>{origin}%0d%0aX: y"
    for location in (
        f"http://localhost:3000/{hostile}",
        f"http://localhost:3000?{hostile}",
        f"http://localhost#{hostile}",
    ):
        found = hint(f"Location: {location}") or ""
        assert re.fullmatch(r"[\x21-\x7e][\x20-\x7e]*[\x21-\x7e]", found)
        assert "script" not in found
    for location in (
        f"http://localhost{hostile}/",
        "http://user@localhost/",
        "http://localhost:300000/",
        "http://" + "a" * 300,
    ):
        assert hint(f"Location: {location}") is None
    assert hint("Server: Express<script>", f"Location: http://{PUBLIC}/") == hint(f"Location: http://{PUBLIC}/")


def test_hostile_heads_are_looked_at_in_no_time() -> None:
    fields = [f"Location: https://a/?{'&redirect_uri=http://localhost' * 250}", f"Set-Cookie: a; {'; domain=' * 780}"]
    fields += [f"Set-Cookie: {'; domain=localhos' * 400}"]
    began = time.process_time()
    for _ in range(10):
        hint(*fields, target=f"/?{'redirect_uri=http://localhost/' * 250}")
    assert (time.process_time() - began) / 10 < 0.005
