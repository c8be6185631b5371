"""Whoever sits in front of a browser gets a page, also about a request of which not all could be read."""

from __future__ import annotations

import pytest

from tests.behaviour.harness import OpenGateway

CHROMIUM = b"Accept: text/html,*/*;q=0.8\r\nSec-Fetch-Mode: navigate\r\n"
"""Before its cookies."""
FIREFOX = b"Accept: text/html,*/*;q=0.8\r\n"
"""Its Sec-Fetch-Mode comes behind the cookies, and none without TLS."""
SCRIPT = b"Accept: text/html\r\nSec-Fetch-Mode: cors\r\n"
LONG = b"x" * 20_000
COOKIES = b"".join(b"Cookie: %b\r\n" % (b"c" * 8000) for _ in range(5))


async def answered(open_gateway: OpenGateway, *packets: bytes) -> tuple[int, bytes]:
    """Status and media type of the answer to a head that arrives so; each packet once the one before is read."""
    gateway = await open_gateway()
    browser = await gateway.connect()
    for packet in packets:
        if browser.received:
            break
        browser.send(packet)
        if packet is not packets[-1]:
            await gateway.settled()
    answer = await browser.answer()
    return answer.status, (answer.get(b"Content-Type") or b"").partition(b";")[0]


@pytest.mark.parametrize(
    ("fields", "media_type"),
    [(CHROMIUM, b"text/html"), (FIREFOX, b"text/html"), (SCRIPT, b"text/plain")],
    ids=["Chromium", "Firefox", "a script"],
)
@pytest.mark.parametrize(
    ("status", "line", "more"),
    [
        (414, b"GET /%b HTTP/1.1" % LONG, b""),
        (414, b"GET /%b HTTP/1.1" % LONG, COOKIES),
        (431, b"GET / HTTP/1.1", COOKIES),
        (400, b"GET / HTTP/1.1", b"Bad Name: x\r\n"),
        (417, b"GET / HTTP/1.1", b"Expect: more\r\n"),
    ],
    ids=["414", "414 and cookies", "431", "400", "417"],
)
async def test_a_navigation_gets_a_page_however_its_head_arrives(
    open_gateway: OpenGateway, status: int, line: bytes, more: bytes, fields: bytes, media_type: bytes
) -> None:
    head = b"%b\r\nHost: 5000-box.sandbox.localhost\r\n%b%b\r\n" % (line, fields, more)
    # As TLS records of a browser: the first has nothing but the line, if that is long.
    for size in (len(head), 16_384):
        packets = [head[at : at + size] for at in range(0, len(head), size)]
        assert await answered(open_gateway, *packets) == (status, media_type)


async def test_before_any_field_there_is_nothing_to_go_by(open_gateway: OpenGateway) -> None:
    head = b"GET /%b HTTP/1.1\r\nHost: 5000-box.sandbox.localhost\r\n%b\r\n" % (LONG * 2, CHROMIUM)
    assert await answered(open_gateway, head) == (414, b"text/plain")
