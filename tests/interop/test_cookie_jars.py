"""No spelling of Set-Cookie makes any client send a cookie to a neighbour.

The clients' own jars judge what the gateway lets through; that they would have been taken in by what it does not shows
that they can be.
"""

from __future__ import annotations

import itertools

import pytest

from gateway.edge.cookies import confine
from gateway.hostname import Target
from gateway.http.head_parser import HeadLimits, parse_response_head
from tests.interop.cookie_jars import DOMAIN, HOST, JARS, Fields
from tests.support.components import require

pytestmark = [pytest.mark.interop, pytest.mark.slow]

TARGET = Target(5000, "abc123", DOMAIN)
ABOVE = DOMAIN.encode()

# A spelling is one of each, and in at most two of them not the first.
NAMES = [b"Set-Cookie", b"set-cookie", b"Set-Cookie2"]
PAIRS = [
    b"a=b",
    b'a="b"',
    b"a",
    b"=b",
    b"a=b,c=d",
    b'a="b; c',
    b'a="b; "',
    b"",
    b"$Version=1",
    b"a=b; $Version=1",
    b"a=b; Version=1",
    b"a=b; Version=1; Max-Age=60; Port; Discard",
    b"a=b; Expires=Fri, 01 Jan 2038 00:00:00 GMT",
    b"a=b; Path=/",
    b"a=b; Secure",
    b"a=b; Path=/, c=d",
    b'a=b; x="',
    b'a=b; x="y;"',
    b"a=b; Domain=",
    b"a=b; Domain",
    b"a=b; Domain=" + HOST.encode(),
    b"a=b; Domain=other.test",
    b"a=b\xe4",
]
SEPARATORS = [
    b"; ", b";", b" ; ", b";;", b";\t", b" ", b"\t", b",", b", ", b";, ", b"; $", b" $", b';"', b'; "', b"; '",
    b"; .",
    b"; =", b";\xa0", b";\x85", b";\xc2\xa0", b";\xc2\x85", b";\xe3\x80\x80", b";\xe2\x80\x83", b";\xef\xbb\xbf",
    b"\xa0", b"\xc2\xa0", b"; \xa0 ",
]  # fmt: skip
ATTRIBUTES = [
    b"Domain", b"domain", b"DOMAIN", b"dOmAiN", b'"Domain"', b"$Domain", b"doma\xc4\xb1n", b"DOMA\xc4\xb0N",
    b"Domain\xa0", b"Domain\t", b"Domain ", b"Domain\xe3\x80\x80", b"Doma%69n", b"Domain*",
]  # fmt: skip
EQUALS = [b"=", b" = ", b"\t=\t", b"= ", b"==", b"=\xa0", b":", b"=,", b"=;"]
DOMAINS = [
    ABOVE,
    b"." + ABOVE,
    b".." + ABOVE,
    ABOVE + b".",
    ABOVE.upper(),
    b'"' + ABOVE + b'"',
    b'".' + ABOVE + b'"',
    b"'" + ABOVE + b"'",
    b'"' + ABOVE,
    ABOVE + b'"',
    b'"' + ABOVE.replace(b"s", b"\\s") + b'"',
    b'"' + ABOVE.replace(b".", b"\\056") + b'"',
    b'"\\163andbox.example.dev"',
    b"\\" + ABOVE,
    ABOVE.replace(b".", b"%2E"),
    b"%73andbox.example.dev",
    ABOVE.replace(b".", "。".encode()),
    "ｓandbox.example.dev".encode(),
    "san\u00addbox.example.dev".encode(),
    "san\u200ddbox.example.dev".encode(),
    b"xn--sandbox-.example.dev",
    ABOVE + b"\xa0",
    b"\xa0" + ABOVE,
    ABOVE + b"\xe3\x80\x80",
    ABOVE + b" x",
    ABOVE + b",x",
    ABOVE + b", c=d",
    ABOVE + b"/",
    ABOVE + b":443",
    ABOVE + b"\\",
    b"https://" + ABOVE,
    b"x@" + ABOVE,
    b"[" + ABOVE + b"]",
    b"*." + ABOVE,
    b"example.dev",
    b".dev",
    b"dev",
    b"box.example.dev",
    b"abc123." + ABOVE,
    b"23." + ABOVE,
    b".abc123." + ABOVE,
    b"5000-other." + ABOVE,
    b"8000-abc123." + ABOVE,
    b"." + HOST.encode(),
    b"",
    b".",
]
ENDS = [
    b"",
    b"; Path=/",
    b";",
    b",",
    b" ",
    b"; Domain=" + HOST.encode(),
    b"; Domain=",
    b"; Domain",
    b"; Domain=other.test",
    b" Domain=other.test",
    b", c=d; Version=1",
    b"; Max-Age=60",
    b"; Secure; HttpOnly; SameSite=Lax",
    b'; x="',
]


def spellings() -> list[tuple[bytes, bytes]]:
    parts = [NAMES, PAIRS, SEPARATORS, ATTRIBUTES, EQUALS, DOMAINS, ENDS]
    usual = [part[0] for part in parts]
    found = {}
    for one, other in itertools.combinations(range(len(parts)), 2):
        for mine, others in itertools.product(parts[one], parts[other]):
            spelled = list(usual)
            spelled[one], spelled[other] = mine, others
            name, *value = spelled
            found[name, b"".join(value).strip(b" \t")] = None
    return list(found)


def let_through(fields: Fields) -> list[tuple[bytes, bytes]]:
    """As a head goes downstream; a field that goes no further is an empty one here, so that numbers stay the same."""
    passed = []
    for name, value in fields:
        block = b"HTTP/1.1 200 OK\r\n%b: %b\r\nContent-Length: 0\r\n\r\n" % (name, value)
        head = parse_response_head(block, HeadLimits(), b"GET")
        lines = head.section.field_lines
        *rest, _ = confine(lines, TARGET) if head.section.set_cookies else lines
        passed.append(rest[0].pair if rest else (b"X-Nothing", b""))
    return passed


@pytest.mark.parametrize("name", JARS)
def test_no_jar_sends_a_cookie_to_a_neighbour(name: str) -> None:
    jar, needs = JARS[name]
    require(*needs)
    sent = spellings()
    if name.startswith("curl"):
        sent = [*sent[::40], *((b"Set-Cookie", b"a=b; Domain=" + domain) for domain in DOMAINS)]  # 20 ms each
    passed = let_through(sent)
    taken_in = jar(sent)
    assert len(taken_in) >= 10, "this jar would not have been taken in by anything"
    leaked = jar(passed)
    assert not leaked, [(sent[number], passed[number]) for number in sorted(leaked)][:20]
    unchanged = {b"Set-Cookie: a=b; Path=/; HttpOnly", b"Set-Cookie: a=b; Domain=" + HOST.encode()}
    assert {b": ".join(pair) for pair in let_through([tuple(line.split(b": ", 1)) for line in unchanged])} == unchanged
