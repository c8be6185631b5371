"""Set-Cookie stays with the app that sent it; everything else about it stays as it was."""

from __future__ import annotations

import time

import pytest

from gateway.edge import cookies
from gateway.hostname import Target
from gateway.http.message import Fields
from tests.support.field_lines import judged

TARGET = Target(5000, "abc123", "sandbox.example.dev")


def confine(fields: Fields) -> Fields:
    return [line.pair for line in cookies.confine(judged(fields), TARGET)]


COOKIES = [
    # as the app sends it, as the browser gets it
    # --- nothing to do
    (b"a=b", b"a=b"),
    (b"a=b; Path=/; Secure; HttpOnly", b"a=b; Path=/; Secure; HttpOnly"),
    (b"__Host-a=b; Path=/; Secure", b"__Host-a=b; Path=/; Secure"),
    (b"", b""),
    (b";;", b";;"),
    # --- a domain above the app's own host is taken out
    (b"a=b; Domain=sandbox.example.dev", b"a=b"),
    (b"a=b; Domain=.sandbox.example.dev", b"a=b"),
    (b"a=b; Domain=example.dev", b"a=b"),
    (b"a=b; Domain=dev", b"a=b"),
    (b"a=b; domain=SANDBOX.Example.DEV", b"a=b"),
    (b"a=b; DOMAIN=sandbox.example.dev", b"a=b"),
    (b"a=b;Domain=sandbox.example.dev", b"a=b"),
    (b"a=b;  Domain = sandbox.example.dev ", b"a=b"),
    (b"a=b;\tDomain\t=\tsandbox.example.dev\t", b"a=b"),
    (b"a=b; Domain=..sandbox.example.dev", b"a=b"),
    (b"a=b; Domain=..dev", b"a=b"),
    (b"a=b; Domain=dev..", b"a=b"),
    (b"a=b; Domain=.dev. ", b"a=b"),
    (b"a=b; Domain=sandbox.example.dev; Path=/x; Secure", b"a=b; Path=/x; Secure"),
    (b"a=b; Path=/x; Domain=sandbox.example.dev; Secure", b"a=b; Path=/x; Secure"),
    (b"a=b; Path=/x; Domain=sandbox.example.dev", b"a=b; Path=/x"),
    # the last one counts for a browser, so all of them go
    (
        b"a=b; Domain=5000-abc123.sandbox.example.dev; Domain=example.dev",
        b"a=b; Domain=5000-abc123.sandbox.example.dev",
    ),
    (b"a=b; Domain=example.dev; Domain=sandbox.example.dev; Secure", b"a=b; Secure"),
    # the name with a dot at its end is the same name
    (b"a=b; Domain=sandbox.example.dev.", b"a=b"),
    (b"a=b; Domain=.example.dev.", b"a=b"),
    # what is not plain letters, digits, hyphens and dots is not compared (who reads what: interop/test_cookie_jars)
    (b'a=b; Domain="sandbox.example.dev"', b"a=b"),
    (b"a=b; Domain=\xef\xbd\x93andbox.example.dev", b"a=b"),
    (b"a=b; Domain=%73andbox.example.dev", b"a=b"),
    (b"a=b; Domain=example.dev x; Secure", b"a=b; Secure"),
    (b"a=b; Domain=sandbox.example.dev,c=d", b"a=b"),
    (b"a=b; Domain=\xff; Secure", b"a=b; Secure"),
    # what some take for the attribute
    (b"a=b;\xa0Domain=sandbox.example.dev", b"a=b"),
    (b"a=b; \xe3\x80\x80 Domain\xa0=example.dev; Secure", b"a=b; Secure"),
    (b"a=b; $Domain=sandbox.example.dev", b"a=b"),
    (b"a=b; Path=/ Domain=example.dev; Secure", b"a=b; Path=/ ; Secure"),
    (b"a=b Domain=example.dev; Path=/", b"a=b ; Path=/"),
    (b"a=b; doma\xc4\xb1n=example.dev; DOMA\xc4\xb0N=dev", b"a=b"),
    # names of our domain that are not the app's own, and ends of names
    (b"a=b; Domain=8000-abc123.sandbox.example.dev", b"a=b"),
    (b"a=b; Domain=c123.sandbox.example.dev", b"a=b"),
    # --- the app's own host is its own business, any other the client's to refuse
    (b"a=b; Domain=5000-abc123.sandbox.example.dev", b"a=b; Domain=5000-abc123.sandbox.example.dev"),
    (b"a=b; Domain=.5000-ABC123.sandbox.example.dev.", b"a=b; Domain=.5000-ABC123.sandbox.example.dev."),
    (b"a=b; Domain=other.test", b"a=b; Domain=other.test"),
    (b"a=b; Domain=box.example.dev", b"a=b; Domain=box.example.dev"),
    (b"a=b; Domain= .OTHER.test. \t;Path=/", b"a=b; Domain= .OTHER.test. \t;Path=/"),
    (b"a=b; Domain=", b"a=b; Domain="),
    (b"a=b; Domain", b"a=b; Domain"),
    # --- only the attribute is one
    (b"Domain=example.dev", b"Domain=example.dev"),
    (b"domain=example.dev; Path=/", b"domain=example.dev; Path=/"),
    (b"a=Domain=example.dev", b"a=Domain=example.dev"),
    (b"a=b; X-Domain=example.dev", b"a=b; X-Domain=example.dev"),
    (b"a=b; Comment=Domain=example.dev", b"a=b; Comment=Domain=example.dev"),
    (b"a=b; Domain=exampleXdev", b"a=b; Domain=exampleXdev"),
    (b"a=b; Domain=.", b"a=b; Domain=."),
    # --- as many as there are
    (b"a=b" + b"; Domain=example.dev" * 300, b"a=b"),
    (b"a=b" + b";Domain=.dev;Path=/" * 300, b"a=b" + b";Path=/" * 300),
    (b"a=b" + b"; Domain=other.test" * 16, b"a=b" + b"; Domain=other.test" * 16),
    (b"a=b" + b"; Domain=other.test" * 17 + b";x", b"a=b;x"),
    (b"domain=" + b"domain" * 17 + b"; Domain=5000-abc123.sandbox.example.dev", b"domain=" + b"domain" * 17),
    # --- all other octets
    (b"a=\xff\xe4; Domain=example.dev;  Path=/ ;;x", b"a=\xff\xe4;  Path=/ ;;x"),
    (b'a="x;y"; Domain=example.dev', b'a="x;y"'),
    (
        b"a=b,c=d; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Domain=example.dev",
        b"a=b,c=d; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
    ),
]


@pytest.mark.parametrize(("sent", "received"), COOKIES)
def test_a_cookie_does_not_reach_the_neighbours(sent: bytes, received: bytes) -> None:
    assert confine([(b"Set-Cookie", sent)]) == [(b"Set-Cookie", received)]


@pytest.mark.parametrize("name", [b"Set-Cookie", b"set-cookie", b"SET-COOKIE", b"sEt-cOOkie"])
def test_a_cookie_is_one_in_every_spelling(name: bytes) -> None:
    assert confine([(name, b"a=b; Domain=example.dev")]) == [(name, b"a=b")]


def test_each_cookie_is_confined_and_nothing_else_is_touched() -> None:
    fields = [
        (b"X-Domain", b"a; Domain=example.dev"),
        (b"Set-Cookie", b"a=1; Domain=example.dev"),
        (b"set-cookie", b"b=2"),
        (b"Cookie", b"a=b; Domain=example.dev"),
        (b"Set-Cookie", b"c=3; Domain=.dev; Secure"),
    ]
    lines = judged(fields)
    before = list(lines)
    assert [line.pair for line in cookies.confine(lines, TARGET)] == [
        (b"X-Domain", b"a; Domain=example.dev"),
        (b"Set-Cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"Cookie", b"a=b; Domain=example.dev"),
        (b"Set-Cookie", b"c=3; Secure"),
    ]
    assert lines == before, "a section's lines are shared by many heads"


def test_what_reaches_nobody_else_is_not_made_anew() -> None:
    lines = judged([(b"Set-Cookie", b"a=1; Path=/"), (b"Clear-Site-Data", b'"cache"'), (b"Server", b"x")])
    assert cookies.confine(lines, TARGET) is lines


DATA = [
    (b'"cache", "storage"', b'"cache", "storage"'),
    (b'"cookies"', None),
    (b'"cache","cookies" , "storage"', b'"cache", "storage"'),
    (b'"*"', b'"cache", "clientHints", "executionContexts", "prefetchCache", "prerenderCache", "storage"'),
    (b'"Cookies", "storage:x", cache', None),
]


@pytest.mark.parametrize(("sent", "received"), DATA)
def test_an_app_clears_the_data_of_its_own_origin(sent: bytes, received: bytes | None) -> None:
    assert confine([(b"clear-site-data", sent)]) == ([(b"clear-site-data", received)] if received else [])


LINES = [
    b";Domain=dev",
    b";Domain=a",
    b"; ",
    b" ",
    b".",
    b"Domain=x;",
    b" Domain=\xff",
    b" Domain",
    b";\xa0$Domain=.",
    b".sandbox.example.dev",
    b"Domain=sandbox.example.dev.",
]


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("start", [b"a=b", b"a=b; Domain", b"a=b; Domain="])
@pytest.mark.parametrize("end", [b"", b"x", b"\xff"])
def test_no_cookie_takes_long(start: bytes, line: bytes, end: bytes) -> None:
    """Of a head's 32 KiB, four: 0.5 ms, where a search that looks back takes a hundred times as long."""
    lines = judged([(b"Set-Cookie", (start + line * 8192)[:8192] + end)] * 4)
    cookies.confine(lines, TARGET)
    begin = time.thread_time()
    cookies.confine(lines, TARGET)
    assert time.thread_time() - begin < 0.02
