"""Hints of good answers: a page's mixed content, what a browser does not give to its page, a dev server's no with 200.

Looks at an exchange once, at its end, and at a few pages a second at most: of a flood of them, none says anything new.
What it finds stands in the exchange, and is told as every other hint is. Knows nothing of how it is shown.
"""

from __future__ import annotations

import logging
from typing import Final

from gateway.diagnosis import cross_origin, hints, page_hints
from gateway.diagnosis.refusals import first_word
from gateway.endpoint import Endpoint, Origin
from gateway.http.message import AS_TUNNEL
from gateway.inspector.captured import Captured
from gateway.inspector.decoding import decoded

log = logging.getLogger("gateway.inspector")

PAUSE: Final = 0.1
"""Seconds from one page that is looked into to the next: each takes some milliseconds."""
FEW: Final = 8
"""Messages of a WebSocket that was refused in them, at most."""

# webpack-dev-server, lib/Server.js: version 4 says so to a page with status 200, both to their WebSocket in a message.
_WEBPACK_PAGE: Final = b"Invalid Host header"
_WEBPACK_MESSAGE: Final = b'{"type":"error","data":"Invalid Host/Origin header"}'
_WEBPACK: Final = (
    "the app refused its public name. webpack-dev-server: devServer.allowedHosts: ['.{domain}'] in webpack.config"
)


class BodyHints:
    """One per gateway; what it finds goes to `told`."""

    def __init__(self, told: hints.HintLog) -> None:
        self._told = told
        self._next = 0.0  # by the clock of what is captured

    def look(self, captured: Captured) -> None:
        """At an exchange that has ended. Whatever is wrong with what was captured, nothing is raised."""
        if captured.head is None or captured.response_head is None:
            return
        try:
            hint = self._find(captured)
        except Exception:
            log.exception("a body could not be looked into for hints")
            return
        if hint is not None:
            captured.more.hint = hint
            host = captured.head.authority
            self._told.tell(Endpoint(Origin(host.decode("latin-1"), "", ""), 0), host, hint)

    def _find(self, captured: Captured) -> str | None:
        request, answer = captured.head, captured.response_head
        assert request is not None and answer is not None
        if answer.framing is AS_TUNNEL:
            extras = captured.extras
            refused = extras.total_messages <= FEW and any(each.octets == _WEBPACK_MESSAGE for each in extras.messages)
            return self._of_webpack(captured) if refused else None
        if (withheld := cross_origin.find(request, answer)) is not None:
            return withheld
        if answer.status != 200 or captured.ended < self._next or captured.peer is None:
            return None
        if first_word(answer.get(b"content-type")) != b"text/html" or answer.get(hints.FIELD.lower()) is not None:
            return None
        self._next = captured.ended + PAUSE
        page, _ = decoded(bytes(captured.response.octets), answer.get(b"content-encoding") or b"")
        if page == _WEBPACK_PAGE:
            return self._of_webpack(captured)
        told = dict(captured.peer.added(request).fields)
        if told[b"X-Forwarded-Proto"] != b"https":
            return None
        return page_hints.find(page, answer, told[b"X-Forwarded-Host"])

    def _of_webpack(self, captured: Captured) -> str:
        assert captured.head is not None
        domain = captured.head.section.host.partition(".")[2].partition(":")[0]
        return _WEBPACK.replace("{domain}", domain)
