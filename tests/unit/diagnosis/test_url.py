"""What is taken for a URL, and what it is taken to mean."""

from __future__ import annotations

import pytest

from gateway.diagnosis.url import MAX_URL, InvalidUrl, parse_url


@pytest.mark.parametrize(
    ("text", "scheme", "authority", "port", "path"),
    [
        ("https://5000-a.example.dev/", "https", "5000-a.example.dev", None, "/"),
        ("https://5000-a.example.dev", "https", "5000-a.example.dev", None, "/"),
        ("  https://5000-a.example.dev:8443/x?q=1#top ", "https", "5000-a.example.dev:8443", 8443, "/x?q=1"),
        ("HTTP://5000-a.example.dev?q", "http", "5000-a.example.dev", None, "/?q"),
        ("wss://5000-a.example.dev/ws", "wss", "5000-a.example.dev", None, "/ws"),
        ("5000-a.example.dev", "", "5000-a.example.dev", None, "/"),
        ("5000-a.example.dev:8443/x", "", "5000-a.example.dev:8443", 8443, "/x"),
        ("5000-a.example.dev/?to=https://other/", "", "5000-a.example.dev", None, "/?to=https://other/"),
        ("https://[::1]:5000/", "https", "[::1]:5000", 5000, "/"),
        ("https://[::1]/", "https", "[::1]", None, "/"),
        ("https://5000-a.example.dev/a b/é?x=%20", "https", "5000-a.example.dev", None, "/a%20b/%C3%A9?x=%20"),
    ],
)
def test_its_parts(text: str, scheme: str, authority: str, port: int | None, path: str) -> None:
    asked = parse_url(text)
    assert (asked.scheme, asked.authority, asked.port, asked.path) == (scheme, authority, port, path)


@pytest.mark.parametrize(
    ("text", "reached", "written"),
    [
        ("https://a/", 443, ""),
        ("https://a:443/", 443, ""),
        ("https://a:8443/", 8443, ":8443"),
        ("http://a/", 80, ""),
        ("http://a:80/", 80, ""),
        ("http://a:443/", 443, ":443"),
        ("ws://a:8080/", 8080, ":8080"),
        ("a", None, ""),
        ("a:443", 443, ""),
        ("a:8443", 8443, ":8443"),
    ],
)
def test_the_port_a_browser_goes_to_and_the_one_it_writes(text: str, reached: int | None, written: str) -> None:
    asked = parse_url(text)
    assert (asked.port_reached, asked.port_written) == (reached, written)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "a URL is expected"),
        (" ", "a URL is expected"),
        ("https://", "no host"),
        ("/path", "no host"),
        ("https:///path", "no host"),
        ("ftp://a/", "ftp:// does not lead"),
        ("javascript://a", "javascript:// does not lead"),
        ("https://a/\r\nHost: b", "control character"),
        ("https://a/\x00", "control character"),
        ("https://a/" + "x" * MAX_URL, f"more than {MAX_URL}"),
    ],
)
def test_what_is_none(text: str, why: str) -> None:
    with pytest.raises(InvalidUrl, match=why):
        parse_url(text)


@pytest.mark.parametrize("text", ["https://u:s3cret@/", "ftp://u:s3cret@a/", "https://u:s3cret@a/\x00", "u:s3cret@"])
def test_a_complaint_shows_no_password(text: str) -> None:
    with pytest.raises(InvalidUrl) as raised:
        parse_url(text)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://u:p@a/x", "https://a/x"),
        ("u:p@a:1", "a:1"),
        ("https://u@v:p@a/", "https://a/"),
        ("https://a/@b?c@d#e@f", "https://a/@b?c@d#e@f"),
        ("a?b@c", "a?b@c"),
    ],
)
def test_userinfo_stands_before_the_host_only(text: str, shown: str) -> None:
    assert parse_url(text).url == shown
