"""An app that does not let a page of another of its user's names read its answer, though it has answered.

The page at `5173-box...` asks the app at `3000-box...`: on a laptop both were `localhost`, and the app allows that, or
nothing. Its answer is a good one, and the browser throws it away (https://fetch.spec.whatwg.org/#cors-check). Only
`gateway dev` looks. Of a page that is no neighbour nothing is said: to refuse that one is right.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.diagnosis.own_urls import framework_of
from gateway.http.message import RequestHead, ResponseHead

_ORIGIN: Final = re.compile(rb"https://([a-z0-9.-]{1,253}(?::[0-9]{1,5})?)")
_SOCKET_IO: Final = "Socket.IO: cors: {origin: '{page}'} in the options of its Server"


def find(request: RequestHead, answer: ResponseHead) -> str | None:
    """The hint for `answer`, if its browser does not give it to the page that has sent `request`."""
    origin = request.get(b"origin")
    if origin is None or request.get(b"sec-fetch-mode") != b"cors" or answer.status == 304:
        return None  # in the place of a 304 the page gets what was stored, with its fields
    asking = _ORIGIN.fullmatch(origin)
    own = request.authority.lower()
    if asking is None or asking[1] == own or asking[1].partition(b".")[2] != own.partition(b".")[2]:
        return None
    allowed = answer.get(b"access-control-allow-origin")
    if allowed in (b"*", origin) or answer.get(b"x-gateway-error") is not None:
        return None
    page = origin.decode("ascii")
    line = _SOCKET_IO if b"EIO=" in request.target else framework_of(answer).cross
    return f"the app does not allow {page} to read its answer (CORS), so browsers throw it away. {line}".replace(
        "{page}", page
    )
