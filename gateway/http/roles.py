"""What becomes of a field, by its name: plain numbers, because they are compared for each field of each message.

PASS is 0, so that the hot loop tests truth; the order is what lets one comparison stand for several roles.
"""

from __future__ import annotations

from typing import Final

PASS: Final = 0
HOST: Final = 1
CONTENT_LENGTH: Final = 2
EXPECT: Final = 3
DROPPED: Final = 4
"""Meant for one connection only, or dangerous beyond it."""
FORWARDING: Final = 5
"""Claims where a request came from; kept apart for the edge to judge."""
MARK: Final = 6
"""The gateway's own marker; a sandbox must not be able to forge it."""
REQUEST_ID: Final = 7
PROBE: Final = 8
"""Asks the gateway itself whether the target accepts connections; never the app's business."""
MAX_FORWARDS: Final = 9
"""Passes, with OPTIONS one less."""
CREDENTIALS: Final = 10
"""Passes; asks for a login, or is part of one."""

# From here on: says something of its connection (see `hop`).
CONNECTION: Final = 11
TRANSFER_ENCODING: Final = 12
UPGRADE: Final = 13
TE: Final = 14
HOP: Final = 15
"""Nothing that anybody here wants to know."""

# From here on: passes in a request, whatever it says.
DATE: Final = 16
"""Passes; an answer without one gets ours."""
SET_COOKIE: Final = 17
"""Set-Cookie, and what deletes cookies; an answer's may reach the app's neighbours."""
LOCATION: Final = 18
"""Leads somewhere; an answer's may lead to the Host field that the app was sent."""

# From here on: passes everywhere, and is read.
USER_AGENT: Final = 19
TRACE_PARENT: Final = 20
CONTENT_TYPE: Final = 21
PRIORITY: Final = 22
COOKIE: Final = 23
"""HTTP/2 splits it into crumbs."""
