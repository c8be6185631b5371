"""Who is a page of another site, and that it learns nothing but that its request failed."""

from __future__ import annotations

import pytest

from gateway.http.message import Fields
from gateway.problems.cross_site import is_cross_site, withheld
from tests.support.seam import request

DOMAIN = "sandbox.localhost"
OTHER = b"https://evil.example"
REQUESTS: list[tuple[Fields, bool]] = [
    # what a browser says of the page that asks, whether it is another site's
    ([], False),  # curl, and a browser's own request
    ([(b"Sec-Fetch-Site", b"cross-site")], True),
    ([(b"Sec-Fetch-Site", b"same-site")], False),
    ([(b"Sec-Fetch-Site", b"same-origin")], False),
    ([(b"Sec-Fetch-Site", b"none")], False),
    ([(b"Sec-Fetch-Site", b"one-not-invented-yet")], True),
    ([(b"Sec-Fetch-Site", b"cross-site"), (b"Sec-Fetch-Mode", b"navigate")], False),
    ([(b"Sec-Fetch-Site", b"cross-site"), (b"Sec-Fetch-Mode", b"websocket")], True),
    ([(b"Sec-Fetch-Site", b"same-origin"), (b"Origin", OTHER)], False),  # no page can set Sec-Fetch-Site
    ([(b"Origin", OTHER)], True),
    ([(b"Origin", b"null")], True),
    ([(b"Origin", b"https://3000-demo.sandbox.localhost:8443")], False),
    ([(b"Origin", b"https://SANDBOX.localhost")], False),
    ([(b"Origin", b"http://3000-demo.sandbox.localhost")], True),
    ([(b"Origin", b"https://evilsandbox.localhost")], True),
    ([(b"Origin", b"https://sandbox.localhost.evil.example")], True),
]


@pytest.mark.parametrize(("fields", "cross"), REQUESTS)
def test_a_browser_says_who_asks(fields: Fields, cross: bool) -> None:
    assert is_cross_site(request(fields=fields), DOMAIN) is cross


def test_what_is_withheld_says_nothing() -> None:
    head = withheld()
    assert (head.status, head.get(b"content-length"), head.get(b"cache-control")) == (502, b"0", b"no-store")
    assert head.get(b"x-gateway-error") == b"withheld"
    assert not [name for name, _ in head.fields if name.lower().startswith(b"access-control-")]
