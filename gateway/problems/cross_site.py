"""Pages of other sites: who is one, and the answer that tells it that its request failed and nothing else.

For a gateway that only this machine's browsers reach (`Edge.withholds_from_other_sites`).
"""

from __future__ import annotations

from gateway.http.message import FieldSection, RequestHead, ResponseHead
from gateway.problems.negotiation import sf_item

_OWN_SITES = (b"same-origin", b"same-site", b"none")
"""What Sec-Fetch-Site says if no other site is involved (Fetch Metadata); `none`: somebody has typed the URL."""


def is_cross_site(head: RequestHead, domain: str) -> bool:
    """Whether what answers `head` goes to a page outside `domain`, as far as its browser tells.

    A navigation is shown to who sits there; no page can read it.
    """
    if sf_item(head.get(b"sec-fetch-mode")) == b"navigate":
        return False
    site = sf_item(head.get(b"sec-fetch-site"))
    if site is not None:
        return site not in _OWN_SITES
    # A browser that does not tell names the origin where a script could read the answer.
    origin = head.get(b"origin")
    return origin is not None and not _lies_below(origin, domain.encode())


def _lies_below(origin: bytes, domain: bytes) -> bool:
    scheme, _, authority = origin.lower().partition(b"://")
    name = authority.partition(b":")[0]
    return scheme == b"https" and (name == domain or name.endswith(b"." + domain))


def withheld() -> ResponseHead:
    """The answer to a page of another site in place of any problem. Without CORS its scripts cannot read even this."""
    fields = [(b"X-Gateway-Error", b"withheld"), (b"Proxy-Status", b"gateway"), (b"Cache-Control", b"no-store")]
    return ResponseHead(502, FieldSection.of([*fields, (b"Content-Length", b"0")]))
